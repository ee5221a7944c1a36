"""Two HTTP servers and two consumers of SQS carry runs on in one Postgres while they are killed.

Every process is the command line's, as users start it. A balancer stands before the servers, as one
would; the test is the scheduled sweep.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import pytest

from sequential import Sequential
from sequential.storage import Run, Status
from tests.acceptance.fleet_flows import STEPS
from tests.fix_http import KEY, TOKEN, free_socket, until
from tests.fix_postgres import Server
from tests.fix_sqs import new_url

FLOWS = Path(__file__).with_name("fleet_flows.py")
LEASE = 3.0
PAGE = 1000


class Balancer:
    """Hands each connection to the next of some ports that answers, while it is entered."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._turn = 0
        self._loop = asyncio.new_event_loop()
        self._listening = free_socket()
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    def __enter__(self) -> Self:
        self._over = asyncio.Event()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        server = await asyncio.start_server(self._carry, sock=self._listening)
        await self._over.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in self._ports:
            self._turn += 1
            with suppress(OSError):
                port = self._ports[self._turn % len(self._ports)]
                behind = await asyncio.open_connection("127.0.0.1", port)
                break
        else:
            writer.close()
            return
        with suppress(OSError):
            await asyncio.gather(_pump(reader, behind[1]), _pump(behind[0], writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@dataclass
class Member:
    """One process of the fleet, and how it is started again."""

    command: list[str]
    variables: dict[str, str]
    said: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.said.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sequential", *self.command],
                env=os.environ | self.variables,
                stdout=said,
                stderr=said,
            )

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


class Fleet:
    """Four processes on one storage, two transports, and the starter of runs."""

    def __init__(self, folder: Path, storage: str, queue: str, stack: ExitStack) -> None:
        self.log = folder / "log.txt"
        with free_socket() as one, free_socket() as other:
            ports = [one.getsockname()[1], other.getsockname()[1]]
        balancer = stack.enter_context(Balancer(ports))
        common = {
            "SEQUENTIAL_STORAGE": storage,
            "SEQUENTIAL_PAUSE": "every-step",
            "SEQUENTIAL_LEASE": f"{LEASE}s",
            "SEQUENTIAL_MAX_STALLS": "1000",
            "SEQUENTIAL_HTTP_KEYS": KEY,
            "SEQUENTIAL_HTTP_TOKENS": TOKEN,
            "FLEET_LOG": str(self.log),
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }
        load = ["--load", str(FLOWS)]
        serving = ["serve", *load, "--flow", "twenty", "--port"]
        self.members = [
            Member([*serving, str(port)], {**common, "SEQUENTIAL_TRANSPORT": balancer.url}, said)
            for port, said in zip(ports, (folder / "http1", folder / "http2"), strict=True)
        ] + [
            Member(["worker", *load], {**common, "SEQUENTIAL_TRANSPORT": queue}, folder / name)
            for name in ("sqs1", "sqs2")
        ]
        stack.enter_context(self._environment(common))
        self.senders = [
            stack.enter_context(Sequential(storage, transport))
            for transport in (balancer.url, queue)
        ]
        self.client = stack.enter_context(
            httpx.Client(
                base_url=balancer.url,
                headers={"authorization": f"Bearer {TOKEN}"},
                trust_env=False,
                timeout=30,
            )
        )
        for member in self.members:
            member.start()
            stack.callback(member.kill)
        until(self._healthy, 60)

    @contextmanager
    def _environment(self, variables: dict[str, str]) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("SEQUENTIAL_HTTP_KEYS", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.setenv(name, variables[name])
            yield

    def _healthy(self) -> bool:
        with suppress(httpx.TransportError):
            return self.client.get("/health").status_code == 200
        return False

    def start(self, number: int) -> None:
        """Start a run: the even ones over HTTP, by whoever answers, the odd ones with a message."""
        run_id = f"run-{number}"
        if number % 2:
            self.senders[1].start("twenty", {"number": number}, run_id=run_id)
            return
        body = {"flow": "twenty", "input": {"number": number}, "run_id": run_id}
        while True:
            # A server that is killed takes the answer along; to start a run twice is to start it.
            with suppress(httpx.TransportError):
                if self.client.post("/runs", json=body).status_code == 201:
                    return
            time.sleep(0.05)

    def runs(self) -> list[Run]:
        found = self.senders[0].find(limit=PAGE)
        runs = list(found.runs)
        while found.next is not None:
            found = self.senders[0].find(limit=PAGE, after=found.next)
            runs += found.runs
        return runs

    def carry_on(self, every: float, patience: float) -> int:
        """Sweep, and kill one process after the other, until all runs have ended.

        Returns:
            How many were killed.
        """
        kills, end, next_kill = 0, time.monotonic() + patience, time.monotonic() + every
        chance = random.Random(0)
        while any(run.ended is None for run in self.runs()):
            assert time.monotonic() < end, Counter(str(run.status) for run in self.runs())
            for sender in self.senders:
                sender.sweep(PAGE)
            if time.monotonic() >= next_kill:
                member = chance.choice(self.members)
                member.kill()
                member.start()
                kills += 1
                next_kill = time.monotonic() + every
            time.sleep(0.3)
        return kills


def check(fleet: Fleet, runs: int, kills: int) -> str:
    """Compare what is stored with what was done; return a sentence about it."""
    lines = [line.split() for line in fleet.log.read_text().splitlines()]
    done: dict[tuple[str, str], list[str]] = {}
    for _, run_id, position, token, _ in lines:
        done.setdefault((run_id, position), []).append(token)
    found = fleet.runs()
    assert {run.run_id for run in found} == {f"run-{number}" for number in range(runs)}
    app = fleet.senders[0]
    for run in found:
        assert run.status is Status.COMPLETED, run
        steps = app.steps(run.run_id)
        assert len(steps) == len({step.position for step in steps}) == STEPS
        for step in steps:
            assert app.value(run, step) in done[run.run_id, step.position], "nobody made this"
    extra = len(lines) - len(done)
    # Only who died between a tool's end and its commit, or was overtaken, leaves one behind: at
    # most as many as a process has runs under way.
    assert extra <= kills * 4, f"{extra} executions too many after {kills} kills"
    return f"{runs} runs of {STEPS} steps, {kills} kills, {extra} executions repeated"


def play(folder: Path, storage: str, queue: str, runs: int, every: float) -> str:
    with ExitStack() as stack:
        fleet = Fleet(folder, storage, queue, stack)
        # The starter needs the flow's name and shape, none of its steps.
        for sender in fleet.senders:
            _register(sender)
        for number in range(runs):
            fleet.start(number)
        kills = fleet.carry_on(every, patience=900)
        return check(fleet, runs, kills)


def _register(app: Sequential) -> None:
    from tests.acceptance.fleet_flows import mark, twenty

    app.registry.add_tool(mark)
    app.registry.add_flow(twenty)


def test_a_few_runs_survive_a_few_kills(
    tmp_path: Path, postgres18: Server, database: str, ministack: str
) -> None:
    queue = new_url(ministack, visibility=6)
    said = play(tmp_path, postgres18.url(database), queue, 16, every=2.0)
    assert "16 runs" in said


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_five_hundred_runs_survive_a_kill_every_few_seconds(
    tmp_path: Path, postgres18: Server, database: str, ministack: str
) -> None:
    queue = new_url(ministack, visibility=6)
    print(play(tmp_path, postgres18.url(database), queue, 500, every=2.0))  # noqa: T201

"""Two servers on one storage, one of them killed every few seconds: every run ends."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from sequential import Registry, Sequential, Steps, flow
from sequential.outcomes import Completed
from sequential.storage import Status
from tests.fix_http import KEY
from tests.fix_postgres import Server
from tests.http.balancer import Balancer
from tests.http.process import Serving, Start

FLOWS = """
import os
from sequential import Steps, flow, tool

@tool("marks", "make")
def make(run: str, number: int) -> int:
    log = os.open("marks", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{run} {number}\\n".encode())
    os.close(log)
    return number

@flow
def long(run: str, steps: int) -> Steps[int]:
    total = 0
    for number in range(steps):
        total += yield from make(run, number)
    return total
"""

registry = Registry()
CONCURRENCY = 4


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQUENTIAL_HTTP_KEYS", KEY)


@flow(registry=registry)
def long(run: str, steps: int) -> Steps[int]:
    yield from ()
    return 0


class Fleet:
    """Two servers behind a balancer, and who kills them."""

    def __init__(self, begin: Callable[[], Serving], balancer: Balancer) -> None:
        self._begin = begin
        self._balancer = balancer
        self.servers = [begin(), begin()]
        self.kills = 0
        self._tell()

    def kill(self, chance: random.Random) -> None:
        """Kill one of them, and start another."""
        victim = self.servers.pop(chance.randrange(2))
        assert victim.end(signal.SIGKILL) == -signal.SIGKILL
        self.kills += 1
        self._tell()
        self.servers.append(self._begin())
        self._tell()

    def _tell(self) -> None:
        self._balancer.ports = [urlsplit(each.url).port or 0 for each in self.servers]


class Plan(NamedTuple):
    """How much is done, and how many seconds it may take."""

    runs: int
    steps: int
    kills: int
    patience: float = 100.0


def campaign(directory: Path, start: Start, storage: str, plan: Plan) -> None:
    (directory / "marks.py").write_text(FLOWS)
    (directory / "sequential.toml").write_text("[http]\nsweep_every = 1\n")
    balancer, chance = Balancer(), random.Random(7)

    def begin() -> Serving:
        begun = start(
            "--load", "marks.py", "--pause", "every-step", "--transport", balancer.url,
            SEQUENTIAL_STORAGE=storage,
        )  # fmt: skip
        assert begun.url, begun.said
        return begun

    fleet = Fleet(begin, balancer)
    with Sequential(storage, balancer.url, registry=registry) as app:
        ids = [f"r{number}" for number in range(plan.runs)]
        for run_id in ids:
            app.start(long, {"run": run_id, "steps": plan.steps}, run_id=run_id)
        end, due = time.monotonic() + plan.patience, 0.0
        while (left := _open(app)) or fleet.kills < plan.kills:
            assert time.monotonic() < end, f"{left} runs are stranded, {fleet.kills} kills"
            if time.monotonic() >= due and fleet.kills < plan.kills:
                fleet.kill(chance)
                due = time.monotonic() + 1.5
            time.sleep(0.1)
        for run_id in ids:
            assert app.outcome(app.get(run_id)) == Completed(run_id, sum(range(plan.steps)))
            assert len(app.steps(run_id)) == plan.steps
    balancer.close()
    for server in fleet.servers:
        assert server.end() == 0
    done = Counter((directory / "marks").read_text().splitlines())
    assert len(done) == plan.runs * plan.steps
    # Each extra one is of a step that was under way in a server that was killed.
    assert done.total() - len(done) <= fleet.kills * CONCURRENCY


def _open(app: Sequential) -> int:
    page = app.find(status=(Status.PAUSED, Status.RUNNING), limit=1)
    return len(page.runs)


def test_two_servers_one_of_them_killed_again_and_again(tmp_path: Path, start: Start) -> None:
    storage = f"sqlite:///{tmp_path}/flows.db?synchronous=normal"
    campaign(tmp_path, start, storage, Plan(20, 5, 2))


@pytest.mark.chaos
@pytest.mark.timeout(400)
def test_two_servers_on_postgres_with_many_runs(
    tmp_path: Path, start: Start, postgres18: Server, database: str
) -> None:
    storage = postgres18.url(database, pool="8")
    campaign(tmp_path, start, storage, Plan(500, 20, 15, 300.0))

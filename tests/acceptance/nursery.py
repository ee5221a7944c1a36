"""Worker processes that can be killed, forked from one that has imported everything.

Run as a module it is the process that forks: it has no database open and no thread, so a fork is
safe and takes milliseconds. Imported, it is `Nursery`, which talks to that process over pipes.
What is killed when, and what it proves, is the tests'.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from sequential import Sequential
from sequential._outcomes import Completed
from sequential._polling import PollingTransport
from sequential._protocol import Terms
from sequential._worker import Worker
from sequential.errors import StorageError
from sequential.storage import Storage
from tests.acceptance.book import Where, open_storage
from tests.acceptance.effects import Effects
from tests.acceptance.failpoints import arm
from tests.acceptance.kill_flows import REGISTRY, Losses, write_to
from tests.acceptance.seams import BringsMarks, SeamedStorage, SeamedTransport, seamed

ROOT = Path(__file__).parents[2]
STOPPED = -int(signal.SIGSTOP)


@dataclass(frozen=True, slots=True)
class House:
    """Where the processes of one test live, and by which numbers.

    Attributes:
        folder: Holds the database, the effects log and what the processes say.
        lease: Seconds.
        every: Seconds between two looks of a worker.
        disk: Folder of the database, when it lies elsewhere.
        server: URL of the storage, when it is none of SQLite.
        coded: Whether values go through a payload codec.
        stalls: Claims without progress before a run is quarantined.
    """

    folder: str
    lease: float = 0.5
    every: float = 0.05
    disk: str = ""
    server: str = ""
    coded: bool = False
    stalls: int = 10_000

    @property
    def database(self) -> Path:
        return Path(self.disk or self.folder) / "runs.db"

    @property
    def quota(self) -> Path:
        """While it is there, workers' connections get no more pages."""
        return Path(self.folder) / "quota"

    @property
    def url(self) -> str:
        """Of the storage. A kill does not lose what the system has: no sync is needed."""
        return self.server or f"sqlite:///{self.database}?synchronous=normal"

    @property
    def book(self) -> Where:
        """Where a checker reads what is stored."""
        return self.server or self.database

    @property
    def log(self) -> Path:
        return Path(self.folder) / "effects.log"

    @property
    def said(self) -> Path:
        return Path(self.folder) / "stderr.txt"

    def open(
        self,
        pause: str = "budget",
        storage: Storage | None = None,
        transport: PollingTransport | None = None,
    ) -> Sequential:
        """Open the application, by default with a storage and a transport without seams."""
        terms = Terms(self.lease, self.stalls, longest_backoff=0.1, blocked_first=0.1)
        return Sequential(
            open_storage(self.url) if storage is None else storage,
            PollingTransport(self.every) if transport is None else transport,
            pause,
            [Losses(), BringsMarks()],
            registry=REGISTRY,
            payload=["mark"] if self.coded else [],
            terms=terms,
        )


@dataclass(frozen=True, slots=True)
class Order:
    """What one worker is to do.

    Attributes:
        pause: Its pause policy.
        concurrency: Runs at a time.
        point: Where to die; empty for nowhere.
        hit: The how-manieth time it comes by.
        stops: Whether to stop there instead.
        flow: A flow to start and execute before it looks around; empty for none.
        run_id: Of that run.
        number: Its input.
        purges: Whether to purge that run when it has ended.
    """

    pause: str = "budget"
    concurrency: int = 3
    point: str = ""
    hit: int = 1
    stops: bool = False
    flow: str = ""
    run_id: str = ""
    number: int = 0
    purges: bool = False

    def begin(self, app: Sequential) -> None:
        """Start the run, if there is one. Doing so again is safe."""
        app.start(self.flow, {"number": self.number}, run_id=self.run_id)
        if self.flow == "ask":
            app.signal(self.run_id, "go", f"signal-{self.number}", signal_id="only")


# -- the tests' side -------------------------------------------------------------------------


class Nursery:
    """Forks workers for *house*, stops and reaps them; all are gone after the block."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.alive: set[int] = set()
        self.killed: set[int] = set()

    def __enter__(self) -> Self:
        self._said = self.house.said.open("a")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.nursery", json.dumps(asdict(self.house))],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True,
        )  # fmt: skip
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        # At the end of its input it kills what is left and ends.
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(30)
        self._said.close()

    def worker(self, pause: str = "budget", concurrency: int = 3) -> int:
        """Fork a worker; return its pid."""
        return self.send_out(Order(pause, concurrency))

    def send_out(self, order: Order) -> int:
        """Fork a worker that carries out *order*; return its pid."""
        pid: int = self._ask("worker", asdict(order))
        self.alive.add(pid)
        return pid

    def ended(self) -> dict[int, int]:
        """Return pid and exit code of those who ended by themselves since the last call.

        Who stopped is among them, with the code `STOPPED`.
        """
        codes = {int(pid): code for pid, code in self._ask("ended", 0).items()}
        self.alive.difference_update(pid for pid, code in codes.items() if code != STOPPED)
        return codes

    def kill(self, pid: int) -> None:
        """End *pid* at whatever instruction it is."""
        # Known to be ours: it is a child of the nursery, which reaps it only afterwards.
        os.kill(pid, signal.SIGKILL)
        self.alive.discard(pid)
        self.killed.add(pid)
        code = self._ask("reap", pid)
        assert code == -signal.SIGKILL, (
            f"{pid} ended by itself, {code}: {self.house.said.read_text()}"
        )

    def freeze(self, pid: int) -> None:
        """Stop *pid* at whatever instruction it is; return when it stands."""
        assert self._ask("freeze", pid)

    def thaw(self, pid: int) -> None:
        """Let *pid* go on."""
        os.kill(pid, signal.SIGCONT)

    def end(self, pid: int) -> int:
        """Tell *pid* to end, wait for it, and return its exit code."""
        os.kill(pid, signal.SIGTERM)
        code: int = self._ask("reap", pid)
        self.alive.discard(pid)
        return code

    def end_all(self) -> list[int]:
        """Tell everybody who is alive to end; return the exit codes."""
        return [self.end(pid) for pid in sorted(self.alive)]

    def _ask(self, *command: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the nursery is gone: {self.house.said.read_text()}"
        return json.loads(answer)


# -- the process that forks ------------------------------------------------------------------


def serve(house: House, commands: TextIO, answers: TextIO) -> None:
    """Carry out commands until there are no more."""
    log = Effects(house.log)
    write_to(log)
    # What is imported and looked up at the first opening is had by every fork.
    with tempfile.TemporaryDirectory() as folder, replace(house, folder=folder, disk="").open():
        pass
    children: set[int] = set()
    for line in commands:
        word, argument = json.loads(line)
        answer: object
        if word == "worker":
            pid = os.fork()
            if pid == 0:
                be_worker(house, log, Order(**argument))
            children.add(pid)
            answer = pid
        elif word == "freeze":
            os.kill(argument, signal.SIGSTOP)
            answer = os.WIFSTOPPED(os.waitpid(argument, os.WUNTRACED)[1])
        elif word == "ended":
            codes = dict(filter(None, map(_reaped, sorted(children))))
            children -= {pid for pid, code in codes.items() if code != STOPPED}
            answer = codes
        else:
            assert word == "reap"
            answer = os.waitstatus_to_exitcode(os.waitpid(argument, 0)[1])
            children.discard(argument)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _reaped(pid: int) -> tuple[int, int] | None:
    found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
    if not found:
        return None
    return pid, STOPPED if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)


def be_worker(house: House, log: Effects, order: Order) -> None:
    """Carry out *order* until told to end; never return."""
    code = 1
    try:
        faulthandler.enable()  # a crash of the interpreter is to be seen, not taken for a kill
        # The pipes of the nursery are not its children's.
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        if order.point:
            sign = signal.SIGSTOP if order.stops else signal.SIGKILL
            arm(order.point, order.hit, sign, log)
        storage = _opened(house, log)
        with house.open(order.pause, storage, SeamedTransport(house.every)) as app:
            worker = Worker(app, order.concurrency, grace=20.0)
            # Who is told to end before it works ends as soon as it would begin to.
            signal.signal(signal.SIGTERM, lambda *_: worker.stop())
            if order.flow:
                _execute(app, order)
            worker.run()
        code = 0
    except BaseException:  # noqa: BLE001  (a child must not go on as the nursery)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _opened(house: House, log: Effects) -> SeamedStorage:
    """Open the storage, trying again as a supervisor would."""
    while True:
        storage = None
        try:
            storage = seamed(house.url, log, house.quota)
            _ = storage.deployment  # some ask their server nothing before
        except StorageError:
            if storage is not None:
                storage.close()
            time.sleep(0.1)
        else:
            return storage


def _execute(app: Sequential, order: Order) -> None:
    order.begin(app)
    outcome = app.execute(order.run_id)
    while order.purges and not isinstance(outcome, Completed):
        time.sleep(0.01)
        outcome = app.execute(order.run_id)
    if order.purges:
        app.purge(order.run_id)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the tests' to hear
    serve(House(**json.loads(sys.argv[1])), sys.stdin, sys.stdout)

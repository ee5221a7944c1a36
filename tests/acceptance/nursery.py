"""Worker processes that can be killed, forked from one that has imported everything.

Run as a module it is the process that forks: it opens no database and starts no thread, so a fork
is safe and takes milliseconds. Imported, it is `Nursery`, which talks to that process over pipes.
What is killed when, and what it proves, is the tests'.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from sequential import Sequential
from sequential._polling import PollingTransport
from sequential._protocol import Terms
from sequential._worker import Worker
from tests.acceptance.effects import Effects
from tests.acceptance.kill_flows import REGISTRY, Losses, write_to

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class House:
    """Where the processes of one test live, and by which numbers.

    Attributes:
        folder: Holds the database, the effects log and what the processes say.
        lease: Seconds.
        every: Seconds between two looks of a worker.
    """

    folder: str
    lease: float = 0.5
    every: float = 0.05

    @property
    def database(self) -> Path:
        return Path(self.folder) / "runs.db"

    @property
    def log(self) -> Path:
        return Path(self.folder) / "effects.log"

    @property
    def said(self) -> Path:
        return Path(self.folder) / "stderr.txt"

    def open(self, pause: str = "budget") -> Sequential:
        """Open the application. A kill does not lose what the system has: no sync is needed."""
        terms = Terms(lease=self.lease, max_stalls=10_000, longest_backoff=0.1, blocked_first=0.1)
        return Sequential(
            f"sqlite:///{self.database}?synchronous=normal",
            PollingTransport(self.every),
            pause,
            [Losses()],
            registry=REGISTRY,
            terms=terms,
        )


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
        pid: int = self._ask("worker", pause, concurrency)
        self.alive.add(pid)
        return pid

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
    children: set[int] = set()
    for line in commands:
        word, argument, *more = json.loads(line)
        answer: object
        if word == "worker":
            pid = os.fork()
            if pid == 0:
                be_worker(house, argument, *more)
            children.add(pid)
            answer = pid
        elif word == "freeze":
            os.kill(argument, signal.SIGSTOP)
            answer = os.WIFSTOPPED(os.waitpid(argument, os.WUNTRACED)[1])
        else:
            assert word == "reap"
            answer = os.waitstatus_to_exitcode(os.waitpid(argument, 0)[1])
            children.discard(argument)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def be_worker(house: House, pause: str, concurrency: int) -> None:
    """Be a worker until told to end; never return."""
    code = 1
    try:
        faulthandler.enable()  # a crash of the interpreter is to be seen, not taken for a kill
        # The pipes of the nursery are not its children's.
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        with house.open(pause) as app:
            Worker(app, concurrency, grace=20.0).run()
        code = 0
    except BaseException:  # noqa: BLE001  (a child must not go on as the nursery)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the tests' to hear
    serve(House(**json.loads(sys.argv[1])), sys.stdin, sys.stdout)

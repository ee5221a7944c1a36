"""A no-op step of Sequential, DBOS, Absurd and LangGraph, in turn, on one disk or one server.

Each runs in a process of its own, so that the threads of one do not disturb another while it
waits; a process is told to carry a hundred steps and answers with the seconds that they took,
its start and end included. A peer that is not installed is left out, and that is said.

Durability: Sequential commits each step to a write-ahead log with ``synchronous=FULL``. DBOS keeps
its own setting, SQLite's rollback journal with ``FULL``. LangGraph's saver turns the write-ahead
log on, with ``FULL``, and is asked for ``durability="sync"``; it syncs on another thread, and its
flow goes on before that.

On Postgres all share one server and its settings: `fsync` and `synchronous_commit` are on, and none
of them turns one off for its session. Each has a database of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from tempfile import TemporaryFile

from .grounds import Ground
from .measure import Row, Size, median

STEPS = 100
_DISTRIBUTIONS = {"absurd": "absurd-sdk"}
_SAVERS = {"SQLite": "langgraph-checkpoint-sqlite", "Postgres": "langgraph-checkpoint-postgres"}


class _Peer:
    """One process that carries steps when it is told to."""

    def __init__(self, name: str, url: str) -> None:
        command = [sys.executable, "-m", f"{__package__}.peer_{name}", url]
        self._log = TemporaryFile("w+")  # noqa: SIM115  (closed in `close`)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    def carry(self) -> float:
        """Return the seconds of one step, the mean of one run.

        Raises:
            EOFError: The process has ended; what it said last.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("took "):
                return float(line.split()[1]) / STEPS
        self._log.seek(0)
        raise EOFError(self._log.read()[-2000:])

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._log.close()


def measure(ground: Ground, size: Size) -> Iterator[Row]:
    """Measure whoever is installed."""
    names = ["sequential", *(name for name in ground.peers if _installed(name, ground.name))]
    peers = {name: _Peer(name, ground.url()) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(max(5, size.operations // STEPS) + 1):
        for name in names:
            took = peers[name].carry()
            if turn:
                times[name].append(took)
    for peer in peers.values():
        peer.close()
    own = median(times.pop("sequential"))
    for name, found in times.items():
        theirs = median(found)
        what = f"{name} {version(_DISTRIBUTIONS.get(name, name))}, {ground.name}, a step / ours"
        yield Row(what, own, theirs, theirs / own, ground.peers[name], least=True)


def _installed(name: str, ground: str) -> bool:
    needed = [_DISTRIBUTIONS.get(name, name)]
    needed += [_SAVERS[ground]] if name == "langgraph" else []
    needed += ["absurdctl"] if name == "absurd" else []
    try:
        for each in needed:
            version(each)
    except PackageNotFoundError as missing:
        print(f"{name} is left out: {missing.name} is not installed; `nox -s bench` installs it")
        return False
    return True


def serve(steps: Callable[[], object]) -> None:
    """Carry a run for every line that comes in. For the processes of the peers."""
    from time import perf_counter

    for _ in sys.stdin:
        begun = perf_counter()
        steps()
        print("took", perf_counter() - begun, flush=True)

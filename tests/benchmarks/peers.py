"""A no-op step of Sequential, DBOS and LangGraph on SQLite, in turn, on one disk.

Each runs in a process of its own, so that the threads of one do not disturb another while it
waits; a process is told to carry a hundred steps and answers with the seconds that they took,
its start and end included. A peer that is not installed is left out, and that is said.

Durability: Sequential commits each step to a write-ahead log with ``synchronous=FULL``. DBOS keeps
its own setting, SQLite's rollback journal with ``FULL``. LangGraph's saver turns the write-ahead
log on, with ``FULL``, and is asked for ``durability="sync"``. So all three have synced a step to
the disk before the next one starts.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .measure import Row, Size, median

STEPS = 100
_GOALS = {"dbos": 8.0, "langgraph": 3.0}


class _Peer:
    """One process that carries steps when it is told to."""

    def __init__(self, name: str, folder: Path) -> None:
        command = [sys.executable, "-m", f"{__package__}.peer_{name}", str(folder)]
        self._log = (folder / f"{name}.log").open("w")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    def carry(self) -> float:
        """Return the seconds of one step, the mean of one run.

        Raises:
            EOFError: The process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("took "):
                return float(line.split()[1]) / STEPS
        raise EOFError

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._log.close()


def measure(folder: Path, size: Size) -> Iterator[Row]:
    """Measure whoever is installed."""
    names = ["sequential", *(name for name in _GOALS if _installed(name))]
    peers = {name: _Peer(name, folder) for name in names}
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
        what = f"{name} {version(name)}, a step / ours"
        yield Row(what, own, theirs, theirs / own, _GOALS[name], least=True)


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        print(f"{name} is not installed, and left out; `nox -s bench` installs it")
        return False
    return True


def serve(steps: Callable[[], object]) -> None:
    """Carry a run for every line that comes in. For the processes of the peers."""
    from time import perf_counter

    for _ in sys.stdin:
        begun = perf_counter()
        steps()
        print("took", perf_counter() - begun, flush=True)

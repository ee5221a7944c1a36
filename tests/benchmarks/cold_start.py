"""Cold start: whole processes, from their start to their end, floors and subjects in turn.

Byte code is kept in the benchmark's own folder, whatever the environment says: a process that
compiles its sources, or that may not keep what it compiled, starts two or three times as slowly.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .measure import Row, Size, median, timed

_NOTHING = "pass"
_IMPORT = "import sequential"
_CONNECT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE IF NOT EXISTS one (n)")
"""
_FLOW = """
import sys
from sequential import Sequential, flow, tool

@tool("bench", "noop")
def noop(n: int) -> int:
    return n

@flow
def one(n: int):
    return (yield noop(n))

with Sequential(f"sqlite:///{sys.argv[1]}") as app:
    assert app.run(one, {"n": 1}) == 1
"""


def measure(folder: Path, size: Size) -> Iterator[Row]:
    """Measure importing, and a whole flow of one step."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    programs = (_NOTHING, _IMPORT, _CONNECT, _FLOW)
    times: list[list[float]] = [[] for _ in programs]
    for turn in range(size.processes + 1):
        for number, program in enumerate(programs):
            path = folder / f"{number}.db"
            command = [sys.executable, "-c", program, str(path)]
            took = timed(partial(subprocess.run, command, check=True, env=environment))
            if turn:  # the first one compiles and fills the disk's cache
                times[number].append(took)
    python, imported, connected, flow = map(median, times)
    more = imported - python
    yield Row("import sequential, beyond python's start (ms)", python, more, more * 1e3, 60)
    more = flow - connected
    yield Row("one-step flow, beyond sqlite3 connecting (ms)", connected, more, more * 1e3, 100)

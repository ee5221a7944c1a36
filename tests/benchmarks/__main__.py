"""``python -m tests.benchmarks [name ...]``: print floors, subjects, ratios and goals.

Always ends well: a goal that is missed is a line to read, not a failed test.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import (
    cold_start,
    engine_alone,
    every_step,
    inline,
    messages,
    peers,
    replay,
    s3,
    telemetry,
    threads,
)
from .grounds import Ground, postgres, sqlite
from .measure import Row, Size

ON_DATABASES: dict[str, Callable[[Ground, Size], Iterator[Row]]] = {
    "inline": inline.measure,
    "every-step": every_step.measure,
    "replay": replay.measure,
    "threads": threads.measure,
    "telemetry": telemetry.measure,
    "messages": messages.measure,
    "peers": peers.measure,
}
ALONE: dict[str, Callable[[Path, Size], Iterator[Row]]] = {
    "engine": engine_alone.measure,
    "cold-start": cold_start.measure,
    "s3": s3.measure,
}
GROUNDS = {"sqlite": sqlite, "postgres": postgres}

_NAMES = (*ON_DATABASES, *ALONE)
_WIDTH = 56


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(_NAMES))
    parser.add_argument("--on", action="append", choices=GROUNDS, help="databases; all if not said")
    parser.add_argument("--quick", action="store_true", help="a tenth: to see that it works")
    parser.add_argument("--folder", help="where the files are made: the disk that is measured")
    given = parser.parse_args()
    if unknown := set(given.names) - set(_NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(_NAMES)}")
    names = given.names or _NAMES
    size = Size(220, 5) if given.quick else Size()
    print(_machine())
    print(f"{'':{_WIDTH}} {'floor':>10} {'measured':>10} {'ratio':>8}  goal")
    wanted = [measured for name, measured in ON_DATABASES.items() if name in names]
    for place in (given.on or GROUNDS) if wanted else ():
        with _folder(given) as folder, GROUNDS[place](folder) as ground:
            if ground is not None:
                for measured in wanted:
                    _show(measured(ground, size))
    for name, alone in ALONE.items():
        if name in names:
            with _folder(given) as folder:
                _show(alone(folder, size))


@contextmanager
def _folder(given: argparse.Namespace) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sequential-bench-", dir=given.folder) as folder:
        yield Path(folder)


def _show(rows: Iterator[Row]) -> None:
    for row in rows:
        print(_line(row), flush=True)
    gc.collect()


def _machine() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return (
        f"{python}, SQLite {sqlite3.sqlite_version}, {platform.system()} {platform.machine()},"
        f" {os.cpu_count()} CPUs\n"
    )


def _line(row: Row) -> str:
    floor = "" if row.floor is None else _shown(row.floor)
    sign = ">=" if row.least else "<="
    goal = "" if row.goal is None else f"{sign} {row.goal:g}  {row.verdict}"
    return f"{row.what:{_WIDTH}} {floor:>10} {_shown(row.subject):>10} {row.ratio:>8.2f}  {goal}"


def _shown(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:,.2f} ms"


if __name__ == "__main__":
    main()

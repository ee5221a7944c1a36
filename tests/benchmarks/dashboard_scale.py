"""A million runs and ten million steps: does every page of the dashboard still come at once?

    python -m tests.benchmarks.dashboard_scale sqlite|postgres [--runs N] [--steps N] [--folder DIR]

Makes the database in a folder of its own, which it removes, opens each page as a browser does, and
prints what the page asked of the storage, in the median of some visits after one that warms up, and
the rows of the largest table that it held. Times are of this machine, whatever else it does.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from sequential import Sequential
from sequential.storage import Query
from sequential_dashboard.board import Board, hold
from sequential_dashboard.readonly import ReadOnlyStorage
from sequential_dashboard.settings import Settings
from tests.dashboard.pages import PAGES, errors, visit
from tests.fix_postgres import own_server

from .many_runs import fill_postgres, fill_sqlite, id_of, kind_of

VISITS = 3
GOAL = 300.0
"""Milliseconds that what a page asks for may take, all together."""


class Asked(NamedTuple):
    """One question to the storage, and how many runs or steps came back.

    *took* is in milliseconds by the clock, *cpu* in those of this thread's CPU: with SQLite, which
    works in it, that is what it takes on a machine that has nothing else to do.
    """

    what: str
    took: float
    cpu: float
    rows: int


class Watched:
    """A storage that notes what it is asked."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self.asked: list[Asked] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        if not callable(found):
            return found

        def asked(*given: Any, **named: Any) -> Any:
            began, cpu = time.perf_counter(), time.thread_time()
            answer = found(*given, **named)
            cpu = (time.thread_time() - cpu) * 1000
            took = (time.perf_counter() - began) * 1000
            self.asked.append(Asked(_shown(name, given), took, cpu, _rows(answer)))
            return answer

        return asked


def _shown(name: str, given: tuple[Any, ...]) -> str:
    query = given[0] if given and isinstance(given[0], Query) else None
    if query is None:
        return name
    parts = [",".join(str(status) for status in query.statuses)]
    parts += [
        each
        for each in ("flow", "tags", "since", "before", "search", "parent", "wakes_before", "after")
        if getattr(query, each, None)
    ]
    return f"{name} {' '.join(filter(None, parts)) or 'all'} ({query.limit})"


def _rows(answer: Any) -> int:
    if hasattr(answer, "runs"):
        return len(answer.runs)
    if hasattr(answer, "steps"):
        return len(answer.steps)
    return len(answer) if hasattr(answer, "__len__") else 1


@contextmanager
def counted() -> Iterator[list[int]]:
    """Note how many rows each frame has that is made meanwhile."""
    made: list[int] = []
    original = pd.DataFrame.__init__

    def noted(frame: pd.DataFrame, *given: Any, **named: Any) -> None:
        original(frame, *given, **named)
        made.append(len(frame))

    pd.DataFrame.__init__ = noted  # type: ignore[assignment, method-assign]
    try:
        yield made
    finally:
        pd.DataFrame.__init__ = original  # type: ignore[method-assign]


def visits(runs: int) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield the pages to open: a name, the page, and its address' query."""
    yield from (each for each in _all(runs) if each[1] in PAGES)


def _all(runs: int) -> Iterator[tuple[str, str, dict[str, str]]]:
    last = next(n for n in range(runs - 1, 0, -1) if kind_of(n) == "waiting")
    yield from (
        ("overview", "overview", {}),
        ("runs", "runs", {}),
        ("runs, failed", "runs", {"state": "failed"}),
        ("runs, waiting", "runs", {"state": "waiting"}),
        ("runs, stalled", "runs", {"state": "stalled"}),
        ("runs, blocked", "runs", {"state": "blocked"}),
        ("runs, completed", "runs", {"state": "completed"}),
        ("runs of a flow", "runs", {"flow": "flow3"}),
        ("runs of a flow, failed", "runs", {"flow": "flow3", "state": "failed"}),
        ("runs of a flow, quarantined", "runs", {"flow": "flow5", "state": "quarantined"}),
        ("runs of a tag", "runs", {"tag": "team=t1"}),
        ("runs of a tag, failed", "runs", {"tag": "team=t1", "state": "failed"}),
        ("runs of the last day", "runs", {"window": "last day"}),
        ("runs by id", "runs", {"search": id_of(runs // 2)[:-2]}),
        ("attention", "attention", {}),
        ("failures", "failures", {}),
        ("waiting", "waiting", {}),
        ("tools", "tools", {}),
        ("run, completed", "run", {"id": id_of(runs // 2)}),
        ("run, waiting", "run", {"id": id_of(last)}),
        ("compare", "compare", {"a": id_of(runs // 2), "b": id_of(runs // 2 + 1)}),
        ("system", "system", {}),
    )


def measure(app: Sequential, runs: int) -> int:
    """Print a line for each question of each page, and one for the page; return the misses."""
    watched = Watched(app.storage)
    looking = Sequential(ReadOnlyStorage(watched), plugins=[])
    hold(Board(Settings(storage="a benchmark", actions=True, payloads=True), looking, app))
    print(f"{'page':28} {'asks for':64} {'ms':>8} {'cpu':>8} {'rows':>7}, goal {GOAL:.0f} ms")
    missed = 0
    for name, page, query in visits(runs):
        asked: list[list[Asked]] = []
        whole: list[float] = []
        with counted() as frames:
            for _ in range(VISITS + 1):
                watched.asked = []
                began = time.perf_counter()
                test = visit(page, **query)
                whole.append((time.perf_counter() - began) * 1000)
                assert not errors(test), errors(test)
                asked.append(watched.asked)
        missed += _told(name, asked[1:], statistics.median(whole[1:]), max(frames, default=0))
    hold(None)
    return missed


def _told(name: str, asked: list[list[Asked]], whole: float, most: int) -> int:
    for alike in zip(*asked, strict=True):
        _line(name, alike[0].what, _medians(alike), str(alike[0].rows))
    sums = [
        Asked("", sum(each.took for each in visit), sum(each.cpu for each in visit), 0)
        for visit in asked
    ]
    together = _medians(sums)
    said = f"all of it; the page takes {whole:.0f} ms, its largest table has {most} rows"
    _line(name, said, together, "holds" if together[0] <= GOAL else "MISSED")
    return together[0] > GOAL


def _medians(asked: Sequence[Asked]) -> tuple[float, float]:
    return (
        statistics.median(each.took for each in asked),
        statistics.median(each.cpu for each in asked),
    )


def _line(name: str, what: str, figures: tuple[float, float], end: str) -> None:
    print(f"{name:28} {what:64} {figures[0]:8.1f} {figures[1]:8.1f} {end:>7}", flush=True)


def main() -> None:
    """Make the database, and measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.dashboard_scale")
    parser.add_argument("storage", choices=("sqlite", "postgres"))
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=10, help="of each run")
    parser.add_argument("--folder", help="where the file is made: the disk that is measured")
    given = parser.parse_args()
    # A page is drawn without a browser, which Streamlit warns of each time.
    logging.disable(logging.WARNING)
    {"sqlite": on_sqlite, "postgres": on_postgres}[given.storage](given)


def on_sqlite(given: argparse.Namespace) -> None:
    """Measure on a file."""
    folder = Path(tempfile.mkdtemp(prefix="sequential-scale-", dir=given.folder))
    try:
        path = folder / "scale.db"
        Sequential(f"sqlite:///{path}", plugins=[]).close()
        _filled(partial(fill_sqlite, str(path), given.runs, given.steps), given)
        print(f"{path.stat().st_size / 1e9:.1f} GB")
        with Sequential(f"sqlite:///{path}", plugins=[]) as app:
            measure(app, given.runs)
    finally:
        shutil.rmtree(folder)


def on_postgres(given: argparse.Namespace) -> None:
    """Measure on a server of its own."""
    for server in own_server(18, shared_buffers="1GB", max_wal_size="8GB"):
        url = server.url(server.database())
        _filled(partial(fill_postgres, url, given.runs, given.steps), given)
        with Sequential(url) as app:
            measure(app, given.runs)


def _filled(fill: Callable[[float], None], given: argparse.Namespace) -> None:
    began = time.monotonic()
    fill(time.time())
    took = time.monotonic() - began
    print(
        f"{given.runs:,} runs, {given.runs * given.steps:,} steps, made in {took:.0f} s", flush=True
    )


if __name__ == "__main__":
    main()

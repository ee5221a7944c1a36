"""Fan-out over thousands of child runs with two worker processes: wall time, and is it flat?

    python -m tests.benchmarks.children [children] [sqlite|postgres]

The floor is as many INSERTs of a run, a commit each, by one process. The parent's cost of a child
is the processor time that both workers spent in invocations of the parent, by how many ends it had
recorded; that of beginning the children is in it. Times are of this machine, whatever else it does.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg

from sequential import Registry, Sequential, flow, map_tool, tool
from sequential._events import InvocationFinished, InvocationStarted, StepRecorded
from sequential.hookspecs import hookimpl
from sequential.storage import RUN_COLUMNS, At, evolve, pack_run
from sequential.worker import Worker
from tests.core.storage_cases import make_run
from tests.fix_postgres import own_server

PROCESSES = 2
PARENT = "parent"


def registry() -> Registry:
    """Return the flows: a parent, and a child of one step."""
    known = Registry()

    @tool("t", "square", registry=known)
    def square(number: int) -> int:
        return number * number

    @flow(name="child", registry=known)
    async def child(number: int) -> int:
        return await square(number)

    @flow(name="parent", registry=known)
    async def parent(count: int) -> int:
        return sum(await map_tool(child.run_child, range(count)))

    return known


Cost = tuple[int, float]
"""Records that the parent had, and seconds of processor time since it had fewer, or was begun."""


class Watch:
    """Notes what the parent's records cost, and how often it was looked at."""

    def __init__(self) -> None:
        self.costs: list[Cost] = []
        self.turns = 0
        self._since = 0.0

    @hookimpl
    def sequential_observe(self, event: object) -> None:
        """Note the parent's."""
        if not isinstance(event, InvocationStarted | StepRecorded | InvocationFinished):
            return
        if event.run.run_id != PARENT:
            return
        now = time.thread_time()
        if isinstance(event, InvocationStarted):
            self.turns += 1
        else:
            number = event.step.number if isinstance(event, StepRecorded) else event.run.cursor
            self.costs.append((number, now - self._since))
        self._since = now


def work(url: str, report: Path) -> None:
    """Be a worker until told to stop, then write what was seen of the parent to *report*."""
    watch = Watch()
    app = Sequential(url, "poll:?every=0.05s", plugins=_plugins(url, watch), registry=registry())
    Worker(app, 4).run()
    report.write_text(json.dumps((watch.turns, watch.costs)), encoding="utf-8")


def _plugins(url: str, *objects: object) -> list[object]:
    return ["postgres", *objects] if url.startswith("postgresql") else list(objects)


def fan_out(url: str, count: int, folder: Path) -> tuple[float, int, Sequence[Cost]]:
    """Return the seconds that *count* children took, the parent's invocations, and its costs."""
    app = Sequential(url, plugins=_plugins(url), registry=registry())
    reports = [folder / f"{number}.json" for number in range(PROCESSES)]
    command = [sys.executable, "-m", "tests.benchmarks.children", "work", url]
    workers = [subprocess.Popen([*command, str(report)]) for report in reports]
    time.sleep(3.0)  # imports are not what is measured
    began = time.perf_counter()
    app.start("parent", {"count": count}, run_id=PARENT)
    while app.get(PARENT).ended is None:
        time.sleep(0.1)
    took = time.perf_counter() - began
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.wait(60)
    assert app.get(PARENT).cursor == count
    app.close()
    seen = [json.loads(report.read_text(encoding="utf-8")) for report in reports]
    costs = [(number, spent) for _, several in seen for number, spent in several]
    return took, sum(turns for turns, _ in seen), costs


def floor(connection: Any, mark: str, count: int) -> float:
    """Return the seconds that *count* INSERTs of a run took, a commit each."""
    columns, marks = ", ".join(RUN_COLUMNS), ", ".join([mark] * len(RUN_COLUMNS))
    rows = [pack_run(evolve(make_run(f"c{n}"), version=1, wake=At(1.0))) for n in range(count)]
    began = time.perf_counter()
    for row in rows:
        connection.execute(f"INSERT INTO floor ({columns}) VALUES ({marks})", row)
    return time.perf_counter() - began


def cost(costs: Sequence[Cost], begin: int, end: int) -> float:
    """Return the milliseconds of processor time a record, of the parent's from *begin* to *end*."""
    return 1000.0 * sum(spent for number, spent in costs if begin <= number < end) / (end - begin)


@contextlib.contextmanager
def sqlite_ground(folder: Path) -> Iterator[tuple[str, Any, str]]:
    """Yield the URL of a new file, and a connection for the floor with its mark."""
    connection = sqlite3.connect(folder / "floor.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"CREATE TABLE floor ({', '.join(RUN_COLUMNS)}, PRIMARY KEY (run_id))")
    yield f"sqlite:///{folder}/flows.db", connection, "?"
    connection.close()


@contextlib.contextmanager
def postgres_ground(folder: Path) -> Iterator[tuple[str, Any, str]]:
    """Yield the same of a server of its own."""
    with contextlib.contextmanager(own_server)(18) as server:
        url = server.url(server.database())
        opened = Sequential(url, plugins=["postgres"], registry=Registry())
        opened.close()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE floor (LIKE sequential.runs INCLUDING ALL)")
            yield url, connection, "%s"


def main(count: int = 5_000, where: str = "sqlite") -> None:
    """Measure and print."""
    ground = sqlite_ground if where == "sqlite" else postgres_ground
    with tempfile.TemporaryDirectory() as name, ground(Path(name)) as (url, connection, mark):
        least = floor(connection, mark, count)
        took, turns, costs = fan_out(url, count, Path(name))
        edge = count // 5
        print(f"{count:,} children on {where}, {PROCESSES} workers of 4 threads: {took:.1f} s")
        print(f"floor, as many INSERTs: {least:.2f} s; ratio {took / least:.1f}")
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"processor time of the workers: {used.ru_utime + used.ru_stime:.1f} s")
        print(f"invocations of the parent: {turns}")
        for first in range(0, count, edge):
            each = cost(costs, first, first + edge)
            print(f"the parent's cost of a child, {first:,} to {first + edge:,}: {each:.3f} ms")


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(sys.argv[2], Path(sys.argv[3]))
    else:
        main(*(int(each) if each.isdecimal() else each for each in sys.argv[1:]))  # type: ignore[arg-type]

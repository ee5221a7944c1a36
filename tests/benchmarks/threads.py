"""Eight threads on one SQLite file: invocations, beside the same statements without an engine.

Floor and subject take turns, a few runs of each at a time; what is compared is steps a second.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

from sequential import Sequential
from sequential._model import At, Run, evolve
from sequential._records import pack_run, pack_state, pack_step
from sequential._sqlite import queries as sql
from sequential._storage_rules import as_created

from .floors import connect, new_run, reconnect, record
from .measure import Row, Size, median, subject, timed

_THREADS = 8
_STEPS = 20


def measure(folder: Path, size: Size) -> Iterator[Row]:
    """Measure the throughput of both."""
    made = subject(lambda n: None)
    floors: list[float] = []
    carried: list[float] = []
    path = folder / "floor.db"
    connect(path).close()
    bare = _Bare(path)
    with Sequential(f"sqlite:///{folder}/threads.db", registry=made.registry) as app:
        for _ in range(max(5, round(size.operations / _STEPS / _THREADS))):
            ids = [bare.create() for _ in range(_THREADS)]
            floors.append(_per_step(bare.carry, ids))
            ids = [app.start(made.flow, {"count": _STEPS}) for _ in range(_THREADS)]
            carried.append(_per_step(app.execute, ids))
    floor, step = median(floors), median(carried)
    yield Row(
        "8 threads, seconds a step / bare statements", floor, step, floor / step, 0.6, least=True
    )


def _per_step(carry: Callable[[str], object], ids: list[str]) -> float:
    jobs: SimpleQueue[str] = SimpleQueue()
    for run_id in ids:
        jobs.put(run_id)

    def work() -> None:
        while True:
            try:
                run_id = jobs.get_nowait()
            except Empty:
                return
            carry(run_id)

    threads = [threading.Thread(target=work) for _ in range(_THREADS)]

    def whole() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return timed(whole) / (len(ids) * _STEPS)


class _Bare:
    """The statements of an invocation, each thread on a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._runs: dict[str, Run] = {}

    def create(self) -> str:
        """Put a run into the table."""
        run = as_created(new_run(f"run-{os.urandom(8).hex()}"), time.time())
        connection = reconnect(self._path)
        connection.execute(sql.CREATE_RUN, pack_run(run))
        connection.close()
        self._runs[run.run_id] = run
        return run.run_id

    def carry(self, run_id: str) -> None:
        """Load, claim, commit each step, end."""
        connection = reconnect(self._path)
        run = self._runs.pop(run_id)
        connection.execute(sql.READ_RUN, (run_id,)).fetchone()
        connection.execute(sql.READ_STEPS, (run_id, 0, 0)).fetchall()
        run = self._whole(connection, run)
        for number in range(_STEPS):
            run = self._step(connection, run, number)
        self._whole(connection, run)
        connection.close()

    def _whole(self, connection: sqlite3.Connection, run: Run) -> Run:
        wake = time.time() + 60
        values = (0, run.version + 1, "", "1", "running", wake, None, pack_state(run))
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(sql.COMMIT_RUN, (*values, run.run_id, run.version, run.op_id, "{}"))
        connection.execute("COMMIT")
        return evolve(run, version=run.version + 1, op_id="", wake=At(wake))

    def _step(self, connection: sqlite3.Connection, run: Run, number: int) -> Run:
        assert isinstance(run.wake, At)
        guard = (run.run_id, run.version, run.op_id, run.wake.time, "running", 0, "{}")
        state, row = pack_state(run), (run.run_id, *pack_step(record(number)))
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(sql.COMMIT_STEP, (run.version + 1, "", state, *guard))
        connection.execute(sql.APPEND_STEP, row)
        connection.execute("COMMIT")
        return evolve(run, version=run.version + 1)

"""Bare statements on SQLite, on a file that our own migration has set up."""

from __future__ import annotations

import sqlite3
import time

from sequential._model import At, Run, StepRecord, evolve
from sequential._records import pack_run, pack_state, pack_step
from sequential._sqlite import queries as sql
from sequential.storage import STEP_COLUMNS

from .floors import Operation

_VALUE = STEP_COLUMNS.index("value")


class SqliteBare:
    """A connection with the settings of the storage's."""

    def __init__(self, url: str) -> None:
        self._connection = sqlite3.connect(
            url.removeprefix("sqlite:///"),
            isolation_level=None,
            timeout=30.0,
            check_same_thread=False,
        )
        self._connection.execute("PRAGMA foreign_keys = OFF")
        self._connection.execute("PRAGMA synchronous = FULL")

    def create(self, run: Run) -> None:
        self._connection.execute(sql.CREATE_RUN, pack_run(run))

    def insert(self, run_id: str, step: StepRecord) -> Operation:
        row = (run_id, *pack_step(step))
        return lambda: self._connection.execute(sql.APPEND_STEP, row)

    def update(self, run: Run, after: Run) -> Operation:
        values = _changed(run, after, time.time() + 60)
        return lambda: self._connection.execute(sql.COMMIT_RUN, values)

    def load(self, run_id: str) -> None:
        self._connection.execute(sql.READ_RUN, (run_id,)).fetchone()
        self._connection.execute(sql.READ_STEPS, (run_id, 0, 0)).fetchall()

    def values(self, run_id: str) -> list[bytes]:
        rows = self._connection.execute(sql.READ_STEPS, (run_id, 0, 0)).fetchall()
        return [row[_VALUE] for row in rows]

    def save(self, run: Run, step: StepRecord | None = None) -> Run:
        wake = time.time() + 60
        after = evolve(run, version=run.version + 1, op_id="")
        self._connection.execute("BEGIN IMMEDIATE")
        if step is None:
            self._connection.execute(sql.COMMIT_RUN, _changed(run, after, wake))
            after = evolve(after, wake=At(wake))
        else:
            assert isinstance(run.wake, At)
            guard = (run.run_id, run.version, run.op_id, run.wake.time, "running", 0, "{}")
            self._connection.execute(sql.COMMIT_STEP, (after.version, "", pack_state(run), *guard))
            self._connection.execute(sql.APPEND_STEP, (run.run_id, *pack_step(step)))
        self._connection.execute("COMMIT")
        return after

    def close(self) -> None:
        self._connection.close()


def _changed(run: Run, after: Run, wake: float) -> tuple[object, ...]:
    return (
        *(0, after.version, after.op_id, "1", "running", wake, None),
        *(pack_state(run), run.run_id, run.version, run.op_id, "{}"),
    )

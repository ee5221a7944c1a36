"""Bare statements on Postgres, in a schema that our own migration has set up.

Prepared, values in binary where the storage has them so, on a connection without a pool.
"""

from __future__ import annotations

import time

import psycopg
from psycopg.types.numeric import Int8BinaryDumper

from sequential._model import At, Run, StepRecord, evolve
from sequential._records import pack_run, pack_state, pack_step
from sequential.storage import RUN_COLUMNS, STEP_COLUMNS
from sequential_postgres.queries import Statements
from sequential_postgres.storage import _appending, _changing, _guard

from .floors import Operation

_TIME = (0.0, 0.0)
_SQL = Statements.of("sequential")
_INSERT = (
    f"INSERT INTO sequential.steps (run_id, {', '.join(STEP_COLUMNS)})"
    f" VALUES ({', '.join(['%s'] * (len(STEP_COLUMNS) + 1))})"
).encode()
_SELECT = (
    f"SELECT {', '.join(STEP_COLUMNS)} FROM sequential.steps"
    " WHERE run_id = %s AND generation = %s ORDER BY number"
).encode()
_VALUE = STEP_COLUMNS.index("value")
_CREATE = (
    f"INSERT INTO sequential.runs ({', '.join(RUN_COLUMNS)})"
    f" VALUES ({', '.join(['%s'] * len(RUN_COLUMNS))})"
).encode()
_UPDATE = (
    b"UPDATE sequential.runs SET generation = %s, version = %s, op_id = %s, flow_version = %s,"
    b" status = %s, wake = %s, tags = %s, ended = %s, state = %s, nudged = NULL"
    b" WHERE run_id = %s AND version = %s AND op_id = %s"
)


class PostgresBare:
    """A connection with the settings of the storage's."""

    def __init__(self, url: str) -> None:
        connection = psycopg.connect(
            url, autocommit=True, options="-c statement_timeout=10000", client_encoding="UTF8"
        )
        connection.adapters.register_dumper(int, Int8BinaryDumper)
        self._connection = connection
        self._cursor = connection.cursor(binary=True)

    def create(self, run: Run) -> None:
        self._cursor.execute(_CREATE, pack_run(run))

    def insert(self, run_id: str, step: StepRecord) -> Operation:
        row = (run_id, *pack_step(step))
        return lambda: self._cursor.execute(_INSERT, row)

    def update(self, run: Run, after: Run) -> Operation:
        values = (
            *(0, after.version, after.op_id, "1", "running", time.time() + 60, "{}", None),
            *(pack_state(run), run.run_id, run.version, run.op_id),
        )
        return lambda: self._cursor.execute(_UPDATE, values)

    def load(self, run_id: str) -> None:
        self._cursor.execute(_SQL.load, (*_TIME, run_id, run_id, 0, run_id)).fetchall()

    def values(self, run_id: str) -> list[bytes]:
        rows = self._cursor.execute(_SELECT, (run_id, 0)).fetchall()
        return [row[_VALUE] for row in rows]

    def save(self, run: Run, step: StepRecord | None = None) -> Run:
        if step is None:
            run = evolve(run, wake=At(time.time() + 60))
        steps = () if step is None else (step,)
        after = evolve(run, version=run.version + 1)
        self._cursor.execute(
            _SQL.commit[len(steps)],
            (
                *_changing(after, after.version, _TIME),
                *_guard(run, run.run_id),
                *_appending(steps),
                *_TIME,
            ),
        )
        assert self._cursor.fetchall()
        return after

    def close(self) -> None:
        self._connection.close()

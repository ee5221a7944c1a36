"""The floors on SQLite: bare statements on files that our own migration has set up.

The tables, columns, indexes, pragmas and kinds of values are those of the storage; what is left
out is everything else: guards, clocks, packing, the record of the run.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from sequential._clock import SYSTEM_CLOCK
from sequential._model import Payload, Run, StepKind, StepOutcome, StepRecord, evolve
from sequential._protocol import NOTHING, Terms, claimed, keep
from sequential._records import pack_run, pack_state, pack_step
from sequential._sqlite import SqliteStorage, open_sqlite
from sequential._sqlite import queries as sql
from sequential._storage_rules import as_created

RUN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
TERMS = Terms()


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection with the settings of the storage's, to a file with its tables."""
    open_sqlite(f"sqlite:///{path}", SYSTEM_CLOCK).close()
    return reconnect(path)


def reconnect(path: Path) -> sqlite3.Connection:
    """Return another connection with the same settings."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=30.0, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def record(number: int) -> StepRecord:
    """Return a step record as the no-op flow makes them."""
    value = b'{"n":%d}' % number
    now = time.time()
    return StepRecord(
        0,
        number,
        str(number),
        StepKind.TOOL,
        "bench.noop",
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        StepOutcome.VALUE,
        Payload(value, (), None, len(value)),
        Payload(value, (), None, len(value)),
        1,
        now,
        now,
        1,
        os.urandom(16).hex(),
    )


def new_run(run_id: str = RUN_ID) -> Run:
    """Return a run as it is created already claimed."""
    made = Run(run_id, "steps", Payload(b'{"count":1000}', (), None, 14), asked="0" * 64)
    return claimed(made, time.time(), os.urandom(16).hex(), TERMS)


class InsertFloor:
    """One INSERT of a step's columns, and its commit."""

    def __init__(self, path: Path) -> None:
        self.connection = connect(path)
        self.number = 0

    def ready(self) -> Callable[[], object]:
        """Return the operation, its values made before it is timed."""
        row = (RUN_ID, *pack_step(record(self.number)))
        self.number += 1
        return lambda: self.connection.execute(sql.APPEND_STEP, row)


class CommitFloor:
    """The storage's own `commit` of one step, without an engine around it."""

    def __init__(self, path: Path) -> None:
        self.storage: SqliteStorage = open_sqlite(f"sqlite:///{path}", SYSTEM_CLOCK)
        self.run = self.storage.create(new_run())
        self.number = 0

    def ready(self) -> Callable[[], object]:
        """Return the operation, its values made before it is timed."""
        step = record(self.number)
        kept = evolve(keep(self.run, NOTHING, time.time(), TERMS), op_id=step.op_id)
        self.number += 1
        return lambda: self._commit(kept, step)

    def _commit(self, kept: Run, step: StepRecord) -> None:
        answer = self.storage.commit(kept, self.run, (step,))
        assert isinstance(answer, Run)
        self.run = answer


class ClaimFloor:
    """One UPDATE of a run's columns, and its commit: what a claim cannot do without."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.run = as_created(new_run(), time.time())
        connection.execute(sql.CREATE_RUN, pack_run(self.run))

    def ready(self) -> Callable[[], object]:
        """Return the operation, its values made before it is timed."""
        run, now = self.run, time.time()
        op_id = os.urandom(16).hex()
        values = (
            *(0, run.version + 1, op_id, "1", "running", now + 60, None),
            *(pack_state(run), run.run_id, run.version, run.op_id, "{}"),
        )
        self.run = evolve(run, version=run.version + 1, op_id=op_id)
        return lambda: self.connection.execute(sql.COMMIT_RUN, values)

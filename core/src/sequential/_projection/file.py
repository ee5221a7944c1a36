"""What is written to a projection: whole snapshots of runs, each in a transaction of its own.

A snapshot replaces only what it was compared with, so that two who write here at once harm nothing.
Knows nothing of where snapshots come from.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from .._clock import Clock
from .._model import Run, StepRecord
from .._records import pack_run, pack_step, unpack_step, unpack_tags
from .._sqlite import queries as sql
from .._sqlite.schema import PROJECTION
from .._sqlite.storage import SqliteStorage
from .._sqlite.url import SqliteSettings
from ..errors import RecordCorrupt, StorageForeign
from . import queries


class Known(NamedTuple):
    """What the projection has of a run.

    Attributes:
        version: Of the record.
        op_id: Of the record; with the version it says which one it is.
        generation: Of the run.
        last: The newest step record of that generation.
    """

    version: int
    op_id: str
    generation: int
    last: StepRecord | None


class Place(NamedTuple):
    """Where a run stands in the order of pages: newest first, then by id."""

    created: float
    run_id: str


FIRST, LAST = Place(math.inf, ""), Place(-math.inf, "")


class ProjectionFile(SqliteStorage):
    """The projection in one file, made if it is not there.

    Args:
        path: Of the file.
        clock: The host's.
        source: Address of the storage that is copied, without secrets.
        deployment: Of that storage.

    Raises:
        StorageForeign: The file is no projection, or one of another storage.
    """

    def __init__(self, path: str, clock: Clock, source: str, deployment: str) -> None:
        # What is lost with the power is copied again.
        super().__init__(SqliteSettings(path, "normal"), clock, PROJECTION)
        with self._connections.writing() as connection:
            if connection.execute(queries.READ_MARKS).fetchone() is None:
                connection.execute(queries.BEGIN, (source,))
                connection.execute(queries.NAME_DEPLOYMENT, (deployment,))
            elif self._deployment == deployment:
                connection.execute(queries.NAME_SOURCE, (source,))
            else:
                reason = "it is a projection of another storage"
                raise StorageForeign(path, reason, "name another file with --into")
        self._deployment = deployment

    # -- how far it came

    def marks(self) -> tuple[float | None, float | None]:
        """Return when the last whole pass began, and the last that compared every run."""
        with self._connections.reading() as connection:
            _, upto, compared = connection.execute(queries.READ_MARKS).fetchone()
        return upto, compared

    def mark(self, now: float, compared: float | None = None) -> None:
        """Write down that a pass that began at *now* came to its end; *compared*, if of all."""
        with self._connections.writing() as connection:
            if compared is None:
                connection.execute(queries.MARK_UPTO, (now,))
            else:
                connection.execute(queries.MARK_COMPARED, (now, compared))
            connection.execute(sql.RAISE_TIME, (now, now))

    # -- what it has

    def known(self, run_id: str) -> Known | None:
        """Return what is here of the run."""
        with self._connections.reading() as connection:
            row = connection.execute(queries.READ_KNOWN, (run_id,)).fetchone()
            if row is None:
                return None
            version, op_id, generation, _ = row
            found = connection.execute(queries.READ_LAST_STEP, (run_id, generation)).fetchone()
        return Known(version, op_id, generation, _readable(run_id, found))

    def newest(self) -> str | None:
        """Return the id of the run that was created last."""
        return next(iter(self._ids(queries.NEWEST)), None)

    def still_open(self) -> list[str]:
        """Return the ids of runs that can go on, quarantined ones too."""
        return self._ids(queries.OPEN)

    def over(self, now: float, limit: int) -> list[str]:
        """Return ids of ended runs that have a reason to be gone: their time to be purged came."""
        return self._ids(queries.OVER, now, limit)

    def went_wrong(self, limit: int) -> list[str]:
        """Return ids of the newest runs that somebody may retry."""
        return self._ids(queries.WENT_WRONG, limit)

    def between(self, begin: Place, end: Place) -> list[str]:
        """Return the ids of runs that stand after *begin*, up to *end*."""
        return self._ids(queries.BETWEEN, begin[0], *begin, end[0], *end)

    def _ids(self, statement: str, *values: object) -> list[str]:
        with self._connections.reading() as connection:
            return [row[0] for row in connection.execute(statement, values)]

    # -- what is written

    def put(self, run: Run, steps: Sequence[StepRecord], begin: int, known: Known | None) -> bool:
        """Write *run* over what is *known*; return False if something else is here meanwhile.

        Args:
            run: As the source has it.
            steps: Those of its generation numbered from *begin* on.
            begin: Steps of the generation below this number are here, and stay.
            known: What the snapshot was compared with.
        """
        run_id = run.run_id
        rows = [(run_id, *pack_step(step)) for step in steps]
        with self._connections.writing() as connection:
            if not _untag(connection, run_id, known):
                return False
            connection.execute(queries.DROP_REST, (run_id, run.generation, begin))
            connection.execute(queries.PUT_RUN, pack_run(run))
            connection.executemany(sql.APPEND_STEP, rows)
            connection.executemany(sql.ADD_TAG, [(*tag, run_id) for tag in run.tags.items()])
        return True

    def remove(self, run_id: str, known: Known) -> bool:
        """Remove the run if it is what is *known*; return whether it was."""
        with self._connections.writing() as connection:
            if not _untag(connection, run_id, known):
                return False
            connection.execute(sql.DROP_STEPS, (run_id,))
            connection.execute(sql.DROP_RUN, (run_id,))
        return True


def _untag(connection: sqlite3.Connection, run_id: str, known: Known | None) -> bool:
    """Take the run out of the table of tags if it is what is *known*; return whether it is."""
    row = connection.execute(queries.READ_KNOWN, (run_id,)).fetchone()
    if row is None or known is None:
        return row is None and known is None
    version, op_id, _, text = row
    if (version, op_id) != (known.version, known.op_id):
        return False
    tags = unpack_tags(run_id, text)
    connection.executemany(sql.DROP_TAG, [(*tag, run_id) for tag in tags.items()])
    return True


def _readable(run_id: str, row: Sequence[object] | None) -> StepRecord | None:
    """Return the step of *row*; None if it is damaged, and all steps are to be copied again."""
    try:
        return None if row is None else unpack_step(run_id, row)
    except RecordCorrupt:
        return None

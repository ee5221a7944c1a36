"""SqliteStorage: the storage contract in one SQLite file.

Every operation is one short transaction; a commit has the write lock from its guard on.
Time is the host's, raised to what the file has told before. Knows nothing of what runs mean.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence

from .._clock import Clock
from .._model import At, Payload, Run, Status, StepRecord, evolve
from .._record_shapes import RUN_COLUMNS
from .._records import (
    pack_run,
    pack_state,
    pack_step,
    pack_tags,
    unpack_run,
    unpack_step,
    unpack_tags,
)
from .._span_store import Rolled
from .._storage import STALE, Loaded, Page, Probe, Query, Stale
from .._storage_rules import (
    MAX_PAGE,
    StorageTime,
    as_created,
    check_limit,
    end_of_prefix,
    is_same,
    page_token,
    read_page_token,
    refuse_repeat,
    resolve_wake,
    tombstone,
)
from ..errors import RecordCorrupt, ValueCorrupt
from . import queries as sql
from . import rolling
from .connection import Connections
from .schema import MIGRATIONS, RUNS, Kind, prepare
from .url import SqliteSettings, read_sqlite_url

_log = logging.getLogger("sequential")

_MOST = sys.float_info.max
_STATUSES = {str(status): status for status in Status}

_MARK_EVERY = 1.0
"""Seconds that the time may go on before it is written down again."""


class SqliteStorage:
    """Keeps runs in one file.

    Args:
        settings: Where, and how.
        clock: The host's.
        kind: What the file is for.

    Raises:
        StorageError: The file cannot be opened or is not ours.
    """

    def __init__(self, settings: SqliteSettings, clock: Clock, kind: Kind = RUNS) -> None:
        self._time = StorageTime(clock)
        self._read = 0.0  # when the written time was last looked at
        self._told = 0.0  # when it was last written by this object
        self._connections = Connections(settings, lambda found: prepare(found, settings, kind=kind))
        with self._connections.reading() as connection:
            self._deployment, _ = connection.execute(sql.READ_META).fetchone()

    @property
    def deployment(self) -> str:
        """Random id made when the file was set up."""
        return str(self._deployment)

    @property
    def schema(self) -> int:
        """Version of the file's schema; an older file was brought up to it on opening."""
        return len(MIGRATIONS)

    @property
    def path(self) -> str:
        """Path of the file, as it was given."""
        return self._connections.path

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        """Store *run* if its id is free; return what is stored under the id either way."""
        with self._connections.writing() as connection:
            now = self._now(connection)
            stored = _created(connection, as_created(run, now), steps)
            self._tell(connection, now)
        return stored

    def create_all(self, runs: Sequence[Run]) -> Sequence[Run]:
        """Do as `create` for each of *runs*, in one transaction."""
        with self._connections.writing() as connection:
            now = self._now(connection)
            stored = [_created(connection, as_created(run, now), ()) for run in runs]
            self._tell(connection, now)
        return stored

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        """Return one consistent snapshot, or None if there is no such run."""
        with self._connections.reading() as connection:
            row = connection.execute(sql.READ_RUN, (run_id,)).fetchone()
            if row is None:
                return None
            run = unpack_run(row)
            rows = connection.execute(sql.READ_STEPS, (run_id, run.generation, after)).fetchall()
            now = self._now(connection)
        return Loaded(run, [unpack_step(run_id, row) for row in rows], now)

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        """Write *run* and append *steps*, all or nothing, if *expect* is what is stored."""
        run_id = run.run_id
        # Packed before the lock is taken, so that other writers wait for the disk only.
        state = pack_state(run)
        rows = [(run_id, *pack_step(step)) for step in steps]
        tags = pack_tags(run.tags)
        with self._connections.writing() as connection:
            now = self._now(connection)
            run = evolve(run, version=expect.version + 1, wake=resolve_wake(run.wake, now))
            guard = (run_id, expect.version, expect.op_id)
            if not _write(connection, run, state, tags, guard):
                return STALE
            _append_rows(connection, run_id, rows)
            self._tell(connection, now)
        return run

    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        """Return ids of open runs whose wake time has passed, longest due first."""
        limit = check_limit(min(limit, MAX_PAGE))
        look, nudge, bound = sql.due_query(flows)
        with self._connections.reading() as connection:
            now = self._now(connection)
            if connection.execute(look, (now, now - hold, *bound, 1)).fetchone() is None:
                return []
        with self._connections.writing() as connection:
            now = self._now(connection)
            values = (now, now, now - hold, *bound, limit)
            found = connection.execute(nudge, values).fetchall()
        return [run_id for _, run_id in sorted(found)]

    def find(self, query: Query) -> Page:
        """Return one page of the runs that match *query*, newest first, without their steps."""
        limit = check_limit(query.limit)
        begin = read_page_token(query)
        with self._connections.reading() as connection:
            common = _common(connection, query)
            statement, values = sql.find_query(query, begin, limit + 1, common)
            rows = connection.execute(statement, values).fetchall()
        runs = [run for row in rows[:limit] if (run := _readable(row)) is not None]
        return Page(runs, page_token(_last(rows[limit - 1]), query) if len(rows) > limit else None)

    def count(self, query: Query) -> Mapping[tuple[str, Status], int]:
        """Return how many runs match *query*, by flow and status."""
        with self._connections.reading() as connection:
            common = _common(connection, query)
            rows = connection.execute(*sql.count_query(query, common)).fetchall()
        left = {flow: count for flow, word, count in rows if word is None}
        for flow, word, count in rows:
            if word is not None and flow in left:
                left[flow] -= count
        completed = {(flow, Status.COMPLETED): count for flow, count in left.items() if count}
        # A status that there is not is damage, which `load` tells of.
        return completed | {
            (flow, _STATUSES[word]): count
            for flow, word, count in rows
            if word in _STATUSES and (not query.statuses or word in query.statuses)
        }

    def put_value(self, run_id: str, data: bytes) -> str:
        """Keep *data* for the run and return its SHA-256 digest in hex. Durable on return."""
        digest = hashlib.sha256(data).hexdigest()
        with self._connections.writing() as connection:
            connection.execute(sql.PUT_VALUE, (run_id, digest, data))
        return digest

    def get_value(self, run_id: str, digest: str) -> bytes:
        """Return the bytes kept under *digest* for the run."""
        with self._connections.reading() as connection:
            row = connection.execute(sql.GET_VALUE, (run_id, digest)).fetchone()
        if row is None:
            raise ValueCorrupt(run_id, digest, "it is missing")
        data = row[0]
        if not isinstance(data, bytes) or hashlib.sha256(data).hexdigest() != digest:
            raise ValueCorrupt(run_id, digest, "its bytes have another digest")
        return data

    def drop_values(self, run_id: str) -> None:
        """Delete all values of the run."""
        with self._connections.writing() as connection:
            connection.execute(sql.DROP_VALUES, (run_id,))

    def purge(self, expect: Run) -> bool:
        """Shrink an ended run to a tombstone; remove a tombstone. Return whether it did."""
        run_id = expect.run_id
        with self._connections.writing() as connection:
            row = connection.execute(sql.READ_RUN, (run_id,)).fetchone()
            if row is None:
                return False
            run = unpack_run(row)
            if not is_same(run, expect):
                return False
            rest = tombstone(run)
            if rest is None and run.status is not Status.PURGED:
                return False
            connection.execute(sql.DROP_STEPS, (run_id,))
            connection.execute(sql.DROP_VALUES, (run_id,))
            _untag(connection, run_id, run.tags)
            if rest is None:
                connection.execute(sql.DROP_RUN, (run_id,))
            else:
                connection.execute(sql.BURY_RUN, _buried(rest))
        return True

    def roll_up(self) -> float:
        """Fold what was recorded since the last pass into rollups, if it is time for one."""
        return rolling.roll_up(self._connections, self._time.now())

    def rollups(self, since: float, until: float) -> Rolled:
        """Return the rollups of the hours that begin from *since* on, and before *until*."""
        return rolling.rollups(self._connections, since, until)

    def probe(self) -> Probe:
        """Verify, by trying, that the contract holds here, and say what it cannot do."""
        from .probe import probe

        return probe(self, self._connections)

    def close(self) -> None:
        """Close all connections. The storage may not be used afterwards."""
        self._connections.close()

    def _now(self, connection: sqlite3.Connection) -> float:
        """Return the time, no less than what any process has written down a second ago."""
        now = self._time.now()
        if now >= self._read + _MARK_EVERY:
            now = self._time.now(connection.execute(sql.READ_TIME).fetchone()[0])
            self._read = now
        return now

    def _tell(self, connection: sqlite3.Connection, now: float) -> None:
        """Write the time down, at most once a second: a step pays nothing for it."""
        if now >= self._told + _MARK_EVERY:
            connection.execute(sql.RAISE_TIME, (now, now))
            self._told = now


def open_sqlite(url: str, clock: Clock) -> SqliteStorage:
    """Return the storage that *url* names, set up if the file is new.

    Raises:
        ConfigError: The URL names no file, or an option that there is not.
        StorageError: The file cannot be opened or is not ours.
    """
    return SqliteStorage(read_sqlite_url(url), clock)


def _common(connection: sqlite3.Connection, query: Query) -> sql.Common:
    """Return what *query* asks for that many runs have."""

    def is_common(statement: str, *values: str) -> bool:
        (count,) = connection.execute(statement, (*values, sql.MANY)).fetchone()
        return bool(count >= sql.MANY)

    common: list[str | tuple[str, str]] = [
        tag for tag in query.tags.items() if is_common(sql.COUNT_TAGGED, *tag)
    ]
    end = end_of_prefix(query.search or "")
    if query.search and (end is None or is_common(sql.COUNT_BEGUN, query.search, end)):
        common.append(query.search)
    return common


def _readable(row: Sequence[object]) -> Run | None:
    """Return the run of *row*; None, said in the log, if it is damaged: others must be found."""
    try:
        return unpack_run(row)
    except RecordCorrupt as error:
        _log.warning("left out of what is found: %s", error)
        return None


def _last(row: Sequence[object]) -> Run:
    """Return where a page ended, of a run that may be damaged."""
    found = dict(zip(RUN_COLUMNS, row, strict=True))
    # What is no number stands before all numbers, as infinity does: the next page begins with them.
    created, wake = [
        max(-_MOST, min(_MOST, time)) if isinstance(time, float) else _MOST
        for time in (found["created"], found["wake"])
    ]
    return Run(str(found["run_id"]), "", Payload(b""), created=created, wake=At(wake))


def _created(connection: sqlite3.Connection, run: Run, steps: Sequence[StepRecord]) -> Run:
    """Insert *run* if its id is free; return what is stored under it."""
    if not connection.execute(sql.CREATE_RUN, pack_run(run)).rowcount:
        return unpack_run(connection.execute(sql.READ_RUN, (run.run_id,)).fetchone())
    _tag(connection, run.run_id, run.tags)
    _append(connection, run.run_id, steps)
    return run


_Guard = tuple[str, int, str]
"""Id, version and ``op_id`` of the record that must be stored."""


def _write(
    connection: sqlite3.Connection, run: Run, state: bytes, tags: str, guard: _Guard
) -> bool:
    """Write *run* if what *guard* says is stored; return whether it is."""
    return _step(connection, run, state, tags, guard) or _whole(connection, run, state, tags, guard)


def _step(connection: sqlite3.Connection, run: Run, state: bytes, tags: str, guard: _Guard) -> bool:
    """Write *run* if only its state has changed; return whether it was so."""
    if run.status is not Status.RUNNING or type(run.wake) is not At:
        return False
    unchanged = (run.wake.time, run.status._value_, run.generation, tags)
    values = (run.version, run.op_id, state, *guard, *unchanged)
    return connection.execute(sql.COMMIT_STEP, values).rowcount == 1


def _whole(
    connection: sqlite3.Connection, run: Run, state: bytes, tags: str, guard: _Guard
) -> bool:
    """Write all of *run* if what *guard* says is stored; return whether it is."""
    values = (*_changing(run, state), *guard, tags)
    if connection.execute(sql.COMMIT_RUN, values).rowcount:
        return True
    if not _retag(connection, run, tags, guard):
        return False
    connection.execute(sql.COMMIT_RUN, values)
    return True


def _buried(rest: Run) -> tuple[object, ...]:
    wake = rest.wake.time if isinstance(rest.wake, At) else None
    return (rest.version, wake, pack_state(rest), rest.run_id)


def _changing(run: Run, state: bytes) -> tuple[object, ...]:
    """Return the values that `COMMIT_RUN` sets."""
    return (
        run.generation,
        run.version,
        run.op_id,
        run.flow_version,
        run.status._value_,
        run.wake.time if type(run.wake) is At else None,
        run.ended,
        state,
    )


def _append(connection: sqlite3.Connection, run_id: str, steps: Iterable[StepRecord]) -> None:
    _append_rows(connection, run_id, [(run_id, *pack_step(step)) for step in steps])


def _append_rows(
    connection: sqlite3.Connection, run_id: str, rows: Sequence[tuple[object, ...]]
) -> None:
    for row in rows:
        try:
            connection.execute(sql.APPEND_STEP, row)
        except sqlite3.IntegrityError:
            refuse_repeat(run_id, str(row[3]))


def _tag(connection: sqlite3.Connection, run_id: str, tags: Mapping[str, str]) -> None:
    if tags:
        connection.executemany(sql.ADD_TAG, [(key, tags[key], run_id) for key in tags])


def _untag(connection: sqlite3.Connection, run_id: str, tags: Mapping[str, str]) -> None:
    if tags:
        connection.executemany(sql.DROP_TAG, [(key, tags[key], run_id) for key in tags])


def _retag(connection: sqlite3.Connection, run: Run, tags: str, guard: _Guard) -> bool:
    """Make the stored tags those of *run*, if what *guard* says is stored."""
    found = connection.execute(sql.READ_TAGS, guard).fetchone()
    if found is None:
        return False
    _untag(connection, run.run_id, unpack_tags(run.run_id, found[0]))
    _tag(connection, run.run_id, run.tags)
    connection.execute(sql.COMMIT_TAGS, (tags, run.run_id))
    return True

"""PostgresStorage: the storage contract in one schema of a Postgres database.

Every operation is one statement in autocommit; a commit is guarded by id, version and ``op_id``.
Time is the server's plus the clock's skew, and goes never back for who asks here. Knows nothing of
what runs mean.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter

import psycopg

from sequential.errors import RecordCorrupt, ValueCorrupt
from sequential.spans import Rolled
from sequential.storage import (
    MAX_PAGE,
    RUN_COLUMNS,
    STALE,
    STEP_COLUMNS,
    At,
    Clock,
    In,
    Loaded,
    Page,
    Payload,
    Probe,
    Query,
    Run,
    Stale,
    Status,
    StepRecord,
    Wake,
    check_limit,
    end_of_prefix,
    evolve,
    flows_and_versions,
    pack_run,
    pack_state,
    pack_step,
    pack_tags,
    page_token,
    read_page_token,
    refuse_repeat,
    tombstone,
    unpack_run,
    unpack_step,
)

from .connections import Connections, Row
from .finding import Filter, count_query, find_query
from .queries import Statements
from .rolling import Rolling
from .schema import MIGRATIONS, prepare
from .texts import from_column, from_row, to_column, to_row
from .url import PostgresSettings

_log = logging.getLogger("sequential")

_STATUSES = {str(status): status for status in Status}
_WIDTH = len(RUN_COLUMNS)
_CREATED, _WAKE = RUN_COLUMNS.index("created"), RUN_COLUMNS.index("wake")
_TEXTS = itemgetter(
    *map(STEP_COLUMNS.index, ("position", "kind", "tool", "fingerprint", "outcome", "op_id"))
)


class PostgresStorage:
    """Keeps runs in one schema.

    Args:
        settings: Where, and how.
        clock: For its skew; the time is the server's.

    Raises:
        StorageError: The server cannot be reached, or the schema is not ours.
    """

    def __init__(self, settings: PostgresSettings, clock: Clock) -> None:
        self._sql = Statements.of(settings.schema)
        self._time = _Time(clock)
        self._connections = Connections(settings)
        with self._connections.alone() as connection:
            self._deployment = prepare(connection, settings.place, settings.schema)
        self._rolling = Rolling(self._connections, self._sql.schema)

    @property
    def deployment(self) -> str:
        """Random id made when the schema was set up."""
        return self._deployment

    @property
    def schema(self) -> int:
        """Version of the schema; an older one was brought up to it on opening."""
        return len(MIGRATIONS)

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        """Store *run* if its id is free; return what is stored under the id either way."""
        values, statement = self._creation(run, steps), self._sql.create[min(len(steps), 2)]
        while True:
            stored = self._created(run, self._write(statement, values, run.run_id, steps))
            # None if it was purged in between: then the id is free again.
            if stored is not None:
                return stored

    def create_all(self, runs: Sequence[Run]) -> Sequence[Run]:
        """Do as `create` for each of *runs*, in one transaction."""
        several = [self._creation(run, ()) for run in runs]
        found = self._connections.write_all(self._sql.create[0], several) if runs else ()
        return [
            self._created(run, rows) or self.create(run)
            for run, rows in zip(runs, found, strict=True)
        ]

    def _creation(self, run: Run, steps: Sequence[StepRecord]) -> Row:
        tags = _digests(run.tags)
        time = self._time.bound()
        return (*_creating(run, time), *_appending(steps), tags, tags, *time)

    def _created(self, run: Run, rows: Sequence[Row]) -> Run | None:
        """Return what is stored under the id of *run*; *rows* say if it is *run*."""
        if not rows:
            loaded = self.load(run.run_id)
            return None if loaded is None else loaded.run
        wake, created, now = rows[0]
        self._time.told(now)
        return evolve(run, version=1, wake=_at(wake), created=created)

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        """Return one consistent snapshot, or None if there is no such run."""
        stored = to_column(run_id)
        rows = self._connections.repeat(
            self._sql.load, (*self._time.bound(), stored, stored, after, stored)
        )
        head = next((row for row in rows if row[0] is not None), None)
        if head is None:
            return None
        now = self._time.told(head[_WIDTH])
        run = unpack_run(from_row(head[:_WIDTH]))
        # A union promises no order.
        records = sorted((row[_WIDTH + 1 :] for row in rows if row is not head), key=itemgetter(1))
        return Loaded(run, [unpack_step(run_id, _step(row)) for row in records], now)

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        """Write *run* and append *steps*, all or nothing, if *expect* is what is stored."""
        retags = run.tags != expect.tags
        tags = _digests(run.tags) if retags else []
        statement = (self._sql.retag if retags else self._sql.commit)[min(len(steps), 2)]
        values = (
            *_changing(run, expect.version + 1, self._time.bound()),
            *_guard(expect, run.run_id),
            *_appending(steps),
            *((tags, tags) if retags else ()),
            *self._time.bound(),
        )
        rows = self._write(statement, values, run.run_id, steps)
        if not rows:
            return STALE
        wake, _, now = rows[0]
        self._time.told(now)
        return evolve(run, version=expect.version + 1, wake=_at(wake))

    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        """Return ids of open runs whose wake time has passed, longest due first."""
        limit = check_limit(min(limit, MAX_PAGE))
        time = self._time.bound()
        if flows is None:
            rows = self._connections.write(self._sql.due, (*time, hold, limit))
        else:
            pairs = set(flows_and_versions(flows))
            names = [to_column(name) for name, _ in pairs]
            versions = [None if version is None else to_column(version) for _, version in pairs]
            values = (*time, names, versions, hold, limit, limit)
            rows = self._connections.write(self._sql.due_of, values)
        if rows:
            self._time.told(rows[0][2])
        return [from_column(run_id) for _, run_id, _ in sorted(rows)]

    def find(self, query: Query) -> Page:
        """Return one page of the runs that match *query*, newest first, without their steps."""
        limit = check_limit(query.limit)
        asked = _filter(query)._replace(begin=_begin(query))
        statement, values = find_query(self._sql.schema, asked, limit + 1)
        rows = self._connections.repeat(statement, values, prepare=False)
        runs = [run for row in rows[:limit] if (run := _readable(row)) is not None]
        return Page(runs, _token(rows[limit - 1], query) if len(rows) > limit else None)

    def count(self, query: Query) -> Mapping[tuple[str, Status], int]:
        """Return how many runs match *query*, by flow and status."""
        statement, values = count_query(self._sql.schema, _filter(query))
        rows = self._connections.repeat(statement, values, prepare=False)
        # A status that there is not is damage, which `load` tells of.
        return {
            (from_column(flow), _STATUSES[word]): count
            for flow, word, count in rows
            if word in _STATUSES
        }

    def put_value(self, run_id: str, data: bytes) -> str:
        """Keep *data* for the run and return its SHA-256 digest in hex. Durable on return."""
        digest = hashlib.sha256(data).hexdigest()
        # Doing it twice is doing it once, so that it may be sent again.
        self._connections.repeat(self._sql.put_value, (to_column(run_id), digest, data))
        return digest

    def get_value(self, run_id: str, digest: str) -> bytes:
        """Return the bytes kept under *digest* for the run."""
        rows = self._connections.repeat(self._sql.get_value, (to_column(run_id), to_column(digest)))
        if not rows:
            raise ValueCorrupt(run_id, digest, "it is missing")
        data = rows[0][0]
        if not isinstance(data, bytes) or hashlib.sha256(data).hexdigest() != digest:
            raise ValueCorrupt(run_id, digest, "its bytes have another digest")
        return data

    def purge(self, expect: Run) -> bool:
        """Shrink an ended run to a tombstone; remove a tombstone. Return whether it did."""
        guard = _guard(expect, expect.run_id)
        if expect.status is Status.PURGED:
            return bool(self._connections.write(self._sql.remove, guard))
        rest = tombstone(expect)
        if rest is None:
            return False
        assert isinstance(rest.wake, At)
        values = (rest.version, rest.wake.time, pack_state(rest), *guard)
        return bool(self._connections.write(self._sql.bury, values))

    def roll_up(self) -> float:
        """Fold what was recorded since the last pass into rollups, if it is time for one."""
        return self._rolling.roll_up(self._time.bound())

    def rollups(self, since: float, until: float) -> Rolled:
        """Return the rollups of the hours that begin from *since* on, and before *until*."""
        return self._rolling.rollups(since, until)

    def probe(self) -> Probe:
        """Verify, by trying, that the contract holds here, and say what it cannot do."""
        from .probe import probe

        return probe(self, self._connections)

    def close(self) -> None:
        """Close all connections. The storage may not be used afterwards."""
        self._connections.close()

    def _write(
        self, statement: bytes, values: Row, run_id: str, steps: Sequence[StepRecord]
    ) -> list[Row]:
        try:
            return self._connections.write(statement, values)
        except psycopg.errors.UniqueViolation:
            refuse_repeat(run_id, " or ".join([step.position for step in steps[:3]]))


class _Time:
    """What this process was told of the server's time; it never goes back."""

    def __init__(self, clock: Clock) -> None:
        self._skew = clock.skew
        self._lock = threading.Lock()
        self._mark = 0.0

    def bound(self) -> tuple[float, float]:
        """Return what a statement binds where it asks for the time."""
        return self._skew(), self._mark

    def told(self, now: float) -> float:
        """Remember *now*, and return the highest time there was."""
        with self._lock:
            self._mark = max(self._mark, now)
            return self._mark


def _step(row: Row) -> Row:
    # Hardly a text needs it, and thousands are read at once: all of a row are looked at together.
    return from_row(row) if "\x1a" in "".join(_TEXTS(row)) else row


def _at(wake: float | None) -> At | None:
    return None if wake is None else At(wake)


def _wake(wake: Wake, time: tuple[float, float]) -> tuple[object, ...]:
    """Return what a statement binds for *wake*: its moment, the time, its seconds from then."""
    moment = wake.time if isinstance(wake, At) else None
    return (moment, *time, wake.seconds if isinstance(wake, In) else None)


def _creating(run: Run, time: tuple[float, float]) -> tuple[object, ...]:
    packed = dict(zip(RUN_COLUMNS, to_row(pack_run(evolve(run, wake=None))), strict=True))
    return (
        packed["run_id"],
        packed["generation"],
        packed["op_id"],
        packed["flow"],
        packed["flow_version"],
        packed["status"],
        *_wake(run.wake, time),
        packed["tags"],
        packed["parent"],
        run.created or None,
        *time,
        packed["ended"],
        packed["state"],
    )


def _changing(run: Run, version: int, time: tuple[float, float]) -> tuple[object, ...]:
    return (
        run.generation,
        version,
        to_column(run.op_id),
        to_column(run.flow_version),
        run.status._value_,
        *_wake(run.wake, time),
        pack_tags(run.tags),
        run.ended,
        pack_state(run),
    )


def _guard(expect: Run, run_id: str) -> tuple[object, ...]:
    return to_column(run_id), expect.version, to_column(expect.op_id)


def _appending(steps: Sequence[StepRecord]) -> tuple[object, ...]:
    """Return what a statement binds for *steps*: the columns of one, or an array for each."""
    rows = [to_row(pack_step(step)) for step in steps]
    if len(rows) == 1:
        return rows[0]
    return tuple([list(column) for column in zip(*rows, strict=True)])


def _digests(tags: Mapping[str, str]) -> list[bytes]:
    return [_digest(key, value) for key, value in tags.items()]


def _digest(key: str, value: str) -> bytes:
    return hashlib.sha256(json.dumps([key, value]).encode()).digest()


def _filter(query: Query) -> Filter:
    """Return what any page of *query* has."""
    prefix = to_column(query.search or "")
    return Filter(
        None if query.flow is None else to_column(query.flow),
        None if query.parent is None else to_column(query.parent),
        query.since,
        query.before,
        (prefix or None, end_of_prefix(prefix)),
        list(dict.fromkeys(str(status) for status in query.statuses)),
        _digests(query.tags),
        wakes_before=query.wakes_before,
    )


def _begin(query: Query) -> tuple[float, str] | None:
    begin = read_page_token(query)
    return begin and (begin[0], to_column(begin[1]))


def _readable(row: Row) -> Run | None:
    """Return the run of *row*; None, said in the log, if it is damaged: others must be found."""
    try:
        return unpack_run(from_row(row))
    except RecordCorrupt as error:
        _log.warning("left out of what is found: %s", error)
        return None


def _token(row: Row, query: Query) -> str:
    """Return where a page ended, of a run that may be damaged."""
    run_id, created, wake = from_column(row[0]), row[_CREATED], _at(row[_WAKE])
    return page_token(Run(run_id, "", Payload(b""), created=created, wake=wake), query)

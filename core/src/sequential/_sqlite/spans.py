"""Spans and lines of logs in a SQLite file of their own, beside that of the runs.

Of its own, because a batch would hold the lock that steps wait for. Losing the file harms no run,
so it is not synced at each batch. Reading makes no file, and reads one where nobody may write.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .._clock import Clock
from .._span_rows import pack_log, pack_span, unpack_logs, unpack_spans
from .._span_store import LogRow, SpanRow
from ..errors import SchemaTooNew, StorageForeign
from .connection import Connections, switch_to_wal
from .driver_errors import result_code
from .url import SqliteSettings, read_sqlite_url

SPANS_ID = 0x53514C32
"""Marks a file of spans as ours, in its header (``SQL2``)."""

SUFFIX = ".spans"
_VERSION = 1

# A trace is read as a whole: its spans lie together.
_SCHEMA = """
CREATE TABLE spans (
    trace TEXT NOT NULL, span TEXT NOT NULL, started REAL NOT NULL, ended REAL NOT NULL,
    data TEXT NOT NULL, PRIMARY KEY (trace, span)
) WITHOUT ROWID;
CREATE INDEX spans_by_end ON spans (ended);
CREATE TABLE logs (
    trace TEXT NOT NULL, position TEXT NOT NULL, time REAL NOT NULL, data TEXT NOT NULL
);
CREATE INDEX logs_by_trace ON logs (trace, time);
CREATE INDEX logs_by_time ON logs (time);
"""
_OURS = f"PRAGMA application_id = {SPANS_ID}; PRAGMA user_version = {_VERSION};"
_ADD_SPAN = (
    "INSERT INTO spans (trace, span, started, ended, data) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (trace, span) DO UPDATE SET started = excluded.started,"
    " ended = excluded.ended, data = excluded.data"
)
_ADD_LOG = "INSERT INTO logs (trace, position, time, data) VALUES (?, ?, ?, ?)"
_SPANS = (
    "SELECT trace, span, started, ended, data FROM spans WHERE trace = ?"
    " ORDER BY started, span LIMIT ?"
)
_LOGS = (
    "SELECT trace, position, time, data FROM logs WHERE trace = ? AND (? IS NULL OR position = ?)"
    " ORDER BY time DESC, rowid DESC LIMIT ?"
)
_DROP_SPANS = (
    "DELETE FROM spans WHERE (trace, span) IN"
    " (SELECT trace, span FROM spans WHERE ended < ? LIMIT ?)"
)
_DROP_LOGS = "DELETE FROM logs WHERE rowid IN (SELECT rowid FROM logs WHERE time < ? LIMIT ?)"


class SqliteSpans:
    """Keeps spans in one file, ``flows.db.spans`` for the runs of ``flows.db``.

    Args:
        settings: Where the runs are. The file is made with the first batch.
    """

    def __init__(self, settings: SqliteSettings) -> None:
        own = replace(settings, path=settings.path + SUFFIX, synchronous="normal")
        self.path = own.path
        self._written = Connections(own, lambda found: _set_up(found, own))
        self._read = _Readable(own, lambda found: _check_only(found, own.path))

    def add(self, spans: Sequence[SpanRow], logs: Sequence[LogRow] = ()) -> None:
        """Keep *spans*, each in place of one with its ids, and *logs*; all or nothing."""
        rows, lines = list(map(pack_span, spans)), list(map(pack_log, logs))
        with self._written.writing() as connection:
            connection.executemany(_ADD_SPAN, rows)
            connection.executemany(_ADD_LOG, lines)

    def spans_of(self, trace: str, limit: int = 5000) -> Sequence[SpanRow]:
        """Return the spans of one trace, in order of their start, at most *limit*."""
        return unpack_spans(self._rows(_SPANS, (trace, limit)))

    def logs_of(
        self, trace: str, position: str | None = None, limit: int = 200
    ) -> Sequence[LogRow]:
        """Return the last *limit* lines of one trace in order of time; None for all positions."""
        return unpack_logs(reversed(self._rows(_LOGS, (trace, position, position, limit))))

    def drop(self, before: float, limit: int = 10_000) -> int:
        """Remove at most *limit* spans and lines that ended before; return how many were."""
        if not self._is_there():
            return 0
        with self._written.writing() as connection:
            spans = connection.execute(_DROP_SPANS, (before, limit)).rowcount
            return spans + connection.execute(_DROP_LOGS, (before, limit - spans)).rowcount

    def close(self) -> None:
        """Close all connections. The store may not be used afterwards."""
        self._written.close()
        self._read.close()

    def _is_there(self) -> bool:
        # One that is being made by somebody else is empty for a moment.
        path = Path(self.path)
        return path.exists() and path.stat().st_size > 0

    def _rows(self, statement: str, values: tuple[object, ...]) -> list[tuple[str | float, ...]]:
        if not self._is_there():
            return []
        with self._read.reading() as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
                return []
            return connection.execute(statement, values).fetchall()


def open_sqlite_spans(url: str, clock: Clock) -> SqliteSpans:  # noqa: ARG001  (a factory's signature)
    """Return the store beside the storage that *url* names; no file is made yet.

    Raises:
        ConfigError: The URL names no file, or an option that there is not.
    """
    return SqliteSpans(read_sqlite_url(url))


class _Readable(Connections):
    """Connections that only read, also where nobody may write."""

    def _connect(self) -> sqlite3.Connection:
        connection = self._connect_in("ro")
        try:
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")
        except sqlite3.OperationalError as error:
            connection.close()
            if result_code(error) not in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
                raise
            # The log beside the file can neither be found nor made: nobody writes here.
            return self._connect_in("ro&immutable=1")
        return connection


def _set_up(connection: sqlite3.Connection, settings: SqliteSettings) -> None:
    connection.execute("BEGIN")
    _check(connection, settings.path)
    connection.execute("ROLLBACK")
    switch_to_wal(connection, settings.path, settings.timeout)
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster.
        if not _check(connection, settings.path):
            for statement in (_SCHEMA + _OURS).split(";"):
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _check_only(connection: sqlite3.Connection, path: str) -> None:
    _check(connection, path)


def _check(connection: sqlite3.Connection, path: str) -> int:
    """Return the version of the file, 0 for an empty one."""
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if owner == SPANS_ID and version <= _VERSION:
        return version
    if owner == SPANS_ID:
        raise SchemaTooNew(path, version, _VERSION)
    if owner or version or connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        raise StorageForeign(path, "it is a database and holds no spans of ours")
    return 0

"""Connections to one server: a pool that outlives restarts, and one statement at a time.

Every statement is a transaction of its own (autocommit), or one that writes many rows is, and
leaves nothing in the session, so that a pooler may hand each of them another connection. Knows what
a lost connection means for reads and for writes; knows no table.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8BinaryDumper
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from sequential.errors import StorageError, StorageRefused, StorageUnavailable

from .driver_errors import DRIVER_ERRORS, translate, translate_connect, translate_write
from .url import PostgresSettings

_log = logging.getLogger("sequential")

Row = tuple[Any, ...]
R = TypeVar("R")

_TRIES = 3  # where a lost connection leaves nothing open
_NAME = "sequential "  # begins the names of our pools
_QUIET = 10.0  # seconds without a loss after which the next one is said again

OLDEST = 130000
"""The first server that is still known to do everything here (13)."""


class _Connection(psycopg.Connection[Row]):
    """One that waits no longer than *patience* seconds for an answer.

    The server has a timeout of its own; this one is for a server that is frozen, or gone without
    a word.
    """

    patience: float | None = None
    writer: psycopg.Cursor[Row]
    """Kept for statements that return little: a new one finds every adapter anew."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        return super().wait(gen, interval, self.patience if timeout is None else timeout)


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether the library of the pool says something that is not said here."""
    about = record.args[0] if isinstance(record.args, tuple) and record.args else None
    ours = isinstance(about, str) and about.startswith(_NAME)
    gone = isinstance(about, _Connection) and about.closed
    return record.levelno < logging.WARNING or not (ours or gone)


# A line for each connection that a restart took away, with its user, and one for each new attempt:
# who waits for a connection is told why there is none.
logging.getLogger("psycopg.pool").addFilter(_is_news)


class Connections:
    """All connections of one storage. Safe for several threads, and after a fork."""

    def __init__(self, settings: PostgresSettings) -> None:
        self.place = settings.place
        self._settings = settings
        self._lock = threading.Lock()
        self._pool: ConnectionPool[_Connection] | None = None
        self._process = 0
        self._closed = False
        self._quiet_until = 0.0

    def repeat(self, query: bytes, values: Sequence[object], *, prepare: bool = True) -> list[Row]:
        """Run a statement that may be run twice as well as once; return its rows.

        Raises:
            StorageUnavailable: The server did not answer, also not when asked again.
            StorageRefused: The server says no.
        """
        until = time.monotonic() + self._settings.statement_timeout
        for turn in range(_TRIES):
            with self._one() as connection:
                try:
                    with connection.cursor(binary=True) as cursor:
                        return _run(cursor, query, values, prepare=prepare)
                except DRIVER_ERRORS as error:
                    # What took too long once is not waited for again.
                    last = turn == _TRIES - 1 or time.monotonic() > until
                    if not self._is_lost(connection, error) or last:
                        raise translate(error, self.place) from error
        raise AssertionError

    def write(self, query: bytes, values: Sequence[object]) -> list[Row]:
        """Run a statement that writes, once; return its rows.

        Raises:
            UniqueViolation: The driver's own, for the caller to read.
            OutcomeUnknown: The connection was lost after the statement was sent.
            StorageUnavailable: Nothing was written; the server is down, or busy.
            StorageRefused: Nothing was written; the server says no.
        """
        return self._writing(lambda connection: _run(connection.writer, query, values))

    def write_all(self, query: bytes, several: Sequence[Sequence[object]]) -> list[list[Row]]:
        """Run a statement that writes once with each of *several* values; return the rows of each.

        All are applied, or none. Raises as `write` does.
        """
        return self._writing(lambda connection: _run_all(connection, query, several))

    def _writing(self, act: Callable[[_Connection], R]) -> R:
        with self._one() as connection:
            try:
                return act(connection)
            except psycopg.errors.UniqueViolation:
                raise
            except DRIVER_ERRORS as error:
                lost = self._is_lost(connection, error)
                raise translate_write(error, self.place, lost=lost) from error

    @contextmanager
    def alone(self) -> Iterator[_Connection]:
        """Give a connection outside of the pool, without timeouts, to set the schema up with.

        Errors of the driver mean that nothing was applied, or that it must be looked at again.
        """
        with self._connect() as connection:
            connection.patience = None
            try:
                yield connection
            except DRIVER_ERRORS as error:
                raise translate(error, self.place) from error

    def close(self) -> None:
        """Close all; the storage may not be used afterwards."""
        with self._lock:
            pool, self._pool, self._closed = self._pool, None, True
        if pool is not None and self._process == os.getpid():
            pool.close()

    # -- the pool

    @contextmanager
    def _one(self) -> Iterator[_Connection]:
        pool = self._pool
        if pool is None or self._process != os.getpid():
            pool = self._open()
        connection = self._living(pool)
        try:
            yield connection
        finally:
            pool.putconn(connection)

    def _living(self, pool: ConnectionPool[_Connection]) -> _Connection:
        """Take a connection that the server has not hung up.

        Not by the pool's own check: after a restart it pauses longer with each that it finds dead.
        """
        while True:
            try:
                connection = pool.getconn()
            except PoolClosed as error:
                raise self._refusal() from error
            except PoolTimeout as error:
                raise self._explain() from error
            if _is_alive(connection):
                return connection
            self._say_lost()
            connection.close()
            pool.putconn(connection)

    def _is_lost(self, connection: _Connection, error: Exception) -> bool:
        """Tell whether *error* left open what the server did; close what must not be used again."""
        lost = connection.closed
        if lost:
            self._say_lost()
        if getattr(error, "sqlstate", None) == "25006":
            # After a failover: what was the primary is none. Where a new connection leads may be.
            connection.close()
        return lost

    def _say_lost(self) -> None:
        """Log that connections are lost, once for all that go with one restart."""
        now = time.monotonic()
        with self._lock:
            known, self._quiet_until = now < self._quiet_until, now + _QUIET
        if not known:
            _log.warning("%s: connections were lost, new ones are made", self.place)

    def _open(self) -> ConnectionPool[_Connection]:
        """Return the pool of this process; one of before a fork is left to the parent."""
        with self._lock:
            if self._closed:
                raise self._refusal()
            if self._pool is None or self._process != os.getpid():
                self._process = os.getpid()
                self._pool = ConnectionPool(
                    self._settings.conninfo,
                    connection_class=_Connection,
                    kwargs=self._parameters(),
                    # One would be asked for twice, by the pool and by who is first; the two then
                    # take turns, and neither server process stays warm.
                    min_size=0,
                    max_size=self._settings.pool,
                    name=f"{_NAME}{self.place}",
                    open=True,
                    configure=self._configure,
                    timeout=max(self._settings.statement_timeout, 1.0),
                    # An outage is asked about by who waits, not by a thread in the background.
                    reconnect_timeout=max(self._settings.statement_timeout, 1.0),
                    num_workers=1,
                )
            return self._pool

    def _refusal(self) -> StorageRefused:
        return StorageRefused(self.place, "it was closed")

    def _explain(self) -> StorageError:
        """Return why the pool has no connection, by asking the server for one more."""
        try:
            self._connect().close()
        except StorageError as error:
            return error
        return StorageUnavailable(
            self.place,
            f"all {self._settings.pool} connections were in use for the whole timeout;"
            " add pool=20 to the URL",
        )

    def _connect(self) -> _Connection:
        try:
            connection = _Connection.connect(self._settings.conninfo, **self._parameters())
        except DRIVER_ERRORS as error:
            raise translate_connect(error, self.place) from error
        if connection.info.server_version < OLDEST:
            version = connection.info.server_version // 10000
            connection.close()
            raise StorageRefused(self.place, f"Postgres {version} is too old; use 13 or newer")
        self._configure(connection)
        return connection

    def _parameters(self) -> dict[str, Any]:
        settings = self._settings
        milliseconds = int(settings.statement_timeout * 1000)
        given = psycopg.conninfo.conninfo_to_dict(settings.conninfo)
        parameters: dict[str, Any] = {
            "autocommit": True,
            "prepare_threshold": 5 if settings.prepare else None,
            "client_encoding": "UTF8",
            "connect_timeout": given.get("connect_timeout", 10),
            "application_name": given.get("application_name", "sequential"),
        }
        if settings.prepare:
            # Settings of the session: behind a pooler they are the role's.
            parameters["options"] = (
                f"{given.get('options') or ''} -c statement_timeout={milliseconds}"
                f" -c idle_in_transaction_session_timeout={milliseconds * 3}"
            ).strip()
        return parameters

    def _configure(self, connection: _Connection) -> None:
        # A whole number is a bigint however small, so that a statement is prepared only once.
        connection.adapters.register_dumper(int, Int8BinaryDumper)
        connection.writer = connection.cursor(binary=True)
        connection.patience = self._settings.statement_timeout * 1.25 + 1


def _run(
    cursor: psycopg.Cursor[Row], query: bytes, values: Sequence[object], *, prepare: bool = True
) -> list[Row]:
    try:
        cursor.execute(query, values, prepare=None if prepare else False)
        return cursor.fetchall()
    except BaseException:
        if cursor.connection.pgconn.transaction_status != TransactionStatus.IDLE:
            # Whatever is still under way on it, nobody will read the answer.
            cursor.connection.close()
        raise


def _run_all(
    connection: _Connection, query: bytes, several: Sequence[Sequence[object]]
) -> list[list[Row]]:
    cursor, found = connection.writer, list[list[Row]]()
    try:
        with connection.transaction():
            cursor.executemany(query, several, returning=True)
            more: bool | None = True
            while more:
                found.append(cursor.fetchall())
                more = cursor.nextset()
    except BaseException:
        if connection.pgconn.transaction_status != TransactionStatus.IDLE:
            # Whatever is still under way on it, nobody will read the answer.
            connection.close()
        raise
    return found


def _is_alive(connection: _Connection) -> bool:
    """Tell whether the server has said nothing since the last answer: its last word is goodbye."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)

"""Transactional tools: what a tool writes, and that it was done, are one transaction of the user's.

The table ``effects`` remembers results by idempotency key. An execution that finds its key there
returns what is saved and does nothing; one that comes while another is under way waits for it.
Knows no run's record: the engine saves the step afterwards, as that of any tool.
"""

from __future__ import annotations

import functools
import inspect
import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar, get_type_hints

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from sequential import Pending, ToolContext, ToolResult
from sequential.errors import ConfigError, LeaseLost
from sequential.storage import decode_value, encode_value

from .connections import Connections
from .url import PostgresSettings, check_schema, read_postgres_url

_log = logging.getLogger("sequential")

P = ParamSpec("P")
R = TypeVar("R")

Connection = psycopg.Connection[Any]
Source = Callable[[], AbstractContextManager[Connection]]

_TRIES = 5
_BATCH = 1_000
_EVERY = 60.0  # seconds between two prunings that found less than a batch

_BEGIN = """
INSERT INTO "{schema}".effects (key, run_id, at) VALUES (%s, %s, clock_timestamp())
ON CONFLICT (key) DO NOTHING RETURNING 1"""
_SAVED = 'SELECT result FROM "{schema}".effects WHERE key = %s'
_SAVE = 'UPDATE "{schema}".effects SET result = %s WHERE key = %s AND result IS NULL RETURNING 1'
_PRUNE = """
DELETE FROM "{schema}".effects WHERE key IN (
    SELECT key FROM "{schema}".effects WHERE at < clock_timestamp() - %s ORDER BY at LIMIT %s
    FOR UPDATE SKIP LOCKED
)"""


def transactional(
    source: str | Source,
    *,
    schema: str = "sequential",
    keep: timedelta = timedelta(days=30),
) -> Callable[
    [Callable[Concatenate[ToolContext, Connection, P], R]], Callable[Concatenate[ToolContext, P], R]
]:
    """Make a tool's function one whose writes to a database take effect exactly once.

    The function takes the context, then the connection, then its input. All that it writes on the
    connection is committed together with its result, under the idempotency key; if it raises,
    nothing is. Another execution of the same call (after a crash, by an overtaken process, at the
    same time) returns the saved result. Where the connection is lost, also at the commit, or the
    server gave up one of two transactions, the function is run again, up to five times in all: what
    it does beside the connection is done at least once, as in any tool.

    The result stands in the table as plain JSON: payload codecs do not seal it.

    Args:
        source: A URL of the form that storages have, or what gives a connection outside of any
            transaction when entered, such as `psycopg_pool.ConnectionPool.connection`. The database
            must have the tables of ``sequential migrate``; it need not be the storage's.
        schema: Where they are, for a callable; a URL says it itself.
        keep: For how long results are kept: longer than a run may be left interrupted.

    Raises:
        ConfigError: The URL or the schema cannot be used.
        TypeError: The function is async, or does not begin with context and connection.

    Example:
        >>> @tool("shop", "debit")
        ... @transactional("postgresql://shop@db.example/shop")
        ... def debit(context: ToolContext, connection: Connection, account: str) -> int: ...
    """
    if isinstance(source, str):
        settings = read_postgres_url(source)
        effects = _Effects(lambda: _pool(settings).one(), settings.schema, keep)
    else:
        effects = _Effects(source, check_schema(schema), keep)

    def decorate(
        function: Callable[Concatenate[ToolContext, Connection, P], R],
    ) -> Callable[Concatenate[ToolContext, P], R]:
        visible, hidden = _without_connection(function)

        @functools.wraps(function)
        def once(*args: Any, **kwargs: Any) -> Any:
            bound = visible.bind(*args, **kwargs)
            context, *rest = bound.args
            return effects.once(
                context, lambda connection: function(context, connection, *rest, **bound.kwargs)
            )

        once.__signature__ = visible  # type: ignore[attr-defined]
        once.__annotations__ = {
            name: hint for name, hint in function.__annotations__.items() if name != hidden
        }
        return once

    return decorate


def _without_connection(function: Callable[..., object]) -> tuple[inspect.Signature, str]:
    """Return the signature that a tool is called by, and the name of the hidden parameter."""
    signature = inspect.signature(function)
    if inspect.iscoroutinefunction(function):
        name = function.__qualname__
        raise TypeError(f"{name} is async; write a transactional tool as a plain function")
    parameters = list(signature.parameters.values())
    by_position = [each.name for each in parameters[:2] if each.kind is each.POSITIONAL_OR_KEYWORD]
    if len(by_position) < 2 or get_type_hints(function).get(by_position[0]) is not ToolContext:
        raise TypeError(
            f"{function.__qualname__}{signature} cannot be transactional; begin its parameters with"
            " `context: ToolContext, connection: psycopg.Connection`"
        )
    return signature.replace(parameters=[parameters[0], *parameters[2:]]), by_position[1]


class EffectUnderWay(Exception):
    """Another execution had not ended when the server's patience was over."""


class _Effects:
    """What was done in one database."""

    def __init__(self, source: Source, schema: str, keep: timedelta) -> None:
        self._source = source
        self._schema = schema
        self._begin, self._saved, self._save, self._prune = [
            text.format(schema=schema).encode() for text in (_BEGIN, _SAVED, _SAVE, _PRUNE)
        ]
        self._keep = keep
        self._next_prune = 0.0

    def once(self, context: ToolContext, body: Callable[[Connection], object]) -> object:
        """Return what *body* returned when it was done under the context's key, now or before."""
        for turn in range(1, _TRIES + 1):
            with self._source() as connection:
                try:
                    value = self._try(connection, context, body)
                except (EffectUnderWay, psycopg.Error) as error:
                    if context.lost or turn == _TRIES or not _is_open(error, connection):
                        raise
                    # If the commit that nobody answered for took place, its key is found now.
                    continue
                self._forget(connection)
                return value
        raise AssertionError

    def _try(
        self, connection: Connection, context: ToolContext, body: Callable[[Connection], object]
    ) -> object:
        _check_status(connection, TransactionStatus.IDLE, "the source gave a connection")
        key = context.idempotency_key
        with connection.transaction():
            if not self._is_first(connection, key, context.run_id):
                return self._found(connection, key)
            data = _encoded(body(connection))
            _check_status(connection, TransactionStatus.INTRANS, "the tool left the connection")
            if _one(connection, self._save, (data, key)) is None:
                raise RuntimeError(
                    f"the result of {key} was saved by somebody else; nothing is done"
                )
            if context.lost:
                # Somebody else does it, or has cancelled it.
                raise LeaseLost(context.run_id)
        return decode_value(data)

    def _is_first(self, connection: Connection, key: str, run_id: str) -> bool:
        try:
            return _one(connection, self._begin, (key, run_id)) is not None
        except psycopg.errors.UndefinedTable as error:
            remedy = "there is no table effects in it; run `sequential migrate` on this database"
            raise ConfigError("transactional schema", self._schema, remedy) from error
        except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable) as error:
            raise EffectUnderWay(
                f"another execution of {key} has not ended yet ({error})"
            ) from error

    def _found(self, connection: Connection, key: str) -> object:
        row = _one(connection, self._saved, (key,))
        if row is None or row[0] is None:
            raise RuntimeError(
                f"effect {key} was begun and has no result: its tool ended the transaction itself;"
                " look what it did, and delete the row to let it be done again"
            )
        return decode_value(row[0])

    def _forget(self, connection: Connection) -> None:
        """Remove a batch of old results, at its times; the tool is done, so failing is no error."""
        if time.monotonic() < self._next_prune:
            return
        count = 0
        try:
            with connection.transaction(), connection.cursor() as cursor:
                count = cursor.execute(self._prune, (self._keep, _BATCH)).rowcount
        except psycopg.Error as error:
            _log.warning("old effects were not removed, a later call tries again: %s", error)
        # As long as there are full batches each call takes one along.
        self._next_prune = 0.0 if count == _BATCH else time.monotonic() + _EVERY


def _encoded(value: object) -> bytes:
    if isinstance(value, Pending):
        raise TypeError("a transactional tool returns its value; Pending means that there is none")
    return encode_value(value.value if isinstance(value, ToolResult) else value)


def _check_status(connection: Connection, wanted: TransactionStatus, who: str) -> None:
    found = connection.info.transaction_status
    # A connection that is lost, or a transaction that failed, has an error of its own next.
    if found not in {wanted, TransactionStatus.UNKNOWN, TransactionStatus.INERROR}:
        remedy = "give one that is idle, and end no transaction in a tool"
        raise RuntimeError(f"{who} {found.name}, not {wanted.name}; {remedy}")


def _one(
    connection: Connection, query: bytes, values: tuple[object, ...]
) -> tuple[Any, ...] | None:
    # Rows are as the user's connection makes them, unless one asks.
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query, values).fetchone()


def _is_open(error: Exception, connection: Connection) -> bool:
    """Tell whether to try again: nothing was done, or the key will tell."""
    code = getattr(error, "sqlstate", None) or ""
    return connection.closed or isinstance(error, EffectUnderWay) or code.startswith("40")


class _Pool(Connections):
    """Connections as the user's own would be: numbers are sent as psycopg sends them."""

    def one(self) -> AbstractContextManager[Connection]:
        """Give a living connection for a while."""
        return self._one()

    def _configure(self, connection: Any) -> None:
        connection.patience = self._settings.statement_timeout * 1.25 + 1


_pools: dict[PostgresSettings, _Pool] = {}
_lock = threading.Lock()


def _pool(settings: PostgresSettings) -> _Pool:
    """Return the one pool of this process for *settings*, however many tools share it."""
    with _lock:
        return _pools.setdefault(settings, _Pool(settings))

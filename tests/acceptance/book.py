"""The book: how the stored rows are read, whatever keeps them, in plain SQL and by no engine.

The one place of the campaigns that knows which storage it is: a path is the file of SQLite, a text
is the URL of a Postgres database or of a prefix in S3. The first two have the same tables with the
same columns; of the objects of S3 such tables are made.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sequential._clock import SYSTEM_CLOCK
from sequential._sqlite.storage import SqliteStorage
from sequential._sqlite.url import read_sqlite_url
from sequential.storage import Storage

T = TypeVar("T")
Where = Path | str
Rows = Callable[..., list[tuple[Any, ...]]]
"""Runs a statement with ``?`` for each of the values after it; returns the rows."""

_PATIENCE = 60.0  # seconds until a server that was killed must be there again


def open_storage(url: str) -> Storage:
    """Open the storage at *url* as a worker does."""
    if url.startswith("sqlite:"):
        return SqliteStorage(read_sqlite_url(url), SYSTEM_CLOCK)
    # Only its own tests need a plugin.
    if url.startswith("s3:"):
        from sequential_s3.plugin import open_s3

        return open_s3(url, SYSTEM_CLOCK)
    from sequential_postgres.plugin import open_postgres

    return open_postgres(url, SYSTEM_CLOCK)


def read_book(where: Where, work: Callable[[Rows], T]) -> T:
    """Return what *work* makes of the rows, all read at one moment; in S3, each run at one.

    It is called again if a server goes away meanwhile.
    """
    if isinstance(where, Path):
        with _sqlite(where) as rows:
            return work(rows)
    read = _s3 if where.startswith("s3:") else _postgres
    gone = _gone(where)
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            with read(where) as rows:
                return work(rows)
        except gone:
            if time.monotonic() > end:
                raise
        time.sleep(0.05)


@contextmanager
def _sqlite(file: Path) -> Iterator[Rows]:
    with closing(sqlite3.connect(file, timeout=30)) as connection:
        connection.execute("BEGIN")
        yield lambda statement, *values: connection.execute(statement, values).fetchall()


@contextmanager
def _s3(url: str) -> Iterator[Rows]:
    from tests.acceptance.objects import objects_at

    with closing(objects_at(url).tables()) as tables:
        yield lambda statement, *values: tables.execute(statement, values).fetchall()


def _gone(url: str) -> type[Exception]:
    """Return what is raised when the server at *url* is not there."""
    if url.startswith("s3:"):
        from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

        return BotoCoreError  # type: ignore[no-any-return]
    import psycopg

    return psycopg.OperationalError


@contextmanager
def _postgres(url: str) -> Iterator[Rows]:
    import psycopg

    # Options after the mark that libpq does not know are our storage's.
    kept = [part for part in url.partition("?")[2].split("&") if part.startswith("host=")]
    with psycopg.connect(f"{url.partition('?')[0]}?{'&'.join(kept)}") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SET search_path TO sequential")

        def rows(statement: str, *values: object) -> list[tuple[Any, ...]]:
            return connection.execute(statement.replace("?", "%s").encode(), values).fetchall()

        yield rows

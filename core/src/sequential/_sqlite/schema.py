"""Setting up a SQLite file, and knowing whose it is.

Each version of the schema is one script in ``sql/``, applied in one transaction together with its
number. Knows nothing of what the tables hold.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator, Sequence

from ..errors import SchemaTooNew, StorageForeign
from .connection import switch_to_wal
from .url import SqliteSettings

APPLICATION_ID = 0x53514C31
"""Marks a file as ours, in its header (``SQL1``)."""

MIGRATIONS = ("001.sql", "002.sql")
"""The script that leads to version 1, to version 2, …; a published one is never changed."""


def read_migration(name: str) -> str:
    """Return the text of the script *name*."""
    from importlib.resources import files

    return (files(__package__) / "sql" / name).read_text(encoding="utf-8")


def prepare(
    connection: sqlite3.Connection, settings: SqliteSettings, scripts: Sequence[str] | None = None
) -> None:
    """Set up a new file, bring an older one up to date, leave a foreign one as it is.

    Args:
        connection: To the file, outside of a transaction.
        settings: Where it is.
        scripts: The migrations' texts; None for `MIGRATIONS`.

    Raises:
        StorageForeign: It is not ours.
        SchemaTooNew: A newer version of Sequential has changed it.
    """
    newest = len(MIGRATIONS) if scripts is None else len(scripts)
    # Looked at before the first write: switching to WAL changes the file.
    version = _look(connection, settings.path, newest)
    switch_to_wal(connection, settings.path, settings.timeout)
    while version < newest:
        script = read_migration(MIGRATIONS[version]) if scripts is None else scripts[version]
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been faster.
            now = check_owner(connection, settings.path, newest)
            if now == version:
                _apply(connection, script, version + 1)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        version = max(now, version + 1)


def _look(connection: sqlite3.Connection, path: str, newest: int) -> int:
    """Check the owner in one snapshot: another process may be setting the file up right now."""
    connection.execute("BEGIN")
    try:
        return check_owner(connection, path, newest)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def check_owner(connection: sqlite3.Connection, path: str, newest: int) -> int:
    """Return the version of the schema, 0 for an empty file."""
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if owner == APPLICATION_ID:
        if version > newest:
            raise SchemaTooNew(path, version, newest)
        return version
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master LIMIT 5")]
    if names:
        raise StorageForeign(path, f"it is a database with {', '.join(names)} and not ours")
    if owner or version:
        raise StorageForeign(path, f"another program has marked it ({owner:#x}, {version})")
    return 0


def _apply(connection: sqlite3.Connection, script: str, version: int) -> None:
    # Not executescript: it commits before it begins.
    for statement in _split(script):
        connection.execute(statement)
    if version == 1:
        connection.execute(
            "INSERT INTO meta (one, deployment, time) VALUES (1, ?, 0)", (secrets.token_hex(16),)
        )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")


def _split(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""

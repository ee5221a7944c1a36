"""Setting up a schema, and knowing whose it is.

Each version is one script in ``sql/``, applied in one transaction together with its number. A fleet
may start at once: one of it applies, the others wait. Knows nothing of what the tables hold.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Sequence
from importlib.resources import files

import psycopg

from sequential.errors import SchemaTooNew, StorageForeign, StorageRefused

MIGRATIONS = ("001.sql", "002.sql", "003.sql", "004.sql")
"""The script that leads to version 1, to version 2, …; a published one is never changed."""

_OURS = (
    "runs", "steps", "stored_values", "tags", "effects",
    "rollups", "rolled", "spans", "logs", "meta",
)  # fmt: skip

Connection = psycopg.Connection[tuple[object, ...]]


def read_migration(name: str) -> str:
    """Return the text of the script *name*."""
    return (files(__package__) / "sql" / name).read_text(encoding="utf-8")


def prepare(
    connection: Connection, place: str, schema: str, scripts: Sequence[str] | None = None
) -> str:
    """Set up a new schema, bring an older one up to date; return the deployment.

    Only what is missing is written, so that a role without any right to tables can open a schema
    that is up to date. A migration adds, and takes nothing away: workers that opened the schema
    before go on.

    Args:
        connection: In autocommit.
        place: The address for people.
        schema: Name of the schema.
        scripts: The migrations' texts; None for `MIGRATIONS`.

    Raises:
        StorageForeign: There are tables of these names that are not ours.
        SchemaTooNew: A newer version of this package has changed it.
        StorageRefused: The role may not set it up, or the database is not in UTF-8.
    """
    known = len(MIGRATIONS) if scripts is None else len(scripts)
    found = _look(connection, place, schema, known)
    if found is None or found[1] < known:
        texts = [read_migration(name) for name in MIGRATIONS] if scripts is None else scripts
        try:
            found = _migrate(connection, place, schema, texts)
        except psycopg.errors.InsufficientPrivilege as error:
            raise StorageRefused(
                place,
                f"schema {schema} has to be set up or migrated, and this role may not"
                " do so; run `sequential migrate` with the URL of its owner",
            ) from error
    return found[0]


def _look(connection: Connection, place: str, schema: str, known: int) -> tuple[str, int] | None:
    """Return deployment and version, None for a schema without tables."""
    (encoding,) = _only(connection, "SELECT current_setting('server_encoding')")
    if encoding != "UTF8":
        raise StorageRefused(place, f"the database is in {encoding}; create one with UTF8")
    tables = connection.execute(
        "SELECT c.relname FROM pg_catalog.pg_class AS c"
        " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = ANY (%s)",
        (schema, list(_OURS)),
    ).fetchall()
    names = sorted(str(name) for (name,) in tables)
    if not names:
        return None
    if "meta" not in names:
        raise StorageForeign(place, f"schema {schema} has a table {names[0]} that is not ours")
    try:
        deployment, version = _only(
            connection,
            f'SELECT deployment, version FROM "{schema}".meta',  # noqa: S608
        )
    except psycopg.errors.UndefinedColumn:
        reason = f"schema {schema} has a table meta that is not ours"
        raise StorageForeign(place, reason) from None
    assert isinstance(version, int)
    if version > known:
        raise SchemaTooNew(place, version, known)
    return str(deployment), version


def _migrate(
    connection: Connection, place: str, schema: str, scripts: Sequence[str]
) -> tuple[str, int]:
    with connection.transaction():
        # For this transaction only: nothing stays in a session that a pooler hands on.
        connection.execute("SET LOCAL statement_timeout = 0")
        lock = zlib.crc32(f"sequential {schema}".encode())
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))
        # Another process may have been faster.
        found = _look(connection, place, schema, len(scripts))
        if found is None:
            _create_schema(connection, schema)
        deployment, version = found or (secrets.token_hex(16), 0)
        for number, script in enumerate(scripts[version:], version + 1):
            connection.execute(script.replace("{schema}", f'"{schema}"').encode())
            connection.execute(
                f'INSERT INTO "{schema}".meta (one, deployment, version) VALUES (1, %s, %s)'  # noqa: S608
                " ON CONFLICT (one) DO UPDATE SET version = excluded.version".encode(),
                (deployment, number),
            )
    return deployment, len(scripts)


def _create_schema(connection: Connection, schema: str) -> None:
    # Not IF NOT EXISTS: that asks for the right to create even where the schema is there.
    there = connection.execute(
        "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s", (schema,)
    ).fetchone()
    if there is None:
        connection.execute(f'CREATE SCHEMA "{schema}"'.encode())


def _only(connection: Connection, query: str) -> tuple[object, ...]:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row

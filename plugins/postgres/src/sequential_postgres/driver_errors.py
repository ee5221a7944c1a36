"""What an error of Postgres means: nothing happened, nothing ever will, or nobody knows.

Knows the codes of Postgres (https://www.postgresql.org/docs/current/errcodes-appendix.html) and the
errors of the contract; runs no statement. Of the server's answer only the primary message is told:
its details may quote values.
"""

from __future__ import annotations

import struct

import psycopg

from sequential.errors import OutcomeUnknown, StorageError, StorageRefused, StorageUnavailable

DRIVER_ERRORS = (psycopg.Error, UnicodeEncodeError, OverflowError, struct.error)
"""What the driver raises, and Python itself for a text or number that Postgres cannot hold."""

# By code, or by the first two characters of it: what passes by itself.
_TRANSIENT = {
    "57014": "it took longer than the statement timeout, or somebody cancelled it",
    "55P03": "another transaction kept the row locked",
    "40": "the server gave up on one of two transactions",
    "53": "the server is short of a resource",
    "57P": "the server is going down or coming up",
    "58": "the server met an error of its system",
}
_LASTING = {
    "53100": "the disk is full, or a quota used up",
    "42501": "the role may not do this; grant what sql/role.sql of sequential-postgres does",
    "25006": "the server is read-only, as a replica is; name the primary, or add"
    " target_session_attrs=read-write to the URL",
    "42P01": "a table is missing; `sequential migrate` sets a new schema up",
    "3F000": "the schema is missing; `sequential migrate` sets it up",
    "26000": "a pooler hands out other connections; add prepare=off to the URL",
    "42P05": "a pooler hands out other connections; add prepare=off to the URL",
    "54": "a value is too long for an index",
}
# Functions of the server that make a file larger. What stops them may be a quota, and has no code.
_GROWING = {"mdextend", "mdzeroextend"}
# libpq hands over no code when it cannot connect, only the server's sentence.
_NOT_LET_IN = (
    "authentication failed",
    "does not exist",
    "no password supplied",
    "pg_hba.conf",
    "permission denied for database",
    "is not permitted to log in",
)


def translate(error: Exception, place: str) -> StorageError:
    """Return what *error* means where it is certain that nothing was applied."""
    code = getattr(error, "sqlstate", None) or ""
    if isinstance(error, psycopg.Error) and error.diag.source_function in _GROWING:
        code = "53100"
    said = _said(error)
    for known, kind in ((_LASTING, StorageRefused), (_TRANSIENT, StorageUnavailable)):
        for length in (5, 3, 2):
            if (reason := known.get(code[:length])) is not None and len(code) == 5:
                return kind(place, f"{reason} ({said})")
    if not code and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return StorageUnavailable(place, said)
    return StorageRefused(place, f"{type(error).__name__}: {said}")


def translate_write(error: Exception, place: str, *, lost: bool) -> StorageError:
    """Return what *error* means for a write that was sent; *lost* if the connection is gone.

    An error that the server answers with has undone the statement. Without a connection nobody
    knows how far the server came.
    """
    if lost:
        return OutcomeUnknown(place, f"the connection was lost ({_said(error)})")
    return translate(error, place)


def translate_connect(error: Exception, place: str) -> StorageError:
    """Return what *error* means when it came instead of a connection."""
    said = _said(error)
    if any(sign in said for sign in _NOT_LET_IN):
        return StorageRefused(place, f"the server does not let us in ({said})")
    return StorageUnavailable(place, said)


def _said(error: Exception) -> str:
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    text = primary or str(error) or type(error).__name__
    return " ".join(text.split())[:500]

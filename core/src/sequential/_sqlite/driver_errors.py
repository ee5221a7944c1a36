"""What an error of SQLite means for a write: nothing happened, nothing ever will, or unknown.

Knows the result codes of SQLite and the errors of the contract; runs no statement.
"""

from __future__ import annotations

import os
import sqlite3

from ..errors import (
    OutcomeUnknown,
    StorageError,
    StorageForeign,
    StorageRefused,
    StorageUnavailable,
)

_REFUSED = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN}
)
_FOREIGN = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
_TRANSIENT = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_PROTOCOL,
    }
)
# At COMMIT these say for certain that the frame which makes the transaction count was not
# written. An I/O error does not: the frame may be in the log with only its sync missing, and the
# next process to read the log would take it for committed.
_CERTAIN_AT_COMMIT = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY})


# What the driver raises, with what Python raises for a text or number that SQLite cannot hold.
DRIVER_ERRORS = (sqlite3.Error, UnicodeEncodeError, OverflowError)


def result_code(error: Exception) -> int:
    """Return the primary result code of *error*, 0 if it has none."""
    code = getattr(error, "sqlite_errorcode", 0)
    return int(code) & 0xFF


def translate(error: Exception, path: str) -> StorageError:
    """Return what *error* means when it came before COMMIT, so that nothing was applied."""
    code = result_code(error)
    if code in _FOREIGN:
        return StorageForeign(path, str(error))
    if code in _TRANSIENT:
        return StorageUnavailable(path, _explain(code, error))
    if code in _REFUSED:
        return StorageRefused(path, _explain(code, error))
    return StorageRefused(path, f"{type(error).__name__}: {error}")


def translate_commit(error: sqlite3.Error, path: str, *, rolled_back: bool) -> StorageError:
    """Return what *error* means when COMMIT itself raised it."""
    if rolled_back and result_code(error) in _CERTAIN_AT_COMMIT:
        return translate(error, path)
    return OutcomeUnknown(path, f"at COMMIT: {error}")


def missing_directory(path: str) -> StorageRefused | None:
    """Return the error to raise if the directory of *path* does not exist."""
    directory = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120  (pathlib is slow to import)
    if os.path.isdir(directory):  # noqa: PTH112
        return None
    return StorageRefused(path, f"there is no directory {directory}; create it first")


def _explain(code: int, error: Exception) -> str:
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return f"another process kept it locked for the whole timeout ({error})"
    if code == sqlite3.SQLITE_READONLY:
        return f"the file or its directory is read-only ({error})"
    return str(error)

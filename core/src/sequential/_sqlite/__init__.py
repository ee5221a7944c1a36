"""The storage in one SQLite file: several processes at once, on one machine.

`storage` keeps the contract; the other modules are its connections, statements, schema and address.
"""

from __future__ import annotations

from .storage import SqliteStorage, open_sqlite

__all__ = ["SqliteStorage", "open_sqlite"]

"""Connections to one SQLite file: one a thread, none across a fork, every transaction short.

Knows how a connection is set up and what its errors mean; knows no table. Before a fork every
connection is closed: a child that inherits one, or only SQLite's own book of the locks that the
parent holds, can lose what it writes (https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

from ..errors import StorageRefused
from .driver_errors import (
    DRIVER_ERRORS,
    missing_directory,
    result_code,
    translate,
    translate_commit,
)
from .url import SqliteSettings

OLDEST = (3, 35, 0)
"""The first SQLite with ``RETURNING``."""

_PAUSE = 0.01  # seconds between two tries to switch to WAL

_TRY = 0.0005
"""Seconds between two tries for the write lock. SQLite itself waits longer and longer, up to
0.1 s: writers of other processes overtake it again and again, and mostly all of them sleep."""


class _Slot:
    """The connection of one thread. Its lock is held for every transaction."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: sqlite3.Connection | None = None
        self.waits = True  # whether SQLite waits for locks, or tells that there is one

    def drop(self) -> None:
        """Close the connection; the next transaction opens another."""
        connection, self.connection, self.waits = self.connection, None, True
        if connection is not None:
            connection.close()

    def __del__(self) -> None:
        """Close with the thread that it belonged to."""
        self.drop()


class Connections:
    """All connections of one storage.

    Args:
        settings: Where, and how to write.
        prepare: Called once with the first connection, before anything else.
    """

    def __init__(
        self, settings: SqliteSettings, prepare: Callable[[sqlite3.Connection], None]
    ) -> None:
        if sqlite3.sqlite_version_info < OLDEST:
            raise StorageRefused(
                settings.path,
                f"SQLite {sqlite3.sqlite_version} is too old; use a Python with 3.35 or newer",
            )
        self.path = settings.path
        self._settings = settings
        self._prepare = prepare
        self._prepared = False
        self._closed = False
        self._gate = threading.Lock()
        # The threads of this process wait for one another here, and one of them for the file.
        self._turn = threading.Lock()
        self._slots: weakref.WeakSet[_Slot] = weakref.WeakSet()
        self._local = threading.local()
        _everyone.add(self)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection in a transaction that sees one snapshot."""
        slot = self._slot()
        with slot.lock:
            connection = self._begin(slot)
            try:
                yield connection
            except DRIVER_ERRORS as error:
                raise translate(error, self.path) from error
            finally:
                _roll_back(connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection in a transaction that alone may write; commit it at the end.

        Others of this process and of others are waited for, together as long as the settings say.

        Raises:
            OutcomeUnknown: COMMIT failed in a way that leaves open whether it was applied.
            StorageError: Any other; nothing was applied.
        """
        slot, until = self._slot(), time.monotonic() + self._settings.timeout
        with slot.lock, self._turn_to_write(until):
            connection = self._begin_writing(slot, until)
            try:
                yield connection
            except DRIVER_ERRORS as error:
                _roll_back(connection)
                raise translate(error, self.path) from error
            except BaseException:
                _roll_back(connection)
                raise
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                done = _roll_back(connection)
                raise translate_commit(error, self.path, rolled_back=done) from error

    def close(self) -> None:
        """Close all; wait for transactions under way."""
        with self._gate:
            self._closed = True
            for slot in list(self._slots):
                with slot.lock:
                    slot.drop()

    def _slot(self) -> _Slot:
        """Return the slot of the calling thread."""
        slot: _Slot | None = getattr(self._local, "slot", None)
        if slot is None:
            slot = self._local.slot = _Slot()
            with self._gate:
                self._slots.add(slot)
        return slot

    @contextmanager
    def _turn_to_write(self, until: float) -> Iterator[None]:
        # Who waits in vain goes on to the file, which says that it is locked.
        held = self._turn.acquire(timeout=max(0.0, until - time.monotonic()))
        try:
            yield
        finally:
            if held:
                self._turn.release()

    def _begin(self, slot: _Slot) -> sqlite3.Connection:
        try:
            connection = self._connected(slot, waits=True)
            connection.execute("BEGIN")
        except sqlite3.Error as error:
            raise translate(error, self.path) from error
        return connection

    def _begin_writing(self, slot: _Slot, until: float) -> sqlite3.Connection:
        while True:
            try:
                connection = self._connected(slot, waits=False)
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                if result_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                    raise translate(error, self.path) from error
                time.sleep(_TRY)
            else:
                return connection

    def _connected(self, slot: _Slot, *, waits: bool) -> sqlite3.Connection:
        """Return the connection of *slot*; SQLite waits for locks itself, or says that it must."""
        connection = slot.connection
        if connection is None:
            connection = slot.connection = self._open()
        if slot.waits is not waits:
            milliseconds = int(1000 * self._settings.timeout) if waits else 0
            # As a script: the driver keeps statements prepared, and this one acts as it is made.
            connection.executescript(f"PRAGMA busy_timeout = {milliseconds}")
            slot.waits = waits
        return connection

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise StorageRefused(self.path, "it was closed")
        refusal = missing_directory(self.path)
        if refusal is not None:
            raise refusal
        connection = self._connect()
        try:
            connection.execute("PRAGMA foreign_keys = OFF")
            if not self._prepared:
                self._prepare(connection)
                self._prepared = True
            connection.execute(f"PRAGMA synchronous = {self._settings.synchronous.upper()}")
            if self._settings.read_only:
                connection.execute("PRAGMA query_only = ON")
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        # A file that was taken away under us is not made anew, empty.
        return self._connect_in("rw" if self._prepared else "rwc")

    def _connect_in(self, mode: str) -> sqlite3.Connection:
        """Open the file; every tie to SQLite's Python driver is here."""
        path = os.path.abspath(self.path)  # noqa: PTH100  (pathlib is slow to import)
        return sqlite3.connect(
            f"file:{quote(path)}?mode={mode}",
            uri=True,
            timeout=self._settings.timeout,
            isolation_level=None,  # transactions begin where we say so
            check_same_thread=False,  # `close` and a fork close those of other threads
        )

    # -- forks

    def hold(self) -> None:
        """Before a fork: let every transaction end, let none begin, close all."""
        self._gate.acquire()
        for slot in list(self._slots):
            slot.lock.acquire()
            slot.drop()

    def release(self) -> None:
        """After a fork, in the parent: go on; threads open new connections."""
        for slot in list(self._slots):
            if slot.lock.locked():
                slot.lock.release()
        self._gate.release()

    def renew(self) -> None:
        """After a fork, in the child: begin without the threads of the parent."""
        self._gate = threading.Lock()
        self._turn = threading.Lock()
        self._slots = weakref.WeakSet()
        self._local = threading.local()


def switch_to_wal(connection: sqlite3.Connection, path: str, timeout: float) -> None:
    """Turn on the write-ahead log, which stays on in the file.

    Two processes that do so at once find each other's lock, and SQLite doesn't wait for that
    one by itself.
    """
    end = time.monotonic() + timeout
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if result_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(_PAUSE)
            continue
        if mode != "wal":
            raise StorageRefused(
                path, f"its file system allows no write-ahead log (journal mode {mode})"
            )
        return


def _roll_back(connection: sqlite3.Connection) -> bool:
    """End the transaction without effect; return whether that is certain."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
            return True
    except sqlite3.Error:
        return False
    return False


_everyone: weakref.WeakSet[Connections] = weakref.WeakSet()
_held: list[Connections] = []


def _before_fork() -> None:
    for connections in list(_everyone):
        connections.hold()
        _held.append(connections)


def _after_in_parent() -> None:
    while _held:
        _held.pop().release()


def _after_in_child() -> None:
    while _held:
        _held.pop().renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_in_parent,
        after_in_child=_after_in_child,
    )

"""What is measured on: SQLite on a file, and Postgres on a server, both as durable as promised.

Each gives URLs of new databases, and bare connections to them. A ground that cannot be had is left
out, and that is said.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import NamedTuple

from sequential import Sequential
from tests.fix_postgres import OwnServer, Server

from .floors import Bare
from .sqlite_bare import SqliteBare


class Ground(NamedTuple):
    """A kind of database.

    Attributes:
        name: For the table.
        url: Makes a database, and returns the URL of it.
        inline: What an inline step may be, beside one INSERT.
        every: What an invocation of one step may be, beside two commits.
        peers: How much slower the peers must be.
    """

    name: str
    url: Callable[[], str]
    inline: float
    every: float
    peers: dict[str, float]

    def with_tables(self) -> str:
        """Make a database with our tables, and return the URL of it."""
        url = self.url()
        with Sequential(url) as app:
            app.storage.load("another")
        return url

    def bare(self) -> Bare:
        """Return a bare connection to a new database with our tables."""
        return connect(self.with_tables())


def connect(url: str) -> Bare:
    """Return a bare connection to the database at *url*, which has our tables."""
    if url.startswith("sqlite:"):
        return SqliteBare(url)
    from .postgres_bare import PostgresBare

    return PostgresBare(url)


@contextmanager
def sqlite(folder: Path) -> Iterator[Ground]:
    """Give files in *folder*."""
    names = count()
    yield Ground(
        "SQLite",
        lambda: f"sqlite:///{folder}/{next(names)}.db",
        inline=1.5,
        every=1.5,
        peers={"dbos": 8.0, "langgraph": 3.0},
    )


@contextmanager
def postgres(folder: Path) -> Iterator[Ground | None]:
    """Give databases on the server that the environment names, else on one that is started here."""
    if find_spec("sequential_postgres") is None or find_spec("psycopg") is None:
        print("sequential-postgres is not installed: Postgres is left out")
        yield None
        return

    with ExitStack() as stack:
        if named := os.environ.get("SEQUENTIAL_TEST_POSTGRES"):
            server = Server(named)
        else:
            home = folder / "pg"
            home.mkdir()
            folder.chmod(0o755)  # the server is another user where this is root
            own = OwnServer(18, home, fsync="on", synchronous_commit="on")
            own.start()
            stack.callback(own.kill)
            server = own
        print(_durability(server))
        yield Ground(
            "Postgres",
            lambda: server.url(server.database(empty=True)),
            inline=1.3,
            every=1.3,
            peers={"dbos": 6.0, "absurd": 2.5, "langgraph": 4.0},
        )


def _durability(server: Server) -> str:

    names = ("server_version", "fsync", "synchronous_commit", "wal_sync_method", "full_page_writes")
    shown = [(name, server.execute(f"SHOW {name}")[0][0]) for name in names]
    return "Postgres: " + ", ".join(f"{name}={value}" for name, value in shown)

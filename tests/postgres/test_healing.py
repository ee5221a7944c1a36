"""Each trouble is made while a worker carries a run: it is said, and heals without anybody's help.

The trouble is the server's own: nothing is pretended. It begins inside the second step's tool, so
that what the tool returns cannot be recorded; while it lasts, a client and a second application
are told the same. Afterwards every step is recorded once, and the password was said nowhere.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import pytest

import sequential_postgres.plugin
from sequential import Registry, Sequential, Steps, flow, tool
from sequential._polling import PollingTransport
from sequential._protocol import Terms
from sequential.errors import StorageError, StorageRefused, StorageUnavailable
from sequential.outcomes import Completed
from sequential.storage import Storage
from sequential.testing import FakeClock
from sequential.worker import Worker
from sequential_postgres.plugin import open_postgres
from tests.fix_postgres import OwnServer, is_alive, own_server, standby_of
from tests.fix_s3 import free_port

PATIENCE = 30.0
LARGE = 200_000  # bytes of a value, which is then kept beside its step, and needs space
LARGEST_FILE = 1 << 24  # no less: a segment of the server's log has as many bytes
HERE, ELSEWHERE = "127.0.0.2", "127.0.0.3"
TERMS = Terms(0.5, max_stalls=10_000, longest_backoff=0.1)
GRANTS = """
GRANT USAGE ON SCHEMA sequential TO flows;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA sequential TO flows;
"""


class Town:
    """A server that asks the role ``flows`` for a password, with one database for a test."""

    def __init__(self, server: OwnServer, port: int, password: str) -> None:
        self.server = server
        self.port = port
        self.password = password
        self.database = ""
        self.held: psycopg.Connection[tuple[object, ...]] | None = None

    @property
    def url(self) -> str:
        who = f"flows:{self.password}@{HERE}:{self.port}"
        return f"postgresql://{who}/{self.database}?statement_timeout=0.3&connect_timeout=2"

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        return self.server.execute(statement, self.database)

    def role(self, change: str) -> None:
        """Change the role, and close its connections: what it is was asked when they were made."""
        self.server.execute(f"ALTER ROLE flows {change}")
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connections that the role has now; it may have made others since."""
        ended = self.server.execute(
            "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'flows'"
        )
        until(lambda: not any(is_alive(pid) for pid, _ in ended))

    def move(self, **settings: str) -> None:
        self.server.stop()
        self.server.start(**{"port": str(self.port), "listen_addresses": HERE} | settings)

    def rename(self, before: str, after: str) -> None:
        self.server.execute(f"ALTER DATABASE {before} ALLOW_CONNECTIONS false")
        self.hang_up()
        self.server.execute(f"ALTER DATABASE {before} RENAME TO {after}")
        self.server.execute(f"ALTER DATABASE {after} ALLOW_CONNECTIONS true")

    def lock(self) -> None:
        self.held = psycopg.connect(self.server.url(self.database))
        self.held.execute("LOCK sequential.runs, sequential.steps IN ACCESS EXCLUSIVE MODE")

    def unlock(self) -> None:
        assert self.held is not None
        self.held.close()

    def fill(self) -> None:
        """Keep values until no other fits."""
        self._keep(LARGEST_FILE * 7 // 8)
        with suppress(psycopg.Error):
            while True:
                self._keep(LARGE // 2)

    def _keep(self, size: int) -> None:
        self.execute(
            "INSERT INTO sequential.stored_values SELECT 'ballast',"
            f" gen_random_uuid(), decode(repeat('00', {size}), 'hex')"
        )

    def empty(self) -> None:
        self.execute("DELETE FROM sequential.stored_values WHERE run_id = 'ballast'")
        self.execute("VACUUM sequential.stored_values")


@dataclass(frozen=True)
class Trouble:
    """What happens, what is said to who writes, and what to who opens (None: it opens)."""

    begin: Callable[[Town], object]
    heal: Callable[[Town], object]
    writes: tuple[type[StorageError], str]
    opens: tuple[type[StorageError], str] | None


def whoever(kind: type[StorageError], says: str) -> dict[str, tuple[type[StorageError], str]]:
    return {"writes": (kind, says), "opens": (kind, says)}


REFUSED = (StorageUnavailable, "[Cc]onnection refused")
TROUBLES = {
    "another host": Trouble(
        lambda town: town.move(listen_addresses=ELSEWHERE), Town.move, REFUSED, REFUSED
    ),
    "another port": Trouble(
        lambda town: town.move(port=str(free_port())), Town.move, REFUSED, REFUSED
    ),
    "another database": Trouble(
        lambda town: town.rename(town.database, "moved"),
        lambda town: town.rename("moved", town.database),
        **whoever(StorageRefused, r'does not let us in .*database "\w+" does not exist'),
    ),
    "another password": Trouble(
        lambda town: town.role("PASSWORD 'changed'"),
        lambda town: town.role(f"PASSWORD '{town.password}'"),
        **whoever(StorageRefused, "does not let us in .*password authentication failed"),
    ),
    "an expired password": Trouble(
        lambda town: town.role("VALID UNTIL '2001-01-01'"),
        lambda town: town.role("VALID UNTIL 'infinity'"),
        **whoever(StorageRefused, "does not let us in .*password authentication failed"),
    ),
    "a role that may not log in": Trouble(
        lambda town: town.role("NOLOGIN"),
        lambda town: town.role("LOGIN"),
        **whoever(StorageRefused, "does not let us in .*is not permitted to log in"),
    ),
    "a role with all its connections in use": Trouble(
        lambda town: town.role("CONNECTION LIMIT 0"),
        lambda town: town.role("CONNECTION LIMIT -1"),
        **whoever(StorageUnavailable, "too many connections"),
    ),
    "rights taken away": Trouble(
        lambda town: town.execute("REVOKE ALL ON ALL TABLES IN SCHEMA sequential FROM flows"),
        lambda town: town.execute(GRANTS),
        **whoever(StorageRefused, r"role\.sql.*permission denied for table"),
    ),
    "a role that reads only": Trouble(
        lambda town: town.role("SET default_transaction_read_only = on"),
        lambda town: town.role("RESET default_transaction_read_only"),
        (StorageRefused, "read-only.*target_session_attrs=read-write"),
        None,
    ),
    "tables locked elsewhere": Trouble(
        Town.lock, Town.unlock, (StorageUnavailable, "statement timeout"), None
    ),
    "a full disk": Trouble(
        Town.fill, Town.empty, (StorageRefused, "disk is full.*could not extend file"), None
    ),
}


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    port = free_port()
    for server in own_server(18, port=str(port), listen_addresses=HERE):
        town = Town(server, port, secrets.token_hex(12))
        server.execute(f"CREATE ROLE flows LOGIN PASSWORD '{town.password}'")
        rules = server._data / "pg_hba.conf"
        rules.write_text(f"host all flows 127.0.0.0/8 scram-sha-256\n{rules.read_text()}")
        server.largest_file = LARGEST_FILE
        server.restart()
        yield town


@pytest.fixture
def url(town: Town) -> Iterator[str]:
    town.database = town.server.database()
    town.execute(GRANTS)
    yield town.url
    town.server.drop(town.database)


class Work:
    """A flow of three steps; in the tool of the second something happens, the first time."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self.registry = Registry()
        self.calls: Counter[int] = Counter()
        self.happened = threading.Event()
        large = secrets.token_hex(LARGE // 2)

        @tool("town", "note", registry=self.registry)
        def note(number: int) -> str:
            self.calls[number] += 1
            if number == 1 and not self.happened.is_set():
                try:
                    happens()
                finally:
                    self.happened.set()
            return f"{number} {large}"

        @flow(name="walk", registry=self.registry)
        def walk(first: str) -> Steps[int]:
            for number in range(3):
                assert (yield from note(number)).startswith(str(number))
            return 3

    def open(self, url: str) -> Sequential:
        return Sequential(
            url,
            PollingTransport(0.05),
            plugins=[sequential_postgres.plugin],
            registry=self.registry,
            terms=TERMS,
        )


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def working(app: Sequential) -> Iterator[None]:
    worker = Worker(app, 2)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(PATIENCE)
    assert not thread.is_alive()


def is_complete(app: Sequential, run_id: str) -> bool:
    try:
        return isinstance(app.outcome(app.get(run_id)), Completed)
    except StorageError:
        return False


def told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


def insisted(start: Callable[[], object]) -> None:
    """Start again what was refused: a server that has just moved may hang up once more."""

    def done() -> bool:
        try:
            start()
        except StorageError:
            return False
        return True

    until(done)


def is_shown_by_ps(secret: str) -> bool:
    """Tell whether any process of this machine has *secret* in its command."""
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                lines.append((entry / "cmdline").read_bytes())
            except OSError:
                continue
    return any(secret.encode() in line for line in lines)


@pytest.mark.parametrize("name", TROUBLES)
def test_a_trouble_is_said_and_heals(
    town: Town, url: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    trouble = TROUBLES[name]
    kind, says = trouble.writes
    work = Work(lambda: trouble.begin(town))
    large = secrets.token_hex(LARGE // 2)
    said = []
    with work.open(url) as app:
        app.start("walk", {"first": ""}, run_id="r1")
        with working(app):
            assert work.happened.wait(PATIENCE)
            try:
                with pytest.raises(kind, match=says) as caught:
                    app.start("walk", {"first": large}, run_id="r2")
                said.append(told(caught.value))
                said.append(opened_meanwhile(url, trouble))
                until(lambda: re.search(says, caplog.text))
                assert not is_shown_by_ps(town.password)
            finally:
                trouble.heal(town)
            until(lambda: is_complete(app, "r1"))
            insisted(lambda: app.start("walk", {"first": large}, run_id="r2"))
            until(lambda: is_complete(app, "r2"))
        for run_id in ("r1", "r2"):
            steps = app.steps(run_id)
            assert [(step.number, step.position) for step in steps] == [
                (0, "0"),
                (1, "1"),
                (2, "2"),
            ]
            assert len({step.op_id for step in steps}) == 3
        # The one that could not be recorded was done again, and no other.
        assert (work.calls[0], work.calls[2]) == (2, 2)
    assert town.password not in "\n".join([*said, caplog.text])
    assert "psycopg.pool" not in {
        record.name for record in caplog.records if record.levelno >= logging.WARNING
    }


def opened_meanwhile(url: str, trouble: Trouble) -> str:
    """Open another storage during *trouble*; return what was said."""
    if trouble.opens is None:
        open_postgres(url, FakeClock()).close()
        return ""
    kind, says = trouble.opens
    with pytest.raises(kind, match=says) as caught:
        open_postgres(url, FakeClock())
    return told(caught.value)


# -- as processes, whose commands and words others can read

FLOWS = """
from sequential import Steps, flow, save

@flow
def walk() -> Steps[None]:
    yield save()
"""


def test_processes_say_why_and_show_no_password(town: Town, url: str, tmp_path: Path) -> None:
    (tmp_path / "walk.py").write_text(FLOWS)
    environment = os.environ | {"SEQUENTIAL_STORAGE": url}
    said = tmp_path / "said.txt"
    texts = []

    def command(*words: str) -> list[str]:
        return [sys.executable, "-m", "sequential", *words]

    def tried(*words: str) -> int:
        done = subprocess.run(
            command(*words),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        texts.append(done.stdout + done.stderr)
        assert "Traceback" not in texts[-1]
        return done.returncode

    with (
        said.open("wb") as log,
        subprocess.Popen(
            command("worker", "--load", "walk.py"),
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
        ) as worker,
    ):
        try:
            assert tried("start", "walk.py:walk", "--run-id", "r1") == 0
            assert tried("wait", "r1", "--timeout", "30s") == 0
            town.role("VALID UNTIL '2001-01-01'")
            try:
                for words in (["list"], ["doctor"], ["start", "walk.py:walk", "--run-id", "r2"]):
                    assert tried(*words) != 0
                    assert "does not let us in" in texts[-1]
                until(lambda: "does not let us in" in said.read_text())
                assert is_shown_by_ps(str(town.server.folder))
                assert not is_shown_by_ps(town.password)
            finally:
                town.role("VALID UNTIL 'infinity'")
            assert tried("start", "walk.py:walk", "--run-id", "r2") == 0
            assert tried("wait", "r2", "--timeout", "30s") == 0
        finally:
            worker.terminate()
    assert worker.returncode == 0
    texts.append(said.read_text())
    assert town.password not in "\n".join(texts)


# -- a primary that is lost, and its standby


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[OwnServer, OwnServer]]:
    """A primary that confirms what its standby has, and the standby."""
    for primary in own_server(18):
        for standby in standby_of(primary):
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.execute("SELECT pg_reload_conf()")
            until(partial(is_followed, primary))
            yield primary, standby


def is_followed(primary: OwnServer) -> bool:
    """Tell whether what *primary* confirms is on a standby as well."""
    return bool(primary.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"))


def replayed(pair: tuple[OwnServer, OwnServer], database: str) -> bool:
    """Tell whether the standby has *database*: it is told of it a moment later."""
    return bool(pair[1].execute(f"SELECT 1 FROM pg_database WHERE datname = '{database}'"))


def test_a_standby_is_named_as_read_only_and_taken_when_it_is_promoted(
    pair: tuple[OwnServer, OwnServer], caplog: pytest.LogCaptureFixture
) -> None:
    primary, standby = pair
    database = primary.database()
    work = Work(primary.kill)
    until(lambda: replayed(pair, database))
    with closing_all(open_postgres(standby.url(database), FakeClock())) as replica:
        with pytest.raises(StorageRefused, match="read-only replica"):
            replica.probe()
        hosts = f"{primary.folder},{standby.folder}"
        url = f"postgresql://postgres@/{database}?host={hosts}&target_session_attrs=read-write"
        with work.open(f"{url}&statement_timeout=0.5") as app:
            app.start("walk", {"first": ""}, run_id="r1")
            run = app.get("r1")
            with pytest.raises(StorageRefused, match="name the primary"):
                replica.commit(run, run)
            with working(app):
                assert work.happened.wait(PATIENCE)
                with pytest.raises(StorageUnavailable, match="read-only"):
                    app.start("walk", {"first": ""}, run_id="r2")
                until(lambda: "read-only" in caplog.text)
                standby.execute("SELECT pg_promote()")
                until(lambda: is_complete(app, "r1"))
            assert [step.position for step in app.steps("r1")] == ["0", "1", "2"]
            assert (work.calls[0], work.calls[2]) == (1, 1)
        # What was a replica takes writes, from who knew it before too.
        assert replica.probe().checks


@contextmanager
def closing_all(storage: Storage) -> Iterator[Storage]:
    try:
        yield storage
    finally:
        storage.close()

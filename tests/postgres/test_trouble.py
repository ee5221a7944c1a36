"""Servers that go away, say no, stand still or crash: what is told, and that nothing is lost."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from sequential.errors import (
    OutcomeUnknown,
    StorageError,
    StorageRefused,
    StorageUnavailable,
)
from sequential.storage import STALE, At, Query, Run, Storage, evolve
from sequential.testing import FakeClock
from sequential_postgres.driver_errors import translate, translate_write
from sequential_postgres.plugin import open_postgres
from sequential_postgres.storage import PostgresStorage
from tests.core.storage_cases import applied, found, make_run, make_step, numbers
from tests.fix_postgres import OwnServer
from tests.postgres.proxy import Pooler, pooler
from tests.proxy import Fate

SECRET = "correct-horse"
SOON = "0.5"


@pytest.fixture
def url(own_postgres: OwnServer) -> str:
    return own_postgres.url(own_postgres.emptied(), statement_timeout="3")


@pytest.fixture
def storage(url: str) -> Iterator[PostgresStorage]:
    storage = open_postgres(url, FakeClock())
    assert isinstance(storage, PostgresStorage)
    yield storage
    storage.close()


def through(proxy: Pooler, database: str, **options: str) -> str:
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"postgresql://postgres@127.0.0.1:{proxy.port}/{database}?{query}"


def socket_of(server: OwnServer) -> Path:
    return server.folder / ".s.PGSQL.5432"


# -- restarts and crashes


def test_a_restart_between_two_operations_is_not_noticed(
    own_postgres: OwnServer, storage: PostgresStorage
) -> None:
    run = storage.create(make_run())
    for crash in (False, True):
        own_postgres.restart(crash=crash)
        run = applied(storage.commit(run, run, (make_step(run.version - 1),)))
        own_postgres.restart(crash=crash)
        assert found(storage.load("r1")).run == run


def test_a_restart_is_one_line_in_the_log(
    own_postgres: OwnServer, storage: PostgresStorage, caplog: pytest.LogCaptureFixture
) -> None:
    together = threading.Barrier(4)

    def take(_: int) -> None:
        with storage._connections._one():
            together.wait(20)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take, range(4)))
        own_postgres.restart()
        list(pool.map(take, range(4)))
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in warnings] == ["sequential"]
    assert "connections were lost" in caplog.text


def test_an_outage_is_waited_for_and_said(own_postgres: OwnServer, storage: Storage) -> None:
    run = storage.create(make_run(wake=At(1.0)))
    own_postgres.stop()
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        storage.commit(run, run)
    assert time.monotonic() - began < 10
    own_postgres.start()
    assert list(storage.due(5, None, 30.0)) == ["r1"]
    applied(storage.commit(run, run))


def test_what_was_confirmed_outlives_the_crash_of_the_server(
    own_postgres: OwnServer, storage: PostgresStorage
) -> None:
    own_postgres.restart(fsync="on")
    book = Book()
    threads = [Writer(storage, book, name) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for crash in (True, False, True):
        book.wait_for_more(15)
        own_postgres.restart(crash=crash, fsync="on")
    book.wait_for_more(15)
    book.stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    own_postgres.restart()
    assert book.errors == []
    for name, confirmed in book.confirmed.items():
        loaded = found(storage.load(name))
        assert loaded.run.cursor == len(loaded.steps)
        assert numbers(loaded) == list(range(len(loaded.steps)))
        assert [step.op_id for step in loaded.steps] == confirmed


def ended(run: Run) -> Run:
    from sequential.storage import Status

    return evolve(run, status=Status.COMPLETED)


class Book:
    """What writers were told."""

    def __init__(self) -> None:
        self.confirmed: dict[str, list[str]] = {}
        self.errors: list[BaseException] = []
        self.stop = threading.Event()

    def wait_for_more(self, count: int) -> None:
        target = self.total() + count
        end = time.monotonic() + 30
        while self.total() < target and not self.errors:
            assert time.monotonic() < end, "nobody gets on"
            time.sleep(0.005)

    def total(self) -> int:
        return sum(map(len, list(self.confirmed.values())))


def insist(work: Callable[[], Run]) -> Run:
    """Return what *work* returns once the server is there again."""
    while True:
        try:
            return work()
        except (StorageUnavailable, OutcomeUnknown):
            continue


class Writer(threading.Thread):
    """Appends steps as the core does: sends again what was not applied, reads what is unknown."""

    def __init__(self, storage: Storage, book: Book, name: str) -> None:
        super().__init__(daemon=True)
        self.storage = storage
        self.book = book
        self.key = name
        book.confirmed[name] = []

    def run(self) -> None:
        try:
            stored = insist(lambda: self.storage.create(make_run(self.key)))
            while not self.book.stop.is_set():
                stored = self.step(stored)
        except BaseException as error:  # noqa: BLE001  (the test looks at it)
            self.book.errors.append(error)

    def step(self, stored: Run) -> Run:
        number = stored.cursor
        op_id = f"{self.key}{number}"
        changed = evolve(stored, cursor=number + 1, op_id=op_id)
        while True:
            try:
                answer = self.storage.commit(changed, stored, (make_step(number, op_id=op_id),))
            except StorageUnavailable:
                continue
            except OutcomeUnknown:
                loaded = insist(lambda: found(self.storage.load(self.key)).run)
                if loaded.op_id == op_id:
                    self.book.confirmed[self.key].append(op_id)
                    return loaded
                assert loaded == stored
                continue
            assert answer is not STALE, "a commit that was called not applied was applied"
            self.book.confirmed[self.key].append(op_id)
            return applied(answer)


def test_a_server_that_stands_still_is_not_waited_for(own_postgres: OwnServer, url: str) -> None:
    short = url.replace("statement_timeout=3", "statement_timeout=1")
    storage = open_postgres(short, FakeClock())
    run = storage.create(make_run())
    own_postgres.freeze()
    try:
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            storage.commit(run, run)
        assert time.monotonic() - began < 20
    finally:
        own_postgres.thaw()
    assert insist(lambda: found(storage.load("r1")).run).version in {1, 2}
    storage.close()


def test_a_read_that_was_not_answered_is_not_asked_again_and_again(
    own_postgres: OwnServer, url: str
) -> None:
    asked: list[int] = []

    def hang(number: int) -> Fate:
        asked.append(number)
        return "hang"

    database = own_postgres.emptied()
    with pooler(socket_of(own_postgres)) as proxy:
        address = through(proxy, database, prepare="off", statement_timeout="0.5")
        storage = open_postgres(address, FakeClock())
        storage.create(make_run())
        proxy.decide = hang
        with pytest.raises(StorageUnavailable):
            storage.load("r1")
        assert len(asked) == 1
        storage.close()


# -- cut between request and reply


def test_a_lost_reply_is_unknown_and_a_lost_request_too(
    own_postgres: OwnServer,
) -> None:
    fates: list[Fate] = []
    database = own_postgres.emptied()
    with pooler(
        socket_of(own_postgres), decide=lambda _: fates.pop(0) if fates else "pass"
    ) as proxy:
        storage = open_postgres(through(proxy, database, prepare="off"), FakeClock())
        fates[:] = ["after"]
        with pytest.raises(OutcomeUnknown):
            storage.create(make_run())
        run = found(storage.load("r1")).run
        for turn in range(10):
            before = run.version
            fate: Fate = ("before", "after")[turn % 2]
            fates[:] = [fate]
            with pytest.raises(OutcomeUnknown):
                storage.commit(run, run, (make_step(turn),))
            loaded = found(storage.load("r1"))
            assert loaded.run.version == before + (fate == "after")
            if fate == "before":
                run = applied(storage.commit(run, run, (make_step(turn),)))
            else:
                run = loaded.run
        assert numbers(storage.load("r1")) == list(range(10))
        fates[:] = ["before", "after"]
        assert found(storage.load("r1")).run == run
        fates[:] = ["after", "before"]
        assert storage.get_value("r1", storage.put_value("r1", b"1")) == b"1"
        fates[:] = ["before", "after", "before"]
        with pytest.raises(StorageUnavailable):
            storage.load("r1")
        fates[:] = ["after"]
        with pytest.raises(OutcomeUnknown):
            storage.due(5, None, 30.0)
        fates[:] = ["after"]
        with pytest.raises(OutcomeUnknown):
            storage.purge(ended(run))
        fates.clear()
        assert not storage.purge(ended(run))
        storage.close()


# -- behind a pooler


def test_nothing_is_left_in_a_session_behind_a_pooler(own_postgres: OwnServer) -> None:
    database = own_postgres.database(empty=True)
    with pooler(socket_of(own_postgres)) as proxy:
        first = own_postgres.database()  # the schema is set up by its owner, on a plain connection
        storage = open_postgres(through(proxy, first, prepare="off"), FakeClock())
        run = storage.create(make_run(tags={"a": "1"}))
        for number in range(12):  # prepared from the sixth on, if it were
            run = applied(
                storage.commit(evolve(run, tags={"a": str(number)}), run, (make_step(number),))
            )
            assert numbers(storage.load("r1")) == list(range(number + 1))
            assert [each.run_id for each in storage.find(Query(tags={"a": str(number)})).runs]
        storage.due(5, None, 30.0)
        storage.probe()
        assert proxy.options == []
        for reply in proxy.ask_all("SELECT 'left:' || count(*) FROM pg_prepared_statements"):
            assert b"left:0" in reply
        for reply in proxy.ask_all(
            "SELECT 'left:' || count(*) FROM pg_locks WHERE locktype = 'advisory'"
        ):
            assert b"left:0" in reply
        for reply in proxy.ask_all("SELECT 'path:' || current_setting('search_path')"):
            assert b'path:"$user", public' in reply
        storage.close()
    own_postgres.drop(first)
    own_postgres.drop(database)


def test_prepared_statements_behind_a_pooler_say_what_to_do(own_postgres: OwnServer) -> None:
    database = own_postgres.emptied()
    with pooler(socket_of(own_postgres)) as proxy:
        storage = open_postgres(through(proxy, database), FakeClock())
        with pytest.raises(StorageRefused, match="prepare=off"):
            _load_often(storage)
        storage.close()


def _load_often(storage: Storage) -> None:
    for _ in range(20):
        storage.load("r1")


# -- a server that says no


@pytest.fixture
def gate(own_postgres: OwnServer) -> Iterator[OwnServer]:
    """A server that asks the role ``bob`` for a password, and lets ``eve`` nowhere."""
    rules = own_postgres._data / "pg_hba.conf"
    before = rules.read_text()
    own_postgres.execute(f"CREATE ROLE bob LOGIN SUPERUSER PASSWORD '{SECRET}'")
    rules.write_text(f"local all bob scram-sha-256\nlocal all eve reject\n{before}")
    own_postgres.execute("SELECT pg_reload_conf()")
    wait_until(lambda: len(own_postgres.execute("SELECT 1 FROM pg_hba_file_rules")) > 6)
    yield own_postgres
    rules.write_text(before)
    own_postgres.execute("SELECT pg_reload_conf()")
    own_postgres.execute("DROP ROLE bob")


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def as_bob(server: OwnServer, password: str) -> str:
    database = server.emptied()
    return server.url(database, statement_timeout="1").replace("postgres@", f"bob:{password}@")


def test_the_right_password_opens_and_no_text_repeats_a_password(
    gate: OwnServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    storage = open_postgres(as_bob(gate, SECRET), FakeClock())
    assert isinstance(storage, PostgresStorage)
    run = storage.create(make_run())
    told = [repr(storage), repr(vars(storage)), str(storage.probe())]
    told += [repr(storage._connections._pool), repr(vars(storage._connections))]
    for wrong in ("hunter2", ""):
        with pytest.raises(StorageRefused, match=r"password|let us in") as caught:
            open_postgres(as_bob(gate, wrong), FakeClock())
        told += [str(caught.value), repr(caught.value), repr(caught.value.__cause__)]
    # A password that is changed while workers run.
    gate.execute("ALTER ROLE bob PASSWORD 'other-horse'")
    gate.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bob'")
    wait_until(lambda: not gate.execute("SELECT 1 FROM pg_stat_activity WHERE usename = 'bob'"))
    with pytest.raises(StorageRefused, match="does not let us in") as refused:
        storage.commit(run, run)
    told += [str(refused.value), repr(refused.value), repr(refused.value.__cause__)]
    storage.close()
    everything = "\n".join([*told, caplog.text])
    for secret in (SECRET, "hunter2", "other-horse"):
        assert secret not in everything
    with Path(f"/proc/{os.getpid()}/cmdline").open("rb") as line:
        assert SECRET.encode() not in line.read()


@pytest.mark.parametrize(
    ("user", "database", "hint"),
    [
        ("nobody-here", "postgres", 'role "nobody-here" does not exist'),
        ("eve", "postgres", "pg_hba.conf"),
        ("postgres", "nothing", 'database "nothing" does not exist'),
    ],
)
def test_who_is_not_let_in_is_told_why(
    gate: OwnServer, user: str, database: str, hint: str
) -> None:
    url = gate.url(database).replace("postgres@", f"{user}:{SECRET}@")
    with pytest.raises(StorageRefused, match="does not let us in") as caught:
        open_postgres(url, FakeClock())
    assert hint in str(caught.value)
    assert SECRET not in str(caught.value)


def test_an_address_where_nobody_listens_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match=r"No such file|connection"):
        open_postgres(f"postgresql:///x?host={quote(str(tmp_path), safe='')}", FakeClock())
    with pytest.raises(StorageUnavailable, match="refused"):
        open_postgres("postgresql://127.0.0.1:1/x", FakeClock())


def test_a_server_that_became_read_only_is_named_and_left(
    own_postgres: OwnServer, storage: PostgresStorage
) -> None:
    run = storage.create(make_run())
    own_postgres.restart(default_transaction_read_only="on")
    try:
        with pytest.raises(StorageRefused, match="target_session_attrs=read-write"):
            storage.commit(run, run)
        with pytest.raises(StorageRefused, match="read-only"):
            storage.probe()
        assert found(storage.load("r1")).run == run
    finally:
        own_postgres.restart()
    applied(storage.commit(run, run))


def test_a_row_that_stays_locked_is_not_waited_for(own_postgres: OwnServer, url: str) -> None:
    storage = open_postgres(
        url.replace("statement_timeout=3", f"statement_timeout={SOON}"), FakeClock()
    )
    run = storage.create(make_run(wake=At(1.0)))
    with psycopg.connect(
        url.partition("?")[0] + f"?host={quote(str(own_postgres.folder))}"
    ) as other:
        other.execute("SELECT 1 FROM sequential.runs FOR UPDATE")
        with pytest.raises(StorageUnavailable, match="statement timeout"):
            storage.commit(run, run)
        assert list(storage.due(5, None, 30.0)) == []
    assert list(storage.due(5, None, 30.0)) == ["r1"]
    applied(storage.commit(run, run))
    storage.close()


def test_no_free_connection_is_said(url: str) -> None:
    storage = open_postgres(
        f"{url}&pool=1".replace("statement_timeout=3", "statement_timeout=1"), FakeClock()
    )
    assert isinstance(storage, PostgresStorage)
    with storage._connections._one(), pytest.raises(StorageUnavailable, match="all 1 connections"):
        storage.load("r1")
    assert storage.load("r1") is None
    storage.close()


def test_a_closed_storage_says_so(storage: PostgresStorage) -> None:
    storage.create(make_run())
    storage.close()
    for _ in range(2):
        with pytest.raises(StorageRefused, match="closed"):
            storage.load("r1")


def test_a_fork_has_connections_of_its_own(storage: PostgresStorage) -> None:
    run = storage.create(make_run())
    child = os.fork()
    if child == 0:
        try:
            applied(storage.commit(run, run, (make_step(0),)))
            os._exit(0)
        except BaseException:  # noqa: BLE001  (the exit code tells)
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert numbers(storage.load("r1")) == [0]
    assert found(storage.load("r1")).run.version == 2


# -- what each code means


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (psycopg.errors.DiskFull, StorageRefused, "disk is full"),
        (psycopg.errors.QueryCanceled, StorageUnavailable, "statement timeout"),
        (psycopg.errors.LockNotAvailable, StorageUnavailable, "locked"),
        (psycopg.errors.SerializationFailure, StorageUnavailable, "gave up"),
        (psycopg.errors.DeadlockDetected, StorageUnavailable, "gave up"),
        (psycopg.errors.TooManyConnections, StorageUnavailable, "short of"),
        (psycopg.errors.OutOfMemory, StorageUnavailable, "short of"),
        (psycopg.errors.AdminShutdown, StorageUnavailable, "going down"),
        (psycopg.errors.IoError, StorageUnavailable, "its system"),
        (psycopg.errors.InsufficientPrivilege, StorageRefused, "role.sql"),
        (psycopg.errors.ReadOnlySqlTransaction, StorageRefused, "primary"),
        (psycopg.errors.UndefinedTable, StorageRefused, "migrate"),
        (psycopg.errors.InvalidSqlStatementName, StorageRefused, "prepare=off"),
        (psycopg.errors.ProgramLimitExceeded, StorageRefused, "too long"),
        (psycopg.errors.DataCorrupted, StorageRefused, "DataCorrupted"),
        (psycopg.DataError, StorageRefused, "DataError"),
        (OverflowError, StorageRefused, "OverflowError"),
        (psycopg.OperationalError, StorageUnavailable, "gone"),
    ],
)
def test_each_error_of_the_driver_has_its_meaning(
    error: type[Exception], kind: type[StorageError], says: str
) -> None:
    known = translate(error("gone"), "postgresql://h/d")
    assert type(known) is kind
    assert says in str(known)
    assert type(translate_write(error("gone"), "here", lost=False)) is kind
    assert type(translate_write(error("gone"), "here", lost=True)) is OutcomeUnknown

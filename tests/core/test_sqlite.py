"""What is SQLite's own: whose file it is, disks that say no, crashes, forks, other processes."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from sequential._clock import SYSTEM_CLOCK
from sequential._model import At, Run, Status, evolve
from sequential._records import pack_run, pack_state
from sequential._sqlite import SqliteStorage, open_sqlite, queries
from sequential._sqlite.driver_errors import translate, translate_commit
from sequential._sqlite.probe import file_system, probe
from sequential._sqlite.queries import CREATE_RUN, count_query, due_query, find_query
from sequential._sqlite.schema import MIGRATIONS, prepare, read_migration
from sequential._sqlite.url import SqliteSettings, read_sqlite_url
from sequential._storage import Query
from sequential.errors import (
    ConfigError,
    OutcomeUnknown,
    RecordCorrupt,
    SchemaTooNew,
    StorageError,
    StorageForeign,
    StorageRefused,
    StorageUnavailable,
    ValueCorrupt,
)
from sequential.testing import FakeClock
from sequential.testing._storage_finding import all_pages
from tests.core.storage_cases import applied, found, full_run, make_run, make_step, numbers, plain

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flows.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def storage(path: Path, clock: FakeClock) -> Iterator[SqliteStorage]:
    storage = open_sqlite(url(path), clock)
    yield storage
    storage.close()


def url(path: Path, options: str = "synchronous=normal&timeout=5") -> str:
    return f"sqlite:///{path}?{options}"


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection of our own, beside the storage."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def inner(storage: SqliteStorage) -> sqlite3.Connection:
    """Return the storage's connection of this thread."""
    connection = storage._connections._slot().connection
    assert connection is not None
    return connection


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start Python on *script*, with what it imports from here."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path.cwd())])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


# -- the address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sqlite:///flows.db", SqliteSettings("flows.db")),
        ("sqlite:///a/b.db", SqliteSettings("a/b.db")),
        ("sqlite:////var/x.db", SqliteSettings("/var/x.db")),
        ("sqlite:////a%20b%3F.db", SqliteSettings("/a b?.db")),
        ("sqlite:///x.db?synchronous=normal", SqliteSettings("x.db", "normal")),
        ("sqlite:///x.db?synchronous=FULL&timeout=1.5", SqliteSettings("x.db", "full", 1.5)),
    ],
)
def test_an_address_says_where_and_how(text: str, expected: SqliteSettings) -> None:
    assert read_sqlite_url(text) == expected


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("sqlite://", "memory://"),
        ("sqlite:///", "memory://"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///dir/", "name a file"),
        ("sqlite://flows.db", "sqlite:///relative.db"),
        ("sqlite:flows.db", "sqlite:///relative.db"),
        ("sqlite:///a%00b", "NUL"),
        ("sqlite:///x.db?sync=full", "synchronous, timeout"),
        ("sqlite:///x.db?synchronous=off", "full or normal"),
        ("sqlite:///x.db?timeout=soon", "seconds"),
        ("sqlite:///x.db?timeout=nan", "seconds"),
        ("sqlite:///x.db?timeout=-1", "seconds"),
        ("sqlite:///x.db?timeout=", "seconds"),
    ],
)
def test_an_address_that_says_nothing_is_refused(text: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        read_sqlite_url(text)


def test_odd_characters_in_a_path_are_only_characters(tmp_path: Path, clock: FakeClock) -> None:
    name = "a b?#%&=é'.db"
    storage = open_sqlite(
        "sqlite:///" + str(tmp_path / name).replace("%", "%25").replace("?", "%3F"), clock
    )
    storage.close()
    assert (tmp_path / name).exists()


# -- whose file it is


def test_an_empty_file_is_set_up(path: Path, clock: FakeClock) -> None:
    path.touch()
    with open_and_close(path, clock) as storage:
        storage.create(make_run())


def test_what_was_written_is_there_when_it_is_opened_again(path: Path, clock: FakeClock) -> None:
    with open_and_close(path, clock) as storage:
        deployment = storage.deployment
        storage.create(full_run(), (make_step(0, generation=3),))
    with open_and_close(path, clock) as storage:
        assert storage.deployment == deployment
        assert found(storage.load("full")).run == full_run()


@contextmanager
def open_and_close(path: Path, clock: FakeClock) -> Iterator[SqliteStorage]:
    storage = open_sqlite(url(path), clock)
    try:
        yield storage
    finally:
        storage.close()


def foreign_tables(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("CREATE TABLE invoices (id)")


def foreign_mark(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("PRAGMA application_id = 77")


def foreign_version(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("PRAGMA user_version = 3")


def text_file(path: Path) -> None:
    path.write_text("Dear diary, " * 100)


@pytest.mark.parametrize("make", [foreign_tables, foreign_mark, foreign_version, text_file])
def test_a_foreign_file_is_refused_and_left_alone(
    path: Path, clock: FakeClock, make: Callable[[Path], None]
) -> None:
    make(path)
    before = path.read_bytes()
    with pytest.raises(StorageForeign, match=r"flows\.db"):
        open_sqlite(url(path), clock)
    assert path.read_bytes() == before


def test_a_future_schema_is_refused(path: Path, clock: FakeClock) -> None:
    open_sqlite(url(path), clock).close()
    with raw(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(SchemaTooNew, match="newer sequential-core"):
        open_sqlite(url(path), clock)


def test_a_missing_directory_is_named_and_not_made(tmp_path: Path, clock: FakeClock) -> None:
    missing = tmp_path / "no" / "such"
    with pytest.raises(StorageRefused, match=f"no directory {missing}; create it"):
        open_sqlite(url(missing / "flows.db"), clock)
    assert not (tmp_path / "no").exists()


def test_a_directory_is_not_a_file(tmp_path: Path, clock: FakeClock) -> None:
    with pytest.raises(StorageRefused):
        open_sqlite(url(tmp_path), clock)


def test_a_file_that_was_taken_away_is_not_made_anew(path: Path, storage: SqliteStorage) -> None:
    storage.create(make_run())
    inner(storage).close()
    storage._connections._slot().connection = None
    path.unlink()
    with pytest.raises(StorageRefused):
        storage.load("r1")
    assert not path.exists()


def test_an_old_sqlite_is_refused(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(StorageRefused, match=r"3\.35"):
        open_sqlite(url(path), clock)


def test_a_closed_storage_says_so(path: Path, clock: FakeClock) -> None:
    storage = open_sqlite(url(path), clock)
    storage.close()
    with pytest.raises(StorageRefused, match="closed"):
        storage.load("r1")


# -- migrations

SECOND = "ALTER TABLE runs ADD COLUMN colour TEXT;\nCREATE TABLE extra (a);\n"


def prepare_with(path: Path, *scripts: str) -> int:
    """Open the file with those migrations; return the version it has then."""
    with raw(path) as connection:
        prepare(connection, SqliteSettings(str(path)), scripts)
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_a_file_of_the_first_version_is_brought_up_to_date(path: Path, clock: FakeClock) -> None:
    first = read_migration(MIGRATIONS[0])
    assert prepare_with(path, first) == 1
    with raw(path) as connection:
        (deployment,) = connection.execute("SELECT deployment FROM meta").fetchone()
        run = evolve(make_run(status=Status.FAILED, created=1.0), version=1)
        connection.execute(CREATE_RUN, pack_run(run))
    with open_and_close(path, clock) as storage:
        assert storage.deployment == deployment
        assert list(storage.find(Query(statuses=[Status.FAILED])).runs) == [run]
        assert storage.schema == len(MIGRATIONS) == 2


def test_every_migration_is_applied_once(path: Path) -> None:
    first = read_migration(MIGRATIONS[0])
    assert prepare_with(path, first) == 1
    with raw(path) as connection:
        (deployment,) = connection.execute("SELECT deployment FROM meta").fetchone()
        connection.execute(CREATE_RUN, pack_run(evolve(make_run(), created=1.0)))
    assert prepare_with(path, first, SECOND) == 2
    assert prepare_with(path, first, SECOND) == 2
    with raw(path) as connection:
        assert connection.execute("SELECT colour FROM runs").fetchall() == [(None,)]
        assert connection.execute("SELECT deployment FROM meta").fetchall() == [(deployment,)]


def test_a_new_file_goes_through_every_version(path: Path) -> None:
    assert prepare_with(path, read_migration(MIGRATIONS[0]), SECOND) == 2


def test_a_migration_that_fails_leaves_the_version_before(path: Path) -> None:
    first = read_migration(MIGRATIONS[0])
    with pytest.raises(sqlite3.Error):
        prepare_with(path, first, "CREATE TABLE extra (a);\nCREATE TABLE extra (a);\n")
    assert prepare_with(path, first) == 1
    assert prepare_with(path, first, SECOND) == 2


def test_sixteen_openers_set_a_new_file_up_once(path: Path) -> None:
    barrier = threading.Barrier(16)
    deployments: list[str] = []

    def work() -> None:
        barrier.wait()
        storage = open_sqlite(url(path), SYSTEM_CLOCK)
        deployments.append(storage.deployment)
        storage.close()

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(deployments) == 16
    assert len(set(deployments)) == 1


OPEN_TOGETHER = """
import sys
from sequential._clock import SYSTEM_CLOCK
from sequential._sqlite import open_sqlite
print("ready", flush=True)
sys.stdin.readline()
print(open_sqlite(sys.argv[1], SYSTEM_CLOCK).deployment)
"""


def test_processes_that_open_a_new_file_at_once_agree(path: Path) -> None:
    processes = [start(OPEN_TOGETHER, url(path)) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(answers) == 1


# -- a disk that says no


@contextmanager
def as_nobody() -> Iterator[None]:
    """Give up root's rights for a while: permission bits do not stop root."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        yield


def open_path_to(path: Path) -> None:
    """Let everybody reach *path*'s directory, as pytest's own are private."""
    if os.geteuid() == 0:
        for parent in path.parents[:3]:
            parent.chmod(0o755)


def test_a_read_only_file_is_refused(path: Path, clock: FakeClock) -> None:
    storage = open_sqlite(url(path), clock)
    storage.create(make_run())
    storage.close()
    open_path_to(path)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        with as_nobody(), pytest.raises(StorageRefused, match=r"flows\.db"):
            open_sqlite(url(path), clock).create(make_run("r2"))
    finally:
        path.parent.chmod(0o755)


def test_a_read_only_directory_is_refused(path: Path, clock: FakeClock) -> None:
    open_path_to(path)
    path.parent.chmod(0o555)
    try:
        with as_nobody(), pytest.raises(StorageRefused, match=r"flows\.db"):
            open_sqlite(url(path), clock)
    finally:
        path.parent.chmod(0o755)


def test_a_connection_that_may_only_read_is_refused(storage: SqliteStorage) -> None:
    inner(storage).execute("PRAGMA query_only = ON")
    with pytest.raises(StorageRefused, match="read-only"):
        storage.create(make_run())
    inner(storage).execute("PRAGMA query_only = OFF")
    assert storage.create(make_run()).version == 1


def test_a_full_disk_is_refused_and_nothing_is_written(storage: SqliteStorage) -> None:
    """The page limit makes SQLite itself say SQLITE_FULL, as a disk without room does."""
    run = storage.create(make_run())
    before = storage.load("r1")
    pages = inner(storage).execute("PRAGMA page_count").fetchone()[0]
    inner(storage).execute(f"PRAGMA max_page_count = {pages}")
    big = plain(b'"' + b"x" * 100_000 + b'"')
    with pytest.raises(StorageRefused, match="full"):
        storage.commit(evolve(run, owner="me"), run, (make_step(0, value=big),))
    assert storage.load("r1") == before
    inner(storage).execute("PRAGMA max_page_count = 100000")
    assert applied(storage.commit(run, run, (make_step(0, value=big),))).version == 2


def test_an_error_of_the_disk_at_commit_leaves_the_outcome_open(
    path: Path, storage: SqliteStorage
) -> None:
    """A limit on the size of files makes the write of the log fail, inside COMMIT."""
    run = storage.create(make_run())
    size = path.with_name("flows.db-wal").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with pytest.raises(OutcomeUnknown, match="COMMIT"):
            storage.commit(run, run, (make_step(0),))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert found(storage.load("r1")).run.version == 1
    assert applied(storage.commit(run, run, (make_step(0),))).version == 2


def test_a_lock_that_is_never_given_back_is_unavailable(path: Path, clock: FakeClock) -> None:
    storage = open_sqlite(url(path, "timeout=0.05"), clock)
    run = storage.create(make_run())
    with raw(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="locked"):
            storage.commit(run, run)
        assert found(storage.load("r1")).run == run
        connection.execute("ROLLBACK")
    assert applied(storage.commit(run, run)).version == 2
    storage.close()


class Patience:
    """Time that passes only while somebody waits: for a turn, nearly as long as allowed."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def acquire(self, timeout: float) -> bool:
        self.now += 0.9 * timeout
        return True

    def release(self) -> None:
        """Let others have the turn."""


def test_threads_and_the_file_are_waited_for_together(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, waited = open_sqlite(url(path, "timeout=5"), clock), Patience()
    run = storage.create(make_run())
    monkeypatch.setattr("sequential._sqlite.connection.time", waited)
    monkeypatch.setattr(storage._connections, "_turn", waited)
    with raw(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="locked"):
            storage.commit(run, run)
        connection.execute("ROLLBACK")
    assert waited.now == pytest.approx(5, abs=0.01)
    storage.close()


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("it said no")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "before", "at_commit"),
    [
        (sqlite3.SQLITE_FULL, StorageRefused, StorageRefused),
        (sqlite3.SQLITE_READONLY, StorageRefused, StorageRefused),
        (sqlite3.SQLITE_READONLY_DBMOVED, StorageRefused, StorageRefused),
        (sqlite3.SQLITE_CANTOPEN, StorageRefused, OutcomeUnknown),
        (sqlite3.SQLITE_BUSY, StorageUnavailable, StorageUnavailable),
        (sqlite3.SQLITE_LOCKED, StorageUnavailable, OutcomeUnknown),
        (sqlite3.SQLITE_IOERR_FSYNC, StorageUnavailable, OutcomeUnknown),
        (sqlite3.SQLITE_NOTADB, StorageForeign, OutcomeUnknown),
        (sqlite3.SQLITE_CORRUPT, StorageForeign, OutcomeUnknown),
        (sqlite3.SQLITE_ERROR, StorageRefused, OutcomeUnknown),
    ],
)
def test_an_error_means_what_it_leaves_behind(
    code: int, before: type[StorageError], at_commit: type[StorageError]
) -> None:
    error = sqlite_error(code)
    assert type(translate(error, "x.db")) is before
    assert type(translate_commit(error, "x.db", rolled_back=True)) is at_commit
    assert type(translate_commit(error, "x.db", rolled_back=False)) is OutcomeUnknown


# -- crashes and other processes

KILLED = """
import sys
from sequential._clock import SYSTEM_CLOCK
from sequential._sqlite import open_sqlite
storage = open_sqlite(sys.argv[1], SYSTEM_CLOCK)
with storage._connections.writing() as connection:
    connection.execute("UPDATE runs SET version = 99")
    print("written", flush=True)
    sys.stdin.readline()
"""


def test_a_writer_that_is_killed_before_its_commit_leaves_nothing(
    path: Path, storage: SqliteStorage
) -> None:
    run = storage.create(make_run())
    with start(KILLED, url(path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert found(storage.load("r1")).run == run
    assert applied(storage.commit(run, run)).version == 2


WRITER = """
import sys
from sequential._clock import SYSTEM_CLOCK
from sequential._sqlite import open_sqlite
from tests.core.storage_cases import STALE, evolve, make_step
storage, done = open_sqlite(sys.argv[1], SYSTEM_CLOCK), 0
while done < int(sys.argv[3]):
    run = storage.load("r1").run
    step = make_step(run.cursor, op_id=sys.argv[2])
    changed = evolve(run, cursor=run.cursor + 1, owner=sys.argv[2])
    if storage.commit(changed, run, (step,)) is not STALE:
        done += 1
"""


def test_processes_that_write_at_once_lose_nothing(path: Path, storage: SqliteStorage) -> None:
    storage.create(make_run())
    processes = [start(WRITER, url(path, "timeout=30"), name, 25) for name in ("a", "b", "c")]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    loaded = found(storage.load("r1"))
    assert loaded.run.cursor == len(loaded.steps) == 75
    assert loaded.run.version == loaded.run.cursor + 1
    assert numbers(loaded) == list(range(len(loaded.steps)))
    assert {step.op_id for step in loaded.steps} == {"a", "b", "c"}


FORKED = """
import os, sys, threading
from sequential._clock import SYSTEM_CLOCK
from sequential._sqlite import open_sqlite
from tests.core.storage_cases import evolve, make_run, make_step

storage = open_sqlite(sys.argv[1], SYSTEM_CLOCK)
run = storage.create(make_run())
stop = threading.Event()
def busy():
    while not stop.is_set():
        storage.put_value("r1", os.urandom(8))
thread = threading.Thread(target=busy)
thread.start()
closed, tell = os.pipe()
child = os.fork()
if child == 0:
    for number in range(20):
        run = storage.commit(evolve(run, cursor=number + 1), run, (make_step(number),))
    os.read(closed, 1)  # the parent has closed its last connection by now
    for number in range(20, 40):
        run = storage.commit(evolve(run, cursor=number + 1), run, (make_step(number),))
    os._exit(0 if run.version == 41 else 1)
stop.set()
thread.join()
storage.load("r1")
storage.close()
os.write(tell, b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_inherits_no_connection(path: Path) -> None:
    process = start(FORKED, url(path))
    process.communicate()
    assert process.returncode == 0
    storage = open_sqlite(url(path), SYSTEM_CLOCK)
    assert numbers(storage.load("r1")) == list(range(40))
    with raw(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    storage.close()


def test_each_thread_has_its_own_connection_and_takes_it_along(storage: SqliteStorage) -> None:
    mine = inner(storage)
    others: list[int] = []

    def work() -> None:
        storage.load("r1")
        others.append(id(inner(storage)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert others != [id(mine)]
    assert [slot.connection for slot in storage._connections._slots] == [mine]


# -- time


def test_time_does_not_go_back_for_a_process_whose_clock_is_behind(path: Path) -> None:
    ahead, behind = FakeClock(1_000_000.0), FakeClock(999_990.0)
    first = open_sqlite(url(path), ahead)
    first.create(make_run())
    second = open_sqlite(url(path), behind)
    assert found(second.load("r1")).now == 1_000_000.0
    ahead.advance(100)
    first.create(make_run("r2"))
    behind.advance(20)
    assert found(second.load("r1")).now == 1_000_100.0
    first.close()
    second.close()


def test_a_step_writes_the_time_at_most_once_a_second(
    storage: SqliteStorage, clock: FakeClock
) -> None:
    run = storage.create(make_run())
    statements: list[str] = []
    inner(storage).set_trace_callback(statements.append)
    for number in range(5):
        clock.advance(0.125)
        run = applied(storage.commit(run, run, (make_step(number),)))
    assert len([text for text in statements if "meta" in text]) == 0
    assert [text.split()[0] for text in statements] == ["BEGIN", "UPDATE", "INSERT", "COMMIT"] * 5
    assert statements[0] == "BEGIN IMMEDIATE"
    clock.advance(1)
    storage.commit(run, run)
    assert len([text for text in statements if text.startswith("UPDATE meta")]) == 1


# -- damage

DAMAGE: dict[str, list[object]] = {
    "generation": [-1, "x", b"x"],
    "version": [-1, 0, "x"],
    "op_id": [b"x"],
    "flow": [b"x"],
    "flow_version": [b"x"],
    "status": ["dancing", "", b"paused"],
    "wake": [-1.0, "soon", b"x"],
    "tags": ["", "[]", "{", b"{}"],
    "parent": [b"x"],
    "created": [-1.0, "x"],
    "ended": [-1.0, "x"],
    "state": ["text", b"", b"{}", 5],
}
DAMAGED_RUNS = [(column, value) for column, values in DAMAGE.items() for value in values]


@pytest.mark.parametrize(("column", "value"), DAMAGED_RUNS)
def test_a_damaged_run_is_named(
    path: Path, storage: SqliteStorage, column: str, value: object
) -> None:
    storage.create(full_run())
    with raw(path) as connection:
        connection.execute(f"UPDATE runs SET {column} = ?", (value,))
    with pytest.raises(RecordCorrupt, match=f"(?s)full.*{column}"):
        storage.load("full")
    assert storage.find(Query()).runs == []


@pytest.mark.parametrize("field", sorted(json.loads(pack_state(full_run()))))
def test_a_damaged_state_in_the_file_is_named(
    path: Path, storage: SqliteStorage, field: str
) -> None:
    run = storage.create(full_run())
    state = json.loads(pack_state(run))
    state[field] = {"__reduce__": ["os.system", "x"]}
    with raw(path) as connection:
        connection.execute("UPDATE runs SET state = ?", (json.dumps(state).encode(),))
    with pytest.raises(RecordCorrupt, match=field):
        storage.load("full")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("kind", "robot"),
        ("outcome", ""),
        ("value", "text"),
        ("value", b"\x01{"),
        ("input", 5),
        ("attempts", -1),
        ("started", "x"),
        ("fence", -1),
        ("v", 0),
        ("v", 99),
        ("tool", b"x"),
    ],
)
def test_a_damaged_step_is_named(
    path: Path, storage: SqliteStorage, column: str, value: object
) -> None:
    storage.create(make_run(), (make_step(0),))
    with raw(path) as connection:
        connection.execute(f"UPDATE steps SET {column} = ?", (value,))
    with pytest.raises(RecordCorrupt, match="r1"):
        storage.load("r1")


def test_a_value_with_other_bytes_is_corrupt_until_it_is_put_again(
    path: Path, storage: SqliteStorage
) -> None:
    digest = storage.put_value("r1", b"right")
    with raw(path) as connection:
        for wrong in (b"wrong", "right", 5):
            connection.execute("UPDATE stored_values SET data = ?", (wrong,))
            with pytest.raises(ValueCorrupt, match="another digest"):
                storage.get_value("r1", digest)
    storage.put_value("r1", b"right")
    assert storage.get_value("r1", digest) == b"right"


# -- itself


def test_what_is_due_is_found_by_its_index(path: Path, storage: SqliteStorage) -> None:
    look, nudge, names = due_query(["f", "g"])
    with raw(path) as connection:
        for statement, values in (
            (look, (1.0, 1.0, *names, 1)),
            (nudge, (1.0, 1.0, 1.0, *names, 1)),
        ):
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
            assert "runs_due" in str(plan)
            assert "SCAN" not in str(plan)


@pytest.mark.parametrize("begin", [None, (2.0, "r")], ids=["first", "next"])
def test_what_wakes_is_found_by_its_index(
    path: Path, storage: SqliteStorage, begin: tuple[float, str] | None
) -> None:
    query = Query("f", [Status.PAUSED], {}, 1.0, before=9.0, wakes_before=5.0)
    statement, values = find_query(query, begin, 51)
    with raw(path) as connection:
        plan = str(connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall())
    assert "SEARCH runs USING INDEX runs_due" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("begin", [None, (2.0, "r")], ids=["first", "next"])
@pytest.mark.parametrize("asked", [Query(), Query("f"), Query(since=1.0, before=9.0)], ids=str)
def test_what_ended_badly_is_found_by_its_index(
    path: Path, storage: SqliteStorage, asked: Query, begin: tuple[float, str] | None
) -> None:
    words = ["failed", "cancelled", "quarantined"]  # by word, as a caller without types may
    query = replace(asked, statuses=cast("list[Status]", words))
    with raw(path) as connection:
        for statement, values in (find_query(query, begin, 51), count_query(query)):
            plan = str(connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall())
            assert plan.count("SEARCH runs USING") == plan.count("INDEX runs_rare (status=?") == 3
        # Only a count sorts, by flow.
        statement, values = find_query(query, begin, 51)
        plan = str(connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall())
        assert "TEMP B-TREE" not in plan


def test_rare_and_other_statuses_are_found_together(storage: SqliteStorage) -> None:
    for number, status in enumerate([Status.FAILED, Status.PAUSED, Status.CANCELLED] * 4):
        storage.create(make_run(f"r{number:02}", status=status, created=1.0 + number))
    rare, mixed = [Status.FAILED, Status.CANCELLED], [Status.FAILED, Status.PAUSED]
    newest = [f"r{number:02}" for number in range(11, -1, -1)]
    assert all_pages(storage, Query(statuses=rare), 3) == [r for r in newest if int(r[1:]) % 3 != 1]
    assert all_pages(storage, Query(statuses=mixed), 3) == [
        r for r in newest if int(r[1:]) % 3 != 2
    ]
    assert storage.count(Query(statuses=rare)) == {("f", status): 4 for status in rare}
    assert storage.count(Query(statuses=mixed)) == {("f", status): 4 for status in mixed}


@pytest.mark.parametrize("asked", [Query(), Query("f"), Query(since=1.0), Query("f", since=1.0)])
def test_runs_are_counted_in_indexes_alone(
    path: Path, storage: SqliteStorage, asked: Query
) -> None:
    statement, values = count_query(asked)
    with raw(path) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    looks = [each for each in plan if " runs" in each]
    assert len(looks) >= 2
    assert all("COVERING INDEX" in each for each in looks), plan
    assert not [each for each in looks if each.startswith("SCAN") and "runs_rare" not in each]


def test_what_has_completed_is_counted_as_what_is_left(storage: SqliteStorage) -> None:
    words = [Status.COMPLETED, Status.PAUSED, Status.FAILED, Status.COMPLETED, Status.PURGED]
    for number, status in enumerate(words * 3):
        flow = "f" if number % 2 else "g"
        storage.create(make_run(f"r{number:02}", flow=flow, status=status, created=1.0 + number))
    storage.create(make_run("alone", flow="h", status=Status.FAILED, created=90.0))
    asked: list[Query] = [
        Query(), Query(since=5.0), Query(before=9.0), Query("f"), Query("g", since=4.0, before=9.0),
        Query(statuses=[Status.COMPLETED]), Query(statuses=[Status.FAILED, Status.COMPLETED]),
        Query("f", [Status.COMPLETED, Status.PURGED], since=3.0), Query("nobody"),
    ]  # fmt: skip
    for query in asked:
        runs = storage.find(replace(query, limit=1000)).runs
        assert storage.count(query) == Counter((run.flow, run.status) for run in runs), query


def test_what_many_runs_have_and_what_few_have_is_found_alike(
    storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        own = {"team": "a" if number % 3 else "b", "order": str(number // 2)}
        storage.create(make_run(f"r{number:02}", tags=own, created=1.0 + number))
    tags = ({"team": "a"}, {"order": "3"}, {"team": "a", "order": "3"}, {"order": "9"})
    asked = [Query(tags=each) for each in tags]
    asked += [Query(search=each) for each in ("r", "r1", "r1\U0010ffff")]
    rare = [(storage.find(each), storage.count(each)) for each in asked]
    monkeypatch.setattr(queries, "MANY", 3)
    assert [(storage.find(each), storage.count(each)) for each in asked] == rare
    assert [len(page.runs) for page, _ in rare] == [8, 2, 1, 0, 12, 2, 0]


def test_no_word_for_a_status_gets_into_a_statement(storage: SqliteStorage) -> None:
    storage.create(make_run())
    for word in ("'", "failed' OR '1'='1", "failed'--", ""):
        hostile = cast("list[Status]", [word])
        assert list(storage.find(Query(statuses=hostile)).runs) == []
        assert storage.count(Query(statuses=hostile)) == {}


def test_a_sweep_that_finds_nothing_writes_nothing(storage: SqliteStorage) -> None:
    storage.create(make_run(wake=None))
    statements: list[str] = []
    inner(storage).set_trace_callback(statements.append)
    assert storage.due(5, None, 30.0) == []
    # The pragma is how long SQLite waits for locks.
    words = {text.split(maxsplit=1)[0] for text in statements} - {"PRAGMA"}
    assert words == {"BEGIN", "SELECT", "ROLLBACK"}
    assert "BEGIN IMMEDIATE" not in statements


def test_the_probe_says_what_a_file_cannot_do(storage: SqliteStorage) -> None:
    report = storage.probe()
    assert "journal wal, synchronous normal" in " ".join(report.checks)
    assert "power failure" in " ".join(report.cannot)


def test_full_is_what_a_file_is_written_with(path: Path, clock: FakeClock) -> None:
    storage = open_sqlite(f"sqlite:///{path}", clock)
    assert inner(storage).execute("PRAGMA synchronous").fetchone() == (2,)
    assert "power failure" not in " ".join(storage.probe().cannot)
    storage.close()


def test_a_network_file_system_is_refused(
    tmp_path: Path, storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nhost:/x {tmp_path} nfs4 rw 0 0\n")
    assert file_system(str(tmp_path / "flows.db"), str(mounts)) == "nfs4"
    assert file_system("/etc/x", str(mounts)) == "ext4"
    assert file_system("/etc/x", str(tmp_path / "none")) is None
    monkeypatch.setattr("sequential._sqlite.probe.file_system", lambda path: "nfs4")
    with pytest.raises(StorageRefused, match="network"):
        probe(storage, storage._connections)


def test_open_runs_of_every_status_word_are_in_the_index(storage: SqliteStorage) -> None:
    # The index repeats two words of `Status`.
    for status in (Status.PAUSED, Status.RUNNING):
        run: Run = storage.create(make_run(status.value, status=status, wake=At(1.0)))
        assert run.status is status
    assert set(storage.due(5, None, 1.0)) == {"paused", "running"}

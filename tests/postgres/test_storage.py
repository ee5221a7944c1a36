"""What is Postgres's own: locks of commits in flight, lost commits, plans, probe, plugin."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg.types.numeric import Int8BinaryDumper

import sequential_postgres.plugin
from sequential import Sequential, flow, tool
from sequential.errors import StorageRefused
from sequential.storage import STALE, At, Query, Run, Status, Storage, evolve
from sequential.testing import FakeClock
from sequential.testing._engine_scene import ACTORS, Actor, Scene
from sequential_postgres.finding import Filter, count_query, find_query
from sequential_postgres.plugin import open_postgres
from sequential_postgres.storage import PostgresStorage
from tests.core.storage_cases import applied, found, make_run, make_step, numbers
from tests.core.test_engine_contract import lose_commits
from tests.fix_postgres import Server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def emptied(postgres18: Server) -> str:
    return postgres18.emptied()


@pytest.fixture
def storage(postgres18: Server, emptied: str, clock: FakeClock) -> Iterator[PostgresStorage]:
    storage = open_postgres(postgres18.url(emptied), clock)
    assert isinstance(storage, PostgresStorage)
    yield storage
    storage.close()


# -- F11: somebody waits on the row that a commit in flight has locked


class InFlight:
    """Writes of a storage, made in a transaction that the test ends when it likes."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        connection.adapters.register_dumper(int, Int8BinaryDumper)

    def write(self, query: bytes, values: Sequence[object]) -> list[tuple[Any, ...]]:
        return self.connection.execute(query, values).fetchall()


@contextmanager
def in_flight(server: Server, database: str) -> Iterator[tuple[Storage, InFlight]]:
    """Give a storage of another process whose writes all are in one transaction."""
    other = open_postgres(server.url(database), FakeClock())
    assert isinstance(other, PostgresStorage)
    with psycopg.connect(server.url(database)) as connection:
        made = InFlight(connection)
        other._connections.write = made.write  # type: ignore[method-assign]
        yield other, made
    other.close()


def until_waiting(server: Server, database: str) -> None:
    """Return when a statement waits for a lock."""
    query = (
        f"SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = '{database}'"
    )
    end = time.monotonic() + 20
    while not server.execute(query):
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("ends", ["commit", "rollback"])
@pytest.mark.parametrize("waiter", ["claim", "purge"])
def test_who_waits_for_a_commit_in_flight_sees_all_of_it_or_nothing(
    postgres18: Server,
    emptied: str,
    storage: PostgresStorage,
    ends: str,
    waiter: str,
) -> None:
    status = Status.COMPLETED if waiter == "purge" else Status.RUNNING
    run = storage.create(make_run(status=status, cursor=1), (make_step(0),))
    claim = evolve(run, fence=7, owner="me", op_id="claim")
    work: Callable[[], object] = {
        "claim": lambda: storage.commit(claim, run),
        "purge": lambda: storage.purge(run),
    }[waiter]
    with in_flight(postgres18, emptied) as (owner, other):
        written = evolve(run, cursor=2, op_id="step")
        applied(owner.commit(written, run, (make_step(1),)))
        with ThreadPoolExecutor(1) as pool:
            waiting: Future[object] = pool.submit(work)
            until_waiting(postgres18, emptied)
            # Whoever only reads does not wait, and sees what was before.
            assert (found(storage.load("r1")).run, numbers(storage.load("r1"))) == (run, [0])
            assert storage.due(5, None, 30.0) == []
            getattr(other.connection, ends)()
            answer = waiting.result(20)
    loaded = found(storage.load("r1"))
    if ends == "commit":
        assert answer is (STALE if waiter == "claim" else False)
        assert (loaded.run.op_id, numbers(loaded)) == ("step", [0, 1])
    elif waiter == "claim":
        assert answer == evolve(claim, version=2)
        assert numbers(loaded) == [0]
    else:
        assert answer is True
        assert (loaded.run.status, numbers(loaded)) == (Status.PURGED, [])
    if loaded.run.status is not Status.PURGED:
        assert loaded.run.cursor == len(loaded.steps)


def test_a_reader_never_sees_a_cursor_without_its_steps(storage: PostgresStorage) -> None:
    run = storage.create(make_run())
    stop = threading.Event()
    torn: list[tuple[int, int]] = []

    def look() -> None:
        while not stop.is_set():
            loaded = found(storage.load("r1"))
            if loaded.run.cursor != len(loaded.steps):
                torn.append((loaded.run.cursor, len(loaded.steps)))

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(200):
        run = applied(storage.commit(evolve(run, cursor=number + 1), run, (make_step(number),)))
    stop.set()
    for reader in readers:
        reader.join()
    assert torn == []


def test_a_sweep_does_not_wait_for_a_commit_in_flight(
    postgres18: Server, emptied: str, storage: PostgresStorage
) -> None:
    run = storage.create(make_run(wake=At(1.0)))
    storage.create(make_run("r2", wake=At(2.0)))
    with in_flight(postgres18, emptied) as (owner, other):
        applied(owner.commit(evolve(run, op_id="b"), run))
        assert list(storage.due(5, None, 30.0)) == ["r2"]
        other.connection.rollback()
    assert list(storage.due(5, None, 30.0)) == ["r1"]


# -- F43: a failover that loses commits


@pytest.mark.parametrize("actor", ACTORS)
def test_commits_that_the_storage_lost(
    actor: Actor, postgres18: Server, emptied: str, storage: Storage, clock: FakeClock
) -> None:
    tables = ("runs", "steps", "tags")

    def rollback() -> Callable[[], None]:
        for table in tables:
            postgres18.execute(
                f"CREATE TABLE public.{table} AS SELECT * FROM sequential.{table}", emptied
            )

        def restore() -> None:
            for table in tables:
                postgres18.execute(
                    f"DELETE FROM sequential.{table};"
                    f"INSERT INTO sequential.{table} SELECT * FROM public.{table};"
                    f"DROP TABLE public.{table}",
                    emptied,
                )

        return restore

    lose_commits(Scene(storage, clock, actor), rollback)


# -- what is written, and how it is found


def test_a_step_writes_no_index_of_runs(
    postgres18: Server, emptied: str, storage: PostgresStorage
) -> None:
    """Room on the page and unchanged columns: the update stays on its page, and is cheap."""
    run = storage.create(make_run(status=Status.RUNNING, wake=At(9e9), tags={"a": "1"}))
    count = "SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables WHERE relname = 'runs'"
    before = settled(postgres18, emptied, count)
    for number in range(30):
        run = applied(storage.commit(run, run, (make_step(number),)))
    storage.close()  # the counts are told when a session ends
    end = time.monotonic() + 20
    while (after := settled(postgres18, emptied, count))[1] < before[1] + 30:
        assert time.monotonic() < end
    assert after[0] - before[0] >= 25


def settled(server: Server, database: str, query: str) -> tuple[int, int]:
    [(hot, updates)] = server.execute(query, database)
    return hot, updates


_EVERY: list[dict[str, Any]] = [
    {},
    {"flow": "f"},
    {"parent": "p"},
    {"statuses": ["failed"]},
    {"statuses": ["failed", "paused"]},
    {"flow": "f", "statuses": ["failed", "paused"], "since": 1.0, "before": 9.0},
    {"tags": [b"1"]},
    {"tags": [b"1", b"2"]},
    {"tags": [b"1", b"2"], "statuses": ["failed", "paused"]},
    {"wakes_before": 9.0},
    {"wakes_before": 9.0, "flow": "f", "statuses": ["paused"], "since": 1.0},
]


@pytest.mark.parametrize("asked", _EVERY, ids=str)
@pytest.mark.parametrize("begin", [None, (5.0, "r")], ids=["first", "next"])
def test_every_page_walks_an_index_in_order(
    postgres18: Server,
    emptied: str,
    storage: Storage,
    asked: dict[str, Any],
    begin: tuple[float, str] | None,
) -> None:
    query, values = find_query('"sequential"', Filter(**asked, begin=begin), 51)
    with psycopg.connect(postgres18.url(emptied), autocommit=True) as connection:
        # A plan for few rows would sort; what counts is that there is one for many.
        connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        connection.execute("SET enable_sort = off; SET plan_cache_mode = force_custom_plan")
        connection.adapters.register_dumper(int, Int8BinaryDumper)
        rows = connection.execute(b"EXPLAIN (FORMAT json) " + query, values).fetchall()
    nodes = list(walk(rows[0][0][0]["Plan"]))
    assert not [node for node in nodes if node["Node Type"] in {"Sort", "Seq Scan"}], nodes


_MORE = """
INSERT INTO sequential.runs SELECT run_id || n, generation, version, op_id, flow, flow_version,
    status, wake, tags, parent, created + n, ended, state, nudged
FROM sequential.runs, generate_series(1, 3000) AS n
"""


@pytest.mark.parametrize(
    "asked",
    [{}, {"flow": "f"}, {"flow": "f", "statuses": ["paused"]}, {"since": 1.0, "before": 9e9}],
    ids=str,
)
def test_a_count_reads_an_index_and_no_row(
    postgres18: Server, emptied: str, storage: Storage, asked: dict[str, Any]
) -> None:
    storage.create(make_run())
    query, values = count_query('"sequential"', Filter(**asked))
    with psycopg.connect(postgres18.url(emptied), autocommit=True) as connection:
        connection.execute(_MORE)
        connection.execute("SET enable_seqscan = off")  # cheaper for so few
        connection.execute("VACUUM ANALYZE sequential.runs")
        assert connection.execute(query, values).fetchall() == [("f", "paused", 3001)]
        rows = connection.execute(b"EXPLAIN (FORMAT json) " + query, values).fetchall()
    scans = {
        node["Node Type"] for node in walk(rows[0][0][0]["Plan"]) if "Scan" in node["Node Type"]
    }
    assert scans == {"Index Only Scan"}


@pytest.mark.parametrize("few", [(0, 1000), (1000, 0)], ids=["by status", "by tag"])
def test_a_rare_status_is_found_under_a_common_tag(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, few: tuple[int, int]
) -> None:
    monkeypatch.setattr("sequential_postgres.finding._FEW_TAGGED", few[0])
    monkeypatch.setattr("sequential_postgres.finding._FEW_OF_STATUS", few[1])
    rare = [Status.FAILED, Status.QUARANTINED]
    for number in range(40):
        status = rare[number % 2] if number % 4 < 2 else Status.PAUSED
        tags = {"a": str(number % 3), "b": "1"}
        storage.create(make_run(f"r{number:02}", status=status, tags=tags, created=number + 1.0))
    ids: list[str] = []
    page = Query(statuses=rare, tags={"b": "1", "a": "0"}, limit=3)
    while True:
        found_there = storage.find(page)
        ids += [run.run_id for run in found_there.runs]
        if found_there.next is None:
            break
        page = replace(page, after=found_there.next)
    assert ids == [f"r{n:02}" for n in range(39, -1, -1) if n % 3 == 0 and n % 4 < 2]


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for each in node.get("Plans", ()):
        yield from walk(each)


def test_a_damaged_row_hides_no_other(
    postgres18: Server, emptied: str, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(4):
        storage.create(make_run(f"r{number}", created=float(number + 1)))
    postgres18.execute("UPDATE sequential.runs SET state = '{' WHERE run_id = 'r2'", emptied)
    first = storage.find(Query(limit=2))
    assert [run.run_id for run in first.runs] == ["r3"]
    assert first.next is not None
    assert [run.run_id for run in storage.find(Query(after=first.next)).runs] == ["r1", "r0"]
    assert "r2" in caplog.text


def test_a_long_history_is_copied_in_one_creation(storage: Storage) -> None:
    steps = [make_step(number, input=None) for number in range(20_000)]
    storage.create(make_run(cursor=len(steps)), steps)
    assert list(found(storage.load("r1")).steps) == steps


def test_a_position_is_named_that_is_recorded_already(storage: Storage) -> None:
    run = storage.create(make_run(), (make_step(0),))
    with pytest.raises(Exception, match=r"step 0 is recorded already; nothing was written"):
        storage.commit(run, run, (make_step(1, position="0"),))


def test_the_time_is_the_servers_and_not_the_hosts(storage: Storage, clock: FakeClock) -> None:
    storage.create(make_run())
    before = found(storage.load("r1")).now
    clock.advance(3600)
    assert abs(found(storage.load("r1")).now - before) < 60
    assert abs(before - time.time()) < 60


# -- the probe


def test_the_probe_says_what_is_risked(postgres18: Server, emptied: str, storage: Storage) -> None:
    report = storage.probe()
    assert any(check.startswith("Postgres ") and "fsync" in check for check in report.checks)
    assert any("failover" in sentence for sentence in report.cannot)
    [(fsync,)] = postgres18.execute("SHOW fsync")
    assert (fsync == "off") == any("power failure" in sentence for sentence in report.cannot)
    postgres18.execute(f"ALTER DATABASE {emptied} SET synchronous_commit = off")
    try:
        other = open_postgres(postgres18.url(emptied, prepare="off"), FakeClock())
        cannot = other.probe().cannot
        other.close()
    finally:
        postgres18.execute(f"ALTER DATABASE {emptied} RESET synchronous_commit")
    assert any("synchronous_commit" in sentence for sentence in cannot)
    assert any("statement_timeout" in sentence for sentence in cannot)


def test_the_probe_refuses_a_server_that_takes_no_writes(postgres18: Server, emptied: str) -> None:
    url = postgres18.url(emptied, options="-c%20default_transaction_read_only%3Don")
    storage = open_postgres(url, FakeClock())
    with pytest.raises(StorageRefused, match="read-only replica"):
        storage.probe()
    storage.close()


# -- the plugin


@tool("numbers")
def double(number: int) -> int:
    return 2 * number


@flow
async def doubled(number: int) -> int:
    for _ in range(3):
        number = await double(number)
    return number


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_an_application_runs_on_it(postgres18: Server, emptied: str, scheme: str) -> None:
    url = f"{scheme}:{postgres18.url(emptied).partition(':')[2]}"
    with Sequential(url, plugins=[sequential_postgres.plugin]) as app:
        assert app.run(doubled, {"number": 1}, run_id="once") == 8
        assert app.get("once").status is Status.COMPLETED
        assert len(app.steps("once")) == 3


def test_importing_the_plugin_imports_no_driver() -> None:
    script = (
        "import sys, json, sequential_postgres.plugin;"
        "print(json.dumps([name for name in sys.modules if name.startswith('psycopg')]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=True,
        text=True,
    )
    assert json.loads(done.stdout) == []


def test_a_commit_asks_once(storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    run: Run = storage.create(make_run(tags={"a": "1"}))
    asked: list[bytes] = []
    for name in ("write", "repeat"):
        real = getattr(storage._connections, name)

        def count(query: bytes, *rest: Any, real: Any = real, **more: Any) -> Any:
            asked.append(query)
            return real(query, *rest, **more)

        monkeypatch.setattr(storage._connections, name, count)
    changed = evolve(run, tags={"b": "1"}, wake=At(1.0))
    run = applied(storage.commit(changed, run, (make_step(0), make_step(1))))
    assert storage.commit(changed, changed) is STALE
    storage.load("r1")
    storage.due(1, None, 1.0)
    storage.create(make_run("r2"), (make_step(0),))
    storage.purge(run)
    assert len(asked) == 5
    storage.find(Query())
    assert len(asked) == 6

"""Rollups over Postgres: the same as elsewhere, and who makes them when several want to."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import psycopg
import pytest

from sequential.spans import HOUR, bucket_edges
from sequential.storage import At, Status
from sequential.testing import FakeClock
from sequential_postgres.plugin import open_postgres
from sequential_postgres.rolling import _COUNT, _bound
from sequential_postgres.storage import PostgresStorage
from tests.core.rollup_cases import RollsUpContract, call, calls, now_of
from tests.core.storage_cases import applied, make_run
from tests.fix_postgres import Server


@pytest.fixture
def clock() -> FakeClock:
    """One of which the server's time, with the skew, is half past an hour."""
    now = time.time()
    clock = FakeClock(now)
    clock.set_skew(now // HOUR * HOUR + HOUR / 2 - now)
    return clock


@pytest.fixture
def emptied(postgres18: Server) -> str:
    return postgres18.emptied()


@pytest.fixture
def url(postgres18: Server, emptied: str) -> str:
    return postgres18.url(emptied, prepare="off")


@pytest.fixture
def storage(url: str, clock: FakeClock) -> Iterator[PostgresStorage]:
    storage = open_postgres(url, clock)
    assert isinstance(storage, PostgresStorage)
    yield storage
    storage.close()


class TestPostgres(RollsUpContract):
    pass


def test_of_two_sweepers_one_makes_the_pass(
    postgres18: Server, emptied: str, clock: FakeClock, storage: PostgresStorage
) -> None:
    storage.create(make_run(), [call(0, now_of(clock))])
    with psycopg.connect(postgres18.url(emptied)) as other:
        other.execute("SELECT 1 FROM sequential.rolled FOR UPDATE")
        assert storage.roll_up() == 0.0
    assert calls(storage) == {}
    until = storage.roll_up()
    assert sum(calls(storage).values()) == 1
    assert storage.roll_up() == until


def test_a_pass_reads_no_table_as_a_whole(
    postgres18: Server, emptied: str, storage: PostgresStorage
) -> None:
    count = _COUNT.format(schema='"sequential"').encode()
    with psycopg.connect(postgres18.url(emptied)) as connection:
        connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off")
        connection.execute("SET LOCAL enable_mergejoin = off")
        plan = str(connection.execute(b"EXPLAIN " + count, _bound(0.0, HOUR)).fetchall())
    assert "runs_by_end" in plan
    assert "runs_by_status" in plan
    assert "Seq Scan" not in plan


def test_no_index_holds_what_a_step_changes(
    postgres18: Server, emptied: str, storage: PostgresStorage
) -> None:
    run = storage.create(make_run(status=Status.RUNNING, wake=At(5.0)))
    updates = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'runs'"
    flush = "SELECT pg_stat_force_next_flush()"
    with psycopg.connect(postgres18.url(emptied), autocommit=True) as connection:
        inner = storage._connections
        inner.repeat(flush.encode(), ())
        before = connection.execute(updates).fetchone() or (0, 0)
        for number in range(20):
            run = applied(storage.commit(run, run, [call(number, 1.0)]))
        inner.repeat(flush.encode(), ())
        after = connection.execute(updates).fetchone() or (0, 0)
    changed = after[0] - before[0], after[1] - before[1]
    assert changed[0] >= 19
    assert changed[0] - changed[1] <= 1  # where a page is full


def test_the_server_counts_each_edge_as_the_formula_does(postgres18: Server, emptied: str) -> None:
    lows = [low for low, _ in bucket_edges()]
    near = [each for low in lows[1:] for each in (math.nextafter(low, 0.0), low)]
    with psycopg.connect(postgres18.url(emptied)) as connection:
        (found,) = connection.execute(
            "SELECT array_agg(width_bucket(n, %s::float8[]) - 1 ORDER BY o)"
            " FROM unnest(%s::float8[]) WITH ORDINALITY AS u (n, o)",
            (lows, near),
        ).fetchone() or ([],)
    assert found == [n for edge in range(1, len(lows)) for n in (edge - 1, edge)]

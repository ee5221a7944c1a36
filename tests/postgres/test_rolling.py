"""Rollups over Postgres: the same as elsewhere, and who makes them when several want to."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import psycopg
import pytest

from sequential.spans import HOUR, bucket_edges
from sequential.testing import FakeClock
from sequential_postgres.plugin import open_postgres
from sequential_postgres.rolling import _COUNT, _bound
from sequential_postgres.storage import PostgresStorage
from tests.core.rollup_cases import RollsUpContract, call, calls, now_of
from tests.core.storage_cases import make_run
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


def test_a_pass_that_is_too_long_is_gone_on_with(
    clock: FakeClock, storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = now_of(clock)
    days = [now - day * 86_400.0 for day in (0.0, 10.0, 20.0)]
    storage.create(make_run(), [call(n, ended) for n, ended in enumerate(days)])
    monkeypatch.setattr("sequential_postgres.rolling._ENOUGH", -1.0)
    passes = 1
    while storage.roll_up() < now:
        passes += 1
    assert 31 <= passes <= 33
    assert sum(calls(storage).values()) == 3


def test_a_pass_reads_its_hours_by_their_index(
    postgres18: Server, emptied: str, storage: PostgresStorage
) -> None:
    count = _COUNT.format(schema='"sequential"').encode()
    with psycopg.connect(postgres18.url(emptied)) as connection:
        connection.execute("SET LOCAL enable_seqscan = off")
        plan = connection.execute(b"EXPLAIN " + count, _bound(0.0, HOUR)).fetchall()
    assert "steps_by_end" in str(plan)


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

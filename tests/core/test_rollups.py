"""Rollups: every recorded call counted once, in its hour, over each storage of the core."""

from __future__ import annotations

import logging
import math
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sequential import Registry, RetryPolicy, Sequential, Steps, flow, tool
from sequential._memory import MemoryStorage, open_memory
from sequential._rollups import bucket_edges, first_hour, pack_rollup, pause_after, unpack_rollup
from sequential._sqlite import open_sqlite, rolling
from sequential._values_elsewhere import ValuesElsewhere
from sequential._worker import Worker
from sequential.spans import HOUR, Rollup, bucket_of
from sequential.testing import FakeClock
from tests.core.rollup_cases import Rolling, RollsUpContract, calls

NOW = datetime(2026, 5, 4, 10, 30, tzinfo=UTC).timestamp()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


class TestMemory(RollsUpContract):
    @pytest.fixture
    def storage(self, clock: FakeClock) -> Rolling:
        return open_memory("memory:", clock)


class TestSqlite(RollsUpContract):
    @pytest.fixture
    def storage(self, clock: FakeClock, tmp_path: Path) -> Iterator[Rolling]:
        storage = open_sqlite(f"sqlite:///{tmp_path}/flows.db?synchronous=normal", clock)
        yield storage
        storage.close()

    def test_two_processes_make_one_pass(self, clock: FakeClock, tmp_path: Path) -> None:
        one, two = (open_sqlite(f"sqlite:///{tmp_path}/flows.db", clock) for _ in range(2))
        assert one.roll_up() == NOW
        clock.advance(59.0)
        assert two.roll_up() == NOW
        clock.advance(1.0)
        assert two.roll_up() == NOW + 60.0
        assert one.rollups(0.0, NOW).until == NOW + 60.0
        one.close()
        two.close()

    def test_a_pass_that_died_is_made_by_another(
        self, clock: FakeClock, storage: Rolling, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr("sequential._sqlite.rolling._count", _dies)
            with pytest.raises(KeyboardInterrupt):
                storage.roll_up()
        assert storage.roll_up() == 0.0
        clock.advance(600.0)
        assert storage.roll_up() == NOW + 600.0

    def test_who_was_taken_for_dead_replaces_nothing(
        self, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slow, fast = (open_sqlite(f"sqlite:///{tmp_path}/flows.db", clock) for _ in range(2))
        count = rolling._count

        def overtaken(connection: sqlite3.Connection, first: int, now: float) -> list[Rollup]:
            monkeypatch.setattr(rolling, "_count", count)
            clock.advance(600.0)
            assert fast.roll_up() == NOW + 600.0
            return [Rollup(int(NOW // HOUR * HOUR), "late.one", "value", 1, 1, 1.0, 1.0, {0: 1})]

        monkeypatch.setattr(rolling, "_count", overtaken)
        assert slow.roll_up() == NOW + 600.0
        assert calls(fast) == {}
        slow.close()
        fast.close()


def _dies(*args: object) -> None:
    raise KeyboardInterrupt


# -- buckets and hours


def test_the_edges_of_buckets_are_where_the_formula_changes() -> None:
    lows = [low for low, _ in bucket_edges()]
    assert lows == sorted(lows)
    for low, number in bucket_edges()[1:]:
        assert bucket_of(low) == number
        assert bucket_of(math.nextafter(low, 0.0)) == number - 1
    assert bucket_edges()[0] == (0.0, bucket_of(0.0))
    assert bucket_of(1e11) < bucket_edges()[-1][1]


def test_a_rollup_survives_its_columns() -> None:
    row = Rollup(7200, "a.b", "value", 3, 4, 1.5, 1.0, {-40: 1, 12: 2})
    assert unpack_rollup(pack_rollup(row)) == row


def test_an_hour_is_final_five_minutes_after_its_end() -> None:
    assert first_hour(10 * HOUR + 299.0, 11 * HOUR) == 9 * HOUR
    assert first_hour(10 * HOUR + 300.0, 11 * HOUR) == 10 * HOUR
    assert first_hour(0.0, 31 * 86_400.0 + 1.5 * HOUR) == HOUR


def test_passes_take_a_fiftieth_of_the_time_at_most() -> None:
    assert pause_after(0.1) == 60.0
    assert pause_after(10.0) == 500.0


# -- the application


def _app(storage: object, clock: FakeClock) -> Sequential:
    registry = Registry()

    @tool("shop", "price", retry=RetryPolicy(max_attempts=2), registry=registry)
    def price(number: int) -> int:
        if number == 2:
            raise ValueError(number)
        return number

    @flow(name="shop", registry=registry)
    def shop(count: int) -> Steps[int]:
        for number in range(count):
            yield price(number)
        return count

    return Sequential(storage, "poll:", registry=registry, clock=clock, plugins=[])  # type: ignore[arg-type]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["plain", "values elsewhere"])
def test_what_an_application_did_is_counted_once_also_when_repaired(
    clock: FakeClock, tmp_path: Path, *, elsewhere: bool
) -> None:
    storage = open_sqlite(f"sqlite:///{tmp_path}/flows.db?synchronous=normal", clock)
    whole = ValuesElsewhere(storage, MemoryStorage(clock)) if elsewhere else storage
    with _app(whole, clock) as app:
        run_id = app.start("shop", {"count": 4})
        app.execute(run_id)
        assert app.get(run_id).status == "failed"
        app.retry(run_id)
        app.execute(run_id)
        app.retry(run_id)
        app.execute(run_id)
        forked = app.fork(run_id, at="2")
        app.execute(forked)
        assert app.roll_up() == storage.rollups(0.0, NOW).until
        rows = {row.outcome: row for row in storage.rollups(0.0, NOW + HOUR).rows}
    # Two calls that succeeded, never made again, and one that failed in each of four attempts.
    assert (rows["value"].calls, rows["error"].calls) == (2, 4)


def test_a_storage_without_statistics_is_none(clock: FakeClock) -> None:
    class Bare(MemoryStorage):
        roll_up = None  # type: ignore[assignment]

    with _app(Bare(clock), clock) as app:
        assert app.roll_up() is None
    with _app(ValuesElsewhere(Bare(clock), MemoryStorage(clock)), clock) as app:
        assert app.roll_up() is None


def test_statistics_that_fail_are_said_and_harm_nothing(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(MemoryStorage):
        def roll_up(self) -> float:
            raise OSError("no disk")

    with _app(Broken(clock), clock) as app, caplog.at_level(logging.WARNING):
        assert app.roll_up() is None
    assert "no statistics were made, the next call tries again: no disk" in caplog.text


def test_a_worker_makes_statistics(clock: FakeClock) -> None:
    class Seen(MemoryStorage):
        told: Callable[[], None]

        def roll_up(self) -> float:
            self.told()
            return super().roll_up()

    storage = Seen(clock)
    with _app(storage, clock) as app:
        worker = Worker(app)
        storage.told = worker.stop
        worker.run()  # ends only when it is told to

"""What every storage with rollups must do, as one class to inherit."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Protocol

import pytest

from sequential._model import Status, StepKind, StepOutcome, StepRecord, evolve
from sequential._rollups import bucket_edges
from sequential._storage import Storage
from sequential.spans import HOUR, RollsUp, bucket_of
from sequential.testing import FakeClock
from sequential.testing._storage_samples import let_pass
from tests.core.storage_cases import applied, make_run, make_step

DAY = 86_400.0


class Rolling(Storage, RollsUp, Protocol):
    """A storage with rollups."""


def now_of(clock: FakeClock) -> float:
    """Return the time of the storages that have *clock*; a server's goes on by itself."""
    return clock.now() + clock.skew()


def call(number: int, ended: float, seconds: float = 1.0, **fields: object) -> StepRecord:
    """Return the record of a call that took *seconds*."""
    known: dict[str, object] = {"kind": StepKind.TOOL, "tool": "a.b", "attempts": 1, "fence": 1}
    times = {"started": ended - seconds, "ended": ended}
    return make_step(number, **(known | times | fields))  # type: ignore[arg-type]


def calls(storage: Rolling) -> dict[tuple[int, str, str], int]:
    """Return how many calls are in the rollups, by hour, tool and outcome."""
    return {row[:3]: row.calls for row in storage.rollups(0.0, 1e12).rows}


class RollsUpContract:
    """Inherit, and give the fixtures `clock`, at half past an hour, and `storage`."""

    def test_nothing_was_looked_at_before_the_first_pass(self, storage: Rolling) -> None:
        assert (list(storage.rollups(0.0, 1e12).rows), storage.rollups(0.0, 1e12).until) == ([], 0)

    def test_calls_are_counted_by_hour_tool_and_outcome(
        self, clock: FakeClock, storage: Rolling
    ) -> None:
        now = now_of(clock)
        hour = int(now // HOUR * HOUR)
        steps = [
            call(0, hour + 1.0, 0.5, attempts=3),
            call(1, hour + 2.0, 2.0),
            call(2, hour - 1.0, 1.0),
            call(3, hour + 3.0, tool="a.c"),
            call(4, hour + 4.0, outcome=StepOutcome.ERROR),
            call(5, hour + 5.0, kind=StepKind.SLEEP, tool=""),
            call(6, hour + 6.0, kind=StepKind.SIGNAL, tool="a.b"),
        ]
        storage.create(make_run(), steps)
        assert storage.roll_up() == pytest.approx(now, abs=60.0)
        rolled = storage.rollups(hour, hour + HOUR)
        assert rolled.until == pytest.approx(now, abs=60.0)
        first, second, third = sorted(rolled.rows)
        assert first[:3] == (hour, "a.b", "error")
        assert second[:5] == (hour, "a.b", "value", 2, 4)
        assert math.isclose(second.seconds, 2.5, abs_tol=1e-5)
        assert math.isclose(second.longest, 2.0, abs_tol=1e-5)
        assert third[:4] == (hour, "a.c", "value", 1)
        assert [row.hour for row in storage.rollups(hour - HOUR, hour).rows] == [hour - HOUR]

    def test_every_duration_is_in_its_bucket(self, clock: FakeClock, storage: Rolling) -> None:
        drawn = random.Random(7)
        # Small enough numbers that a difference of two is exact, on the edges of buckets too.
        lows = [low for low, _ in bucket_edges() if 0 < low < 1e6]
        exact = [2.0 ** drawn.randrange(-20, 20) for _ in range(50)]
        ended = now_of(clock) - 60.0
        steps = [call(n, ended, 10.0 ** drawn.uniform(-7, 5)) for n in range(300)]
        steps += [call(len(steps) + n, ended, some) for n, some in enumerate(exact + lows)]
        storage.create(make_run(), steps)
        storage.roll_up()
        (row,) = storage.rollups(0.0, 1e12).rows
        assert row.histogram == Counter(bucket_of(step.ended - step.started) for step in steps)

    def test_a_time_that_went_back_counts_as_none(self, clock: FakeClock, storage: Rolling) -> None:
        storage.create(make_run(), [call(0, now_of(clock), -5.0)])
        storage.roll_up()
        (row,) = storage.rollups(0.0, 1e12).rows
        assert (row.seconds, row.histogram) == (0.0, {bucket_of(0.0): 1})

    def test_copies_in_a_fork_and_in_a_retry_are_not_counted(
        self, clock: FakeClock, storage: Rolling
    ) -> None:
        now = now_of(clock)
        first, second = call(0, now - 50.0), call(1, now - 40.0, outcome=StepOutcome.ERROR)
        run = storage.create(make_run("r"), [first, second])
        storage.create(make_run("fork"), [first._replace(fence=0), call(1, now - 30.0)])
        for generation in (1, 2):
            copy = first._replace(generation=generation, op_id=f"retry{generation}")
            again = call(1, now - 20.0 + generation, generation=generation)
            run = applied(storage.commit(evolve(run, generation=generation), run, [copy, again]))
        continued = call(0, now - 5.0, generation=3)
        applied(storage.commit(evolve(run, generation=3), run, [continued]))
        storage.roll_up()
        counted: Counter[str] = Counter()
        for (_, _, outcome), number in calls(storage).items():
            counted[outcome] += number
        assert counted == {"value": 5, "error": 1}

    def test_a_pass_counts_what_was_committed_late_and_nothing_twice(
        self, clock: FakeClock, storage: Rolling
    ) -> None:
        hour = int(now_of(clock) // HOUR * HOUR)
        run = storage.create(make_run(), [call(0, hour + 60.0)])
        let_pass(clock, hour + HOUR + 60.0 - now_of(clock))
        storage.roll_up()
        run = applied(storage.commit(run, run, [call(1, hour + HOUR - 1.0)]))
        let_pass(clock, 240.0)
        storage.roll_up()
        assert calls(storage) == {(hour, "a.b", "value"): 2}
        let_pass(clock, 600.0)
        storage.roll_up()
        let_pass(clock, 600.0)
        storage.roll_up()
        assert calls(storage) == {(hour, "a.b", "value"): 2}

    def test_what_is_purged_stays_counted_once_its_hour_is_final(
        self, clock: FakeClock, storage: Rolling
    ) -> None:
        now = now_of(clock)
        run = storage.create(make_run(status=Status.COMPLETED, ended=now), [call(0, now)])
        let_pass(clock, HOUR)
        storage.roll_up()
        before = calls(storage)
        let_pass(clock, HOUR)
        assert storage.purge(run)
        storage.roll_up()
        assert calls(storage) == before != {}

    def test_the_first_pass_looks_back_a_month(self, clock: FakeClock, storage: Rolling) -> None:
        now = now_of(clock)
        storage.create(make_run(), [call(0, now - 30.9 * DAY), call(1, now - 31.1 * DAY)])
        # A pass may stop and be gone on with.
        while storage.roll_up() < now:
            let_pass(clock, 60.0)
        assert sum(calls(storage).values()) == 1

    def test_runs_that_have_ended_since_are_looked_at(
        self, clock: FakeClock, storage: Rolling
    ) -> None:
        now = now_of(clock)
        for number, ended in enumerate((None, now, now - 5000.0)):
            status = Status.PAUSED if ended is None else Status.COMPLETED
            steps = [call(0, min(now, ended or now))]
            storage.create(make_run(f"r{number}", status=status, ended=ended), steps)
        storage.roll_up()
        assert sum(calls(storage).values()) == 3

    def test_odd_names_are_only_names(self, clock: FakeClock, storage: Rolling) -> None:
        names = ["a'b.c", "a\0b.c", "\u00e9.\U0001f600", "a\x1ab.c", ""]
        steps = [call(n, now_of(clock), tool=name) for n, name in enumerate(names)]
        storage.create(make_run(), steps)
        storage.roll_up()
        assert sorted(key[1] for key in calls(storage)) == sorted(names)

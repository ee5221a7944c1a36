"""Seeded schedules of the production generators, a range of them on every change."""

from __future__ import annotations

import pytest

from tests.simulation.simulator import play

SCHEDULES = 2_000
SHARDS = 8


@pytest.mark.filterwarnings("ignore::sequential._steps.StepNeverAwaited")
@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_schedule_breaks_an_invariant_or_strands_a_run(shard: int) -> None:
    for seed in range(shard, SCHEDULES, SHARDS):
        play(seed)


@pytest.mark.parametrize("seed", range(20))
def test_the_same_seed_is_the_same_schedule(seed: int) -> None:
    assert play(seed) == play(seed)


def test_another_seed_is_another_schedule() -> None:
    assert len({play(seed) for seed in range(10)}) == 10

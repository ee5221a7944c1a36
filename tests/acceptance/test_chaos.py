"""Thousands of kills and hundreds of frozen processes. Run by the chaos session only.

At random moments, at every failpoint, and on a disk that gets full. Each campaign prints its table
and what every extra execution was for; its seed is in the name of the test.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.aimed import AimedKills, AimedStops, conduct_aimed, conduct_stops
from tests.acceptance.campaign import Plan, RandomKills, conduct, said_nothing
from tests.acceptance.failpoints import POINTS
from tests.acceptance.full_disk import may_mount, on_full_disk
from tests.acceptance.nursery import House

SECONDS = 600.0
RANDOM, FREEZES, SEEDS = 700, 70, (1, 2, 3)
AIMED, AIMED_SEEDS = 12, (4, 5)
STOPS, STOPS_SEEDS = 2, (6,)
ON_FULL_DISK = 60

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(SECONDS + 60)]


@pytest.mark.parametrize("seed", SEEDS)
def test_kills_at_random_moments_and_processes_that_stood_still_lose_nothing(
    tmp_path: Path, seed: int
) -> None:
    house = House(str(tmp_path))
    plan = Plan(RANDOM, FREEZES, open_runs=60, processes=4, seconds=SECONDS, seed=seed)
    report = conduct(RandomKills(plan, house))
    said_nothing(house)
    assert report.found.runs >= 300
    assert report.between >= report.kills * 0.3
    assert report.found.extra > 0
    # A process that was stopped past its lease and not overtaken would prove nothing.
    assert report.found.causes["stopped past its lease"] > 0


@pytest.mark.parametrize("seed", AIMED_SEEDS)
def test_kills_at_every_failpoint_lose_nothing_and_repeat_only_what_they_must(
    tmp_path: Path, seed: int
) -> None:
    house = House(str(tmp_path), coded=True)
    kills = AIMED * len(POINTS)
    plan = Plan(kills, open_runs=16, processes=5, seconds=SECONDS, seed=seed)
    conduct_aimed(AimedKills(plan, house, AIMED))
    said_nothing(house)


@pytest.mark.parametrize("seed", STOPS_SEEDS)
def test_processes_that_stood_still_at_a_failpoint_past_their_leases_overwrite_nothing(
    tmp_path: Path, seed: int
) -> None:
    house = House(str(tmp_path), coded=True)
    points = [point for point in POINTS if not point.purges]
    stops = STOPS * len(points)
    plan = Plan(0, stops, open_runs=16, processes=8, seconds=SECONDS, seed=seed)
    report = conduct_stops(AimedStops(plan, house, STOPS, points))
    said_nothing(house)
    assert report.found.losses > 0


@pytest.mark.parametrize(("by", "seed"), [("file system", 7), ("quota", 8)])
def test_kills_on_a_full_disk_lose_nothing_and_work_goes_on_when_there_is_space(
    tmp_path: Path, by: str, seed: int
) -> None:
    plan = Plan(ON_FULL_DISK, open_runs=30, processes=4, seconds=SECONDS, seed=seed)
    # Where nothing may be mounted, SQLite's own limit stands for the disk's.
    mounted = by == "file system" and may_mount(tmp_path)
    print(on_full_disk(tmp_path, plan, mounted=mounted))  # noqa: T201  (as the report)


def test_the_campaigns_together_are_what_was_promised() -> None:
    assert AIMED >= 10
    assert RANDOM * len(SEEDS) + AIMED * len(AIMED_SEEDS) * len(POINTS) >= 3000
    assert FREEZES * len(SEEDS) >= 200

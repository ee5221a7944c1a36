"""Workers and servers are killed under load; nothing is lost, changed or left behind.

The campaigns are those of SQLite over another URL: the same flows, the same killer, the same
checker, which reads the objects without the storage's code. Every request that changes something is
a failpoint. The server keeps its objects on disk, and is killed too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sequential._outcomes import Completed
from sequential.testing import FakeClock
from sequential_s3.plugin import open_s3
from sequential_s3.storage import S3Storage
from tests.acceptance.aimed import AimedKills, AimedStops, conduct_aimed, conduct_stops
from tests.acceptance.campaign import Plan, RandomKills, conduct, said_nothing
from tests.acceptance.effects import Effects, read
from tests.acceptance.failpoints import ALWAYS, POINTS, Point
from tests.acceptance.history_check import Checker, Told
from tests.acceptance.kill_flows import write_to
from tests.acceptance.nursery import House
from tests.acceptance.restarts import Restarts, conduct_restarts
from tests.acceptance.stored import Stored
from tests.acceptance.watcher import Watcher
from tests.fix_s3 import OwnS3, new_url

SECONDS = 900.0
RANDOM, FREEZES, SEEDS = 150, 10, (31, 32)
AIMED, AIMED_SEEDS = 3, (33,)
STOPS, STOPS_SEEDS = 1, (34,)
BESIDE, RESTARTS, RESTARTS_SEEDS = 60, 10, (35,)
SWEPT = 150.0
"""Seconds within which a sweeper finishes a purge that somebody died in."""

# What the table of failpoints has of SQL; a request is the least thing that happens to S3.
WHOLE = [
    point
    for point in POINTS
    if point.name.rpartition(".")[2] not in {"steps", "values", "run", "commit"}
]
REQUESTS = [
    Point("create.line", "F01", hits=1),
    Point("create.marker", "F01", hits=1),
    Point("create.head", "F01", hits=1),
    Point("due.handed", "F28"),
    Point("due.marker", "F28"),
    Point("due.drop", "F28"),
    Point("claim.head", "F07"),
    Point("step.head", "F21", ALWAYS),
    Point("last-step.marker", "F21", ALWAYS, pause="every-step"),
    Point("last-step.head", "F21", ALWAYS, pause="every-step"),
    Point("park.head", "F31", flow="rest"),
    Point("end.line", "F37"),
    Point("end.head", "F37"),
    Point("end.drop", "F38"),
    Point("purge.marker", "F39", flow="weave", hits=1),
    Point("purge.line", "F39", flow="weave", hits=1),
    Point("purge.head", "F39", flow="weave", hits=1),
    Point("purge.drop", "F39", flow="weave", hits=1),
]
ALL = [*WHOLE, *REQUESTS]


@pytest.fixture(scope="module")
def own_s3(s3_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnS3]:
    """A server that has on disk what it confirms, and that a campaign may kill."""
    server = OwnS3(tmp_path_factory.mktemp("objects"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def house(own_s3: OwnS3, s3_installed: None, tmp_path: Path) -> House:
    return House(str(tmp_path), lease=0.9, every=0.2, server=new_url(own_s3.endpoint))


def test_killed_workers_and_servers_lose_nothing(house: House, own_s3: OwnS3) -> None:
    plan = Plan(kills=40, freezes=2, open_runs=20)
    report = conduct_restarts(Restarts(plan, house, own_s3, restarts=2))
    assert report.between >= report.kills * 0.2
    assert report.found.extra > 0


class Swept(AimedKills):
    """Waits in the end for the purges that somebody died in: others finish them."""

    def settle(self) -> None:
        super().settle()
        end = time.monotonic() + SWEPT
        while Stored(self.house.book).left_over() and time.monotonic() < end:
            time.sleep(1.0)


Damage = Callable[[S3Storage], None]


def _lines(change: Callable[[list[Any]], object]) -> Damage:
    """Change the step records in the head."""

    def damage(storage: S3Storage) -> None:
        key = storage._keys.head("weave")
        stored = storage.bucket.get(key)
        assert stored is not None
        first, *lines = stored.data.split(b"\n")
        steps = [json.loads(line) for line in lines]
        change(steps)
        storage.bucket.put(key, b"\n".join([first, *(json.dumps(step).encode() for step in steps)]))

    return damage


def _value(storage: S3Storage) -> None:
    for key in list(storage.bucket.keys(storage._keys.run("weave") + "value/")):
        storage.bucket.put(key, b'"x"')


def _purged(storage: S3Storage) -> None:
    key = storage._keys.head("weave")
    stored = storage.bucket.get(key)
    assert stored is not None
    storage.bucket.put(key, stored.data.replace(b'"completed"', b'"purged"', 1))


def _gone(storage: S3Storage) -> None:
    storage.bucket.delete([storage._keys.head("weave")])


DAMAGE: dict[str, Damage] = {
    "has records [0, 1, 3]": _lines(lambda steps: steps.pop(2)),
    "under fences": _lines(lambda steps: steps[1].__setitem__(12, 7)),
    "returned": _lines(lambda steps: steps[1].__setitem__(7, {"b": '"x"'})),
    "tokens": _value,
    "belong to weave, which is purged": _purged,
    "1 runs are lost": _gone,
}


@pytest.mark.parametrize("said", DAMAGE)
def test_the_checker_sees_damage_to_the_objects(house: House, said: str) -> None:
    with closing(Effects(house.log)) as log, house.open("when-waiting") as app:
        write_to(log)
        app.start("weave", {"number": 1}, run_id="weave")
        while not isinstance(app.execute("weave"), Completed):
            pass
    watcher, told = Watcher(house.book), Told(started=["weave"])
    watcher.look()
    assert Checker(house.book, read(house.log), told).check().violations == []
    storage = open_s3(house.server, FakeClock())
    assert isinstance(storage, S3Storage)
    DAMAGE[said](storage)
    storage.close()
    assert said in "\n".join(Checker(house.book, read(house.log), told).check().violations)
    watcher.look()
    assert bool(watcher.violations) == (said in list(DAMAGE)[:3])


@pytest.mark.chaos
@pytest.mark.timeout(SECONDS + 60)
class TestChaos:
    """Run by the chaos session only."""

    @pytest.mark.parametrize("seed", SEEDS)
    def test_kills_at_random_moments_and_processes_that_stood_still_lose_nothing(
        self, house: House, seed: int
    ) -> None:
        plan = Plan(RANDOM, FREEZES, 30, processes=4, aimed=0.85, seconds=SECONDS, seed=seed)
        report = conduct(RandomKills(plan, house))
        said_nothing(house)
        assert report.found.runs >= 50
        assert report.between >= report.kills * 0.3
        assert report.found.extra > 0
        assert report.found.causes["stopped past its lease"] > 0

    @pytest.mark.parametrize("seed", AIMED_SEEDS)
    def test_kills_at_every_failpoint_lose_nothing_and_repeat_only_what_they_must(
        self, house: House, seed: int
    ) -> None:
        plan = Plan(AIMED * len(ALL), open_runs=12, processes=4, seconds=SECONDS, seed=seed)
        conduct_aimed(Swept(plan, coded(house), AIMED, ALL))
        said_nothing(house)

    @pytest.mark.parametrize("seed", STOPS_SEEDS)
    def test_processes_that_stood_still_at_a_failpoint_past_their_leases_overwrite_nothing(
        self, house: House, seed: int
    ) -> None:
        points = [point for point in ALL if not point.purges]
        stops = STOPS * len(points)
        plan = Plan(0, stops, open_runs=12, processes=6, seconds=SECONDS, seed=seed)
        report = conduct_stops(AimedStops(plan, coded(house), STOPS, points))
        said_nothing(house)
        assert report.found.losses > 0

    @pytest.mark.parametrize("seed", RESTARTS_SEEDS)
    def test_servers_killed_under_load_lose_nothing(
        self, house: House, own_s3: OwnS3, seed: int
    ) -> None:
        plan = Plan(BESIDE, open_runs=30, processes=4, seconds=SECONDS, seed=seed)
        conduct_restarts(Restarts(plan, house, own_s3, RESTARTS))


def coded(house: House) -> House:
    """Return *house* with a payload codec, which is a failpoint too."""
    return replace(house, coded=True)


def test_the_campaigns_together_are_what_was_promised() -> None:
    aimed = AIMED * len(AIMED_SEEDS) * len(ALL)
    assert RANDOM * len(SEEDS) + aimed + BESIDE * len(RESTARTS_SEEDS) >= 500

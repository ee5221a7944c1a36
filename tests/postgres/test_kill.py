"""Workers and servers are killed under load; nothing is lost, changed or left behind.

The campaigns are those of SQLite over another URL: the same flows, the same killer, the same
checker, which reads the tables by SQL of its own. The server promises durability here, and dies as
a machine does not: all its processes at once, without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sequential._outcomes import Completed
from tests.acceptance.aimed import AimedKills, AimedStops, conduct_aimed, conduct_stops
from tests.acceptance.campaign import Plan, RandomKills, conduct, said_nothing
from tests.acceptance.effects import Effects, read
from tests.acceptance.failpoints import POINTS
from tests.acceptance.history_check import Checker, Told
from tests.acceptance.kill_flows import write_to
from tests.acceptance.nursery import House
from tests.acceptance.restarts import Restarts, conduct_restarts
from tests.acceptance.watcher import Watcher
from tests.fix_postgres import OwnServer, own_server

SECONDS = 1200.0
RANDOM, FREEZES, SEEDS = 600, 25, (11, 12, 13)
AIMED, AIMED_SEEDS = 6, (14,)
STOPS, STOPS_SEEDS = 2, (15,)
BESIDE, RESTARTS, RESTARTS_SEEDS = 150, 30, (16, 17)
# A commit is one statement: there is nothing in the middle of it that a process could come by.
WHOLE = [
    point
    for point in POINTS
    if point.name.rpartition(".")[2] not in {"steps", "values", "run", "commit"}
]
# What a process is told that was stopped for longer than it waits for an answer, 1.4 s here.
STOOD_STILL = ("OutcomeUnknown", "StorageUnavailable")
DURABLE = {"fsync": "on", "synchronous_commit": "on", "max_connections": "200"}


@pytest.fixture(scope="module")
def durable() -> Iterator[OwnServer]:
    """A server that has on disk what it confirms, and that a campaign may kill."""
    yield from own_server(18, **DURABLE)


@pytest.fixture
def house(durable: OwnServer, tmp_path: Path) -> Iterator[House]:
    name = durable.database()
    url = durable.url(name, statement_timeout="0.3", pool="4")
    yield House(str(tmp_path), lease=1.0, server=url)
    durable.drop(name)


def test_killed_workers_and_servers_lose_nothing(house: House, durable: OwnServer) -> None:
    plan = Plan(kills=100, freezes=4, open_runs=40)
    report = conduct_restarts(Restarts(plan, house, durable, restarts=5))
    assert report.between >= report.kills * 0.3
    assert report.found.extra > 0


DAMAGE = {
    "DELETE FROM sequential.steps WHERE number = 2": "has records [0, 1, 3]",
    "UPDATE sequential.steps SET fence = 7 WHERE number = 1": "under fences",
    "UPDATE sequential.steps SET value = '\"x\"' WHERE number = 1": "returned",
    "UPDATE sequential.stored_values SET data = '\"x\"'": "returned",
    "UPDATE sequential.runs SET status = 'purged'": "belong to weave, which is purged",
    "DELETE FROM sequential.runs": "1 runs are lost",
}


@pytest.mark.parametrize("statement", DAMAGE)
def test_the_checker_sees_damage_to_the_tables(
    house: House, durable: OwnServer, statement: str
) -> None:
    with closing(Effects(house.log)) as log, house.open("when-waiting") as app:
        write_to(log)
        app.start("weave", {"number": 1}, run_id="weave")
        while not isinstance(app.execute("weave"), Completed):
            pass
    watcher, told = Watcher(house.book), Told(started=["weave"])
    watcher.look()
    assert Checker(house.book, read(house.log), told).check().violations == []
    durable.execute(statement, urlsplit(house.server).path[1:])
    said = "\n".join(Checker(house.book, read(house.log), told).check().violations)
    assert DAMAGE[statement] in said
    watcher.look()
    assert bool(watcher.violations) == ("sequential.steps" in statement)


@pytest.mark.chaos
@pytest.mark.timeout(SECONDS + 60)
class TestChaos:
    """Run by the chaos session only."""

    @pytest.mark.parametrize("seed", SEEDS)
    def test_kills_at_random_moments_and_processes_that_stood_still_lose_nothing(
        self, house: House, seed: int
    ) -> None:
        plan = Plan(RANDOM, FREEZES, processes=4, aimed=0.85, seconds=SECONDS, seed=seed)
        report = conduct(RandomKills(plan, house))
        said_nothing(house, *STOOD_STILL)
        assert report.found.runs >= 200
        assert report.between >= report.kills * 0.3
        assert report.found.extra > 0
        assert report.found.causes["stopped past its lease"] > 0

    @pytest.mark.parametrize("seed", AIMED_SEEDS)
    def test_kills_at_every_failpoint_lose_nothing_and_repeat_only_what_they_must(
        self, house: House, seed: int
    ) -> None:
        plan = Plan(AIMED * len(WHOLE), open_runs=16, processes=5, seconds=SECONDS, seed=seed)
        conduct_aimed(AimedKills(plan, coded(house), AIMED, WHOLE))
        said_nothing(house, *STOOD_STILL)

    @pytest.mark.parametrize("seed", STOPS_SEEDS)
    def test_processes_that_stood_still_at_a_failpoint_past_their_leases_overwrite_nothing(
        self, house: House, seed: int
    ) -> None:
        points = [point for point in WHOLE if not point.purges]
        stops = STOPS * len(points)
        plan = Plan(0, stops, open_runs=16, processes=8, seconds=SECONDS, seed=seed)
        report = conduct_stops(AimedStops(plan, coded(house), STOPS, points))
        said_nothing(house, *STOOD_STILL)
        assert report.found.losses > 0

    @pytest.mark.parametrize("seed", RESTARTS_SEEDS)
    def test_servers_killed_under_load_lose_nothing(
        self, house: House, durable: OwnServer, seed: int
    ) -> None:
        plan = Plan(BESIDE, open_runs=60, processes=4, seconds=SECONDS, seed=seed)
        conduct_restarts(Restarts(plan, house, durable, RESTARTS))


def coded(house: House) -> House:
    """Return *house* with a payload codec, which is a failpoint too."""
    return replace(house, coded=True)


def test_the_campaigns_together_are_what_was_promised() -> None:
    aimed = AIMED * len(AIMED_SEEDS) * len(WHOLE)
    assert RANDOM * len(SEEDS) + aimed + BESIDE * len(RESTARTS_SEEDS) >= 2000
    assert RESTARTS * len(RESTARTS_SEEDS) >= 50

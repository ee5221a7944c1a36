"""Workers are killed at any instruction and at every failpoint; nothing is lost or changed."""

from __future__ import annotations

import signal
import time
from contextlib import closing
from pathlib import Path

from sequential._model import Status
from tests.acceptance.aimed import AimedKills, conduct_aimed
from tests.acceptance.campaign import Plan, RandomKills, conduct, said_nothing
from tests.acceptance.effects import Effects, read
from tests.acceptance.failpoints import POINTS
from tests.acceptance.kill_flows import write_to
from tests.acceptance.nursery import House, Nursery


def test_more_than_two_hundred_killed_workers_lose_nothing(tmp_path: Path) -> None:
    house = House(str(tmp_path))
    report = conduct(RandomKills(Plan(kills=220), house))
    said_nothing(house)
    assert report.found.runs >= 100
    # A kill that hits nothing proves nothing.
    assert report.between >= report.kills / 3
    assert report.found.extra > 0


def test_a_death_at_any_failpoint_loses_nothing_and_repeats_only_what_it_must(
    tmp_path: Path,
) -> None:
    house = House(str(tmp_path), coded=True)
    plan = Plan(kills=len(POINTS), open_runs=12, processes=4)
    conduct_aimed(AimedKills(plan, house, each=1))
    said_nothing(house)


def test_a_run_that_kills_every_process_is_quarantined_with_its_history(tmp_path: Path) -> None:
    house = House(str(tmp_path), lease=0.3, stalls=3)
    deaths = []
    with closing(Effects(house.log)) as log, house.open() as app, Nursery(house) as nursery:
        write_to(log)
        app.start("doomed", {"number": 1}, run_id="r")
        for _ in range(2):
            until, pid = time.monotonic() + 40, nursery.worker()
            died = 0
            while app.get("r").status is not Status.QUARANTINED:
                assert time.monotonic() < until
                for dead, code in nursery.ended().items():
                    assert (dead, code) == (pid, -signal.SIGKILL)
                    died, pid = died + 1, nursery.worker()
                time.sleep(0.01)
            deaths.append(died)
            assert nursery.end_all() == [0]
            assert len(app.steps("r")) == 1
            app.redrive("r")
        app.terminate("r")
    # The claim that still recorded a step made progress; after it three did not.
    assert deaths == [4, 3]
    poisoned = [line for line in read(house.log) if line.tool == "kill.poison"]
    assert len(poisoned) == 7
    assert len({line.key for line in poisoned}) == 1

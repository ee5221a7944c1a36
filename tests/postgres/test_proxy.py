"""The network to Postgres fails at every operation in turn, in each way it can; no run notices.

Runs go through a proxy that cuts the connection before a request arrives, after it was carried out,
in the middle of the reply, or while the request is still on its way.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.acceptance.book import open_storage
from tests.acceptance.cuts import FATES, Scene, first, only, scattered, table
from tests.acceptance.cuts import scene as scene_of
from tests.acceptance.kill_flows import FLOWS
from tests.acceptance.nursery import House
from tests.fix_postgres import OwnServer
from tests.postgres.proxy import Cutter

PAUSES = ("budget", "every-step")
OPERATIONS = {
    "create", "load", "claim", "step", "last-step", "record", "intent", "attempt", "park",
    "message", "renew", "end", "due", "find", "value", "fetch", "purge",
}  # fmt: skip
SEEDS = (21, 22, 23, 24)
CUTS_EACH = 330
CUTS_ONE_BY_ONE = 350


@contextmanager
def scene(server: OwnServer, folder: Path, pause: str) -> Iterator[Scene]:
    """Give an application that pauses by *pause*."""
    database = server.database()
    house = House(str(folder), lease=0.6, server=server.url(database))
    with ExitStack() as stack:
        stack.callback(server.drop, database)
        cutter = Cutter(server.folder / ".s.PGSQL.5432")
        stack.callback(cutter.close)
        url = f"postgresql://postgres@127.0.0.1:{cutter.port}/{database}?statement_timeout=5"
        yield stack.enter_context(scene_of(house, pause, open_storage(url), cutter))


def test_a_cut_at_any_kind_of_operation_is_not_noticed(
    own_postgres: OwnServer, tmp_path: Path
) -> None:
    cut: set[str] = set()
    total = 0
    for pause in PAUSES:
        (tmp_path / pause).mkdir()
        with scene(own_postgres, tmp_path / pause, pause) as here:
            for flow in (*FLOWS, "slow"):
                kinds = set(here.learn(flow)) - cut
                for fate in FATES if kinds else ():
                    here.play(flow, first(kinds, 2, fate), purges="purge" in kinds)
                cut |= kinds
            found = here.check()
            print(table(here, found))  # noqa: T201  (the figures are what `pytest -s` is run for)
            assert found.extra == 0
            assert {fate for _, fate in here.storage.made} == set(FATES)
            total += here.storage.made.total()
    assert cut == OPERATIONS
    assert total >= 90


@pytest.mark.chaos
@pytest.mark.timeout(660)
class TestChaos:
    """Run by the chaos session only."""

    @pytest.mark.parametrize("pause", PAUSES)
    def test_a_cut_at_every_operation_is_not_noticed(
        self, own_postgres: OwnServer, tmp_path: Path, pause: str
    ) -> None:
        with scene(own_postgres, tmp_path, pause) as here:
            for flow in FLOWS:
                kinds = here.learn(flow)
                for number, kind in enumerate(kinds):
                    for fate in FATES:
                        here.play(flow, only(number, fate), purges=kind == "purge")
            found = here.check()
            print(table(here, found))  # noqa: T201  (as above)
            assert here.storage.made.total() >= CUTS_ONE_BY_ONE
            assert found.extra == 0

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_network_that_cuts_again_and_again_loses_nothing(
        self, own_postgres: OwnServer, tmp_path: Path, seed: int
    ) -> None:
        dice = random.Random(seed)
        with scene(own_postgres, tmp_path, PAUSES[seed % 2]) as here:
            for flow in FLOWS:
                here.learn(flow)
            while here.storage.made.total() < CUTS_EACH:
                here.play(dice.choice(FLOWS), scattered(dice), purges=dice.random() < 0.2)
            print(table(here, here.check()))  # noqa: T201  (as above)


def test_the_cuts_together_are_what_was_promised() -> None:
    assert CUTS_ONE_BY_ONE * len(PAUSES) + CUTS_EACH * len(SEEDS) >= 2000

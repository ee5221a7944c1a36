"""The network to S3 fails at every request of every operation, in each way it can.

Runs go through a proxy that cuts the connection before a request arrives, after it was carried out,
in the middle of the reply, or while the request is still on its way; no run notices. What no run
does, a repair and a probe, is cut by itself.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sequential.errors import OutcomeUnknown, StorageUnavailable
from sequential.storage import In, Status, Storage, evolve
from sequential.testing._storage_samples import make_run, make_step
from sequential_s3.plugin import open_s3
from sequential_s3.storage import S3Storage
from tests.acceptance.cuts import FATES, Scene, first, insist, scattered, scene, table
from tests.acceptance.kill_flows import FLOWS
from tests.acceptance.nursery import House
from tests.fix_s3 import new_url
from tests.proxy import Fate
from tests.s3.proxy import Cutter, Hasty

PAUSES = ("budget", "every-step")
OPERATIONS = {
    "create", "load", "claim", "step", "last-step", "record", "intent", "attempt", "park",
    "message", "renew", "end", "due", "find", "value", "fetch", "purge",
}  # fmt: skip
SEEDS = (41, 42)
CUTS_EACH = 150
MOST = 60
CUTS_ONE_BY_ONE = 110


@contextmanager
def behind(endpoint: str, cutter: Cutter) -> Iterator[tuple[str, Storage]]:
    """Give the URL of an empty storage, and the storage *behind* the *cutter*."""
    url = new_url(endpoint)
    with closing(open_s3(url.replace(endpoint, cutter.endpoint), Hasty())) as storage:
        yield url, storage


@contextmanager
def cut_scene(endpoint: str, folder: Path, pause: str) -> Iterator[Scene]:
    """Give an application that pauses by *pause*."""
    folder.mkdir(exist_ok=True)
    with (
        closing(Cutter(endpoint)) as cutter,
        behind(endpoint, cutter) as (url, storage),
        scene(House(str(folder), lease=0.9, server=url), pause, storage, cutter) as made,
    ):
        yield made


def requests_of(here: Scene, flow: str) -> list[tuple[str, int]]:
    """Play *flow* once; return the kind and the number of the request, for each request."""
    kinds = here.learn(flow)
    counted = zip(kinds, here.storage.requests, strict=True)
    return [(kind, request) for kind, count in counted for request in range(count)]


def test_a_cut_at_any_kind_of_operation_is_not_noticed(ministack: str, tmp_path: Path) -> None:
    cut: set[tuple[str, int]] = set()
    total = 0
    for pause, flows in (("budget", (*FLOWS, "slow")), ("every-step", ("chain",))):
        with cut_scene(ministack, tmp_path / pause, pause) as here:
            for flow in flows:
                fresh = set(requests_of(here, flow)) - cut
                for at, fate in enumerate(FATES):
                    if kinds := {kind for kind, request in fresh if request == at}:
                        here.play(flow, first(kinds, 1, fate, at), purges="purge" in kinds)
                cut |= fresh
            found = here.check()
            print(table(here, found))  # noqa: T201  (the figures are what `pytest -s` is run for)
            assert found.extra == 0
            total += here.storage.made.total()
    assert {kind for kind, _ in cut} == OPERATIONS
    assert total >= 30


# -- what no run does


def prepare(storage: S3Storage) -> None:
    """Make a run that nobody would wake, one that is due, and one that has ended."""
    storage.create(make_run("lost", wake=In(0.0)), (make_step(0),))
    storage.bucket.delete(list(storage.bucket.keys(storage._keys.markers)))
    storage.create(make_run("due", wake=In(0.0)), (make_step(0),))
    storage.create(make_run("ended", status=Status.COMPLETED), (make_step(0),))
    storage.put_value("ended", b"large")


ALONE: dict[str, Callable[[S3Storage], object]] = {
    "repair": lambda storage: storage.repair(),
    "probe": lambda storage: storage.probe(),
    "drop values": lambda storage: storage.drop_values("ended"),
}


@pytest.mark.parametrize("operation", ALONE)
def test_a_cut_of_what_is_done_by_hand_is_not_noticed(operation: str, ministack: str) -> None:
    cut = 0

    def fate(number: int) -> Fate:
        nonlocal cut
        # Each request is cut in one of the turns, and what is sent again passes.
        if number % len(FATES) != turn or number > MOST:
            return "pass"
        cut += 1
        return FATES[(number // len(FATES)) % len(FATES)]

    with closing(Cutter(ministack)) as cutter:
        for turn in range(len(FATES)):  # noqa: B007  (`fate` looks at it)
            with behind(ministack, cutter) as (_, storage):
                assert isinstance(storage, S3Storage)
                cutter.decide = lambda _: "pass"
                prepare(storage)
                cutter.requests = 0
                cutter.decide = fate
                insist(lambda: ALONE[operation](storage))
                cutter.decide = lambda _: "pass"
                check_alone(operation, storage)
    assert cut >= 2


def check_alone(operation: str, storage: S3Storage) -> None:
    """Look whether *operation* did what it was to do, and no more."""
    due = ["due", "lost"] if operation == "repair" else ["due"]
    assert sorted(storage.due(10, None, 30.0)) == due
    for run_id in ("lost", "due", "ended"):
        loaded: Any = storage.load(run_id)
        assert list(loaded.steps) == [make_step(0)]
    values = list(storage.bucket.keys(storage._keys.run("ended") + "value/"))
    assert bool(values) == (operation != "drop values")


def test_a_server_that_does_not_answer_is_given_up_in_time(ministack: str) -> None:
    with closing(Cutter(ministack)) as cutter, behind(ministack, cutter) as (url, healthy):
        run = healthy.create(make_run(), (make_step(0),))
        slow = open_s3(f"{url.replace(ministack, cutter.endpoint)}&timeout=0.1", Hasty())
        with closing(slow) as storage:
            assert storage.load("r1") is not None
            cutter.decide = lambda _: "hang"
            with pytest.raises(StorageUnavailable, match="Read timeout"):
                storage.load("r1")
            with pytest.raises(OutcomeUnknown, match="did not confirm"):
                storage.commit(evolve(run, op_id="slow"), run)
            cutter.decide = lambda _: "pass"
            assert storage.load("r1") is not None


@pytest.mark.chaos
@pytest.mark.timeout(1800)
class TestChaos:
    """Run by the chaos session only."""

    @pytest.mark.parametrize("pause", PAUSES)
    def test_a_cut_at_every_request_is_not_noticed(
        self, ministack: str, tmp_path: Path, pause: str
    ) -> None:
        with cut_scene(ministack, tmp_path, pause) as here:
            fates = itertools.cycle(FATES)
            for flow in FLOWS:
                for kind, request in dict.fromkeys(requests_of(here, flow)):
                    cuts = first({kind}, 1, next(fates), request)
                    here.play(flow, cuts, purges=kind == "purge")
            found = here.check()
            print(table(here, found))  # noqa: T201  (as above)
            assert here.storage.made.total() >= CUTS_ONE_BY_ONE
            assert found.extra == 0

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_network_that_cuts_again_and_again_loses_nothing(
        self, ministack: str, tmp_path: Path, seed: int
    ) -> None:
        dice = random.Random(seed)
        with cut_scene(ministack, tmp_path, PAUSES[seed % 2]) as here:
            for flow in FLOWS:
                here.learn(flow)
            while here.storage.made.total() < CUTS_EACH:
                here.play(dice.choice(FLOWS), scattered(dice), purges=dice.random() < 0.2)
            print(table(here, here.check()))  # noqa: T201  (as above)


def test_the_cuts_together_are_what_was_promised() -> None:
    assert CUTS_ONE_BY_ONE * len(PAUSES) + CUTS_EACH * len(SEEDS) >= 500

"""The record that an invocation holds: claimed once, committed once, whatever the answers are.

The generators are driven by hand, so each test says which answer comes when.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from sequential import Registry
from sequential._holding import Claim, Holding
from sequential._memory import MemoryStorage
from sequential._model import (
    At,
    Message,
    Payload,
    Run,
    Status,
    StepKind,
    StepOutcome,
    StepRecord,
    evolve,
)
from sequential._protocol import NOW, Gain, Terms, keep, message, park, terminate
from sequential._requests import Commit, Load, Request, Requests, Wait
from sequential.errors import LeaseLost, OutcomeUnknown, StorageRefused, StorageUnavailable
from sequential.testing import FakeClock
from sequential.testing._faulty import UNKNOWN, Fault, FaultyStorage
from sequential.testing._stage import Stage

NULL = Payload(b"null", size=4)
TERMS = Terms()


class Bench:
    """A stage with one run, and a holding of it that is driven by hand."""

    def __init__(self) -> None:
        clock = FakeClock()
        self.inner = MemoryStorage(clock)
        self.storage = FaultyStorage(self.inner)
        self.stage = Stage(Registry(), self.inner, clock)
        self.inner.create(Run("r", "flow", NULL, wake=NOW, op_id="created"))
        self.requests: list[Request] = []

    def holding(self) -> Holding:
        """Return a holding of the record as it is stored now, that has claimed nothing."""
        world = self.stage.process()._world()
        return Holding(self.stage.engine, world, self.stage.run())

    def claimed(self) -> Holding:
        """Return a holding that has claimed the run, with nothing counted yet."""
        holding = self.holding()
        assert self.answer(holding.claim(0)).held
        self.requests.clear()
        self.storage.calls.clear()
        return holding

    def answer(self, requests: Requests[Any]) -> Any:
        """Answer *requests* from the storage; return what they came to."""
        act: Callable[[], Request] = partial(requests.send, None)
        while True:
            try:
                request = act()
            except StopIteration as stop:
                return stop.value
            self.requests.append(request)
            try:
                act = partial(requests.send, self._answered(request))
            except Exception as error:  # noqa: BLE001  (the generator decides what it means)
                act = partial(requests.throw, error)

    def _answered(self, request: Request) -> object:
        if isinstance(request, Commit):
            return self.storage.commit(request.run, request.expect, request.steps)
        if isinstance(request, Load):
            return self.storage.load(request.run_id, request.after)
        assert isinstance(request, Wait)
        self.stage.clock.advance(request.seconds)
        return None

    def put(self, change: Callable[[Run], Run | None]) -> None:
        """Commit *change* as somebody else."""
        changed = change(self.stage.run())
        assert changed is not None
        self.inner.commit(evolve(changed, op_id="somebody else"), changed)

    def signal(self, message_id: str = "s") -> None:
        """Put a message into the inbox."""
        self.put(lambda run: message(run, Message(message_id, "go", NULL)))

    def steal(self) -> None:
        """Claim the run as another invocation, after the lease."""
        self.stage.clock.advance(10_000)
        thief = self.holding()
        requests = thief.claim(0)
        request = next(requests)
        assert isinstance(request, Commit)
        self.inner.commit(request.run, request.expect)

    def waits(self) -> list[float]:
        """Return the waits that were asked for."""
        return [request.seconds for request in self.requests if isinstance(request, Wait)]

    def op_ids(self) -> set[str]:
        """Return the ids of the commits that were asked for."""
        return {request.run.op_id for request in self.requests if isinstance(request, Commit)}


def step(run: Run, op_id: str) -> StepRecord:
    return StepRecord(
        run.generation, run.cursor, str(run.cursor), StepKind.SAVE, "", "", StepOutcome.VALUE,
        NULL, None, 1, 0.0, 0.0, run.fence, op_id,
    )  # fmt: skip


def keeping(run: Run) -> Run:
    return keep(run, Gain(1), 0.0, TERMS)


def parking(run: Run) -> Run:
    return park(run, Gain(1), NOW, ())


# -- claiming ------------------------------------------------------------------------------------


def test_a_claim_is_one_commit() -> None:
    bench = Bench()
    holding = bench.holding()
    assert bench.answer(holding.claim(0)) == Claim(held=True, reread=None)
    assert bench.storage.calls == ["commit"]
    assert (holding.run.status, holding.run.fence, holding.run.stalls) == (Status.RUNNING, 1, 1)
    assert holding.run == bench.stage.run()


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, *UNKNOWN], ids=str)
def test_a_claim_that_is_not_confirmed_is_settled_and_counts_once(fault: Fault) -> None:
    bench = Bench()
    bench.storage.plan("commit", 0, fault)
    holding = bench.holding()
    claim = bench.answer(holding.claim(0))
    assert claim.held
    assert claim.reread is not None
    assert (holding.run.fence, holding.run.stalls) == (1, 1)
    assert bench.waits() == [0.05]
    assert len(bench.op_ids()) == 1


@pytest.mark.parametrize("fault", UNKNOWN, ids=str)
def test_a_claim_is_known_as_ours_although_a_signal_came_after_it(fault: Fault) -> None:
    bench = Bench()
    bench.storage.plan("commit", 0, fault, after=bench.signal)
    holding = bench.holding()
    assert bench.answer(holding.claim(0)).held
    assert bench.stage.run().fence == 1
    assert [each.id for each in holding.run.inbox] == ["s"]


@pytest.mark.parametrize("fault", [None, *UNKNOWN], ids=str)
def test_a_claim_that_came_second_is_not_held(fault: Fault | None) -> None:
    bench = Bench()
    bench.storage.plan("commit", 0, fault, before=bench.steal)
    holding = bench.holding()
    assert not bench.answer(holding.claim(0)).held
    assert holding.run.owner == bench.stage.run().owner != ""
    assert bench.stage.run().fence == 1


def test_a_claim_whose_lease_ended_while_its_reply_was_lost_is_not_held() -> None:
    bench = Bench()
    bench.storage.plan("commit", 0, Fault.LOST, after=bench.steal)
    holding = bench.holding()
    assert not bench.answer(holding.claim(0)).held
    assert bench.stage.run().fence == 2


def test_a_claim_of_what_is_not_due_asks_for_nothing() -> None:
    bench = Bench()
    bench.put(lambda run: evolve(run, wake=At(9e9)))
    holding = bench.holding()
    assert bench.answer(holding.claim(0)) == Claim(held=False, reread=None)
    assert bench.requests == []


@pytest.mark.parametrize("fault", [None, *UNKNOWN], ids=str)
def test_a_claim_too_many_quarantines_the_run_once(fault: Fault | None) -> None:
    bench = Bench()
    bench.put(lambda run: evolve(run, stalls=8))
    bench.storage.plan("commit", 0, fault)
    holding = bench.holding()
    assert not bench.answer(holding.claim(0)).held
    assert holding.run.status is bench.stage.run().status is Status.QUARANTINED


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.UNAVAILABLE, StorageUnavailable),
        (Fault.UNCONFIRMED, OutcomeUnknown),
        (Fault.REFUSED, StorageRefused),
    ],
)
def test_a_claim_is_given_up_when_the_storage_stays_away(
    fault: Fault, error: type[Exception]
) -> None:
    bench = Bench()
    for number in range(50):
        bench.storage.plan("commit", number, fault)
    with pytest.raises(error):
        bench.answer(bench.holding().claim(0))
    waits = [] if fault is Fault.REFUSED else [0.05, 0.1, 0.2, 0.4, 0.8, 1.6]
    assert bench.waits() == waits


# -- committing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [None, Fault.UNAVAILABLE, *UNKNOWN], ids=str)
@pytest.mark.parametrize("change", [keeping, parking])
@pytest.mark.parametrize("signal", [False, True])
def test_a_commit_is_applied_once_and_never_under_another_id(
    fault: Fault | None, change: Callable[[Run], Run], signal: bool
) -> None:
    bench = Bench()
    holding = bench.claimed()
    bench.storage.plan("commit", 0, fault, after=bench.signal if signal else None)
    bench.answer(holding.commit(change, "mine", (step(holding.run, "mine"),)))
    assert [each.op_id for each in bench.stage.steps()] == ["mine"]
    assert bench.op_ids() == {"mine"}
    assert (holding.run.cursor, holding.run.fence) == (1, 1)
    assert bool(bench.stage.run().inbox) is signal or fault is Fault.UNAVAILABLE


@pytest.mark.parametrize("fault", [None, Fault.UNAVAILABLE, *UNKNOWN], ids=str)
def test_a_signal_that_came_first_is_not_overwritten(fault: Fault | None) -> None:
    bench = Bench()
    holding = bench.claimed()
    bench.storage.plan("commit", 0, fault, before=bench.signal)
    bench.answer(holding.commit(parking, "mine", (step(holding.run, "mine"),)))
    assert [each.id for each in bench.stage.run().inbox] == ["s"]
    assert bench.stage.run().wake == At(bench.stage.run().wake.time)  # type: ignore[union-attr]
    assert len(bench.stage.steps()) == 1


@pytest.mark.parametrize("fault", [None, *UNKNOWN], ids=str)
@pytest.mark.parametrize("change", [keeping, parking])
def test_a_lost_lease_cannot_write(fault: Fault | None, change: Callable[[Run], Run]) -> None:
    bench = Bench()
    holding = bench.claimed()
    bench.storage.plan("commit", 0, fault, before=bench.steal)
    with pytest.raises(LeaseLost):
        bench.answer(holding.commit(change, "mine", (step(holding.run, "mine"),)))
    assert bench.stage.steps() == []
    assert bench.stage.run().fence == 2


@pytest.mark.parametrize("change", [keeping, parking])
def test_a_commit_that_was_applied_and_gone_on_from_is_a_lost_lease(
    change: Callable[[Run], Run],
) -> None:
    """What this process holds, a claim or a frame, no longer stands where the record stands."""
    bench = Bench()
    holding = bench.claimed()
    bench.storage.plan("commit", 0, Fault.LOST, after=bench.steal)
    with pytest.raises(LeaseLost):
        bench.answer(holding.commit(change, "mine", (step(holding.run, "mine"),)))
    assert [each.op_id for each in bench.stage.steps()] == ["mine"]


@pytest.mark.parametrize("fault", [None, *UNKNOWN], ids=str)
def test_a_terminated_run_takes_no_more_records(fault: Fault | None) -> None:
    bench = Bench()
    holding = bench.claimed()
    bench.storage.plan(
        "commit", 0, fault, before=lambda: bench.put(lambda run: terminate(run, 1.0, TERMS))
    )
    with pytest.raises(LeaseLost):
        bench.answer(holding.commit(keeping, "mine", (step(holding.run, "mine"),)))
    assert bench.stage.steps() == []
    assert bench.stage.run().status is Status.CANCELLED


def test_a_run_that_is_gone_is_a_lost_lease() -> None:
    bench = Bench()
    holding = bench.claimed()
    bench.put(lambda run: terminate(run, 1.0, TERMS))
    bench.inner.purge(bench.stage.run())
    with pytest.raises(LeaseLost):
        bench.answer(holding.commit(keeping))
    bench.inner.purge(bench.stage.run())
    with pytest.raises(LeaseLost):
        bench.answer(holding.commit(keeping))


def test_a_reissued_fence_with_another_owner_is_refused() -> None:
    """A failover lost the claim, and the next claim got the same fence."""
    bench = Bench()
    before = bench.stage.run()
    holding = bench.claimed()
    bench.inner._runs["r"] = before
    bench.steal()
    # One version more: with an equal one, compare-and-set itself could not tell them apart.
    bench.signal()
    assert bench.stage.run().fence == holding.run.fence
    with pytest.raises(LeaseLost):
        bench.answer(holding.commit(keeping, "mine", (step(holding.run, "mine"),)))
    assert bench.stage.steps() == []


def test_the_storage_may_be_away_while_an_unconfirmed_commit_is_looked_for() -> None:
    bench = Bench()
    holding = bench.claimed()
    bench.storage.plan("commit", 0, Fault.LOST)
    for number in range(4):
        bench.storage.plan("load", number, Fault.UNAVAILABLE)
    bench.answer(holding.commit(keeping, "mine", (step(holding.run, "mine"),)))
    assert len(bench.stage.steps()) == 1
    assert bench.waits() == [0.05, 0.05, 0.1, 0.2, 0.4]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.UNAVAILABLE, StorageUnavailable),
        (Fault.UNCONFIRMED, OutcomeUnknown),
        (Fault.REFUSED, StorageRefused),
    ],
)
def test_a_commit_is_given_up_when_the_storage_stays_away(
    fault: Fault, error: type[Exception]
) -> None:
    bench = Bench()
    holding = bench.claimed()
    for number in range(50):
        bench.storage.plan("commit", number, fault)
    with pytest.raises(error):
        bench.answer(holding.commit(keeping, "mine", (step(holding.run, "mine"),)))
    assert sum(bench.waits()) <= 3.2
    assert bench.stage.steps() == []


def test_many_signals_in_a_row_do_not_use_up_the_tries() -> None:
    bench = Bench()
    holding = bench.claimed()
    for number in range(30):
        bench.storage.plan("commit", number, before=partial(bench.signal, f"s{number}"))
    bench.answer(holding.commit(keeping, "mine", (step(holding.run, "mine"),)))
    assert len(bench.stage.run().inbox) == 30
    assert len(bench.stage.steps()) == 1
    assert bench.waits() == []


def test_looking_remembers_which_messages_were_there() -> None:
    bench = Bench()
    bench.signal("a")
    holding = bench.claimed()
    holding.look()
    bench.signal("b")
    assert holding.known == {"a"}

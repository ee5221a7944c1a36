"""Plain journeys of the whole engine over a storage: nothing goes wrong that flows do not expect.

Through the application, as users see it. What happens when processes are lost stands in the rows.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .._app import Sequential
from .._flights import InTurn
from .._model import Status, StepOutcome
from .._outcomes import Cancelled, Completed, Failed, Outcome, Paused, Purged, Quarantined
from .._polling import PollingTransport
from .._registry import Registry
from .._storage import Storage
from ..errors import RunStatusWrong, RunTaken
from ._clock import FakeClock
from ._engine_flows import LARGE, ProcessLost, make_registry
from ._engine_scene import LEASE_OVER, TERMS, Scene
from ._faulty import FaultyStorage

WHOLE = [1, 2, 7, "late", LARGE, 3]
"""What the journey with a step of every kind returns."""


class Journey:
    """A scene and the application of its first process."""

    def __init__(
        self,
        storage: Storage,
        clock: FakeClock,
        pause: str = "when-waiting",
        flows: Callable[[Registry], None] = lambda _: None,
    ) -> None:
        """Open the first process; *flows* registers what it has beside the flows of all."""
        self.scene = Scene(storage, clock)
        self.pause = pause
        self.flows = flows
        self.app = self.open()

    def open(self) -> Sequential:
        """Open the application in a new process."""
        self.seen = FaultyStorage(self.scene.storage)
        registry = make_registry(self.scene.places)
        self.flows(registry)
        app = Sequential(
            self.seen, PollingTransport(), self.pause, [], registry=registry, terms=TERMS,
            clock=self.scene.clock,
        )  # fmt: skip
        app.driver.flights = InTurn  # so that branches end in the same order each time
        return app

    def reopen(self) -> None:
        """Go on in a new process."""
        self.app.driver.close()
        self.app = self.open()

    def lose(self, run_id: str = "r") -> None:
        """Execute the run, lose the process on the way, and go on in another one when it may."""
        with pytest.raises(ProcessLost):
            self.app.execute(run_id)
        self.reopen()
        self.scene.let_pass(LEASE_OVER)

    def carry(self, *, fresh: bool = False) -> Outcome:
        """Make invocations until the run has ended, with time going on and signals sent."""
        for _ in range(40):
            if fresh:
                self.reopen()
            outcome = self.app.execute("r")
            if not isinstance(outcome, Paused):
                return outcome
            self.scene.to_wake()
        raise AssertionError(f"the run is stranded: {self.app.get('r')}")

    def commits(self) -> int:
        """Return how many commits the application asked for."""
        return self.seen.calls.count("commit")

    def passed(self, place: str) -> int:
        """Return how often *place* was come by."""
        return self.scene.places.passed[place]


def raising(error: Exception) -> Callable[[], None]:
    """Return what raises *error*, to be planned."""

    def act() -> None:
        raise error

    return act


def result(outcome: Outcome) -> object:
    """Return the result of a run that must have completed."""
    assert isinstance(outcome, Completed), outcome
    return outcome.result


class Journeys:
    """What users do, over any storage."""

    def test_an_inline_run_is_one_claim_and_a_commit_a_step(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        journey = Journey(storage, clock)
        journey.app.start("errand", run_id="r")
        assert result(journey.app.execute("r")) == [1, 2, 3]
        assert journey.commits() == 1 + 3 + 1
        run = journey.app.get("r")
        assert (run.status, run.fence, run.cursor) == (Status.COMPLETED, 1, 3)
        assert [step.tool for step in journey.app.steps("r")] == ["t.first", "t.second", "t.third"]

    def test_a_run_that_is_carried_on_here_is_created_claimed(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        journey = Journey(storage, clock)
        assert journey.app.run("errand", run_id="r") == [1, 2, 3]
        assert journey.commits() == 3 + 1
        assert journey.app.run("errand", run_id="r") == [1, 2, 3]
        assert journey.passed("first") == 1

    def test_every_step_is_a_claim_and_a_commit(self, storage: Storage, clock: FakeClock) -> None:
        journey = Journey(storage, clock, "every-step")
        journey.app.start("errand", run_id="r")
        outcomes = [journey.app.execute("r") for _ in range(4)]
        assert [type(each) for each in outcomes] == [Paused, Paused, Paused, Completed]
        assert journey.commits() == 4 + 3 + 1
        assert journey.app.get("r").fence == 4

    def test_starting_twice_is_starting_once(self, storage: Storage, clock: FakeClock) -> None:
        journey = Journey(storage, clock)
        for _ in range(2):
            assert journey.app.start("counting", {"number": 5}, run_id="r") == "r"
        with pytest.raises(RunTaken):
            journey.app.start("counting", {"number": 6}, run_id="r")
        with pytest.raises(RunTaken):
            journey.app.start("errand", run_id="r")
        assert result(journey.carry()) == 6
        assert journey.passed("first") == 1

    @pytest.mark.parametrize("fresh", [False, True], ids=["warm", "cold"])
    @pytest.mark.parametrize("pause", ["when-waiting", "every-step", "budget:2steps"])
    def test_a_journey_with_a_step_of_every_kind(
        self, storage: Storage, clock: FakeClock, pause: str, fresh: bool
    ) -> None:
        journey = Journey(storage, clock, pause)
        journey.app.start("journey", {"number": 1}, run_id="r")
        assert result(journey.carry(fresh=fresh)) == WHOLE
        steps = journey.app.steps("r")
        assert [step.number for step in steps] == list(range(8))
        assert steps[4].outcome is StepOutcome.TIMEOUT
        for place in ("first", "flaky", "bulk", "once"):
            assert journey.passed(place) == 1

    def test_a_signal_is_waited_for_without_a_time(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        journey = Journey(storage, clock)
        journey.app.start("letter", run_id="r")
        outcome = journey.app.execute("r")
        assert isinstance(outcome, Paused)
        assert (outcome.wake, outcome.reason) == (None, "signal")
        journey.scene.let_pass(86_400)
        assert "r" not in storage.due(100, None, 30.0)
        assert journey.app.signal("r", "go", 7, signal_id="a")
        assert not journey.app.signal("r", "go", 8, signal_id="a")
        assert "r" in storage.due(100, None, 30.0)
        assert result(journey.app.execute("r")) == [1, 7, 2]
        with pytest.raises(RunStatusWrong):
            journey.app.signal("r", "go", 9)

    def test_a_sleep_ends_by_the_storages_time(self, storage: Storage, clock: FakeClock) -> None:
        journey = Journey(storage, clock)
        journey.app.start("journey", run_id="r")
        journey.app.execute("r")
        run = journey.app.get("r")
        journey.scene.let_pass(3000)
        assert isinstance(journey.app.execute("r"), Paused)
        assert journey.app.get("r").version == run.version
        assert "r" not in storage.due(100, None, 30.0)
        journey.scene.let_pass(601)
        assert "r" in storage.due(100, None, 30.0)
        assert isinstance(journey.app.execute("r"), Paused)
        assert journey.app.get("r").cursor == 3

    def test_an_attempt_that_failed_is_made_again_when_it_is_due(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        journey = Journey(storage, clock)
        journey.app.start("stubborn", run_id="r")
        for attempt in (1, 2):
            journey.scene.places.at("flaky", raising(ConnectionError("no answer")))
            outcome = journey.app.execute("r")
            assert isinstance(outcome, Paused)
            assert outcome.reason == "retry"
            assert journey.app.get("r").open["0"].attempt == attempt + 1
            journey.scene.to_wake()
        assert result(journey.app.execute("r")) == [5, 2]
        assert journey.app.steps("r")[0].attempts == 3
        assert len(journey.scene.places.effects) == 2

    def test_an_at_most_once_call_that_failed_is_not_made_again(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        journey = Journey(storage, clock)
        journey.app.start("careful", run_id="r")
        journey.scene.places.at("once", raising(ConnectionError("no answer")))
        assert result(journey.app.execute("r")) == [-2, 2]
        assert journey.passed("once") == 1

    def test_a_cancelled_run_cleans_up(self, storage: Storage, clock: FakeClock) -> None:
        journey = Journey(storage, clock)
        journey.app.start("journey", run_id="r")
        journey.app.execute("r")
        assert journey.app.cancel("r", "too late")
        assert not journey.app.cancel("r", "again")
        assert isinstance(journey.carry(), Cancelled)
        assert journey.passed("undo") == 1
        assert journey.app.steps("r")[2].outcome is StepOutcome.CANCELLED

    def test_a_terminated_run_runs_no_code(self, storage: Storage, clock: FakeClock) -> None:
        journey = Journey(storage, clock)
        journey.app.start("journey", run_id="r")
        journey.app.execute("r")
        assert journey.app.terminate("r").status is Status.CANCELLED
        assert isinstance(journey.app.execute("r"), Cancelled)
        assert journey.passed("undo") == 0

    def test_large_values_come_back_whole(self, storage: Storage, clock: FakeClock) -> None:
        journey = Journey(storage, clock, "every-step")
        journey.app.start("bulky", run_id="r")
        assert result(journey.carry(fresh=True)) == [LARGE, 2, 3]
        run, steps = journey.app.get("r"), journey.app.steps("r")
        assert steps[0].value.ref is not None
        assert journey.app.value(run, steps[0]) == "x" * LARGE
        assert journey.passed("bulk") == 1

    def test_a_run_that_kills_its_processes_is_quarantined_and_redriven(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        journey = Journey(storage, clock)
        journey.app.start("errand", run_id="r")

        def die() -> None:
            raise ProcessLost

        journey.scene.places.at("second", die, always=True)
        for _ in range(1 + TERMS.max_stalls):
            with pytest.raises(ProcessLost):
                journey.app.execute("r")
            journey.scene.to_wake()
        assert isinstance(journey.app.execute("r"), Quarantined)
        journey.scene.let_pass(86_400)
        assert isinstance(journey.app.execute("r"), Quarantined)
        journey.scene.places.clear()
        journey.app.redrive("r")
        assert result(journey.app.execute("r")) == [1, 2, 3]
        assert journey.passed("first") == 1

    def test_a_failed_run_is_retried_from_the_step_that_failed(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        journey = Journey(storage, clock)
        journey.app.start("failing", run_id="r")
        journey.scene.places.at("second", raising(ValueError("no")))
        outcome = journey.app.execute("r")
        assert isinstance(outcome, Failed)
        assert outcome.error.position == "1"
        run = journey.app.retry("r")
        assert (run.generation, run.cursor) == (1, 1)
        assert result(journey.app.execute("r")) == 2
        assert (journey.passed("first"), journey.passed("second")) == (1, 2)
        assert [step.generation for step in journey.app.steps("r")] == [1, 1]

    def test_a_run_is_forked_at_a_step(self, storage: Storage, clock: FakeClock) -> None:
        journey = Journey(storage, clock)
        journey.app.run("bulky", run_id="r")
        journey.app.fork("r", "1", new_id="again")
        assert result(journey.app.execute("again")) == [LARGE, 2, 3]
        journey.app.fork("r", "1", edit=(20,), new_id="edited")
        assert result(journey.app.execute("edited")) == [LARGE, 20, 3]
        counts = [journey.passed(place) for place in ("bulk", "second", "third")]
        assert counts == [1, 2, 3]
        assert journey.app.purge("r")
        again = journey.app.get("again")
        assert journey.app.value(again, journey.app.steps("again")[0]) == "x" * LARGE

    def test_a_purged_run_leaves_a_tombstone_and_then_nothing(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        journey = Journey(storage, clock)
        journey.app.run("bulky", run_id="r")
        assert not journey.app.tidy("r")
        journey.scene.let_pass(TERMS.retention + 1)
        assert "r" in storage.due(100, None, 30.0)
        # The application is told the time when it looks.
        assert isinstance(journey.app.execute("r"), Completed)
        assert journey.app.tidy("r")
        assert isinstance(journey.app.execute("r"), Purged)
        assert (list(journey.app.steps("r")), journey.app.get("r").result) == ([], None)
        assert journey.app.purge("r")
        assert storage.load("r") is None

    def test_a_run_that_continues_as_new_has_a_short_history(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        journey = Journey(storage, clock)
        journey.app.start("counting", run_id="r")
        assert result(journey.carry()) == 3
        run = journey.app.get("r")
        assert (run.generation, run.cursor) == (2, 1)
        assert journey.passed("first") == 3

    def test_runs_are_found_by_what_became_of_them(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        journey = Journey(storage, clock)
        for number in range(3):
            journey.app.start("errand", run_id=f"e{number}", tags={"team": "a"})
        journey.app.execute("e1")
        found = journey.app.find(flow="errand", status="completed", tags={"team": "a"}).runs
        assert [run.run_id for run in found] == ["e1"]
        assert {"e0", "e2"} <= set(storage.due(100, ["errand"], 30.0))

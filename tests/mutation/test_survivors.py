"""What nothing else notices: each of these tests was written for a mutant that was still alive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from sequential import Sequential, SignalTimedOut, Steps, det, flow, wait_for_signal
from sequential._memory import MemoryStorage
from sequential._model import Status
from sequential._outcomes import Completed, Lost, Paused
from sequential._requests import Commit, Perform, Request
from sequential._transport import Handle, ResumeMessage
from sequential.errors import StorageUnavailable, TransportError
from sequential.testing import FakeClock
from sequential.testing._faulty import Fault, FaultyStorage
from sequential.testing._stage import Stage as EngineStage
from tests.core import journey
from tests.fix_stage import Stage


def staged(pause: str = "when-waiting") -> EngineStage:
    """Return a stage with a due run of two steps."""
    clock = FakeClock()
    made = journey.new_stage(MemoryStorage(clock), clock, pause)
    made.start("two")
    return made


def performing(request: Request) -> bool:
    return isinstance(request, Perform)


def test_who_lets_go_lets_go_of_its_own_claim_only() -> None:
    stage = staged()
    faulty = FaultyStorage(stage.storage)
    rival = stage.process().invoke()

    def overtake() -> None:
        stage.clock.advance(stage.terms.lease + 1)
        rival.until(performing)

    faulty.plan("commit", 1, Fault.UNAVAILABLE, before=overtake)
    for number in range(2, 8):
        faulty.plan("commit", number, Fault.UNAVAILABLE)
    with pytest.raises(StorageUnavailable):
        stage.process(faulty).execute()
    # It tried to let go as soon as the storage was there again.
    assert faulty.calls.count("commit") == 9
    assert (stage.run().status, stage.run().fence) == (Status.RUNNING, 2)
    assert isinstance(rival.finish(), Completed)


def test_a_claim_that_was_lost_while_a_tool_ran_asks_for_nothing_more() -> None:
    stage = staged()
    process = stage.process()
    overtaken = process.invoke()
    overtaken.until(performing)
    overtaken.advance()
    stage.clock.advance(stage.terms.lease + 1)
    stage.process().invoke().until(performing)
    process.leases.renew_due()
    assert not overtaken.advance(), overtaken.request
    assert isinstance(overtaken.outcome, Lost)


def test_a_history_that_grew_before_the_claim_is_the_one_that_is_played() -> None:
    stage = staged("every-step")
    late = stage.process().invoke()
    late.until(lambda request: isinstance(request, Commit))
    assert isinstance(stage.process().execute(), Paused)
    assert isinstance(late.finish(), Paused)
    assert (stage.run().cursor, stage.run().attention) == (2, None)


def test_the_deadline_of_a_signal_stands_even_if_the_code_now_asks_for_another(
    stage: Stage,
) -> None:
    seconds = [100.0]

    @flow(registry=stage.registry)
    def listening() -> Steps[Any]:
        try:
            return (yield wait_for_signal("go", timeout=seconds[0]))
        except SignalTimedOut:
            return "late"

    run_id = stage.app().start(listening)
    stage.app().execute(run_id)
    seconds[0] = 5000.0
    stage.clock.advance(100)
    assert stage.app().execute(run_id) == Completed(run_id, "late")


def test_a_kept_flow_of_an_earlier_generation_is_not_gone_on_with(stage: Stage) -> None:
    drawn: list[float] = []

    @flow(registry=stage.registry)
    def drawing() -> Steps[None]:
        drawn.append(det.random())
        yield wait_for_signal("go")

    app, other = stage.app(), stage.app()
    run_id = app.start(drawing)
    app.execute(run_id)
    other.terminate(run_id)
    other.retry(run_id)
    other.signal(run_id, "go")
    # No record was made so far, so only the generation tells the two apart.
    assert app.execute(run_id) == Completed(run_id, None)
    assert len(set(drawn)) == 2


def test_an_ended_run_is_kept_until_its_time(stage: Stage) -> None:
    @flow(registry=stage.registry)
    def short() -> Steps[int]:
        yield from ()
        return 1

    app = stage.app()
    assert app.run(short, run_id="r") == 1
    assert app.tidy("r") is False
    stage.clock.advance(stage.terms.retention - 1)
    assert stage.app().tidy("r") is False
    stage.clock.advance(1)
    assert stage.app().tidy("r") is True
    assert stage.app().get("r").status is Status.PURGED


# -- sweeping ------------------------------------------------------------------------------------


class Wire:
    """A transport that carries, to nobody, and cannot send what it is told not to."""

    carries = True
    longest_delay = 0.0

    def __init__(self, *broken: str) -> None:
        self.broken = broken
        self.sent: list[str] = []

    def send(self, messages: Sequence[ResumeMessage]) -> None:
        runs = [message.run_id for message in messages]
        self.sent += [run_id for run_id in runs if run_id not in self.broken]
        if unsent := set(runs).intersection(self.broken):
            raise TransportError("the line is dead", unsent)

    def listen(self, handle: Handle, stop: object) -> None:
        pass

    def close(self) -> None:
        pass


def swept(stage: Stage, wire: Wire) -> int:
    """Start three runs without telling anybody, and sweep."""

    @flow(registry=stage.registry, name="short")
    def short() -> Steps[int]:
        yield from ()
        return 1

    starting = stage.app()
    for run_id in ("a", "b", "c"):
        starting.start("short", run_id=run_id)
    with Sequential(
        stage.storage, wire, registry=stage.registry, clock=stage.clock, plugins=[]
    ) as app:
        return app.sweep()


def test_a_sweep_only_sends(stage: Stage) -> None:
    wire = Wire()
    assert swept(stage, wire) == 3
    assert sorted(wire.sent) == ["a", "b", "c"]
    found = [stage.app().get(run_id) for run_id in wire.sent]
    assert {(run.status, run.fence) for run in found} == {(Status.PAUSED, 0)}


@pytest.mark.parametrize("broken", ["a", "b", "c"])
def test_a_message_that_is_not_sent_stops_no_sweep(stage: Stage, broken: str) -> None:
    wire = Wire(broken)
    assert swept(stage, wire) == 2
    assert sorted([*wire.sent, broken]) == ["a", "b", "c"]

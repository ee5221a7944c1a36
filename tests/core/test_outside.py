"""What is done to a run from outside: once, also when replies are lost or others are faster."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sequential._memory import MemoryStorage
from sequential._model import At, Attention, In, Run, Status, StepKind, StepOutcome, evolve
from sequential._outcomes import Cancelled, Completed, Paused
from sequential._outside import Outside
from sequential._protocol import NOW
from sequential.errors import (
    OutcomeUnknown,
    RunMissing,
    RunStatusWrong,
    RunTaken,
    StorageUnavailable,
)
from sequential.testing import FakeClock
from sequential.testing._faulty import UNKNOWN, Fault, FaultyStorage
from sequential.testing._stage import Stage
from tests.core import journey
from tests.core.journey import carry_to_the_end, new_stage


def staged(flow_name: str = "journey") -> tuple[Stage, FaultyStorage, Outside]:
    """Return a stage with a due run, and an outside behind a faulty storage."""
    clock = FakeClock()
    stage = new_stage(MemoryStorage(clock), clock)
    stage.start(flow_name)
    faulty = FaultyStorage(stage.storage)
    return stage, faulty, Outside(stage.engine, faulty, clock, stage.token)


def quarantined() -> tuple[Stage, FaultyStorage, Outside]:
    """Return a stage whose run killed its invocations."""
    stage, faulty, outside = staged("two")
    for _ in range(9):
        stage.clock.advance(1_000)
        dying = stage.process().invoke()
        for _ in range(4):
            dying.advance()
        if not dying.over:
            dying.crash()
    assert stage.run().status is Status.QUARANTINED
    return stage, faulty, outside


# -- signals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", UNKNOWN, ids=str)
@pytest.mark.parametrize("moved", [False, True])
def test_a_signal_whose_reply_is_lost_is_accepted_once(fault: Fault, moved: bool) -> None:
    stage, faulty, outside = staged()
    stage.process().execute()
    process = stage.process()

    def consume() -> None:
        if moved:
            process.execute()

    faulty.plan("commit", 0, fault, after=consume)
    assert outside.send("r", "s1", "go", 7)
    assert not outside.send("r", "s1", "go", 8)
    carry_to_the_end(stage, [process])
    signals = [step for step in stage.steps() if step.kind is StepKind.SIGNAL]
    assert [step.value.data for step in signals] == [b"7"]


def test_a_signal_on_top_of_another_commit_is_sent_again() -> None:
    stage, faulty, outside = staged()
    faulty.plan("commit", 0, before=stage.process().execute)
    assert outside.send("r", "s1", "go", 7)
    assert [message.id for message in stage.run().inbox] == ["s1"]
    assert stage.run().wake == At(stage.clock.now())


def test_a_signal_to_nobody_says_so() -> None:
    _, _, outside = staged()
    with pytest.raises(RunMissing):
        outside.send("absent", "s1", "go", 7)


def test_a_signal_to_a_run_that_has_ended_says_so() -> None:
    stage, _, outside = staged("two")
    stage.process().execute()
    with pytest.raises(RunStatusWrong, match="completed"):
        outside.send("r", "s1", "go", 7)


def test_a_duplicate_signal_to_a_run_that_has_ended_is_no_error() -> None:
    stage, _, outside = staged("two")
    assert outside.send("r", "s1", "go", 7)
    stage.process().execute()
    assert stage.run().status is Status.COMPLETED
    assert not outside.send("r", "s1", "go", 7)


def test_the_sender_of_a_signal_that_stays_unconfirmed_is_told_that_it_is_unknown() -> None:
    _, faulty, outside = staged()
    for number in range(50):
        faulty.plan("commit", number, Fault.UNCONFIRMED)
    with pytest.raises(OutcomeUnknown):
        outside.send("r", "s1", "go", 7)


@pytest.mark.parametrize("later", [Fault.UNAVAILABLE, Fault.REFUSED])
def test_a_storage_that_goes_away_after_a_lost_reply_does_not_turn_it_into_a_no(
    later: Fault,
) -> None:
    """Both errors say that nothing was written; here something may have been."""
    stage, faulty, outside = staged()
    faulty.plan("commit", 0, Fault.LOST)
    for number in range(1, 50):
        faulty.plan("load", number, later)
    with pytest.raises(OutcomeUnknown):
        outside.send("r", "s1", "go", 7)
    assert [message.id for message in stage.run().inbox] == ["s1"]


def test_a_storage_that_cannot_be_reached_takes_no_signal() -> None:
    stage, faulty, outside = staged()
    faulty.plan("commit", 0, Fault.UNAVAILABLE)
    with pytest.raises(StorageUnavailable):
        outside.send("r", "s1", "go", 7)
    assert stage.run().inbox == ()


def test_a_large_signal_is_kept_beside_the_record() -> None:
    stage, _, outside = staged()
    outside.send("r", "big", "other", "x" * 100_000)
    (message,) = stage.run().inbox
    assert message.value.ref is not None
    assert message.value.data == b""


# -- ending and repairing ------------------------------------------------------------------------


@pytest.mark.parametrize("fault", UNKNOWN, ids=str)
def test_a_terminate_whose_reply_is_lost_ends_the_run_once(fault: Fault) -> None:
    stage, faulty, outside = staged()
    faulty.plan("commit", 0, fault)
    assert outside.terminate("r").status is Status.CANCELLED
    assert stage.run().fence == 1


@pytest.mark.parametrize("fault", UNKNOWN, ids=str)
def test_a_redrive_whose_reply_is_lost_is_no_error_when_a_worker_was_faster(fault: Fault) -> None:
    stage, faulty, outside = quarantined()
    after: Callable[[], object] | None = stage.process().execute if fault is Fault.LOST else None
    faulty.plan("commit", 0, fault, after=after)
    outside.redrive("r")
    carry_to_the_end(stage, [stage.process()])
    assert stage.process().execute() == Completed("r", 3)


def test_a_blocked_run_that_a_worker_looked_at_since_is_redriven() -> None:
    stage, faulty, outside = staged()
    run, why = stage.run(), Attention("changed", "another step")
    stage.storage.commit(evolve(run, attention=why, wake=In(600.0), op_id="blocked"), run)
    faulty.plan("commit", 0, Fault.LOST, after=stage.process().execute)
    assert outside.redrive("r").attention is None


@pytest.mark.parametrize("fault", UNKNOWN, ids=str)
def test_a_retry_whose_reply_is_lost_makes_one_new_generation(fault: Fault) -> None:
    stage, faulty, outside = staged()
    stage.outside.terminate("r")
    faulty.plan("commit", 0, fault)
    assert outside.retry("r").generation == 1
    assert stage.run().generation == 1


def test_a_retry_whose_reply_is_lost_is_no_error_when_a_worker_was_faster() -> None:
    stage, faulty, outside = staged()
    stage.outside.terminate("r")
    faulty.plan("commit", 0, Fault.LOST, after=stage.process().execute)
    outside.retry("r")
    assert stage.run().generation == 1


def test_a_retry_whose_run_failed_again_at_once_is_one_retry() -> None:
    stage, faulty, outside = staged()
    stage.outside.terminate("r")
    faulty.plan("commit", 0, Fault.LOST, after=lambda: stage.outside.terminate("r"))
    outside.retry("r")
    assert stage.run().generation == 1


@pytest.mark.parametrize(
    ("act", "status"),
    [
        (lambda outside: outside.terminate("r"), "completed"),
        (lambda outside: outside.redrive("r"), "completed"),
        (lambda outside: outside.retry("r"), "completed"),
    ],
    ids=["terminate", "redrive", "retry"],
)
def test_what_cannot_be_done_to_a_run_says_why(
    act: Callable[[Outside], object], status: str
) -> None:
    stage, _, outside = staged("two")
    stage.process().execute()
    with pytest.raises(RunStatusWrong, match=status):
        act(outside)


def test_a_retry_keeps_what_was_done_before_the_cancel() -> None:
    stage, _, outside = staged()
    process = stage.process()
    process.execute()
    journey.cancel(stage)
    process.execute()
    assert stage.run().status is Status.CANCELLED
    assert [step.outcome for step in stage.steps()][2] is StepOutcome.CANCELLED
    runs, recorded = stage.count("t.add"), [step.op_id for step in stage.steps()]
    outside.retry("r")
    run, steps = stage.run(), stage.steps()
    assert [step.number for step in steps] == [0, 1]
    assert {step.generation for step in steps} == {run.generation} == {1}
    # What was recorded together stays known.
    assert [step.op_id for step in steps] == recorded[:2]
    carry_to_the_end(stage, [process])
    assert stage.run().status is Status.COMPLETED
    assert stage.count("t.add") == runs
    assert stage.count("t.flaky") == 3


def test_a_retry_takes_the_run_from_a_frame_that_was_kept() -> None:
    stage, _, outside = staged()
    process = stage.process()
    process.execute()
    stage.outside.terminate("r")
    outside.retry("r")
    assert isinstance(process.execute(), Paused)
    assert stage.run().generation == 1
    carry_to_the_end(stage, [process])
    assert stage.run().status is Status.COMPLETED


# -- creating ------------------------------------------------------------------------------------


def new_run(outside: Outside, given: bytes = b"{}", flow_name: str = "two") -> Run:
    payload, digest = outside.input_payload("n", given)
    return Run("n", flow_name, payload, wake=NOW, asked=digest)


@pytest.mark.parametrize("fault", UNKNOWN, ids=str)
def test_a_create_whose_reply_is_lost_is_known_as_ours(fault: Fault) -> None:
    stage, faulty, outside = staged()
    faulty.plan("create", 0, fault)
    stored, own = outside.create(new_run(outside))
    assert own
    assert stored == stage.run("n")
    assert stored.version == 1


def test_a_create_is_the_same_run_for_the_same_input_however_it_is_written() -> None:
    _, _, outside = staged()
    assert outside.create(new_run(outside, b'{"a":1,"b":2}'))[1]
    assert not outside.create(new_run(outside, b'{"b":2,"a":1}'))[1]


@pytest.mark.parametrize(
    ("given", "flow_name"), [(b'{"a":1}', "two"), (b"{}", "journey")], ids=["input", "flow"]
)
def test_a_create_of_something_else_under_the_same_id_is_refused(
    given: bytes, flow_name: str
) -> None:
    _, _, outside = staged()
    outside.create(new_run(outside))
    with pytest.raises(RunTaken):
        outside.create(new_run(outside, given, flow_name))


def test_a_run_that_was_purged_is_not_mistaken_for_one_with_another_input() -> None:
    stage, _, outside = staged()
    outside.create(new_run(outside))
    outside.terminate("n")
    stage.storage.purge(stage.run("n"))
    stored, own = outside.create(new_run(outside))
    assert (stored.status, own) == (Status.PURGED, False)


@pytest.mark.parametrize("later", [Fault.UNAVAILABLE, Fault.REFUSED])
def test_a_create_that_fails_after_a_lost_reply_does_not_say_that_nothing_was_written(
    later: Fault,
) -> None:
    stage, faulty, outside = staged()
    faulty.plan("create", 0, Fault.LOST)
    for number in range(1, 50):
        faulty.plan("create", number, later)
    with pytest.raises(OutcomeUnknown):
        outside.create(new_run(outside))
    assert stage.run("n").status is Status.PAUSED


def test_a_run_that_ended_is_answered_the_same_however_often_it_is_asked() -> None:
    stage, _, _ = staged()
    stage.outside.terminate("r")
    assert [stage.process().execute() for _ in range(3)] == [Cancelled("r")] * 3

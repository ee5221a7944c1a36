"""Whole invocations over a storage that misbehaves, with others meddling at every boundary."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from sequential import Registry, Steps, flow, save, tool, wait_for_signal
from sequential._frame import Frame
from sequential._memory import MemoryStorage
from sequential._model import At, Status, StepOutcome
from sequential._outcomes import (
    Blocked,
    Busy,
    Cancelled,
    Completed,
    Lost,
    Missing,
    NotMine,
    Paused,
    Purged,
    Quarantined,
)
from sequential._protocol import Terms
from sequential._requests import Commit, Perform, Send
from sequential.errors import OutcomeUnknown, StorageRefused, StorageUnavailable
from sequential.testing import FakeClock
from sequential.testing._faulty import UNKNOWN, Fault, FaultyStorage
from sequential.testing._stage import Invocation, Process, Stage
from tests.core import journey
from tests.core.journey import carry_to_the_end, check_history, check_outcome, new_stage

POLICIES = ["when-waiting", "every-step", "budget:2steps"]
Meddle = Callable[[Stage, Process], object]


def nobody(stage: Stage, other: Process) -> None:
    """Leave it alone."""


def overtake(stage: Stage, other: Process) -> None:
    """Claim the run after the lease, and carry it as far as it goes."""
    wake = stage.run().wake
    if isinstance(wake, At):
        stage.clock.advance(max(0.0, wake.time - stage.clock.now()))
    other.execute()


def overtake_twice(stage: Stage, other: Process) -> None:
    """Claim the run, go on, and come back for the next wait."""
    overtake(stage, other)
    journey.signal(stage)
    overtake(stage, other)


def claim_and_die(stage: Stage, other: Process) -> None:
    """Claim the run after the lease, and die before anything else is committed."""
    wake = stage.run().wake
    if isinstance(wake, At):
        stage.clock.advance(max(0.0, wake.time - stage.clock.now()))
    fence = stage.run().fence
    dying = other.invoke()
    while stage.run().fence == fence and dying.advance():
        pass
    if not dying.over:
        dying.crash()


MEDDLERS: dict[str, Meddle] = {
    "nobody": nobody,
    "a signal": lambda stage, other: journey.signal(stage),
    "a cancel": lambda stage, other: journey.cancel(stage),
    "a terminate": lambda stage, other: journey.terminate(stage),
    "another claim": overtake,
    "two other claims": overtake_twice,
    "a claim that dies": claim_and_die,
}


def staged(pause: str = "when-waiting") -> tuple[Stage, FaultyStorage, Process, Process]:
    """Return a stage with a due journey, a process behind a faulty storage, and another."""
    clock = FakeClock()
    stage = new_stage(MemoryStorage(clock), clock, pause)
    stage.start("journey")
    faulty = FaultyStorage(stage.storage)
    return stage, faulty, stage.process(faulty), stage.process()


def commits_of_an_undisturbed_journey(pause: str) -> int:
    """Return how many commits the first process makes when all goes well."""
    stage, faulty, process, _ = staged(pause)
    carry_to_the_end(stage, [process])
    check_history(stage, losses=0)
    check_outcome(stage, cancelled=False, losses=0)
    assert len(stage.executions) == len({(e.position, e.attempt) for e in stage.executions})
    return faulty.calls.count("commit")


def disturbed(
    pause: str, number: int, fault: Fault | None, meddle: Meddle, moment: str
) -> tuple[Stage, Process, Process]:
    """Play a journey whose commit *number* meets *fault*, with *meddle* right before or after."""
    stage, faulty, process, other = staged(pause)
    act = partial(meddle, stage, other)
    if moment == "before":
        faulty.plan("commit", number, fault, before=act)
    else:
        faulty.plan("commit", number, fault, after=act)
    carry_to_the_end(stage, [process])
    return stage, process, other


@pytest.mark.parametrize("pause", POLICIES)
@pytest.mark.parametrize("meddler", MEDDLERS)
@pytest.mark.parametrize("fault", [None, *Fault], ids=str)
def test_whatever_happens_at_a_commit_each_step_is_recorded_once(
    pause: str, meddler: str, fault: Fault | None
) -> None:
    losses = {"another claim": 1, "two other claims": 2, "a claim that dies": 2}.get(meddler, 0)
    losses += fault is Fault.REFUSED
    cancelled = meddler in {"a cancel", "a terminate"}
    for number in range(commits_of_an_undisturbed_journey(pause)):
        for moment in ("before", "after"):
            stage, _, _ = disturbed(pause, number, fault, MEDDLERS[meddler], moment)
            try:
                check_history(stage, losses=losses)
                check_outcome(stage, cancelled=cancelled, losses=losses)
            except AssertionError as error:
                error.add_note(f"{pause}: commit {number} {fault}, {meddler} {moment}")
                raise


@pytest.mark.parametrize("pause", POLICIES)
@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.REFUSED, Fault.LOST])
def test_a_storage_that_fails_for_long_strands_nothing(pause: str, fault: Fault) -> None:
    for number in range(1, commits_of_an_undisturbed_journey(pause)):
        stage, faulty, process, other = staged(pause)
        for later in range(number, number + 500):
            faulty.plan("commit", later, fault)
        for _ in range(12):
            journey.signal(stage)
            stage.clock.advance(1_000)
            with suppress(StorageUnavailable, StorageRefused, OutcomeUnknown):
                process.execute()
        faulty.heal()
        carry_to_the_end(stage, [other, process])
        # Each invocation that lost its storage may run the step that it was at again.
        check_history(stage, losses=12)
        check_outcome(stage, cancelled=False, losses=1)


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.REFUSED])
def test_a_load_that_fails_once_does_no_harm(fault: Fault) -> None:
    for number in range(12):
        stage, faulty, process, _ = staged("every-step")
        process.keeps = False
        faulty.plan("load", number, fault)
        carry_to_the_end(stage, [process])
        check_history(stage, losses=1)
        check_outcome(stage, cancelled=False, losses=0)


# -- zombies and clones --------------------------------------------------------------------------


def frozen_at(boundary: int, flow_name: str = "two") -> tuple[Stage, Invocation, Process]:
    """Return a stage whose first invocation stands still after *boundary* advances."""
    clock = FakeClock()
    stage = new_stage(MemoryStorage(clock), clock)
    stage.start(flow_name)
    invocation = stage.process().invoke()
    for _ in range(boundary):
        invocation.advance()
    return stage, invocation, stage.process()


def boundaries(flow_name: str) -> int:
    """Return how many advances an invocation of the flow takes."""
    _stage, invocation, _ = frozen_at(0, flow_name)
    number = 0
    while invocation.advance():
        number += 1
    return number + 1


@pytest.mark.parametrize("flow_name", ["two", "journey"])
def test_an_invocation_that_slept_past_its_lease_changes_nothing(flow_name: str) -> None:
    for boundary in range(boundaries(flow_name)):
        stage, zombie, other = frozen_at(boundary, flow_name)
        if zombie.over:
            continue
        overtake(stage, other)
        record, steps, runs = stage.run(), stage.steps(), len(stage.executions)
        messages = len(stage.sent)
        claimed = boundary >= 3
        while zombie.advance():
            pass
        if record.status is Status.COMPLETED or claimed:
            assert stage.run() == record
            assert stage.steps() == steps
            # It is stopped at its first commit: one tool may run before that.
            assert len(stage.executions) <= runs + 1
        if claimed:
            assert isinstance(zombie.outcome, Lost)
            assert len(stage.sent) == messages


def test_a_step_that_arrives_after_the_lease_is_welcome_if_nobody_claimed() -> None:
    stage, slow, other = frozen_at(0)
    slow.until(lambda request: isinstance(request, Commit) and bool(request.steps))
    stage.clock.advance(10_000)
    assert isinstance(slow.finish(), Completed)
    assert len(stage.executions) == 2
    assert isinstance(other.execute(), Completed)


def interleavings(play: Callable[[list[int]], list[bool]]) -> int:
    """Call *play* with every order in which two can take turns; return how many there are.

    *play* takes the turns it is given, lets the first that is left go on to the end, and returns
    for each turn that was taken whether the other could have been chosen instead.
    """
    count, order = 0, list[int]()
    while True:
        count += 1
        free = play(order)
        order = order + [0] * (len(free) - len(order))
        while order and not (order[-1] == 0 and free[len(order) - 1]):
            order.pop()
        if not order:
            return count
        order[-1] = 1


def take_turns(pair: list[Invocation], order: list[int]) -> list[bool]:
    """Let *pair* take turns in *order*, then the first that is left; see `interleavings`."""
    free: list[bool] = []
    for number in itertools.count():
        left = [index for index, each in enumerate(pair) if not each.over]
        if not left:
            return free
        wanted = order[number] if number < len(order) else 0
        chosen = wanted if wanted in left else left[0]
        free.append(len(left) == 2)
        pair[chosen].advance()
        while isinstance(pair[chosen].request, Perform | Send):
            # What touches no storage commutes with all the other does.
            pair[chosen].advance()
    raise AssertionError


def check_two(stage: Stage) -> None:
    """Check that flow `two` ended once, with each step recorded once, by whoever held the run."""
    run, steps = stage.run(), stage.steps()
    assert [step.position for step in steps] == ["0", "1"]
    assert run.status is Status.COMPLETED
    assert run.result is not None
    assert run.result.data == b"3"
    assert run.cursor == 2


def test_two_invocations_in_every_order_record_each_step_once() -> None:
    def play(order: list[int]) -> list[bool]:
        clock = FakeClock()
        stage = new_stage(MemoryStorage(clock), clock)
        stage.start("two")
        pair = [stage.process().invoke(), stage.process().invoke()]
        free = take_turns(pair, order)
        check_two(stage)
        # The lease keeps the second away, so nothing is done twice.
        assert len(stage.executions) == 2
        assert {type(each.outcome) for each in pair} <= {Completed, Busy}
        return free

    assert interleavings(play) > 100


def test_two_invocations_that_steal_from_each_other_in_every_order_record_each_step_once() -> None:
    def play(order: list[int]) -> list[bool]:
        clock = FakeClock()
        # Without a lease every claim succeeds: only the fence is left to keep order.
        stage = Stage(
            journey.registry(), MemoryStorage(clock), clock, terms=Terms(lease=0.0, max_stalls=99)
        )
        stage.start("two")
        pair = [stage.process().invoke(), stage.process().invoke()]
        free = take_turns(pair, order)
        clock.advance(1_000)
        stage.process().execute()
        check_two(stage)
        fences = [step.fence for step in stage.steps()]
        assert fences == sorted(fences)
        return free

    assert interleavings(play) > 100


def clones(flow_name: str) -> tuple[Stage, list[Invocation]]:
    """Return two invocations with one and the same claim, as after a fork."""
    clock = FakeClock()
    stage = new_stage(MemoryStorage(clock), clock)
    stage.start(flow_name)
    first = stage.process().invoke()
    first.until(lambda request: isinstance(request, Commit))
    first.advance()
    held = stage.run()
    assert held.status is Status.RUNNING
    return stage, [first, stage.process().begin(held)]


def test_clones_of_an_invocation_cannot_both_record_a_step() -> None:
    def play(order: list[int]) -> list[bool]:
        stage, pair = clones("two")
        free = take_turns(pair, order)
        check_two(stage)
        assert {type(each.outcome) for each in pair} <= {Completed, Lost}
        assert any(isinstance(each.outcome, Completed) for each in pair)
        return free

    assert interleavings(play) > 20


def test_clones_of_an_invocation_run_an_at_most_once_tool_once() -> None:
    def play(order: list[int]) -> list[bool]:
        stage, pair = clones("once")
        free = take_turns(pair, order)
        assert stage.count("t.once") == 1
        carry_to_the_end(stage, [stage.process()])
        return free

    assert interleavings(play) > 10


# -- messages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pause", POLICIES)
def test_a_signal_at_any_boundary_is_consumed_once(pause: str) -> None:
    for boundary in range(1, 60):
        clock = FakeClock()
        stage = new_stage(MemoryStorage(clock), clock, pause)
        stage.start("journey")
        process = stage.process()
        advanced = 0
        for _ in range(20):
            if stage.run().status not in (Status.PAUSED, Status.RUNNING):
                break
            invocation = process.invoke()
            while invocation.advance():
                advanced += 1
                if advanced == boundary:
                    journey.signal(stage)
            wake = stage.run().wake
            clock.advance(max(0.0, wake.time - clock.now()) if isinstance(wake, At) else 0.0)
            if wake is None:
                assert advanced < boundary
                break
        carry_to_the_end(stage, [process])
        check_history(stage, losses=0)
        check_outcome(stage, cancelled=False, losses=0)
        assert stage.run().seen == ("s1",)


@pytest.mark.parametrize("pause", POLICIES)
def test_a_cancel_at_any_boundary_is_raised_once_and_lets_the_flow_clean_up(pause: str) -> None:
    cancelled = 0
    for boundary in range(60):
        clock = FakeClock()
        stage = new_stage(MemoryStorage(clock), clock, pause)
        stage.start("journey")
        journey.signal(stage)
        process = stage.process()
        advanced = 0
        for _ in range(20):
            invocation = process.invoke()
            while invocation.advance():
                advanced += 1
                if advanced == boundary:
                    journey.cancel(stage)
            wake = stage.run().wake
            clock.advance(max(0.0, wake.time - clock.now()) if isinstance(wake, At) else 0.0)
        run, steps = stage.run(), stage.steps()
        check_history(stage, losses=0)
        marks = [step.number for step in steps if step.outcome is StepOutcome.CANCELLED]
        if run.status is Status.COMPLETED:
            assert marks == []
            continue
        cancelled += 1
        assert run.status is Status.CANCELLED
        assert len(marks) == 1
        assert [step.tool for step in steps[marks[0] + 1 :]] == ["t.undo"]
        assert stage.count("t.undo") == 1
    assert cancelled > 10


@pytest.mark.parametrize("flow_name", ["two", "journey"])
def test_a_terminate_at_any_boundary_is_the_end(flow_name: str) -> None:
    for boundary in range(boundaries(flow_name)):
        stage, invocation, other = frozen_at(boundary, flow_name)
        if stage.run().status is Status.COMPLETED:
            continue
        journey.terminate(stage)
        record, steps, runs = stage.run(), stage.steps(), len(stage.executions)
        outcome = invocation.finish()
        assert isinstance(outcome, Lost | Cancelled | Paused)
        assert stage.run() == record
        assert stage.steps() == steps
        assert len(stage.executions) <= runs + 1
        assert isinstance(other.execute(), Cancelled)


# -- frames that are kept ------------------------------------------------------------------------


def paused_warm() -> tuple[Stage, Process, Process, FaultyStorage]:
    """Return a stage where the first process keeps the frame of a journey that paused once."""
    clock = FakeClock()
    stage = new_stage(MemoryStorage(clock), clock, "every-step")
    stage.start("journey")
    faulty = FaultyStorage(stage.storage)
    process = stage.process(faulty)
    assert isinstance(process.execute(), Paused)
    assert list(process.warm) == ["r"]
    return stage, process, stage.process(), faulty


def frame_kept(process: Process) -> Frame:
    """Return the flow that *process* keeps."""
    strands = process.warm["r"].player.strands
    assert strands is not None
    assert strands.root.frame is not None
    return strands.root.frame


def test_a_warm_frame_goes_on_without_reading() -> None:
    _, process, _, faulty = paused_warm()
    read = faulty.calls.count("load")
    process.execute()
    assert faulty.calls.count("load") == read


def test_a_warm_frame_that_was_overtaken_catches_up() -> None:
    stage, process, other, faulty = paused_warm()
    frame = frame_kept(process)
    other.execute()
    process.execute()
    assert "load" in faulty.calls[2:]
    assert not frame._over()
    assert frame_kept(process) is frame
    carry_to_the_end(stage, [process, other])
    check_history(stage, losses=0)
    check_outcome(stage, cancelled=False, losses=0)


def rolled_back(storage: MemoryStorage, act: Callable[[], object]) -> None:
    """Let *act* happen, and lose what it committed, as a failover does."""
    runs, steps = dict(storage._runs), {key: dict(each) for key, each in storage._steps.items()}
    act()
    storage._runs, storage._steps = runs, steps


def test_a_warm_frame_of_a_history_that_was_lost_is_read_again() -> None:
    stage, process, other, _ = paused_warm()
    assert isinstance(stage.storage, MemoryStorage)
    rolled_back(stage.storage, process.execute)
    lost = frame_kept(process)
    other.execute()
    # As many records, of the same version: but of another history.
    assert stage.run().version == process.warm["r"].holding.run.version
    stage.clock.advance(60)
    process.execute()
    assert lost._over()
    carry_to_the_end(stage, [process, other])
    check_outcome(stage, cancelled=False, losses=2)


def test_an_invocation_whose_history_was_lost_writes_nothing() -> None:
    """Row F43: fences and versions are handed out again; owner and op_id are not."""
    stage, process, other, _ = paused_warm()
    assert isinstance(stage.storage, MemoryStorage)
    zombie = process.invoke()
    rolled_back(stage.storage, lambda: zombie.until(lambda request: isinstance(request, Perform)))
    other.execute()
    there = (stage.run(), stage.steps())
    assert isinstance(zombie.finish(), Lost)
    assert (stage.run(), stage.steps()) == there


def test_a_warm_frame_is_good_although_another_process_claimed_in_vain() -> None:
    stage, process, other, _ = paused_warm()
    other.stopping = True
    assert isinstance(other.execute(), Paused)
    frame = frame_kept(process)
    process.execute()
    assert frame_kept(process) is frame
    assert stage.count("t.flaky") == 3


@pytest.mark.parametrize("operation", ["load", "commit"])
def test_a_warm_frame_is_unwound_when_the_storage_cannot_be_reached(operation: str) -> None:
    _stage, process, other, faulty = paused_warm()
    other.execute()
    frame = frame_kept(process)
    for number in range(20):
        faulty.plan(operation, number, Fault.UNAVAILABLE)
    with pytest.raises(StorageUnavailable):
        process.execute()
    assert frame._over() or "r" in process.warm


def test_a_warm_frame_of_a_run_that_ended_elsewhere_is_unwound() -> None:
    stage, process, _other, _ = paused_warm()
    frame = frame_kept(process)
    journey.terminate(stage)
    assert isinstance(process.execute(), Cancelled)
    assert frame._over()
    assert process.warm == {}


# -- what an invocation answers ------------------------------------------------------------------


def test_an_invocation_of_nothing_says_so() -> None:
    clock = FakeClock()
    stage = new_stage(MemoryStorage(clock), clock)
    assert stage.process().execute("absent") == Missing("absent")


def test_an_invocation_that_is_not_needed_writes_nothing() -> None:
    _stage, faulty, process, other = staged()
    assert isinstance(other.execute(), Paused)
    assert isinstance(process.execute(), Paused)
    assert "commit" not in faulty.calls


def test_an_invocation_of_a_run_that_is_held_says_until_when() -> None:
    stage, holder, other = frozen_at(3)
    assert stage.run().status is Status.RUNNING
    assert other.execute() == Busy("r", At(stage.clock.now() + 60.0))
    assert isinstance(holder.finish(), Completed)


def test_a_run_of_a_flow_that_is_not_here_is_left_alone() -> None:
    stage, faulty, _, _ = staged()
    stranger = Stage(Registry(), faulty, stage.clock)
    assert stranger.process().execute() == NotMine("r", "journey")
    assert "commit" not in faulty.calls


def test_a_run_that_is_purged_while_it_is_claimed_is_said_to_be_purged() -> None:
    stage, late, _ = frozen_at(0)
    late.until(lambda request: isinstance(request, Commit))
    journey.terminate(stage)
    assert stage.storage.purge(stage.run())
    assert late.finish() == Purged("r")


def test_a_run_that_disappears_while_it_is_claimed_is_said_to_be_missing() -> None:
    stage, late, _ = frozen_at(0)
    late.until(lambda request: isinstance(request, Commit))
    journey.terminate(stage)
    for _ in range(2):
        assert stage.storage.purge(stage.run())
    assert late.finish() == Missing("r")


def test_a_run_that_is_purged_under_a_warm_frame_is_said_to_be_purged() -> None:
    stage, process, _, _ = paused_warm()
    journey.terminate(stage)
    assert stage.storage.purge(stage.run())
    assert process.execute() == Purged("r")
    assert process.warm == {}


def test_a_run_that_kills_its_invocations_is_quarantined_and_can_be_redriven() -> None:
    clock = FakeClock()
    stage = new_stage(MemoryStorage(clock), clock)
    stage.start("two")
    process = stage.process()
    for _ in range(8):
        clock.advance(1_000)
        dying = process.invoke()
        dying.until(lambda request: isinstance(request, Perform))
        dying.advance()
        dying.crash()
    clock.advance(1_000)
    assert process.execute() == Quarantined("r")
    assert process.execute() == Quarantined("r")
    assert stage.count("t.add") == 8
    assert len({e.key for e in stage.executions}) == 1
    stage.outside.redrive("r")
    assert isinstance(process.execute(), Completed)


# -- damage and trouble --------------------------------------------------------------------------


def damaged(lose: int) -> Stage:
    """Return a stage whose paused journey has lost record *lose* of its history."""
    clock = FakeClock()
    memory = MemoryStorage(clock)
    stage = new_stage(memory, clock)
    stage.start("journey")
    stage.process().execute()
    recorded = memory._steps["r", 0]
    del recorded[str(lose)]
    journey.signal(stage)
    return stage


@pytest.mark.parametrize("lose", [0, 1])
def test_a_history_with_a_gap_blocks_the_run_and_runs_no_tool(lose: int) -> None:
    stage = damaged(lose)
    runs, steps = len(stage.executions), stage.steps()
    outcome = stage.process().execute()
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "corrupt"
    assert len(stage.executions) == runs
    assert stage.steps() == steps
    stuck = stage.run()
    assert stuck.stalls == 0
    assert stuck.wake == At(stage.clock.now() + 60.0)


def poisoned(error: BaseException) -> tuple[Stage, list[int]]:
    """Return a stage whose run meets *error* in its tool every time, and the tool's tally."""
    known, tally = Registry(), list[int]()

    @tool("t", "poison", registry=known)
    def poison() -> None:
        tally.append(1)
        raise error

    @flow(name="poisoned", registry=known)
    async def flow_of_it() -> None:
        await poison()

    clock = FakeClock()
    stage = Stage(known, MemoryStorage(clock), clock)
    stage.start("poisoned")
    return stage, tally


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(3)], ids=repr)
def test_a_tool_that_takes_the_process_down_each_time_is_stopped(error: BaseException) -> None:
    stage, tally = poisoned(error)
    for _ in range(40):
        stage.clock.advance(1_000)
        invocation = stage.process().invoke()
        while invocation.advance():
            pass
    assert stage.run().status is Status.QUARANTINED
    assert len(tally) == 8


def test_an_interrupt_from_the_keyboard_lets_go_of_the_run_at_once() -> None:
    stage, tally = poisoned(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        stage.process().execute()
    run = stage.run()
    assert (run.status, run.stalls, run.wake) == (Status.PAUSED, 0, At(stage.clock.now()))
    assert len(tally) == 1


def test_a_step_that_the_storage_refuses_each_time_is_not_run_for_ever() -> None:
    stage, faulty, process, _ = staged()
    faulty.always(lambda run, steps: Fault.REFUSED if steps else None)
    for _ in range(40):
        stage.clock.advance(1_000)
        invocation = process.invoke()
        while invocation.advance():
            pass
    assert stage.run().status is Status.QUARANTINED
    assert stage.count("t.add") == 8


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, *UNKNOWN], ids=str)
def test_a_create_whose_reply_is_lost_makes_one_run(fault: Fault) -> None:
    clock = FakeClock()
    faulty = FaultyStorage(MemoryStorage(clock))
    stage = new_stage(faulty, clock)
    faulty.plan("create", 0, fault)
    if fault is Fault.UNAVAILABLE:
        with pytest.raises(StorageUnavailable):
            stage.start("two")
    stage.start("two")
    assert isinstance(stage.process().execute(), Completed)


def test_a_stale_claim_of_a_run_that_is_still_due_is_tried_again() -> None:
    stage, late, _ = frozen_at(0)
    late.until(lambda request: isinstance(request, Commit))
    journey.signal(stage)
    assert isinstance(late.finish(), Completed)
    assert stage.run().fence == 1


def test_the_one_load_of_an_invocation_reads_the_whole_history() -> None:
    stage, faulty, process, other = staged()
    other.execute()
    journey.signal(stage)
    process.execute()
    assert faulty.calls == ["load", "commit", "commit", "commit"]


def test_a_lost_frame_is_not_missed() -> None:
    known = Registry()

    @flow(name="waits", registry=known)
    def waits() -> Steps[int]:
        yield save()
        return (yield from wait_for_signal("go", int))

    clock = FakeClock()
    stage = Stage(known, MemoryStorage(clock), clock)
    stage.start("waits")
    process = stage.process()
    for _ in range(2):
        assert isinstance(process.execute(), Paused)
        process.forget()
    journey.signal(stage)
    assert process.execute() == Completed("r", 7)

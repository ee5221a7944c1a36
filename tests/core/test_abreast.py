"""Steps side by side, through pauses, crashes, messages, obstacles: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from sequential import (
    Registry,
    SignalTimedOut,
    Steps,
    ToolContext,
    det,
    flow,
    gather,
    is_pausing,
    logger,
    map_tool,
    race,
    save,
    sleep,
    sleep_until,
    tool,
    tool_call,
    wait_for_signal,
)
from sequential._abreast import LOOK
from sequential._memory import MemoryStorage
from sequential._model import Status
from sequential._outcomes import Blocked, Completed, Failed, Lost, Paused
from sequential._requests import Await, Commit, Request
from sequential.errors import RunCancelled, StorageUnavailable
from sequential.testing import FakeClock, crash_everywhere, verify_replay
from sequential.testing._faulty import Fault, FaultyStorage
from sequential.testing._stage import Stage as Staged
from tests.core.branches import (
    STYLES,
    add,
    call,
    carried,
    landing,
    outcomes,
    plain,
    positions,
    process_of,
    ran,
    stage_of,
    styled,
    tools,
    until_due,
)
from tests.fix_stage import Stage as AppStage


def three() -> Steps[Any]:
    """Have three calls side by side, then one."""
    got = yield gather(add(1), add(2), add(3))
    return [got, (yield add(4))]


THREE = Completed("r", [[1, 2, 3], 4])


def awaiting(request: Request) -> bool:
    return isinstance(request, Await)


# -- pauses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize(
    ("pause", "most"), [("every-step", 3), ("budget:1steps", 3), ("budget:2steps", 3)]
)
def test_a_pause_in_the_middle_loses_nothing_and_repeats_nothing(
    style: str, keeps: bool, pause: str, most: int
) -> None:
    stage = stage_of(three, style, pause=pause)
    process = process_of(stage, "0.2", keeps=keeps)
    paused = process.execute()
    assert isinstance(paused, Paused)
    # What was in flight when the pause was decided is recorded before it.
    assert (len(ran(stage)), len(positions(stage))) == (most, most)
    assert carried(stage, process) == THREE
    assert sorted(ran(stage)) == ["0.0", "0.1", "0.2", "1"]


def test_every_step_pauses_after_each_wave_of_calls() -> None:
    def branch(n: int) -> Steps[int]:
        yield add(n)
        return int((yield add(n + 1)))

    def body() -> Steps[Any]:
        return (yield gather(branch(1), branch(5)))

    stage = stage_of(body, pause="every-step")
    process = stage.process()
    waves = [0]
    while stage.run().status is Status.PAUSED:
        process.execute()
        waves.append(len(positions(stage)))
    assert waves == [0, 2, 4, 4]
    assert positions(stage) == ["0.0.0", "0.1.0", "0.0.1", "0.1.1"]


def test_a_budget_of_seconds_begins_no_more_and_keeps_what_is_in_flight() -> None:
    def body() -> Steps[Any]:
        return (yield map_tool(add, range(6), max_concurrency=2))

    stage = stage_of(body, pause="budget")
    process = stage.process()
    process.seconds = 3.0

    def order(flying: Sequence[str]) -> str:
        stage.clock.advance(2.0)
        return flying[0]

    process.order = order
    assert isinstance(process.execute(), Paused)
    assert positions(stage) == ["0.0", "0.1", "0.2"]
    assert carried(stage, process) == Completed("r", list(range(6)))
    assert max(Counter(ran(stage)).values()) == 1


def test_a_process_that_is_to_stop_begins_no_more() -> None:
    def body() -> Steps[Any]:
        return (yield map_tool(add, range(5), max_concurrency=2))

    stage = stage_of(body)
    process = stage.process()

    def order(flying: Sequence[str]) -> str:
        process.stopping = True
        return flying[-1]

    process.order = order
    paused = process.execute()
    assert isinstance(paused, Paused)
    assert (paused.reason, positions(stage)) == ("shutdown", ["0.1", "0.0"])
    assert carried(stage, stage.process()) == Completed("r", list(range(5)))


def test_a_stop_before_anything_began_counts_no_stall() -> None:
    stage = stage_of(three)
    process = stage.process()
    process.stopping = True
    paused = process.execute()
    assert isinstance(paused, Paused)
    assert (paused.reason, stage.run().stalls, ran(stage)) == ("shutdown", 0, [])


# -- waits beside calls --------------------------------------------------------------------------


def test_a_deadline_counts_from_when_it_was_asked_for_however_often_it_is_looked_at() -> None:
    def body() -> Steps[Any]:
        return (yield race(sleep(10), add(1)))

    stage = stage_of(body)
    process = stage.process()
    process.order = lambda _: ""
    begun = stage.clock.monotonic()
    assert carried(stage, process) == Completed("r", [0, None])
    assert stage.clock.monotonic() - begun == 10


def test_a_deadline_is_saved_before_others_are_waited_for() -> None:
    def body() -> Steps[Any]:
        return (yield gather(sleep(10), add(1)))

    stage = stage_of(body)
    begun = stage.clock.now()
    invocation = stage.process().invoke()
    invocation.until(awaiting)
    assert stage.run().open["0.0"].due == begun + 10
    stage.clock.advance(6)
    invocation.crash()
    stage.clock.advance(100)
    assert carried(stage) == Completed("r", [None, 1])
    slept = next(step for step in stage.steps() if step.position == "0.0")
    assert slept.started == begun


def test_a_call_that_is_answered_later_is_not_made_again_while_others_fly() -> None:
    def body() -> Steps[Any]:
        return (yield gather(call("ask", name="answer"), add(1), wait_for_signal("never")))

    stage = stage_of(body)
    process = stage.process()
    sent = False

    def order(flying: Sequence[str]) -> str:
        nonlocal sent
        if "0.0" in flying:
            return "0.0"
        if not sent:
            sent = True
            stage.outside.send("r", "s1", "other", 1)
            stage.outside.send("r", "s2", "answer", 7)
            return ""
        return flying[0]

    process.order = order
    assert isinstance(process.execute(), Paused)
    assert outcomes(stage) == {"0.0": "value", "0.1": "value"}
    assert positions(stage) == ["0.0", "0.1"], "the answer is seen although a call is in flight"
    assert ran(stage) == ["0.0", "0.1"]


def test_a_crash_after_a_call_that_is_answered_later_does_not_make_it_again() -> None:
    def body() -> Steps[Any]:
        return (yield gather(call("ask", name="answer"), add(1)))

    stage = stage_of(body)
    process = process_of(stage, "0.0")
    invocation = process.invoke()
    invocation.until(awaiting)
    invocation.advance()
    invocation.until(awaiting)
    invocation.crash()
    stage.clock.advance(400)
    stage.outside.send("r", "s", "answer", 7)
    assert carried(stage) == Completed("r", [7, 1])
    assert sorted(ran(stage)) == ["0.0", "0.1", "0.1"]


def test_a_signal_ends_a_race_although_a_call_is_in_flight() -> None:
    def body() -> Steps[Any]:
        return (yield race(add(1), wait_for_signal("stop")))

    stage = stage_of(body)
    process = stage.process()

    def order(flying: Sequence[str]) -> str:
        if not stage.run().inbox:
            stage.outside.send("r", "s", "stop", "enough")
        return ""

    process.order = order
    assert carried(stage, process) == Completed("r", [1, "enough"])
    assert positions(stage) == ["0.1"]


def test_messages_go_to_the_waits_of_their_name_in_the_order_of_asking() -> None:
    def branch(pauses: int) -> Steps[Any]:
        for _ in range(pauses):
            yield add(pauses)
        return (yield wait_for_signal("go"))

    def body() -> Steps[Any]:
        return (yield gather(branch(2), branch(0), branch(1)))

    stage = stage_of(body)
    process = process_of(stage, "0.2.0", keeps=False)
    process.execute()
    for number in range(3):
        stage.outside.send("r", f"s{number}", "go", number)
    # Branch 1 asked first, then branch 2 after its one call, and branch 0 after two.
    assert carried(stage, process) == Completed("r", [2, 0, 1])


def test_one_message_of_several_waits_goes_to_one() -> None:
    def body() -> Steps[Any]:
        return (yield gather(*[wait_for_signal("go") for _ in range(3)]))

    stage = stage_of(body)
    process = stage.process()
    for number in range(3):
        assert isinstance(process.execute(), Paused)
        assert len(positions(stage)) == number
        stage.outside.send("r", f"s{number}", "go", number)
    assert carried(stage, process) == Completed("r", [0, 1, 2])


def test_a_message_that_comes_while_a_call_is_in_flight_goes_to_who_asked_first() -> None:
    def body() -> Steps[Any]:
        return (yield gather(add(1), wait_for_signal("go"), wait_for_signal("go")))

    stage = stage_of(body)
    process = stage.process()
    sent: list[int] = []

    def order(flying: Sequence[str]) -> str:
        if not sent:
            sent.append(1)
            stage.outside.send("r", "s", "go", 7)
            return ""
        return flying[0]

    process.order = order
    assert isinstance(process.execute(), Paused)
    assert positions(stage) == ["0.1", "0.0"]


def test_a_message_that_comes_with_a_commit_is_looked_at_before_an_attempt_is_waited_for() -> None:
    def body() -> Steps[Any]:
        return (yield gather(wait_for_signal("go"), call("once")))

    stage = stage_of(body)
    invocation = stage.process().invoke()
    invocation.until(announcing)
    stage.outside.send("r", "s", "go", 7)
    invocation.finish()
    assert positions(stage) == ["0.0", "0.1"]


def announcing(request: Request) -> bool:
    return isinstance(request, Commit) and any(each.intent for each in request.run.open.values())


def test_messages_for_a_wait_that_lost_are_looked_for_no_more() -> None:
    def body() -> Steps[Any]:
        return (yield gather(race(wait_for_signal("go"), add(1)), add(2)))

    patience: list[float | None] = []

    stage = stage_of(body)
    invocation = stage.process().invoke()
    while invocation.advance():
        if isinstance(invocation.request, Await):
            patience.append(invocation.request.seconds)
    assert stage.run().status is Status.COMPLETED
    assert patience[0] == LOOK
    assert patience[-1] is None


def test_waits_with_timeouts_end_one_after_the_other() -> None:
    def listening(limit: float) -> Steps[str]:
        try:
            yield wait_for_signal("go", timeout=limit)
        except SignalTimedOut:
            return f"late {limit}"
        return "heard"

    def body() -> Steps[Any]:
        return (
            yield gather(listening(20), listening(10), wait_for_signal("go", default=0, timeout=5))
        )

    stage = stage_of(body)
    assert carried(stage) == Completed("r", ["late 20", "late 10", 0])
    assert positions(stage) == ["0.2", "0.1.0", "0.0.0"]


# -- attempts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flaky", "slow-retry"])
def test_a_retry_rests_while_others_go_on(name: str) -> None:
    def other() -> Steps[int]:
        yield add(1)
        return int((yield add(2)))

    def body() -> Steps[Any]:
        return (yield gather(call(name, number=5, failures=2), other()))

    stage = stage_of(body)
    assert carried(stage) == Completed("r", [5, 2])
    assert positions(stage) == ["0.1.0", "0.1.1", "0.0"]
    assert Counter(ran(stage)) == {"0.0": 3, "0.1.0": 1, "0.1.1": 1}


def test_at_most_once_stays_announced_whatever_others_record() -> None:
    def body() -> Steps[Any]:
        done = yield gather(call("once", number=1), add(2), sleep(5), errors="collect")
        return [getattr(each, "type", each) for each in done]

    stage = stage_of(body)
    process = process_of(stage, "0.1")
    invocation = process.invoke()
    invocation.until(lambda request: isinstance(request, Commit) and bool(request.steps))
    invocation.advance()
    assert stage.run().open["0.0"].intent
    assert positions(stage) == ["0.1"]
    invocation.crash()
    stage.clock.advance(400)
    assert carried(stage) == Completed("r", ["StepInterrupted", 2, None])
    assert Counter(ran(stage)) == {"0.0": 1, "0.1": 1}


def test_a_crash_with_several_in_flight_repeats_only_what_was_not_recorded() -> None:
    stage = stage_of(three)
    invocation = process_of(stage, "0.1").invoke()
    invocation.until(lambda request: isinstance(request, Commit) and bool(request.steps))
    invocation.advance()
    invocation.crash()
    stage.clock.advance(400)
    assert carried(stage) == THREE
    assert Counter(ran(stage)) == {"0.0": 2, "0.1": 1, "0.2": 2, "1": 1}
    keys = {each.key for each in stage.executions}
    assert len(keys) == 4, "a call that is made again has the same key"


def test_no_more_than_sixty_four_are_in_flight() -> None:
    def body() -> Steps[Any]:
        return len((yield map_tool(add, range(150))))

    stage = stage_of(body)
    process = stage.process()
    most = 0

    def order(flying: Sequence[str]) -> str:
        nonlocal most
        most = max(most, len(flying))
        return flying[0]

    process.order = order
    assert carried(stage, process) == Completed("r", 150)
    assert most == 64


# -- trouble -------------------------------------------------------------------------------------


def lacking(name: str) -> Any:
    """Return the tools without *name*."""
    known = tools()
    del known.tools["t", name]
    return known


def test_a_missing_tool_blocks_when_the_others_are_recorded_and_heals() -> None:
    def body() -> Steps[Any]:
        return (yield gather(add(1), call("late", number=2), add(3)))

    stage = stage_of(body)
    outcome = stage.process().execute()
    assert isinstance(outcome, Blocked)
    assert (outcome.reason, positions(stage)) == ("tool-not-found", ["0.0", "0.2"])
    tool("t", "late", registry=stage.engine.registry)(_late)
    assert until_due(stage)
    assert carried(stage) == Completed("r", [1, 2, 3])
    assert Counter(ran(stage)) == {"0.0": 1, "0.1": 1, "0.2": 1}


def _late(number: int) -> int:
    return number


@pytest.mark.parametrize("obstacle", ["a missing tool", "what is no step"])
def test_what_a_blocked_run_waits_for_is_saved_first(obstacle: str) -> None:
    """Else it would call once more at every look, and begin its sleep anew."""

    def wrong() -> Steps[None]:
        yield add(1)
        yield 5

    def body() -> Steps[Any]:
        other = call("nowhere") if obstacle == "a missing tool" else wrong()
        return (yield gather(other, call("ask", name="x"), sleep(1_000)))

    stage = stage_of(body)
    assert isinstance(stage.process().execute(), Blocked)
    waits = waits_of(stage)
    assert set(waits) == {"0.1", "0.2"}
    assert until_due(stage)
    assert isinstance(stage.process().execute(), Blocked)
    assert waits_of(stage) == waits
    assert ran(stage).count("0.1") == 1


def waits_of(stage: Staged) -> dict[str, object]:
    """Return what the run waits for, by position, with the time at which the wait is over."""
    loaded = stage.storage.load("r")
    assert loaded is not None
    return {place: (wait.kind, wait.due) for place, wait in loaded.run.open.items()}


def test_a_missing_tool_that_loses_a_race_is_no_obstacle() -> None:
    def body() -> Steps[Any]:
        raced = yield race(call("late", number=2), add(3))
        return [raced, (yield gather(add(5), add(6)))]

    stage = stage_of(body)
    done = stage.process().execute()
    assert isinstance(done, Completed)
    assert plain(done.result) == [[1, 3], [5, 6]]


def test_what_is_no_step_in_one_branch_lets_the_others_be_recorded() -> None:
    def wrong() -> Steps[None]:
        yield add(1)
        yield 5

    def body() -> Steps[Any]:
        return (yield gather(wrong(), add(2), add(3)))

    stage = stage_of(body)
    outcome = stage.process().execute()
    assert isinstance(outcome, Blocked)
    assert (outcome.reason, positions(stage)) == ("not-a-step", ["0.0.0", "0.1", "0.2"])


def test_what_is_no_step_and_a_missing_tool_let_the_others_be_recorded() -> None:
    def wrong() -> Steps[None]:
        yield add(1)
        yield 5

    def body() -> Steps[Any]:
        return (yield gather(wrong(), call("nowhere"), add(3)))

    stage = stage_of(body)
    outcome = stage.process().execute()
    assert isinstance(outcome, Blocked)
    assert (outcome.reason, positions(stage)) == ("not-a-step", ["0.0.0", "0.2"])


def test_what_is_no_step_after_a_cancel_of_all_branches_blocks() -> None:
    def body() -> Steps[Any]:
        try:
            yield gather(wait_for_signal("go"), wait_for_signal("go"))
        except RunCancelled:
            yield 5

    stage = stage_of(body)
    assert isinstance(stage.process().execute(), Paused)
    stage.outside.send("r", "$cancel:0", "$cancel", {})
    outcome = stage.process().execute()
    assert isinstance(outcome, Blocked)
    assert (outcome.reason, positions(stage)) == ("not-a-step", ["0.0", "0.1"])


def test_changed_code_in_one_branch_blocks_with_its_diff() -> None:
    number = [1]

    def branch() -> Steps[int]:
        yield add(number[0])
        return int((yield wait_for_signal("go")))

    def body() -> Steps[Any]:
        return (yield gather(add(7), branch()))

    stage = stage_of(body)
    stage.process().execute()
    number[0] = 2
    stage.outside.send("r", "s", "go", 1)
    outcome = stage.process().execute()
    assert isinstance(outcome, Blocked)
    assert outcome.diff.startswith("step 0.1.0\n")
    number[0] = 1
    assert until_due(stage)
    assert carried(stage) == Completed("r", [7, 1])


def test_code_that_does_not_ask_for_a_branch_that_was_begun_blocks() -> None:
    alone = [False]

    def body() -> Steps[Any]:
        if alone[0]:
            return (yield wait_for_signal("go"))
        return (yield gather(call("ask", name="x"), sleep(1_000)))

    stage = stage_of(body)
    stage.process().execute()
    alone[0] = True
    stage.outside.send("r", "s", "go", 1)
    outcome = stage.process().execute()
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "changed"
    assert set(stage.run().open) == {"0.0", "0.1"}


def test_code_that_disagrees_with_what_one_branch_has_begun_does_nothing_in_the_others() -> None:
    other = [False]

    def first() -> Steps[Any]:
        yield sleep(10)
        return (yield call("ask", name="x"))

    def second() -> Steps[Any]:
        return (yield call("ask", name="y") if other[0] else wait_for_signal("go"))

    def body() -> Steps[Any]:
        return (yield gather(first(), second()))

    stage = stage_of(body)
    stage.process().execute()
    other[0] = True
    assert until_due(stage)
    outcome = stage.process().execute()
    assert isinstance(outcome, Blocked)
    assert outcome.diff.startswith("step 0.1.0\n")
    assert (positions(stage), set(stage.run().open)) == ([], {"0.0.0", "0.1.0"})


def test_mended_code_that_needs_less_passes_over_what_was_recorded_for_more() -> None:
    broken = [True]

    def first() -> Steps[int]:
        yield add(1)
        if broken[0]:
            yield 5
        raise KeyError

    def body() -> Steps[Any]:
        try:
            yield gather(first(), add(2))
        except KeyError:
            return "mended"

    stage = stage_of(body)
    assert isinstance(stage.process().execute(), Blocked)
    assert positions(stage) == ["0.0.0", "0.1"]
    broken[0] = False
    assert until_due(stage)
    assert carried(stage) == Completed("r", "mended")


def test_a_result_that_cannot_be_stored_is_the_error_of_its_branch() -> None:
    def body() -> Steps[Any]:
        got = yield gather(call("unfit"), add(1), errors="collect")
        return [getattr(each, "type", each) for each in got]

    assert carried(stage_of(body)) == Completed("r", ["ResultNotEncodable", 1])


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, SystemExit])
def test_what_takes_the_process_down_in_a_branch_takes_it_down(
    error: type[BaseException],
) -> None:
    known, down = tools(), [True]

    @tool("t", "down", registry=known)
    def going_down() -> int:
        if down:
            raise error
        return 9

    def body() -> Steps[Any]:
        return (yield gather(add(1), call("down")))

    stage = stage_of(body, registry=known)
    with pytest.raises(error):
        process_of(stage, "0.1").execute()
    assert stage.run().status is Status.PAUSED
    assert stage.run().stalls == (0 if error is KeyboardInterrupt else 1)
    down.clear()
    assert until_due(stage)
    assert carried(stage) == Completed("r", [1, 9])


def test_a_lease_that_is_lost_in_flight_writes_nothing_more() -> None:
    stage = stage_of(three)
    process = process_of(stage, "0.1")
    overtaken = process.invoke()
    overtaken.until(lambda request: isinstance(request, Commit) and bool(request.steps))
    overtaken.advance()
    stage.clock.advance(stage.terms.lease + 5)
    assert carried(stage) == THREE
    before = stage.run()
    process.leases.renew_due()
    outcome = overtaken.finish()
    assert isinstance(outcome, Lost)
    assert stage.run() == before


def test_a_renewal_while_others_record_is_no_loss() -> None:
    stage = stage_of(three)
    process = stage.process()

    def order(flying: Sequence[str]) -> str:
        stage.clock.advance(stage.terms.lease / 2)
        process.leases.renew_due()
        return flying[-1]

    process.order = order
    assert carried(stage, process) == THREE
    assert stage.clock.monotonic() > stage.terms.lease
    assert (stage.run().fence, len(ran(stage))) == (1, 4)


def test_storage_trouble_while_others_fly_writes_each_record_once() -> None:
    for fault in (Fault.LOST, Fault.UNCONFIRMED, Fault.LATE, Fault.UNAVAILABLE):
        for number in range(1, 6):
            stage = stage_of(three)
            faulty = FaultyStorage(stage.storage)
            faulty.plan("commit", number, fault)
            process = stage.process(faulty)
            process.order = landing("0.2", "0.1")
            assert carried(stage, process) == THREE
            assert positions(stage) == ["0.2", "0.1", "0.0", "1"]
            assert len(ran(stage)) == 4


def test_a_storage_that_is_gone_while_others_fly_ends_the_invocation() -> None:
    stage = stage_of(three)
    faulty = FaultyStorage(stage.storage)
    for number in range(2, 12):
        faulty.plan("commit", number, Fault.UNAVAILABLE)
    with pytest.raises(StorageUnavailable):
        stage.process(faulty).execute()
    faulty.heal()
    stage.clock.advance(400)
    assert carried(stage) == THREE
    assert max(Counter(ran(stage)).values()) <= 2


def test_a_look_for_messages_survives_a_storage_that_is_away() -> None:
    def body() -> Steps[Any]:
        return (yield gather(add(1), wait_for_signal("go")))

    stage = stage_of(body)
    faulty = FaultyStorage(stage.storage)
    faulty.plan("load", 1, Fault.UNAVAILABLE)
    process = stage.process(faulty)
    looks = iter(["", ""])
    process.order = lambda flying: next(looks, flying[0])
    assert isinstance(process.execute(), Paused)
    assert faulty.calls.count("load") == 3


def test_commits_never_interleave() -> None:
    def body() -> Steps[Any]:
        return (yield gather(call("once", number=1), call("once", number=2), add(3)))

    stage = stage_of(body)
    faulty = FaultyStorage(stage.storage)
    faulty.plan("commit", 1, Fault.UNAVAILABLE)
    faulty.plan("commit", 3, Fault.LOST)
    invocation = stage.process(faulty).invoke()
    pending: list[str] = []
    while invocation.advance():
        request = invocation.request
        if isinstance(request, Commit):
            if pending and pending[-1] != request.run.op_id:
                assert stage.run().op_id == pending[-1]
            pending.append(request.run.op_id)
    assert isinstance(invocation.outcome, Completed)


# -- replay --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pause", ["every-step", "budget:2steps"])
def test_branches_draw_the_same_values_on_every_replay(pause: str) -> None:
    drawn: list[Any] = []

    def branch(n: int) -> Steps[Any]:
        first = det.random()
        yield add(n)
        second = det.random()
        yield sleep(n)
        return [first, second, str(det.now())]

    def body() -> Steps[Any]:
        drawn.append((yield gather(*[branch(n) for n in range(4)])))
        yield save()
        return drawn[-1]

    stage = stage_of(body, pause=pause)
    done = carried(stage, process_of(stage, "0.3.0", "0.1.0", keeps=False))
    assert done == Completed("r", plain(drawn[0]))
    assert len(drawn) > 1
    assert all(each == drawn[0] for each in drawn)
    assert len({each[0] for each in drawn[0]}) == 4


def test_loggers_are_silent_on_replay_in_every_branch(caplog: pytest.LogCaptureFixture) -> None:
    log = logger("tests.branches")

    def branch(name: str) -> Steps[None]:
        log.info("%s begins", name)
        yield add(1)
        log.info("%s goes on", name)
        yield sleep(5)
        log.info("%s ends", name)

    def body() -> Steps[Any]:
        yield gather(branch("a"), branch("b"))
        log.info("between")
        yield sleep(5)
        log.info("done")

    for keeps in (True, False):
        caplog.clear()
        stage = stage_of(body)
        with caplog.at_level(logging.INFO, "tests.branches"):
            carried(stage, process_of(stage, "0.1.0", keeps=keeps))
        said = [record.message for record in caplog.records]
        assert Counter(said) == Counter(
            [f"{n} {what}" for n in "ab" for what in ("begins", "goes on", "ends")]
            + ["between", "done"]
        )


def test_cleanup_knows_that_it_runs_because_of_a_pause_and_asks_for_nothing() -> None:
    seen: list[bool] = []

    def branch() -> Steps[None]:
        try:
            yield sleep(5)
        finally:
            seen.append(is_pausing())
            yield add(9)

    def body() -> Steps[Any]:
        yield gather(branch(), branch())

    stage = stage_of(body)
    carried(stage, process_of(stage, keeps=False))
    assert seen == [True, True, False, False]
    assert ran(stage) == ["0.0.1", "0.1.1"]


def test_app_replay_holds_a_history_with_branches_against_its_code(stage: AppStage) -> None:
    changed: list[bool] = []

    @tool("t", "say", registry=stage.registry)
    def say(n: int) -> int:
        return n

    def branch(n: int) -> Steps[int]:
        yield say(n)
        return int((yield say(n + len(changed))))

    @flow(registry=stage.registry)
    def both() -> Steps[Any]:
        got = yield gather(branch(1), race(branch(5), sleep(900)))
        return [plain(got), (yield wait_for_signal("go"))]

    app = stage.app()
    run_id = app.start(both)
    assert isinstance(app.execute(run_id), Paused)
    assert app.replay(run_id).agrees
    changed.append(True)
    replayed = app.replay(run_id)
    assert not replayed.agrees
    assert replayed.diff.startswith("step 0.")
    changed.clear()
    app.signal(run_id, "go", 1)
    assert app.execute(run_id) == Completed(run_id, [[1, [0, 5]], 1])
    assert app.replay(run_id).agrees


def test_retry_and_fork_of_a_step_in_a_branch(stage: AppStage) -> None:
    broken, ran = [True], Counter[str]()

    @tool("t", "say", registry=stage.registry)
    def say(context: ToolContext, n: int) -> int:
        ran[context.position] += 1
        if broken and context.position == "0.1.1":
            raise OSError("down")
        return n

    def branch(n: int) -> Steps[int]:
        yield say(n=n)
        return int((yield say(n=n + 1)))

    @flow(registry=stage.registry)
    def both() -> Steps[Any]:
        return (yield gather(branch(1), branch(5), max_concurrency=1))

    app = stage.app()
    run_id = app.start(both)
    assert isinstance(app.execute(run_id), Failed)
    broken.clear()
    app.retry(run_id)
    assert app.execute(run_id) == Completed(run_id, (2, 6))
    assert ran == {"0.0.0": 1, "0.0.1": 1, "0.1.0": 1, "0.1.1": 2}
    forked = app.fork(run_id, "0.0.1", edit=(40,))
    assert app.execute(forked) == Completed(forked, (40, 6))
    assert ran["0.0.1"] == 1


@pytest.mark.parametrize("style", STYLES)
def test_the_testing_kit_crashes_and_replays_flows_with_branches(style: str) -> None:
    def branch(n: int) -> Steps[int]:
        yield add(n)
        yield sleep(n)
        return int((yield add(n + 1)))

    sub_flow = styled(style, branch)

    def body() -> Steps[Any]:
        got = yield gather(sub_flow(40), sub_flow(1), call("once", number=3))
        return [*got, *(yield race(sub_flow(5), sleep(9_000)))]

    known = tools()
    made = flow(name="kit", registry=known)(styled(style, body))
    fakes: Any = {"t.add": lambda number: number, "t.once": lambda number: number}
    assert verify_replay(made, tools=fakes, registry=known).result == [41, 2, 3, 0, 6]
    survived = crash_everywhere(made, tools=fakes, registry=known)
    assert len(survived.crashes) > 30


# -- real threads --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_tools_really_run_at_once(kind: str, stage: AppStage) -> None:
    """Each waits for both to be there, so it cannot pass one after the other."""
    barrier = threading.Barrier(2)
    together = asyncio.Event()
    there: list[int] = []

    if kind == "sync":

        @tool("t", "meet", registry=stage.registry)
        def meet(n: int) -> int:
            barrier.wait(30)
            return n

    else:

        @tool("t", "meet", registry=stage.registry)
        async def meet_async(n: int) -> int:
            there.append(n)
            if len(there) == 2:
                together.set()
            await asyncio.wait_for(together.wait(), 30)
            return n

    @flow(registry=stage.registry)
    def both() -> Steps[Any]:
        return (yield gather(*[call("meet", n=n) for n in range(2)]))

    assert stage.app().run(both) == (0, 1)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_abandoned_attempt_is_told_and_an_async_one_is_cancelled(
    kind: str, stage: AppStage
) -> None:
    begun, told = threading.Event(), threading.Event()

    if kind == "sync":

        @tool("t", "long", registry=stage.registry)
        def long(context: ToolContext) -> None:
            begun.set()
            while not context.lost:
                told.wait(0.01)
            told.set()

    else:

        @tool("t", "long", registry=stage.registry)
        async def long_async() -> None:
            begun.set()
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                told.set()
                raise

    @tool("t", "short", registry=stage.registry)
    def short() -> int:
        assert begun.wait(30)
        return 1

    @flow(registry=stage.registry)
    def both() -> Steps[Any]:
        return (yield race(call("long"), short()))

    assert stage.app().run(both) == (1, 1)
    assert told.wait(30)


def test_a_deadline_beyond_what_a_thread_can_wait_for_is_no_error(stage: AppStage) -> None:
    @tool("t", "short", registry=stage.registry)
    def short() -> int:
        return 1

    @flow(registry=stage.registry)
    def both() -> Steps[Any]:
        return (yield race(sleep_until(datetime(9999, 1, 1, tzinfo=UTC)), short()))

    assert stage.app().run(both) == (1, 1)


def test_what_keeps_a_step_from_going_on_is_forgotten_with_the_step() -> None:
    registry, clock = Registry(), FakeClock()

    @tool("t", "there", registry=registry)
    def there() -> str:
        return "first"

    @flow(name="racing", registry=registry)
    async def racing() -> Any:
        raced, _ = await gather(race(there(), tool_call("t", "gone")), sleep(60))
        return raced.value

    staged = Staged(registry, MemoryStorage(clock), clock)
    staged.start("racing")
    process = staged.process()
    process.together = lambda: True
    assert isinstance(process.execute(), Paused)
    clock.advance(60)
    assert process.execute() == Completed("r", "first")

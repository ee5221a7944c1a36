"""What gather, race and map_tool come to, in both styles; wrong use of them."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from sequential import (
    Raced,
    RunCancelled,
    SignalTimedOut,
    Steps,
    continue_as_new,
    gather,
    map_tool,
    race,
    save,
    sleep,
    wait_for_signal,
)
from sequential._model import Status
from sequential._outcomes import Blocked, Cancelled, Completed, Failed, Paused
from sequential._parallel import ParallelStep
from sequential._steps import StepNeverAwaited
from sequential.errors import BranchCancelled, ToolError
from tests.core.branches import (
    STYLES,
    add,
    call,
    carried,
    ended,
    fail,
    landing,
    outcomes,
    positions,
    process_of,
    ran,
    result_of,
    stage_of,
    styled,
)

pytestmark = pytest.mark.parametrize("style", STYLES)


def two(first: int) -> Steps[int]:
    """Add up two steps."""
    one = yield from add(first)
    return int(one) + int((yield from add(first + 1)))


# -- gather --------------------------------------------------------------------------------------


def test_results_come_in_the_order_of_the_branches_and_records_as_they_arrive(style: str) -> None:
    def body() -> Steps[Any]:
        return (yield gather(add(1), add(2), add(3)))

    stage = stage_of(body, style)
    assert carried(stage, process_of(stage, "0.2", "0.0")) == Completed("r", [1, 2, 3])
    assert positions(stage) == ["0.2", "0.0", "0.1"]


def test_branches_with_steps_of_their_own_go_on_independently(style: str) -> None:
    branch = styled(style, two)

    def body() -> Steps[Any]:
        both = yield gather(branch(1), branch(10))
        return [both, (yield add(5))]

    stage = stage_of(body, style)
    done = carried(stage, process_of(stage, "0.1.0", "0.1.1"))
    assert done == Completed("r", [[3, 21], 5])
    assert positions(stage) == ["0.1.0", "0.1.1", "0.0.0", "0.0.1", "1"]


def test_gather_of_nothing_is_an_empty_tuple_and_takes_no_record(style: str) -> None:
    def body() -> Steps[Any]:
        nothing = yield gather()
        return [type(nothing).__name__, (yield map_tool(add, [])), (yield add(1))]

    stage = stage_of(body, style)
    assert carried(stage) == Completed("r", ["tuple", [], 1])
    # The empty ones have a position all the same: what stands after them keeps its own.
    assert positions(stage) == ["2"]


def test_branches_may_end_without_a_step_or_be_literals(style: str) -> None:
    def plain(value: int) -> Steps[int]:
        yield from ()
        return value

    branch = styled(style, plain)
    literal: Any = {"__tool": ["t", "add", {"number": 7}]}
    many = gather(*[branch(n) for n in range(500)], literal)
    assert result_of(many, style) == [*range(500), 7]


def test_parallel_steps_nest_in_each_other_and_in_sub_flows(style: str) -> None:
    def inner(n: int) -> Steps[Any]:
        first = yield add(n)
        return [first, (yield gather(add(n + 1), map_tool(add, [n + 2, n + 3])))]

    branch = styled(style, inner)

    def body() -> Steps[Any]:
        return (yield gather(branch(10), race(branch(20), sleep(60)), gather(add(1))))

    stage = stage_of(body, style)
    done = carried(stage)
    assert done == Completed("r", [[10, [11, [12, 13]]], [0, [20, [21, [22, 23]]]], [1]])
    assert set(positions(stage)) == {
        "0.0.0", "0.0.1.0", "0.0.1.1.0", "0.0.1.1.1",
        "0.1.0.0", "0.1.0.1.0", "0.1.0.1.1.0", "0.1.0.1.1.1", "0.2.0",
    }  # fmt: skip


def test_the_first_error_cancels_the_others_and_their_cleanup_takes_steps(style: str) -> None:
    seen: list[str] = []

    def careful() -> Steps[None]:
        try:
            yield sleep(1_000)
        except BranchCancelled:
            seen.append("told")
            yield add(8)
            yield sleep(5)
            yield add(9)
            raise

    branch = styled(style, careful)

    def body() -> Steps[Any]:
        try:
            yield gather(branch(), fail(1), branch())
        except ToolError as error:
            return [error.message, (yield add(1))]

    stage = stage_of(body, style)
    begun = stage.clock.monotonic()
    assert carried(stage) == Completed("r", ["no 1", 1])
    assert positions(stage) == [
        "0.1", "0.0.1", "0.2.1", "0.0.2", "0.2.2", "0.0.3", "0.2.3", "1",
    ]  # fmt: skip
    assert (seen.count("told"), stage.clock.monotonic() - begun) == (2, 5)


def test_an_error_that_nobody_catches_fails_the_run_at_its_position(style: str) -> None:
    def body() -> Steps[Any]:
        return (yield gather(add(1), gather(add(2), fail(3))))

    stage = stage_of(body, style)
    assert isinstance(carried(stage), Failed)
    error = ended(stage).error
    assert error is not None
    assert (error.type, error.position) == ("ToolError", "0.1.1")


def test_collect_lets_every_branch_go_to_its_end(style: str) -> None:
    def body() -> Steps[Any]:
        got = yield gather(fail(1), add(2), fail(3), errors="collect")
        listed = yield map_tool(fail, [4], errors="collect")
        return [str(each) for each in (*got, *listed)]

    stage = stage_of(body, style)
    assert carried(stage) == Completed(
        "r", ["t.fail failed: ValueError: no 1", "2",
              "t.fail failed: ValueError: no 3",
              "t.fail failed: ValueError: no 4"]
    )  # fmt: skip


def test_a_branch_that_returns_its_error_has_not_failed(style: str) -> None:
    literal: Any = {"__tool": ["t", "fail", {"number": 1}]}
    assert result_of(gather(literal, add(2)), style) == [{"__error": "no 1"}, 2]


def test_a_branch_raises_what_it_likes(style: str) -> None:
    def raising() -> Steps[None]:
        yield add(1)
        raise KeyError("mine")

    branch = styled(style, raising)

    def body() -> Steps[Any]:
        try:
            yield gather(branch(), sleep(9))
        except KeyError as error:
            return str(error)

    stage = stage_of(body, style)
    assert carried(stage) == Completed("r", "'mine'")


def test_max_concurrency_is_kept_and_branches_begin_lazily(style: str) -> None:
    begun: list[int] = []

    def slow(number: int) -> Steps[int]:
        begun.append(number)
        yield from add(number)
        return int((yield from add(number)))

    branch = styled(style, slow)

    def body() -> Steps[Any]:
        return (yield map_tool(branch, range(7), max_concurrency=3))

    stage = stage_of(body, style)
    flying: list[int] = []
    process = stage.process()

    def order(there: Any) -> str:
        flying.append(len(there))
        assert len(begun) <= len([s for s in stage.steps() if s.position.endswith(".1")]) + 3
        return str(there[-1])

    process.order = order
    assert carried(stage, process) == Completed("r", list(range(7)))
    assert (max(flying), begun) == (3, list(range(7)))


def test_what_never_begins_because_another_failed_is_closed(style: str) -> None:
    branch = styled(style, two)

    def body() -> Steps[Any]:
        try:
            yield gather(fail(1), branch(1), race(branch(2), branch(3)), max_concurrency=1)
        except ToolError:
            return "failed"

    with silent():
        stage = stage_of(body, style)
        assert carried(stage) == Completed("r", "failed")
        assert positions(stage) == ["0.0"]


# -- race ----------------------------------------------------------------------------------------


def test_the_first_to_be_recorded_wins(style: str) -> None:
    step = race(add(1), add(2), add(3))
    assert result_of(step, style, "0.1") == [1, 2]


def test_a_race_says_who_won_and_with_what(style: str) -> None:
    def body() -> Steps[Any]:
        raced = yield race(sleep(60), add(2))
        assert isinstance(raced, Raced)
        return [raced.winner, raced.value]

    stage = stage_of(body, style)
    assert carried(stage) == Completed("r", [1, 2])


def test_an_error_may_win_a_race(style: str) -> None:
    def body() -> Steps[Any]:
        try:
            yield race(fail(1), add(2))
        except ToolError as error:
            return error.message

    stage = stage_of(body, style)
    assert carried(stage) == Completed("r", "no 1")
    assert positions(stage) == ["0.0"]


def test_a_sleep_may_win_and_the_loser_is_not_recorded(style: str) -> None:
    def body() -> Steps[Any]:
        raced = yield race(call("add", number=1), sleep(5))
        return [raced, (yield add(3))]

    stage = stage_of(body, style)
    process = stage.process()
    process.order = lambda _: ""  # nothing lands as long as time may pass
    assert carried(stage, process) == Completed("r", [[1, None], 3])
    assert positions(stage) == ["0.1", "1"]
    assert stage.run().open == {}


def test_a_signal_may_win_and_losing_waits_leave_nothing_open(style: str) -> None:
    def body() -> Steps[Any]:
        raced = yield race(
            wait_for_signal("no"), wait_for_signal("go"), sleep(500), call("ask", name="answer")
        )
        return [raced, (yield wait_for_signal("end"))]

    stage = stage_of(body, style)
    process = stage.process()
    assert isinstance(process.execute(), Paused)
    assert set(stage.run().open) == {"0.0", "0.1", "0.2", "0.3"}
    stage.outside.send("r", "s1", "go", 7)
    assert isinstance(process.execute(), Paused)
    assert set(stage.run().open) == {"1"}
    stage.outside.send("r", "s2", "end", 8)
    assert carried(stage, process) == Completed("r", [[1, 7], 8])


def test_a_nested_loser_is_told_to_its_innermost_branch(style: str) -> None:
    told: list[str] = []

    def deep(name: str) -> Steps[None]:
        try:
            yield gather(sleep(100), wait_for_signal("never"))
        except RunCancelled as error:
            told.append(f"{name} {type(error).__name__}")
            raise

    branch = styled(style, deep)

    def body() -> Steps[Any]:
        return (yield race(gather(branch("a"), branch("b")), add(1)))

    stage = stage_of(body, style)
    assert carried(stage) == Completed("r", [1, 1])
    assert told == ["a BranchCancelled", "b BranchCancelled"]


def test_a_loser_that_carries_on_is_waited_for_and_its_value_is_dropped(style: str) -> None:
    def stubborn() -> Steps[str]:
        try:
            yield sleep(1_000)
        except BranchCancelled:
            yield sleep(7)
        return "mine"

    branch = styled(style, stubborn)

    def body() -> Steps[Any]:
        return (yield race(branch(), add(1)))

    stage = stage_of(body, style)
    begun = stage.clock.monotonic()
    assert carried(stage) == Completed("r", [1, 1])
    assert stage.clock.monotonic() - begun == 7


def test_a_branch_that_is_told_before_its_first_step_begins_cleans_up_once(style: str) -> None:
    def loser() -> Steps[None]:
        try:
            yield sleep(5)
        except BranchCancelled:
            yield add(9)

    def at_once() -> Steps[str]:
        yield from ()
        return "at once"

    lost, won = styled(style, loser), styled(style, at_once)

    def body() -> Steps[Any]:
        yield map_tool(add, [1])
        return (yield race(lost(), won()))

    stage = stage_of(body, style)
    assert carried(stage) == Completed("r", [1, "at once"])
    assert ran(stage) == ["0.0", "1.0.1"]


def test_a_race_of_timeouts_is_won_by_the_earlier(style: str) -> None:
    def body() -> Steps[Any]:
        try:
            yield race(wait_for_signal("a", timeout=9), wait_for_signal("b", timeout=4))
        except SignalTimedOut as late:
            return late.name

    stage = stage_of(body, style)
    assert carried(stage) == Completed("r", "b")


# -- what a branch may ask about -----------------------------------------------------------------

WHO: ContextVar[str] = ContextVar("who", default="nobody")


def test_a_branch_has_a_copy_of_the_context_of_its_flow(style: str) -> None:
    def named(name: str) -> Steps[str]:
        before = WHO.get()
        WHO.set(name)
        yield add(1)
        return f"{before} {WHO.get()}"

    branch = styled(style, named)

    def body() -> Steps[Any]:
        WHO.set("flow")
        both = yield gather(branch("a"), branch("b"), max_concurrency=1)
        return [*both, WHO.get()]

    stage = stage_of(body, style)
    assert carried(stage) == Completed("r", ["flow a", "flow b", "flow"])


# -- wrong use -----------------------------------------------------------------------------------


def test_a_race_without_branches_is_refused(style: str) -> None:
    def body() -> Steps[Any]:
        return (yield race())

    outcome = carried(stage_of(body, style))
    assert isinstance(outcome, Failed)
    assert "race needs a branch: with none, nobody can win" in outcome.error.message


@pytest.mark.parametrize("wrong", [1, None, "x", add, [add(1)], {"__tool": "x"}])
def test_what_is_no_branch_is_refused_by_name(style: str, wrong: Any) -> None:
    branch = styled(style, two)(1)
    with pytest.raises(TypeError, match=r"branch 1 of gather is .*; a branch is a step"):
        gather(branch, wrong)
    with pytest.raises(TypeError, match="branch 0 of race is"):
        race(wrong)
    with pytest.raises(TypeError, match="branch 0 of map_tool is"):
        map_tool(lambda _: wrong, [1])


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "3"])
def test_a_concurrency_that_cannot_be_used_is_refused(style: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"max_concurrency = .* cannot be used; give 1 or more"):
        gather(add(1), max_concurrency=wrong)
    with pytest.raises(ValueError, match=r'errors = .* cannot be used; use "raise" or'):
        map_tool(add, [1], errors=f"{style}{wrong}")  # type: ignore[call-overload]


def test_a_branch_that_awaits_what_is_no_step_blocks_the_run_at_its_line(style: str) -> None:
    async def foreign() -> None:
        await asyncio.sleep(1)

    def wrong() -> Steps[None]:
        yield 5

    branch = foreign if style == "coroutine" else wrong

    def body() -> Steps[Any]:
        return (yield gather(add(1), branch()))

    stage = stage_of(body, style)
    outcome = stage.process().execute()
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "not-a-step"
    assert "make it a tool" in outcome.message
    assert "test_parallel.py" in outcome.message


def test_starting_over_in_a_branch_is_refused(style: str) -> None:
    def body() -> Steps[Any]:
        return (yield gather(add(1), continue_as_new({})))

    stage = stage_of(body, style)
    outcome = stage.process().execute()
    assert isinstance(outcome, Blocked)
    assert "step 0.1 is continue_as_new in a branch; let the branch end" in outcome.message


def test_a_branch_whose_input_cannot_be_stored_raises_where_it_asks(style: str) -> None:
    def body() -> Steps[Any]:
        try:
            yield gather(call("add", number=object()), sleep(100))
        except Exception as error:  # noqa: BLE001
            return type(error).__name__

    stage = stage_of(body, style)
    assert carried(stage) == Completed("r", "NotEncodable")


@contextmanager
def silent() -> Iterator[None]:
    """Make every warning an error, also those of coroutines that nobody awaited."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(each.message) for each in caught] == []


def test_a_gather_that_is_never_awaited_warns_and_its_steps_do_not(style: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        step: ParallelStep[Any] | None = gather(add(1), race(add(2), sleep(1)))
        assert step is not None
        step = None
        gc.collect()
    said = [str(each.message) for each in caught if each.category is StepNeverAwaited]
    assert len(said) == 1, style
    assert "gather of 2 branches was made and never awaited" in said[0]


def test_a_pause_in_the_middle_says_nothing_about_coroutines_that_did_not_begin(style: str) -> None:
    branch = styled(style, two)

    def body() -> Steps[Any]:
        return (yield gather(sleep(5), branch(1), race(branch(2), branch(3)), max_concurrency=1))

    with silent():
        stage = stage_of(body, style)
        process = process_of(stage, keeps=False)
        assert isinstance(process.execute(), Paused)
        gc.collect()
        assert carried(stage, process) == Completed("r", [None, 3, [0, 5]])


# -- cancel --------------------------------------------------------------------------------------


def test_a_cancel_reaches_every_open_branch_once_in_one_commit(style: str) -> None:
    told: list[str] = []

    def holding(name: str) -> Steps[None]:
        try:
            yield wait_for_signal(name)
        except RunCancelled as error:
            told.append(f"{name} {type(error).__name__}")
            yield add(1)
            raise

    branch = styled(style, holding)

    def body() -> Steps[Any]:
        return (yield gather(branch("a"), race(branch("b"), branch("c")), sleep(900)))

    stage = stage_of(body, style)
    process = stage.process()
    process.execute()
    stage.outside.send("r", "$cancel:0", "$cancel", {})
    assert carried(stage, process) == Cancelled("r")
    assert told == ["a RunCancelled", "b RunCancelled", "c RunCancelled"]
    cancelled = [step for step in stage.steps() if step.outcome == "cancelled"]
    assert [step.position for step in cancelled] == ["0.0.0", "0.1.0.0", "0.1.1.0", "0.2"]
    assert len({step.op_id for step in cancelled}) == 1
    assert [step.number for step in stage.steps()] == list(range(7))


def test_a_cancel_in_flight_waits_for_what_is_in_flight_and_begins_nothing(style: str) -> None:
    def body() -> Steps[Any]:
        return (yield gather(add(1), add(2), add(3), max_concurrency=2))

    stage = stage_of(body, style)
    process = stage.process()

    def order(flying: Any) -> str:
        if len(flying) == 2:
            stage.outside.send("r", "$cancel:0", "$cancel", {})
        return str(flying[0])

    process.order = order
    assert carried(stage, process) == Cancelled("r")
    assert outcomes(stage) == {"0.0": "value", "0.1": "value", "0.2": "cancelled"}
    assert ran(stage) == ["0.0", "0.1"]


@pytest.mark.parametrize("how", ["value", "error"])
def test_a_branch_that_swallows_a_cancel_and_so_ends_the_others_blocks_nothing(
    style: str, how: str
) -> None:
    def swallowing() -> Steps[str]:
        try:
            yield wait_for_signal("a")
        except RunCancelled:
            if how == "error":
                raise KeyError from None
        return "saved"

    branch = styled(style, swallowing)

    def body() -> Steps[Any]:
        step = race if how == "value" else gather
        return (yield step(branch(), wait_for_signal("b"), sleep(900)))

    stage = stage_of(body, style)
    process = process_of(stage, keeps=False)
    process.execute()
    stage.outside.send("r", "$cancel:0", "$cancel", {})
    done = carried(stage, process)
    assert done == Completed("r", [0, "saved"]) if how == "value" else isinstance(done, Failed)
    assert set(outcomes(stage).values()) == {"cancelled"}


def test_a_cancel_leaves_losers_to_clean_up_and_reaches_who_waits_for_them(style: str) -> None:
    told: list[str] = []

    def loser() -> Steps[None]:
        try:
            yield sleep(900)
        except BranchCancelled:
            yield sleep(50)
            told.append("cleaned up")
            raise

    def outer() -> Steps[Any]:
        try:
            return (yield race(lost(), add(1)))
        except RunCancelled as error:
            told.append(type(error).__name__)
            raise

    lost, branch = styled(style, loser), styled(style, outer)

    def body() -> Steps[Any]:
        return (yield race(branch(), wait_for_signal("never")))

    for keeps in (True, False):
        told.clear()
        stage = stage_of(body, style)
        process = process_of(stage, keeps=keeps)
        process.execute()
        stage.outside.send("r", "$cancel:0", "$cancel", {})
        assert carried(stage, process) == Cancelled("r")
        assert told == ["cleaned up", "RunCancelled"]
        assert outcomes(stage)["0.1"] == "cancelled"
        assert outcomes(stage)["0.0.0.0.1"] == "value"


def test_a_cancel_waits_where_there_is_nothing_but_cleanup(style: str) -> None:
    def loser() -> Steps[None]:
        try:
            yield sleep(900)
        except BranchCancelled:
            yield gather(sleep(50), add(7))

    lost = styled(style, loser)

    def body() -> Steps[Any]:
        yield race(lost(), add(1))
        yield add(2)

    stage = stage_of(body, style)
    process = stage.process()
    process.execute()
    begun = stage.clock.monotonic()
    stage.outside.send("r", "$cancel:0", "$cancel", {})
    assert carried(stage, process) == Cancelled("r")
    assert stage.clock.monotonic() - begun == 50
    assert outcomes(stage)["1"] == "cancelled"


def test_terminate_runs_no_code_of_any_branch(style: str) -> None:
    told: list[str] = []

    def holding() -> Steps[None]:
        try:
            yield wait_for_signal("a")
        except RunCancelled:
            told.append("told")

    branch = styled(style, holding)

    def body() -> Steps[Any]:
        return (yield gather(branch(), branch()))

    stage = stage_of(body, style)
    process = stage.process()
    process.execute()
    stage.outside.terminate("r")
    assert process.execute() == Cancelled("r")
    assert told == []
    assert ended(stage).status is Status.CANCELLED


# -- save points ---------------------------------------------------------------------------------


def test_a_save_point_in_a_branch_pauses_when_the_others_have_landed(style: str) -> None:
    def saving() -> Steps[str]:
        yield save()
        return "saved"

    branch = styled(style, saving)

    def body() -> Steps[Any]:
        return (yield gather(add(1), branch(), add(2)))

    stage = stage_of(body, style)
    process = stage.process()
    process.order = landing("0.2")
    paused = process.execute()
    assert isinstance(paused, Paused)
    assert paused.reason == "save"
    assert set(positions(stage)) == set(ran(stage)) | {"0.1.0"}
    assert carried(stage, process) == Completed("r", [1, "saved", 2])
    assert len(ran(stage)) == 2

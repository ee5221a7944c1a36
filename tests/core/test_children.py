"""Child runs: begun and waited for, started and forgotten, failed, cancelled, lost on the way."""

from __future__ import annotations

import math
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from sequential import (
    Registry,
    RunCancelled,
    Steps,
    continue_as_new,
    flow,
    gather,
    map_tool,
    race,
    run_child,
    sleep,
    start_child,
    tool,
    wait_for_signal,
)
from sequential._child_runs import ChildRuns
from sequential._model import (
    ENDED_STATUSES,
    Parent,
    Run,
    Status,
    StepKind,
    StepOutcome,
    evolve,
)
from sequential._outcomes import Blocked, Cancelled, Completed, Failed, Paused
from sequential._requests import Commit, Create, CreateAll, Load
from sequential.errors import ChildCancelled, ChildFailed, ConfigError, RunIdInvalid
from tests.core.children import Fleet, Invoice, Shop
from tests.fix_stage import Stage


@pytest.fixture
def shop(any_stage: Stage) -> Shop:
    return Shop(any_stage.registry)


@pytest.fixture
def fleet(any_stage: Stage) -> Fleet:
    return Fleet(any_stage)


def result(fleet: Fleet, run_id: str = "r") -> Any:
    outcome = fleet.process.execute(run_id)
    assert isinstance(outcome, Completed), outcome
    return outcome.result


# -- begun and waited for ------------------------------------------------------------------------


def test_a_child_is_a_run_of_its_own_and_one_record_of_its_parent(
    any_stage: Stage, fleet: Fleet, shop: Shop
) -> None:
    @flow(registry=any_stage.registry)
    async def parent() -> Invoice:
        made = await run_child(shop.invoice, {"number": 3}, tags={"team": "a"})
        assert isinstance(made, Invoice)
        return made

    fleet.stage.start(parent.name)
    fleet.carry()
    assert result(fleet) == Invoice(3, ["a", "b"])
    (child,) = fleet.children()
    assert (child.run_id, child.flow, child.tags) == ("r~0", "invoice", {"team": "a"})
    assert (child.parent, child.notice) == (Parent("r", "0", True), False)
    (step,) = fleet.stage.steps()
    assert (step.kind, step.tool, step.outcome) == (StepKind.CHILD, "invoice", StepOutcome.VALUE)
    assert (step.started, step.fingerprint) == (child.created, child.asked)
    run = fleet.run()
    assert (run.children, run.inbox, run.seen, run.open) == (1, (), (), {})


def test_the_parent_waits_for_no_time_and_says_for_what(
    any_stage: Stage, fleet: Fleet, shop: Shop
) -> None:
    @flow(registry=any_stage.registry)
    def parent() -> Steps[int]:
        return (yield from shop.slow.run_child(number=2))

    fleet.stage.start(parent.name)
    assert fleet.process.execute() == Paused("r", "0", None, "child")
    assert fleet.stage.sent == ["r~0"]
    found = fleet.run().open["0"]
    assert (found.kind, found.tool, found.name) == (StepKind.CHILD, "slow", "$child:r~0")
    before = fleet.run().version
    assert isinstance(fleet.process.execute(), Paused)
    assert fleet.run().version == before
    fleet.carry()
    assert result(fleet) == 4


def test_children_have_children(any_stage: Stage, fleet: Fleet, shop: Shop) -> None:
    @flow(name="sum", registry=any_stage.registry)
    async def total(depth: int) -> int:
        if depth == 0:
            return await shop.work(2)
        both = await gather(
            run_child("sum", {"depth": depth - 1}), run_child("sum", {"depth": depth - 1})
        )
        return sum(both)

    fleet.stage.start("sum", b'{"depth":3}')
    fleet.carry()
    assert result(fleet) == 32
    assert fleet.run("r~0.1~0.0~0.1").status is Status.COMPLETED
    assert shop.calls["work 2"] == 8


def test_a_child_of_a_long_id_has_a_short_one(any_stage: Stage, fleet: Fleet, shop: Shop) -> None:
    @flow(registry=any_stage.registry)
    async def parent() -> int:
        return await shop.square.run_child(2)

    name = "x" * 128
    fleet.stage.start(parent.name, run_id=name)
    fleet.carry()
    assert result(fleet, name) == 4
    (child,) = fleet.children(name)
    assert len(child.run_id) == 128
    assert child.run_id.startswith("x" * 75 + "~")


def test_large_inputs_and_results_come_whole(any_stage: Stage, fleet: Fleet) -> None:
    @flow(registry=any_stage.registry)
    async def echo(text: str) -> str:
        return text

    @flow(registry=any_stage.registry)
    async def parent() -> list[str]:
        return [await echo.run_child("x" * 100_000), await echo.run_child("y" * 10_000)]

    fleet.stage.start(parent.name)
    fleet.carry()
    assert result(fleet) == ["x" * 100_000, "y" * 10_000]
    first, second = fleet.stage.steps()
    assert first.value.ref is not None
    assert second.value.ref is None


def test_a_value_as_deep_as_may_be_passes_from_child_to_parent(
    any_stage: Stage, fleet: Fleet
) -> None:
    deep: Any = 1
    for _ in range(63):
        deep = [deep]

    @flow(registry=any_stage.registry)
    async def dig() -> Any:
        return deep

    @flow(registry=any_stage.registry)
    async def parent() -> bool:
        return bool((await dig.run_child()) == deep)

    fleet.stage.start(parent.name)
    fleet.carry()
    assert result(fleet) is True


def test_a_later_generation_has_other_children(any_stage: Stage, fleet: Fleet, shop: Shop) -> None:
    @flow(registry=any_stage.registry)
    async def parent(number: int) -> int:
        got = await shop.square.run_child(number)
        if number < 4:
            await continue_as_new({"number": number + 1})
        return got

    fleet.stage.start(parent.name, b'{"number":2}')
    fleet.carry()
    assert result(fleet) == 16
    assert [child.run_id for child in fleet.children()] == ["r~0", "r~0~g1", "r~0~g2"]
    assert fleet.run().children == 1


def test_a_child_of_another_flow_object_is_known_where_only_the_parent_was(
    any_stage: Stage, fleet: Fleet
) -> None:
    elsewhere = Registry()

    @flow(name="helper", registry=elsewhere)
    async def helper() -> str:
        return "helped"

    @flow(registry=any_stage.registry)
    async def parent() -> str:
        return await helper.run_child()

    fleet.stage.start(parent.name)
    fleet.carry()
    assert result(fleet) == "helped"


def test_a_child_whose_flow_is_not_known_blocks_until_it_is(any_stage: Stage, fleet: Fleet) -> None:
    @flow(registry=any_stage.registry)
    async def parent() -> str:
        return str(await run_child("later"))

    fleet.stage.start(parent.name)
    outcome = fleet.process.execute()
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "flow-not-found"
    assert "no flow named 'later'" in outcome.message

    @flow(name="later", registry=any_stage.registry)
    async def later() -> str:
        return "here"

    fleet.carry()
    assert result(fleet) == "here"


# -- started and forgotten -----------------------------------------------------------------------


def test_a_child_that_is_started_is_one_record_with_its_id(
    any_stage: Stage, fleet: Fleet, shop: Shop
) -> None:
    @flow(registry=any_stage.registry)
    async def parent() -> list[str]:
        first = await start_child(shop.slow, {"number": 2}, run_id="mine")
        return [first, await shop.square.start_child(number=3)]

    fleet.stage.start(parent.name)
    assert isinstance(fleet.process.execute(), Completed)
    assert result(fleet) == ["mine", "r~1"]
    steps = fleet.stage.steps()
    assert [step.kind for step in steps] == [StepKind.START] * 2
    assert fleet.run("mine").parent == Parent("r", "0", waits=False)
    fleet.carry()
    assert [child.status for child in fleet.children()] == [Status.COMPLETED] * 2
    assert not any(child.notice for child in fleet.children())


def test_starting_and_running_a_child_are_two_kinds_of_step(
    any_stage: Stage, fleet: Fleet, shop: Shop
) -> None:
    waits = False

    @flow(registry=any_stage.registry)
    async def parent() -> None:
        await (shop.square.run_child(2) if waits else shop.square.start_child(2))
        await wait_for_signal("go")

    fleet.stage.start(parent.name)
    fleet.process.execute()
    waits = True
    fleet.process.forget()
    fleet.stage.outside.send("r", "s", "go", None)
    outcome = fleet.process.execute()
    assert isinstance(outcome, Blocked)
    assert "recorded: start of square" in outcome.diff
    assert "asked:    child run of square" in outcome.diff


# -- ended otherwise -----------------------------------------------------------------------------


def test_a_failed_child_raises_the_same_on_every_replay(
    any_stage: Stage, fleet: Fleet, shop: Shop
) -> None:
    caught: list[ChildFailed] = []

    @flow(registry=any_stage.registry)
    async def parent() -> str:
        try:
            await shop.square.run_child(2)
        except ChildFailed as error:
            caught.append(error)
        await wait_for_signal("go")
        return "handled"

    shop.broken = True
    fleet.stage.start(parent.name)
    fleet.carry()
    fleet.process.forget()
    fleet.stage.outside.send("r", "s", "go", None)
    fleet.carry()
    assert result(fleet) == "handled"
    for error in caught:
        assert (error.run_id, error.flow, error.type) == ("r~0", "square", "ToolError")
        assert error.message == "t.work failed: ConnectionError: no answer"
    assert len(caught) == 2
    assert fleet.stage.steps()[0].outcome is StepOutcome.ERROR


def test_the_error_of_a_child_fails_its_parent_at_that_step(
    any_stage: Stage, fleet: Fleet, shop: Shop
) -> None:
    @flow(registry=any_stage.registry)
    async def parent() -> int:
        await sleep(1)
        return await shop.square.run_child(2)

    shop.broken = True
    fleet.stage.start(parent.name)
    fleet.carry()
    outcome = fleet.process.execute()
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.position) == ("ChildFailed", "1")
    shop.broken = False
    fleet.stage.outside.retry("r")
    fleet.carry()
    assert result(fleet) == 4
    assert [child.run_id for child in fleet.children()] == ["r~1", "r~1~g1"]


def test_errors_can_be_returned(any_stage: Stage, fleet: Fleet, shop: Shop) -> None:
    @flow(registry=any_stage.registry)
    async def parent() -> Any:
        return await run_child(shop.square, {"number": 2}, errors="return")

    shop.broken = True
    fleet.stage.start(parent.name)
    fleet.carry()
    assert result(fleet) == {
        "__error": "child run 'r~0' of square failed: ToolError: t.work failed: ConnectionError:"
        " no answer"
    }


@pytest.mark.parametrize("way", ["cancel", "terminate"])
def test_a_child_that_somebody_cancelled_raises_that(
    any_stage: Stage, fleet: Fleet, shop: Shop, way: str
) -> None:
    @flow(registry=any_stage.registry)
    async def parent() -> str:
        try:
            await shop.slow.run_child(2)
        except ChildCancelled as error:
            return f"{error.run_id} {error.flow}"
        return "completed"

    app = any_stage.app()
    run_id = app.start(parent, run_id="r")
    app.execute(run_id)
    app.execute("r~0")
    getattr(app, way)("r~0")
    fleet.carry()
    assert result(fleet) == "r~0 slow"


def test_an_input_that_does_not_fit_is_an_error_at_the_step(
    any_stage: Stage, fleet: Fleet, shop: Shop
) -> None:
    @flow(registry=any_stage.registry)
    async def parent() -> str:
        try:
            await run_child("square", {"digits": 2})
        except ChildFailed as error:
            return error.type
        return "begun"

    fleet.stage.start(parent.name)
    assert isinstance(fleet.process.execute(), Completed)
    assert result(fleet) == "InputMismatch"
    assert fleet.children() == []


@pytest.mark.parametrize("number", [2, 3])
def test_the_end_of_a_child_is_not_taken_for_that_of_a_later_step_that_chose_the_same_id(
    any_stage: Stage, fleet: Fleet, shop: Shop, number: int
) -> None:
    @tool("t", "meanwhile", registry=any_stage.registry)
    def meanwhile() -> None:
        fleet.process.execute("mine")

    @flow(registry=any_stage.registry)
    async def parent() -> str:
        await race(run_child("square", {"number": 2}, run_id="mine"), shop.work(1))
        await meanwhile()
        assert fleet.run("mine").status in ENDED_STATUSES
        try:
            await run_child("square", {"number": number}, run_id="mine")
        except ChildFailed as error:
            return error.type
        return "taken for its own"

    fleet.stage.start(parent.name)
    fleet.carry()
    assert result(fleet) == "RunTaken"


@pytest.mark.parametrize("wide", [False, True])
def test_a_child_that_was_begun_is_not_counted_for_another_step_of_changed_code(
    any_stage: Stage, fleet: Fleet, shop: Shop, wide: bool
) -> None:
    @flow(name="parent", registry=any_stage.registry)
    async def parent() -> object:
        first = run_child("square", {"number": 2})
        return await (gather(first, run_child("square", {"number": 3})) if wide else first)

    changed = Registry()
    Shop(changed)

    @flow(name="parent", registry=changed)
    async def longer() -> object:
        await sleep(1)
        return await run_child("square", {"number": 2})

    fleet.stage.start("parent")
    invocation = fleet.process.invoke()
    invocation.until(lambda request: type(request) in (Create, CreateAll))
    # So long that the lease must be renewed, before anything is recorded; then it is lost.
    any_stage.clock.advance(fleet.stage.terms.lease / 2)
    invocation.until(lambda request: type(request) is Commit)
    invocation.advance()
    invocation.crash()
    any_stage.clock.advance(fleet.stage.terms.lease * 2)
    blocked = fleet.stage.process(registry=changed).execute()
    assert isinstance(blocked, Blocked)
    assert blocked.reason == "changed"
    fleet.process.forget()
    fleet.carry()
    assert result(fleet) == ((4, 9) if wide else 4)


@pytest.mark.parametrize("taken_by", ["another input", "flow 'invoice'", "another parent"])
def test_an_id_that_is_taken_is_one_clear_error_at_the_step(
    any_stage: Stage, fleet: Fleet, shop: Shop, taken_by: str
) -> None:
    other = "invoice" if "flow" in taken_by else "square"
    number = 3 if "input" in taken_by else 2
    fleet.stage.start(other, b'{"number":%d}' % number, run_id="mine")
    fleet.carry()

    @flow(registry=any_stage.registry)
    async def parent() -> str:
        try:
            await run_child("square", {"number": 2}, run_id="mine")
        except ChildFailed as error:
            return f"{error.type}: {error.message}"
        return "begun"

    fleet.stage.start(parent.name)
    fleet.carry()
    assert result(fleet) == (
        f"RunTaken: run 'mine' exists with {taken_by}; use the same flow and input, or another run"
        " id"
    )


def test_a_taken_id_in_a_row_of_children_is_one_clear_error(
    any_stage: Stage, fleet: Fleet, shop: Shop
) -> None:
    fleet.stage.start("square", b'{"number":9}', run_id="b")
    fleet.carry()

    @flow(registry=any_stage.registry)
    async def parent() -> list[str]:
        steps = [run_child(shop.square, {"number": 2}, run_id=each) for each in "abc"]
        came = await gather(*steps, errors="collect")
        return [each.type if isinstance(each, ChildFailed) else str(each) for each in came]

    fleet.stage.start(parent.name)
    fleet.carry()
    assert result(fleet) == ["4", "RunTaken", "4"]


def test_a_run_of_the_same_flow_and_input_is_taken_as_started(
    any_stage: Stage, fleet: Fleet, shop: Shop
) -> None:
    fleet.stage.start("square", b'{"number":2}', run_id="mine")

    @flow(registry=any_stage.registry)
    async def parent() -> str:
        return await start_child(shop.square, {"number": 2}, run_id="mine")

    fleet.stage.start(parent.name)
    fleet.carry()
    assert result(fleet) == "mine"
    assert shop.calls["work 2"] == 1


def test_a_child_of_ones_own_id_that_has_ended_is_not_done_again_by_a_retry(
    any_stage: Stage, fleet: Fleet, shop: Shop
) -> None:
    @flow(registry=any_stage.registry)
    async def parent() -> int:
        return await run_child(shop.square, {"number": 2}, run_id="mine")

    shop.broken = True
    fleet.stage.start(parent.name)
    fleet.carry()
    shop.broken = False
    # First the child, whose end was told already; then the parent, which finds what it came to.
    fleet.stage.outside.retry("mine")
    fleet.carry()
    assert fleet.run().status is Status.FAILED
    fleet.stage.outside.retry("r")
    fleet.carry()
    assert result(fleet) == 4
    assert shop.calls["work 2"] == 2


# -- many ----------------------------------------------------------------------------------------


def test_many_children_are_begun_once_and_recorded_together(
    any_stage: Stage, fleet: Fleet, shop: Shop
) -> None:
    many = 300

    @flow(registry=any_stage.registry)
    async def parent() -> int:
        return sum(await map_tool(shop.square.run_child, range(many)))

    asked: Counter[type] = Counter()
    fleet.seen = lambda request: asked.update([type(request)])
    fleet.stage.start(parent.name)
    fleet.invoke("r")
    assert asked[CreateAll] == math.ceil(256 / 64) + 1
    assert asked[Create] == 0
    run = fleet.run()
    assert (run.children, len(run.open)) == (many, 16)
    # A new process asks the storage for none of them again.
    fleet.process.forget()
    fleet.stage.outside.send("r", "s", "noise", None)
    asked.clear()
    fleet.invoke("r")
    assert asked[Create] == asked[CreateAll] == 0
    assert asked[Load] + asked[Commit] <= 4
    for child in fleet.children():
        fleet.process.execute(child.run_id)
    # Its inbox has room for some; the others tell it later.
    known = len(fleet.run().inbox) - 1
    assert 100 < known < many
    asked.clear()
    fleet.invoke("r")
    assert asked[Commit] <= 4
    assert fleet.run().cursor == known
    fleet.carry()
    assert result(fleet) == sum(number * number for number in range(many))
    assert len(fleet.stage.steps()) == many
    assert (fleet.run().seen, len(fleet.run().inbox)) == ((), 1)


def test_a_warm_parent_looks_only_at_the_children_that_something_came_of(
    any_stage: Stage, fleet: Fleet, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = 40

    @flow(registry=any_stage.registry)
    async def parent() -> int:
        return sum(await map_tool(shop.square.run_child, range(many)))

    looked = list[str]()
    settle = ChildRuns.settle

    def noted(self: ChildRuns, step: Any, asked: Any, started: float) -> Any:
        looked.append(asked.position)
        return settle(self, step, asked, started)

    monkeypatch.setattr(ChildRuns, "settle", noted)
    fleet.stage.start(parent.name)
    fleet.invoke("r")
    assert len(looked) == many
    opened = fleet.run().open
    for sent_id in ("s", "t"):
        looked.clear()
        fleet.stage.outside.send("r", sent_id, "noise", None)
        fleet.invoke("r")
        assert looked == []
    fleet.process.execute("r~0.30")
    fleet.invoke("r")
    assert looked == ["0.30"]
    assert (fleet.run().cursor, fleet.run().open) == (1, opened)
    fleet.carry()
    assert result(fleet) == sum(number * number for number in range(many))


def test_a_warm_parent_refuses_what_other_code_has_begun_meanwhile(
    any_stage: Stage, fleet: Fleet, shop: Shop
) -> None:
    @flow(registry=any_stage.registry)
    async def parent() -> int:
        return sum(await map_tool(shop.square.run_child, range(3)))

    fleet.stage.start(parent.name)
    fleet.invoke("r")
    fleet.stage.outside.send("r", "s", "noise", None)
    run = fleet.run()
    other = run.open["0.1"]._replace(tool="another", fingerprint="")
    stored = any_stage.storage.commit(evolve(run, open={**run.open, "0.1": other}), run)
    assert isinstance(stored, Run)
    outcome = fleet.process.execute("r")
    assert isinstance(outcome, Blocked)
    assert "child run of another (begun)" in outcome.diff


def test_few_children_at_a_time(any_stage: Stage, fleet: Fleet, shop: Shop) -> None:
    most = 0

    def note(_: object) -> None:
        nonlocal most
        begun = [child for child in fleet.children() if child.status is not Status.COMPLETED]
        most = max(most, len(begun))

    @flow(registry=any_stage.registry)
    async def parent() -> list[int]:
        return await map_tool(shop.square.run_child, range(9), max_concurrency=3)

    fleet.seen = note
    fleet.stage.start(parent.name)
    fleet.carry()
    assert result(fleet) == [number * number for number in range(9)]
    assert most == 3


@pytest.mark.parametrize("handled", [False, True])
def test_of_ends_that_come_together_the_first_may_decide_that_of_the_others(
    any_stage: Stage, fleet: Fleet, shop: Shop, handled: bool
) -> None:
    @flow(registry=any_stage.registry)
    async def parent() -> str:
        try:
            await gather(*[shop.square.run_child(number) for number in range(3)])
        except ChildFailed as error:
            if not handled:
                raise
            return error.run_id
        return "completed"

    shop.broken = True
    fleet.stage.start(parent.name)
    fleet.carry()
    assert [step.outcome for step in fleet.stage.steps()] == [StepOutcome.ERROR] * 3
    status = Status.COMPLETED if handled else Status.FAILED
    assert fleet.run().status is status
    assert any_stage.app().replay("r").agrees


def test_of_branches_that_are_cancelled_together_the_first_may_win(
    any_stage: Stage, fleet: Fleet
) -> None:
    async def stubborn(name: str) -> str:
        try:
            await sleep(600)
        except RunCancelled:
            return name
        return "awake"

    @flow(registry=any_stage.registry)
    async def parent() -> str:
        won = await race(stubborn("first"), stubborn("second"))
        return str(won.value)

    fleet.stage.start(parent.name)
    fleet.carry(patient=False)
    fleet.stage.outside.send("r", "$cancel:0", "$cancel", {"reason": "enough"})
    assert isinstance(fleet.process.execute(), Completed)
    assert result(fleet) == "first"
    assert any_stage.app().replay("r").agrees


# -- needed no more ------------------------------------------------------------------------------


def test_a_cancel_is_passed_on_and_waited_for_by_nobody(
    any_stage: Stage, fleet: Fleet, shop: Shop
) -> None:
    @flow(registry=any_stage.registry)
    async def parent() -> None:
        await gather(
            shop.slow.run_child(1),
            run_child(shop.slow, {"number": 2}, on_cancel="leave"),
            shop.slow.start_child(3),
        )

    fleet.stage.start(parent.name)
    fleet.carry(patient=False)
    fleet.stage.outside.send("r", "$cancel:0", "$cancel", {"reason": "enough"})
    assert isinstance(fleet.process.execute(), Cancelled)
    fleet.carry()
    told = {child.run_id: child.status for child in fleet.children()}
    assert told == {
        "r~0.0": Status.CANCELLED, "r~0.1": Status.COMPLETED, "r~0.2": Status.COMPLETED,
    }  # fmt: skip
    assert shop.calls == {"undo 1": 1, "work 2": 1, "work 3": 1}


def test_the_losers_of_a_race_are_cancelled(any_stage: Stage, fleet: Fleet, shop: Shop) -> None:
    @flow(registry=any_stage.registry)
    async def parent() -> int:
        won = await race(shop.slow.run_child(1), shop.square.run_child(2))
        await sleep(timedelta(minutes=30))
        return int(won.value)

    fleet.stage.start(parent.name)
    fleet.carry()
    assert result(fleet) == 4
    assert fleet.run("r~0.0").status is Status.CANCELLED
    assert shop.calls == {"work 2": 1, "undo 1": 1}
    assert (fleet.run().unneeded, fleet.run().inbox) == (1, ())


def test_a_terminated_parent_leaves_its_children(
    any_stage: Stage, fleet: Fleet, shop: Shop
) -> None:
    @flow(registry=any_stage.registry)
    async def parent() -> int:
        return await shop.slow.run_child(1)

    fleet.stage.start(parent.name)
    fleet.carry(patient=False)
    fleet.stage.outside.terminate("r")
    fleet.carry()
    (child,) = fleet.children()
    assert (child.status, child.notice) == (Status.COMPLETED, False)
    assert fleet.run().inbox == ()


def test_somebody_elses_run_is_not_cancelled(any_stage: Stage, fleet: Fleet, shop: Shop) -> None:
    fleet.stage.start("slow", b'{"number":2}', run_id="mine")

    @flow(registry=any_stage.registry)
    async def parent() -> None:
        await gather(run_child(shop.slow, {"number": 2}, run_id="mine"), shop.slow.run_child(1))

    fleet.stage.start(parent.name)
    fleet.carry()
    assert fleet.run().status is Status.FAILED
    assert fleet.run("mine").status is Status.COMPLETED


def test_somebody_elses_run_is_not_cancelled_in_place_of_a_child_never_begun(
    any_stage: Stage, fleet: Fleet, shop: Shop
) -> None:
    fleet.stage.start("slow", b'{"number":2}', run_id="mine")

    @flow(registry=any_stage.registry)
    async def parent() -> int:
        return await run_child(shop.slow, {"number": 2}, run_id="mine")

    fleet.stage.start(parent.name)
    fleet.stage.outside.send("r", "$cancel:0", "$cancel", {"reason": "enough"})
    fleet.carry()
    assert fleet.run().status is Status.CANCELLED
    assert fleet.run("mine").status is Status.COMPLETED


# -- told once -----------------------------------------------------------------------------------


def test_an_end_that_is_told_again_is_dropped(any_stage: Stage, fleet: Fleet, shop: Shop) -> None:
    @flow(registry=any_stage.registry)
    async def parent() -> int:
        got = await shop.square.run_child(2)
        await wait_for_signal("go")
        return got

    fleet.stage.start(parent.name)
    fleet.carry()
    for sent_id in ("$child:r~0:0", "$child:r~0:1"):
        fleet.stage.outside.send("r", sent_id, "$child:r~0", None)
    assert len(fleet.run().inbox) == 2
    assert isinstance(fleet.process.execute(), Paused)
    assert fleet.run().inbox == ()
    fleet.stage.outside.send("r", "s", "go", None)
    fleet.carry()
    assert result(fleet) == 4
    assert len(fleet.stage.steps()) == 2


def test_a_signal_cannot_pretend_to_be_the_end_of_a_child(any_stage: Stage) -> None:
    app = any_stage.app()
    with pytest.raises(ValueError, match="cannot be the name of a signal"):
        app.signal("r", "$child:r~0", 1)


def test_a_child_begun_by_other_code_blocks_its_parent(
    any_stage: Stage, fleet: Fleet, shop: Shop
) -> None:
    number = 2

    @flow(registry=any_stage.registry)
    async def parent() -> list[int]:
        return await map_tool(shop.square.run_child, [*[1] * 16, number])

    fleet.stage.start(parent.name)
    fleet.process.execute()
    number = 3
    fleet.process.forget()
    for child in fleet.children():
        fleet.process.execute(child.run_id)
    outcome = fleet.process.execute()
    assert isinstance(outcome, Blocked)
    assert "child run of square" in outcome.diff
    number = 2
    fleet.carry()
    assert result(fleet) == [*[1] * 16, 4]


# -- wrong use -----------------------------------------------------------------------------------


def test_wrong_use_is_one_clear_error(shop: Shop) -> None:
    with pytest.raises(RunIdInvalid):
        run_child(shop.square, run_id="a/b")
    with pytest.raises(ConfigError, match="tags map text"):
        start_child(shop.square, tags={"a": 1})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="is no flow; put @flow on it"):
        run_child(shop.work)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match='use "cancel" or "leave"'):
        run_child(shop.square, on_cancel="stop")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match='use "raise" or "return"'):
        run_child(shop.square, errors="collect")  # type: ignore[call-overload]

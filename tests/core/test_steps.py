"""What a flow may yield or await, and that making a step runs nothing."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sequential import (
    Registry,
    Steps,
    continue_as_new,
    flow,
    save,
    sleep,
    sleep_until,
    tool,
    tool_call,
    wait_for_signal,
)
from sequential._outcomes import Completed, Failed
from sequential._steps import SaveStep, SleepStep, Step, StepNeverAwaited, ToolStep, as_step
from tests.fix_stage import Stage


def used(step: Step[Any]) -> Any:
    """Return *step*, so that it does not warn."""
    step.asked = True
    return step


def test_the_literal_forms_are_read_as_steps() -> None:
    short = used(as_step({"__tool": ["api", "user"]}) or save())
    full = used(as_step({"__tool": ("api", "user", {"id": 1})}) or save())
    point = used(as_step({"__save": True}) or sleep(1))
    assert (short.category, short.name, short.input, short.errors) == ("api", "user", {}, "return")
    assert (full.input, full.errors) == ({"id": 1}, "return")
    assert isinstance(point, SaveStep)


@pytest.mark.parametrize(
    "yielded",
    [
        None,
        1,
        "step",
        {},
        {"__tool": []},
        {"__tool": ["api"]},
        {"__tool": ["api", 1]},
        {"__tool": ["api", "a", {}, {}]},
        {"__tool": "api.user"},
        {"__save": 1},
        {"__save": False},
        {"__tool": ["api", "a"], "more": 1},
        ["api", "user"],
    ],
)
def test_anything_else_is_not_a_step(yielded: object) -> None:
    assert as_step(yielded) is None


def test_a_literal_with_a_raw_input_that_is_not_an_object_is_kept_as_it_is() -> None:
    step = as_step({"__tool": ["api", "raw", [1, 2]]})
    assert isinstance(step, ToolStep)
    assert used(step).input == [1, 2]


def test_no_input_and_a_null_input_are_one() -> None:
    assert used(tool_call("a", "b")).input == used(tool_call("a", "b", None)).input == {}


def test_a_duration_is_seconds_or_a_timedelta() -> None:
    assert used(sleep(1.5)).seconds == used(sleep(timedelta(seconds=1.5))).seconds == 1.5


@pytest.mark.parametrize("duration", [-1, float("nan"), float("inf"), timedelta(seconds=-1)])
def test_a_duration_that_is_none_is_refused(duration: Any) -> None:
    with pytest.raises(ValueError, match="cannot be a duration"):
        sleep(duration)
    with pytest.raises(ValueError, match="cannot be a duration"):
        wait_for_signal("go", timeout=duration)


def test_a_moment_must_know_its_time_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        sleep_until(datetime(2030, 1, 1))  # noqa: DTZ001
    step = used(sleep_until(datetime(2030, 1, 1, tzinfo=UTC)))
    assert isinstance(step, SleepStep)
    assert step.until == 1893456000.0


@pytest.mark.parametrize("name", ["", "$cancel", "$x"])
def test_a_signal_needs_a_name_of_its_own(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a signal"):
        wait_for_signal(name)


def test_a_step_says_what_it_is() -> None:
    made = [tool_call("api", "user"), sleep(1), wait_for_signal("go"), save(), continue_as_new()]
    assert [repr(used(step)) for step in made] == [
        "tool call api.user",
        "sleep",
        "wait for signal 'go'",
        "save point",
        "continue as new",
    ]


def test_a_step_that_is_made_and_never_awaited_warns() -> None:
    with pytest.warns(StepNeverAwaited, match=r"tool call api.user was made and never awaited"):
        tool_call("api", "user")


def test_a_step_that_a_flow_forgets_to_await_warns_and_does_not_run(stage: Stage) -> None:
    ran = []

    @tool("api", "note", registry=stage.registry)
    def note() -> None:
        ran.append(1)

    @flow(registry=stage.registry)
    async def forgetful() -> str:
        note()
        return "done"

    with pytest.warns(StepNeverAwaited, match=r"api.note"):
        assert stage.app().run(forgetful) == "done"
    assert ran == []


def test_a_step_that_was_awaited_does_not_warn_not_even_on_replay_or_discard(stage: Stage) -> None:
    @tool("api", "note", registry=stage.registry)
    def note() -> None: ...

    @flow(registry=stage.registry)
    def careful() -> Steps[str]:
        try:
            yield note()
            yield {"__save": True}
            yield save()
        finally:
            yield note()
        return "done"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_id = stage.app().start(careful)
        for _ in range(3):
            stage.app(warm=0).execute(run_id)
        assert stage.app(warm=0).execute(run_id) == Completed(run_id, "done")


def test_a_step_may_be_yielded_yielded_from_and_awaited(any_stage: Stage) -> None:
    registry = any_stage.registry

    @tool("api", "double", registry=registry)
    def double(n: int) -> int:
        return 2 * n

    @flow(registry=registry)
    def plain(n: int) -> Steps[int]:
        n = yield double(n)
        return n

    @flow(registry=registry)
    def delegating(n: int) -> Steps[int]:
        n = yield from double(n)
        return n

    @flow(registry=registry)
    async def awaiting(n: int) -> int:
        return await double(n)

    app = any_stage.app()
    assert [plain.run(app, 4), delegating.run(app, 4), awaiting.run(app, 4)] == [8, 8, 8]


def test_making_a_step_runs_nothing_and_the_plain_function_is_at_hand() -> None:
    @tool("api", "double", registry=Registry())
    def double(n: int) -> int:
        """Return twice *n*."""
        return 2 * n

    step = used(double(2))
    assert (step.category, step.name, step.input) == ("api", "double", {"n": 2})
    assert double.function(2) == 4
    assert double.__doc__ == "Return twice *n*."


def test_a_step_can_be_awaited_once_made_elsewhere(stage: Stage) -> None:
    @tool("api", "double", registry=stage.registry)
    def double(n: int) -> int:
        return 2 * n

    @flow(registry=stage.registry)
    async def later() -> list[int]:
        steps = [double(n) for n in range(3)]
        return [await step for step in steps]

    assert stage.app().run(later) == [0, 2, 4]


def test_a_step_that_cannot_be_stored_is_told_at_the_step_and_takes_no_position(
    stage: Stage,
) -> None:
    @tool("api", "echo", registry=stage.registry)
    def echo(value: Any) -> Any:
        return value

    @flow(registry=stage.registry)
    def trying() -> Steps[Any]:
        name = ""
        try:
            yield echo(object())
        except Exception as error:  # noqa: BLE001
            name = type(error).__name__
        return [name, (yield echo(1))]

    app = stage.app()
    run_id = app.start(trying)
    assert app.execute(run_id) == Completed(run_id, ["NotEncodable", 1])
    assert [step.position for step in app.steps(run_id)] == ["0"]

    @flow(registry=stage.registry)
    def failing() -> Steps[Any]:
        return (yield echo(object()))

    run_id = app.start(failing)
    outcome = app.execute(run_id)
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "NotEncodable"


def test_an_ignored_argument_that_cannot_be_stored_is_told_at_the_step_as_well(
    stage: Stage,
) -> None:
    @tool("api", "echo", registry=stage.registry, ignore=["client"])
    def echo(value: Any, client: Any) -> Any:
        return value

    @flow(registry=stage.registry)
    def trying() -> Steps[Any]:
        return (yield echo(1, object()))

    app = stage.app()
    outcome = app.execute(app.start(trying))
    assert isinstance(outcome, Failed), outcome
    assert outcome.error.type == "NotEncodable"


def test_under_check_names_a_refused_input_is_refused_on_replay_as_well(stage: Stage) -> None:
    @tool("api", "echo", registry=stage.registry)
    def echo(value: Any) -> Any:
        return value

    @flow(registry=stage.registry)
    def trying() -> Steps[Any]:
        try:
            first = yield echo(object())
        except Exception:  # noqa: BLE001
            first = "refused"
        second = yield echo(2)
        yield save()
        return [first, second]

    run_id = stage.app(check="names").start(trying)
    stage.app(check="names").execute(run_id)
    assert stage.app(check="names").execute(run_id) == Completed(run_id, ["refused", 2])

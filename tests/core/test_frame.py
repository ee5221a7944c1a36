"""One started flow: driven, refused when it wants a loop, discarded when the run pauses."""

from __future__ import annotations

import asyncio
import gc
import inspect
import linecache
import sys
import warnings
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest

from sequential import (
    RunCancelled,
    Step,
    Steps,
    ToolError,
    flow,
    gather,
    is_pausing,
    race,
    save,
    sleep,
    tool,
)
from sequential._flow import Flow
from sequential._frame import Frame
from sequential._outcomes import Blocked, Completed, Failed, Paused
from sequential._scope import Scope
from sequential.errors import NotAStep
from tests.fix_stage import Stage


def refused(stage: Stage, made: Flow[..., Any]) -> Blocked:
    """Execute *made*, which asks for something that is no step; return how it was blocked."""
    app = stage.app()
    outcome = app.execute(app.start(made))
    assert isinstance(outcome, Blocked), outcome
    assert outcome.reason == "not-a-step"
    assert "make it a tool" in outcome.message
    return outcome


def line(outcome: Blocked) -> str:
    """Return the source line that *outcome* names; it must be one of this file."""
    place = outcome.message.split(" yields or awaits ")[0]
    file, _, number = place.rpartition(":")
    assert file == __file__, outcome.message
    return linecache.getline(file, int(number)).strip()


@pytest.mark.parametrize(
    "value", [None, 1, "text", [], {"__tool": []}, {"__save": False}, object(), ValueError("x")]
)
def test_a_generator_that_yields_something_else_is_blocked_with_the_line(
    stage: Stage, value: object
) -> None:
    @flow(registry=stage.registry)
    def plain() -> Steps[None]:
        yield save()
        yield value  # this one

    app = stage.app()
    run_id = app.start(plain)
    app.execute(run_id)
    outcome = app.execute(run_id)
    assert isinstance(outcome, Blocked)
    assert "this one" in line(outcome)
    assert type(value).__name__ in outcome.message or "None" in outcome.message


def test_the_line_is_that_of_the_sub_generator(stage: Stage) -> None:
    def inner() -> Steps[None]:
        yield 5  # in the helper

    def middle() -> Steps[None]:
        yield from inner()

    @flow(registry=stage.registry)
    def outer() -> Steps[None]:
        yield from middle()

    assert "in the helper" in line(refused(stage, outer))


class Odd:
    def __await__(self) -> Generator[Any, Any, None]:
        yield "odd"  # in its own await


def test_the_line_is_that_of_the_sub_coroutine(stage: Stage) -> None:
    async def inner() -> None:
        await Odd()

    @flow(registry=stage.registry)
    async def outer() -> None:
        await inner()

    assert "in its own await" in line(refused(stage, outer))


def test_awaiting_a_future_is_blocked_with_the_line(stage: Stage) -> None:
    loop = asyncio.new_event_loop()
    future: asyncio.Future[None] = loop.create_future()

    @flow(registry=stage.registry)
    async def waiting() -> None:
        await future  # this one

    outcome = refused(stage, waiting)
    loop.close()
    assert "this one" in line(outcome)
    assert "Future" in outcome.message


def test_sleeping_in_asyncio_is_blocked_with_the_line_of_the_flow(stage: Stage) -> None:
    @flow(registry=stage.registry)
    async def sleepy() -> None:
        await asyncio.sleep(1)  # this one

    assert "this one" in line(refused(stage, sleepy))


def test_yielding_to_asyncio_is_blocked_with_the_line_of_the_flow(stage: Stage) -> None:
    @flow(registry=stage.registry)
    async def sleepy() -> None:
        await asyncio.sleep(0)  # this one

    assert "this one" in line(refused(stage, sleepy))


def test_a_loop_is_refused_after_a_step_that_failed_as_well(stage: Stage) -> None:
    @tool("api", "fail", registry=stage.registry)
    def fail() -> None:
        raise ValueError

    @flow(registry=stage.registry)
    async def sleepy() -> None:
        try:
            await fail()
        except ToolError:
            await asyncio.sleep(1)  # this one

    assert "this one" in line(refused(stage, sleepy))


def library(name: str, source: str) -> Any:
    """Return function `run` of a module called *name*."""
    space: dict[str, Any] = {"__name__": name}
    exec(compile(source, f"<{name}>", "exec"), space)
    return space["run"]


@pytest.mark.parametrize("name", ["anyio._core._eventloop", "trio._core._run", "sniffio._impl"])
def test_a_library_that_misses_its_loop_is_blocked(stage: Stage, name: str) -> None:
    run: Callable[[], Awaitable[None]] = library(
        name, "async def run():\n    raise RuntimeError('must be called from async context')\n"
    )

    @flow(registry=stage.registry)
    async def foreign() -> None:
        await run()  # this one

    assert "this one" in line(refused(stage, foreign))


def test_a_module_whose_name_only_begins_like_a_library_is_the_users(stage: Stage) -> None:
    source = "import asyncio\nasync def run():\n    await asyncio.sleep(1)\n"
    run: Callable[[], Any] = library("trio_of_flows", source)
    made: Flow[..., Any] = Flow("trio", "1", run)
    stage.registry.add_flow(made)
    assert "<trio_of_flows>:3 " in refused(stage, made).message


def test_a_runtime_error_of_the_flow_itself_fails_the_run(stage: Stage) -> None:
    @flow(registry=stage.registry)
    async def wrong() -> None:
        raise RuntimeError("my own")

    app = stage.app()
    outcome = app.execute(app.start(wrong))
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.message) == ("RuntimeError", "my own")


def test_not_a_step_carries_what_file_and_line() -> None:
    error = NotAStep("None", "flows.py", 7)
    assert (error.what, error.file, error.line) == ("None", "flows.py", 7)


# -- discarding ----------------------------------------------------------------------------------


def test_cleanup_steps_run_when_the_code_gets_there_and_not_at_a_pause(any_stage: Stage) -> None:
    ran: list[str] = []

    @tool("res", "note", registry=any_stage.registry)
    def note(what: str) -> None:
        ran.append(what)

    @flow(registry=any_stage.registry)
    def holding() -> Steps[str]:
        yield note("acquire")
        try:
            yield save()
            yield note("work")
            yield save()
        finally:
            yield note("release")
            yield note("really")
        return "done"

    app = any_stage.app(warm=0)
    run_id = app.start(holding)
    assert isinstance(app.execute(run_id), Paused)
    assert isinstance(app.execute(run_id), Paused)
    assert ran == ["acquire", "work"]
    assert app.execute(run_id) == Completed(run_id, "done")
    assert ran == ["acquire", "work", "release", "really"]
    assert [str(step.kind) for step in app.steps(run_id)] == [
        "tool",
        "save",
        "tool",
        "save",
        "tool",
        "tool",
    ]


def test_an_asynchronous_context_manager_may_clean_up_with_steps(any_stage: Stage) -> None:
    ran: list[str] = []

    @tool("res", "note", registry=any_stage.registry)
    async def note(what: str) -> None:
        ran.append(what)

    class Resource:
        async def __aenter__(self) -> None:
            await note("acquire")

        async def __aexit__(self, *_: object) -> None:
            await note("release")

    @flow(registry=any_stage.registry)
    async def holding() -> str:
        async with Resource():
            await sleep(10)
        return "done"

    app = any_stage.app(warm=0)
    run_id = app.start(holding)
    assert any_stage.drive(app, run_id) == Completed(run_id, "done")
    assert ran == ["acquire", "release"]


def test_branches_that_cleanup_asks_for_at_a_pause_are_closed(stage: Stage) -> None:
    async def noting() -> None:
        await save()

    @flow(registry=stage.registry)
    async def holding() -> str:
        try:
            await sleep(10)
        finally:
            await gather(noting(), race(noting(), noting()))
        return "done"

    app = stage.app(warm=0)
    run_id = app.start(holding)
    with warnings.catch_warnings(record=True, action="always") as told:
        assert stage.drive(app, run_id) == Completed(run_id, "done")
        gc.collect()
    assert not [each for each in told if "never awaited" in str(each.message)]


def test_plain_cleanup_runs_at_every_discard(stage: Stage) -> None:
    ran: list[bool] = []

    @flow(registry=stage.registry)
    def cleaning() -> Steps[None]:
        try:
            yield save()
            yield save()
        finally:
            ran.append(is_pausing())

    app = stage.app(warm=0)
    run_id = app.start(cleaning)
    for _ in range(3):
        app.execute(run_id)
    assert ran == [True, True, False]


def test_a_warm_frame_is_discarded_once_when_the_application_closes(stage: Stage) -> None:
    ran: list[bool] = []

    @flow(registry=stage.registry)
    def cleaning() -> Steps[None]:
        try:
            yield save()
        finally:
            ran.append(is_pausing())

    app = stage.app()
    app.execute(app.start(cleaning))
    assert ran == []
    app.close()
    assert ran == [True]


@pytest.mark.parametrize("error", [ValueError("in cleanup"), RunCancelled("x")])
def test_cleanup_that_raises_at_a_pause_does_not_harm_the_run(
    stage: Stage, error: BaseException
) -> None:
    pausing: list[bool] = []

    @flow(registry=stage.registry)
    def cleaning() -> Steps[str]:
        try:
            yield save()
        finally:
            pausing.append(is_pausing())
            if is_pausing():
                raise error
        return "done"

    app = stage.app(warm=0)
    run_id = app.start(cleaning)
    assert isinstance(app.execute(run_id), Paused)
    assert app.execute(run_id) == Completed(run_id, "done")


def test_a_flow_that_swallows_the_discard_and_returns_is_gone(stage: Stage) -> None:
    @flow(registry=stage.registry)
    def swallowing() -> Steps[str]:
        try:
            yield save()
        except BaseException:  # noqa: BLE001
            return "swallowed"
        return "done"

    app = stage.app(warm=0)
    run_id = app.start(swallowing)
    assert isinstance(app.execute(run_id), Paused)
    assert app.execute(run_id) == Completed(run_id, "done")


def test_a_frame_that_refuses_to_stop_is_left_after_a_hundred_times(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    stubborn = [True]

    @flow(registry=stage.registry)
    def refusing() -> Steps[str]:
        while True:
            try:
                yield save()
            except GeneratorExit:
                told.append(1)
                if not stubborn:
                    raise
            else:
                return "done"

    app = stage.app(warm=0)
    run_id = app.start(refusing)
    # What Python says when the collector meets such a generator is not ours.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    try:
        assert isinstance(app.execute(run_id), Paused)
    finally:
        stubborn.clear()
    assert 100 <= len(told) <= 101
    assert app.execute(run_id) == Completed(run_id, "done")


def test_discarding_a_frame_twice_or_before_it_began_is_harmless(stage: Stage) -> None:
    @flow(registry=stage.registry)
    async def never() -> None:
        await save()

    @flow(registry=stage.registry)
    def neither() -> Steps[None]:
        yield save()

    for made in (never, neither):
        frame = Frame(made, {}, Scope([(0, "", "")], 0.0, replaying=False))
        frame.discard()
        frame.discard()


def test_a_frame_hands_over_steps_and_the_result(stage: Stage) -> None:
    @flow(registry=stage.registry)
    def twice(n: int) -> Steps[int]:
        got = yield {"__tool": ["api", "a", {"n": n}]}
        return int(got) * 2

    frame = Frame(twice, {"n": 4}, Scope([(0, "", "")], 0.0, replaying=False))
    step: Step[Any] = frame.send(None)
    assert repr(step) == "tool call api.a"
    with pytest.raises(StopIteration) as stop:
        frame.send(21)
    assert stop.value.value == 42
    assert inspect.isgenerator(frame.body)

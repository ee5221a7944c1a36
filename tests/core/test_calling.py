"""How the function of a tool is run: inline, on a thread with a timeout, on the loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from sequential import (
    RetryPolicy,
    Steps,
    ToolCall,
    ToolContext,
    ToolError,
    ToolResult,
    _loop,
    flow,
    hookimpl,
    is_pausing,
    tool,
    tool_call,
)
from sequential._calls import Hold
from sequential._outcomes import Completed
from sequential.errors import PluginBroken
from tests.fix_stage import Stage

BRIEF = 0.02  # seconds of real time: the only way to see a real timeout


def asking(stage: Stage) -> None:
    """Register the flow `raising`, which calls api.tool."""

    @flow(registry=stage.registry, name="raising")
    async def raising() -> Any:
        try:
            return await tool_call("api", "tool")
        except ToolError as error:
            return [error.type, error.message, error.attempts]


def test_a_sync_tool_runs_on_the_thread_of_the_invocation(stage: Stage) -> None:
    where: list[threading.Thread] = []

    @tool("api", "tool", registry=stage.registry)
    def here() -> None:
        where.append(threading.current_thread())

    asking(stage)
    stage.app().run("raising")
    assert where == [threading.current_thread()]


def test_async_tools_share_one_loop_on_a_daemon_thread(stage: Stage) -> None:
    where: list[Any] = []

    @tool("api", "tool", registry=stage.registry)
    async def there() -> None:
        await asyncio.sleep(0)
        where.append((threading.current_thread(), asyncio.get_running_loop()))

    asking(stage)
    stage.app().run("raising", run_id="a")
    stage.app().run("raising", run_id="b")
    assert where[0] == where[1]
    thread = where[0][0]
    assert thread is not threading.current_thread()
    assert thread.daemon


def test_a_sync_tool_that_takes_too_long_is_left_behind(stage: Stage) -> None:
    go_on, threads = threading.Event(), []

    @tool("api", "tool", registry=stage.registry, timeout=BRIEF)
    def slow() -> None:
        threads.append(threading.current_thread())
        go_on.wait(10)

    asking(stage)
    kind, message, attempts = stage.app().run("raising")
    go_on.set()
    assert (kind, attempts) == ("StepTimedOut", 1)
    assert message == "api.tool did not answer within 0.02 s"
    assert threads[0].daemon
    threads[0].join(10)


def test_an_async_tool_that_takes_too_long_is_cancelled(stage: Stage) -> None:
    cancelled = threading.Event()

    @tool("api", "tool", registry=stage.registry, timeout=BRIEF)
    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    asking(stage)
    assert stage.app().run("raising")[0] == "StepTimedOut"
    assert cancelled.wait(10)


def test_a_timeout_is_tried_again_with_the_same_key(stage: Stage) -> None:
    keys: list[str] = []
    go_on = threading.Event()

    @tool("api", "tool", registry=stage.registry, timeout=BRIEF, retry=RetryPolicy(2, first=1))
    def slow_once(context: ToolContext) -> str:
        keys.append(context.idempotency_key)
        if len(keys) == 1:
            go_on.wait(10)
        return "ok"

    asking(stage)
    assert stage.app().run("raising") == "ok"
    go_on.set()
    assert len(keys) == 2
    assert len(set(keys)) == 1


@pytest.mark.parametrize("timeout", [None, 10])
@pytest.mark.parametrize("style", ["sync", "async"])
def test_a_tools_own_timeout_error_is_not_ours(stage: Stage, timeout: Any, style: str) -> None:
    if style == "sync":

        @tool("api", "tool", registry=stage.registry, timeout=timeout)
        def own() -> None:
            raise TimeoutError("theirs")
    else:

        @tool("api", "tool", registry=stage.registry, timeout=timeout)
        async def aown() -> None:
            raise TimeoutError("theirs")

    asking(stage)
    assert stage.app().run("raising") == ["TimeoutError", "theirs", 1]


def test_an_answer_in_the_very_moment_of_the_timeout_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class PhotoFinish(concurrent.futures.Future[object]):
        def result(self, timeout: float | None = None) -> object:
            if not self.done():
                self.set_result("just in time")
                raise TimeoutError
            return super().result(timeout)

    run: Any = None
    call = ToolCall("api", "tool", {}, 1.0, ToolContext(run, "0", 1, 0, "", Hold()))

    def submit(coroutine: Coroutine[Any, Any, object], _: object) -> PhotoFinish:
        coroutine.close()
        return PhotoFinish()

    async def answer() -> None: ...

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", submit)
    monkeypatch.setattr(_loop, "_within", lambda coroutine, _: coroutine)
    assert _loop.run_on_loop(answer, {}, call) == "just in time"


def test_a_tool_with_a_timeout_answers_and_raises_like_any_other(stage: Stage) -> None:
    plan: list[Any] = [KeyError("x"), "ok"]

    @tool("api", "tool", registry=stage.registry, timeout=60)
    def planned() -> Any:
        value = plan.pop(0)
        if isinstance(value, Exception):
            raise value
        return value

    asking(stage)
    assert stage.app().run("raising")[0] == "KeyError"
    assert stage.app().run("raising") == "ok"


def test_a_tool_may_run_a_flow_of_its_own(stage: Stage) -> None:
    app = stage.app()

    @flow(registry=stage.registry)
    async def inner() -> int:
        return 7

    @tool("api", "tool", registry=stage.registry)
    def nesting() -> int:
        return int(app.run(inner))

    asking(stage)
    assert app.run("raising") == 7


def test_a_tool_may_wrap_its_result_itself(stage: Stage) -> None:
    @tool("api", "tool", registry=stage.registry)
    def wrapped() -> Any:
        return ToolResult(None)

    asking(stage)
    assert stage.app().run("raising") is None


def test_a_plugin_answers_before_the_registered_tools_and_wrappers_see_every_attempt(
    stage: Stage,
) -> None:
    seen: list[tuple[str, int]] = []

    class Answering:
        @hookimpl
        def sequential_call_tool(self, call: ToolCall) -> ToolResult | None:
            if call.name == "theirs":
                return ToolResult({"from": "plugin", "input": call.input})
            return None

    class Auditing:
        @hookimpl(wrapper=True)
        def sequential_call_tool(self, call: ToolCall) -> Any:
            seen.append((f"{call.category}.{call.name}", call.context.attempt))
            return (yield)

    @tool("api", "flaky", registry=stage.registry, retry=RetryPolicy(2, first=0))
    def flaky(context: ToolContext) -> int:
        if context.attempt == 1:
            raise OSError
        return context.attempt

    @flow(registry=stage.registry)
    def mixing() -> Steps[Any]:
        return [
            (yield {"__tool": ["any", "theirs", {"a": 1}]}),
            (yield flaky()),
        ]

    app = stage.app(plugins=[Answering(), Auditing()])
    run_id = app.start(mixing)
    assert app.execute(run_id) == Completed(run_id, [{"from": "plugin", "input": {"a": 1}}, 2])
    assert seen == [("any.theirs", 1), ("api.flaky", 1), ("api.flaky", 2)]


def test_a_plugin_that_answers_with_anything_else_is_named(stage: Stage) -> None:
    class Wrong:
        @hookimpl
        def sequential_call_tool(self, call: ToolCall) -> Any:
            return {"value": 1}

    asking(stage)
    kind, message, _ = stage.app(plugins=[Wrong()]).run("raising")
    assert kind == PluginBroken.__name__
    assert "returned dict" in message


def test_the_tools_context_variables_are_the_invocations(stage: Stage) -> None:
    @tool("api", "tool", registry=stage.registry)
    async def inside() -> bool:
        return is_pausing()

    asking(stage)
    assert stage.app().run("raising") is False

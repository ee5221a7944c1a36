"""Flows with branches, for tests: tools that do little, both styles, landings in a chosen order.

A body is written once, as a generator; `styled` makes the coroutine of it. What happens between
two requests is the test's.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from sequential import (
    Pending,
    Registry,
    RetryPolicy,
    Steps,
    ToolContext,
    flow,
    tool,
    tool_call,
)
from sequential._memory import MemoryStorage
from sequential._model import OPEN_STATUSES, At, Run
from sequential._outcomes import Completed, Outcome
from sequential._parallel import ParallelStep
from sequential.testing import FakeClock
from sequential.testing._stage import Process, Stage

STYLES = ("generator", "coroutine")
Body = Callable[..., Steps[Any]]


def styled(style: str, body: Body) -> Callable[..., Any]:
    """Return *body* in the *style* that is wanted."""
    if style == "generator":
        return body
    awaited = types.coroutine(body)

    @wraps(body)
    async def coroutine(*given: Any, **named: Any) -> Any:
        return await awaited(*given, **named)

    return coroutine


def call(name: str, /, **given: Any) -> Any:
    """Return the step that calls the tool *name*."""
    return tool_call("t", name, given)


def add(number: int) -> Any:
    """Return the step whose result is *number*."""
    return call("add", number=number)


def fail(number: int) -> Any:
    """Return the step that fails."""
    return call("fail", number=number)


def tools() -> Registry:
    """Return the tools that branches call."""
    known = Registry()

    @tool("t", "add", registry=known)
    def add(number: int) -> int:
        return number

    @tool("t", "fail", registry=known)
    def fail(number: int) -> int:
        raise ValueError(f"no {number}")

    def flaky(context: ToolContext, number: int, failures: int) -> int:
        if context.attempt <= failures:
            raise ConnectionError("no answer")
        return number

    in_place = RetryPolicy(max_attempts=3, first=4.0, jitter=False)
    tool("t", "flaky", retry=in_place, registry=known)(flaky)
    parked = RetryPolicy(max_attempts=3, first=1_000.0, longest=10_000.0, jitter=False)
    tool("t", "slow-retry", retry=parked, registry=known)(flaky)

    @tool("t", "once", mode="at-most-once", registry=known)
    def once(number: int) -> int:
        return number

    @tool("t", "ask", registry=known)
    def ask(name: str) -> Pending:
        return Pending(name)

    @tool("t", "unfit", registry=known)
    def unfit() -> object:
        return object()

    return known


def stage_of(
    body: Body, style: str = "generator", *, pause: str = "when-waiting", **settings: Any
) -> Stage:
    """Return a stage with a due run of *body*."""
    clock = FakeClock()
    known = settings.pop("registry", None) or tools()
    flow(name="f", registry=known)(styled(style, body))
    made = Stage(known, MemoryStorage(clock), clock, pause=pause, **settings)
    made.start("f")
    return made


def landing(*positions: str) -> Callable[[Sequence[str]], str]:
    """Return an order of landing: *positions* first, then the others as they were started."""

    def order(flying: Sequence[str]) -> str:
        return next((each for each in positions if each in flying), flying[0])

    return order


def process_of(stage: Stage, *positions: str, keeps: bool = True) -> Process:
    """Return a process in which attempts land at *positions* first."""
    process = stage.process()
    process.order = landing(*positions)
    process.keeps = keeps
    return process


def until_due(stage: Stage) -> bool:
    """Let time pass until the run is due; False when nothing but a message can move it."""
    run = stage.run()
    if run.status not in OPEN_STATUSES or not isinstance(run.wake, At):
        return False
    stage.clock.advance(max(0.0, run.wake.time - stage.clock.now()))
    return True


def carried(stage: Stage, process: Process | None = None, turns: int = 50) -> Outcome:
    """Execute the run, letting time pass between, until nothing moves it."""
    process = process or stage.process()
    outcome = process.execute()
    for _ in range(turns):
        if not until_due(stage):
            if isinstance(outcome, Completed):
                return Completed(outcome.run_id, plain(outcome.result))
            return outcome
        outcome = process.execute()
    raise AssertionError(f"still going on: {stage.run()}")


def plain(value: Any) -> Any:
    """Return *value* with lists for tuples, also those inside."""
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def ended(stage: Stage) -> Run:
    """Return the record of the run, which has ended."""
    run = stage.run()
    assert run.status not in OPEN_STATUSES, run
    return run


def positions(stage: Stage) -> list[str]:
    """Return where the records stand, in their order."""
    return [step.position for step in stage.steps()]


def outcomes(stage: Stage) -> dict[str, str]:
    """Return how each recorded step ended."""
    return {step.position: str(step.outcome) for step in stage.steps()}


def ran(stage: Stage) -> list[str]:
    """Return where tools were executed, in their order."""
    return [each.position for each in stage.executions]


def result_of(step: ParallelStep[Any], style: str = "generator", *first: str) -> Any:
    """Return what a flow that asks for nothing but *step* comes to, landings at *first* first."""

    def body() -> Steps[Any]:
        return (yield step)

    stage = stage_of(body, style)
    outcome = carried(stage, process_of(stage, *first))
    return getattr(outcome, "result", outcome)

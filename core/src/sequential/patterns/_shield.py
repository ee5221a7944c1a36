"""A branch that a cancel does not interrupt: it is told of it afterwards.

A cancel is raised at the step that a flow waits for, which is then over and was not carried out.
What is shielded is not told; the same step is asked for again, at the next position. Branches of a
race are not told at all before they leave the shield (`shielded` on a step; read by `_strands`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, TypeVar, cast

from .._flow import SubFlow
from .._parallel import Branch, ParallelStep
from .._scope import det
from .._steps import SignalStep, SleepStep, Step, as_step
from ..errors import BranchCancelled, RunCancelled
from ._style import both_styles, close_unbegun, steps_of

R = TypeVar("R")


def shield(branch: Branch[R]) -> SubFlow[R]:
    """Carry *branch* out to its end even where it is cancelled meanwhile; raise the cancel then.

    Of a cancel of the run, the step that waits is recorded as cancelled and asked for again: times
    to wait go on, attempts of a tool call are counted anew, and a tool that will answer later is
    called again, under another idempotency key. A tool call under way always comes to its end
    first. A cancel because a race is lost interrupts nothing.

    Args:
        branch: A step, or a generator or coroutine that asks for steps.

    Raises:
        RunCancelled: In the flow, when *branch* is over and a cancel came meanwhile. Its result is
            lost to the flow: what must be done with it belongs into *branch*.
        TypeError: Something else was given as a branch.
    """
    return _shielded(steps_of("shield", 0, branch))


@both_styles
def _shielded(branch: SubFlow[R]) -> Generator[Any, Any, R]:
    told: list[RunCancelled] = []
    try:
        result = yield from unheard(branch, told)
    except Exception as error:
        if told:
            raise told[0] from error
        raise
    if told:
        raise told[0]
    return result


def unheard(branch: SubFlow[R], told: list[RunCancelled]) -> Generator[Any, Any, R]:
    """Carry out *branch*; put cancels into *told* instead of raising them in it."""
    return _driven(branch, told, outermost=True)


def _driven(
    branch: SubFlow[R], told: list[RunCancelled], *, outermost: bool
) -> Generator[Any, Any, R]:
    # Not by `yield from`: that would raise the cancel in the branch.
    body: Any = branch.__await__() if isinstance(branch, Step) else branch
    go_on, given = body.send, None
    while True:
        try:
            asked = go_on(given)
        except StopIteration as stop:
            result: R = stop.value
            return result
        try:
            go_on, given = body.send, (yield from _insisted(asked, told, outermost=outermost))
        except BaseException as error:  # noqa: BLE001  (the branch decides what it means)
            go_on, given = body.throw, error


def _insisted(
    asked: object, told: list[RunCancelled], *, outermost: bool
) -> Generator[Any, Any, Any]:
    """Ask for the step *asked* until it is carried out."""
    step, since = as_step(asked), det.now().timestamp()
    if step is None:
        return (yield asked)  # refused there
    branches: Sequence[object] = ()
    if isinstance(step, ParallelStep):
        branches, step = step.branches, _parallel(step, told)
    try:
        while True:
            step.shielded = outermost
            try:
                return (yield step)
            except BranchCancelled:
                raise
            except RunCancelled as cancel:
                told.append(cancel)
                step = _again(step, since)
    finally:
        close_unbegun(branches)


def _parallel(step: ParallelStep[Any], told: list[RunCancelled]) -> ParallelStep[Any]:
    """Return *step* with branches that do not hear of the cancel of the run.

    They may be cancelled by one another all the same: a race inside has its losers.
    """
    step.asked = True
    branches = [
        _driven(cast("SubFlow[Any]", each), told, outermost=False) for each in step.branches
    ]
    return ParallelStep(
        branches, step.make, first=step.first, collect=step.collect, at_once=step.at_once
    )


def _again(step: Step[Any], since: float) -> Step[Any]:
    """Return *step* to be asked for again; it was first asked for at *since*, in epoch seconds."""
    if isinstance(step, SleepStep) and step.seconds is not None:
        return SleepStep(None, since + step.seconds)
    if isinstance(step, SignalStep) and step.timeout is not None:
        left = max(0.0, since + step.timeout - det.now().timestamp())
        return SignalStep(step.name, step.annotation, left, step.default)
    return step

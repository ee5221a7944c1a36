"""One flow with a step of every kind, for tests that disturb it, and what must hold afterwards.

Tools are fakes that count nothing themselves: the stage does. Who disturbs what is not known here.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import cache

from sequential import (
    Registry,
    Rejected,
    RetryPolicy,
    RunCancelled,
    Steps,
    ToolContext,
    ToolError,
    flow,
    save,
    sleep,
    tool,
    wait_for_signal,
)
from sequential._model import ENDED_STATUSES, At, Run, Status, StepKind, StepOutcome
from sequential._storage import Storage
from sequential.errors import RunStatusWrong, StorageError
from sequential.testing import FakeClock
from sequential.testing._stage import Process, Stage

RESULT = b"[1,2,7,3]"
INTERRUPTED = b"[1,2,7,-1]"


@cache
def registry() -> Registry:  # noqa: C901  (a list of small functions)
    """Return, once made, the flows `journey`, `two` and `once`, and their tools."""
    known = Registry()

    @tool("t", "add", registry=known)
    def add(number: int) -> int:
        return number

    @tool("t", "undo", registry=known)
    def undo(number: int) -> int:
        return number

    policy = RetryPolicy(max_attempts=4, first=1.0, jitter=False)

    @tool("t", "flaky", retry=policy, registry=known)
    def flaky(context: ToolContext, number: int) -> int:
        if context.attempt == 1:
            raise ConnectionError("no answer")
        if context.attempt == 2:
            raise Rejected("not now")
        return number

    @tool("t", "once", mode="at-most-once", registry=known)
    def once(number: int) -> int:
        return number

    @flow(name="journey", registry=known)
    def journey() -> Steps[list[int]]:
        got = []
        try:
            got.append((yield from add(1)))
            got.append((yield from flaky(2)))
            got.append((yield from wait_for_signal("go", int)))
            yield from sleep(30)
            yield save()
            try:
                got.append((yield from once(3)))
            except ToolError as error:
                got.append(-1 if error.type == "StepInterrupted" else -2)
        except RunCancelled:
            yield from undo(9)
            raise
        return got

    @flow(name="two", registry=known)
    async def two() -> int:
        return await add(1) + await add(2)

    @flow(name="once", registry=known)
    async def only_once() -> int:
        return await once(1)

    return known


def new_stage(storage: Storage, clock: FakeClock, pause: str = "when-waiting") -> Stage:
    """Return a stage with the flows above."""
    return Stage(registry(), storage, clock, pause=pause)


def signal(stage: Stage, run_id: str = "r") -> None:
    """Send the one signal that the journey waits for; however often, it is one."""
    with suppress(RunStatusWrong):
        stage.outside.send(run_id, "s1", "go", 7)


def cancel(stage: Stage, run_id: str = "r") -> None:
    """Ask the run to stop."""
    with suppress(RunStatusWrong):
        stage.outside.send(run_id, "$cancel:0", "$cancel", {})


def terminate(stage: Stage, run_id: str = "r") -> None:
    """End the run."""
    with suppress(RunStatusWrong):
        stage.outside.terminate(run_id)


def carry_to_the_end(stage: Stage, processes: list[Process], run_id: str = "r") -> Run:
    """Let *processes* take turns, with time going on, until the run has ended; return it."""
    for turn in range(60):
        run = stage.run(run_id)
        if run.status in ENDED_STATUSES:
            return run
        if run.status is Status.QUARANTINED:
            raise AssertionError(f"quarantined after {turn} turns")
        if isinstance(run.wake, At):
            stage.clock.advance(max(0.0, run.wake.time - stage.clock.now()))
        else:
            signal(stage, run_id)
        try:
            processes[turn % len(processes)].execute(run_id)
        except StorageError:
            continue
    raise AssertionError(f"still not at its end: {stage.run(run_id)}")


def check_history(stage: Stage, *, losses: int, run_id: str = "r") -> None:
    """Check what holds for every history, whatever happened to it; *losses* of a claim at most."""
    steps = stage.steps(run_id)
    run = stage.run(run_id)
    assert [step.number for step in steps] == list(range(run.cursor))
    assert [step.position for step in steps] == [str(n) for n in range(run.cursor)]
    executed = stage.executions
    by_claim = Counter((e.generation, e.position, e.attempt, e.fence) for e in executed)
    assert max(by_claim.values(), default=1) == 1, "a tool was run again by the same invocation"
    by_attempt = Counter((e.position, e.attempt) for e in executed)
    assert max(by_attempt.values(), default=1) <= 1 + losses
    keys = {(e.generation, e.position, e.epoch) for e in executed}
    assert len({(e.key, *place) for e in executed for place in [
        (e.generation, e.position, e.epoch)
    ]}) == len(keys) == len({e.key for e in executed})  # fmt: skip
    assert stage.count("t.once") <= 1
    for step in steps:
        if step.kind is StepKind.TOOL and step.outcome is StepOutcome.VALUE:
            assert any((e.position, e.fence) == (step.position, step.fence) for e in executed)
    assert sum(step.outcome is StepOutcome.CANCELLED for step in steps) <= 1


def check_outcome(stage: Stage, *, cancelled: bool, losses: int, run_id: str = "r") -> None:
    """Check that the run came to what it comes to undisturbed, or was cancelled if it may be."""
    run = stage.run(run_id)
    if cancelled and run.status is Status.CANCELLED:
        return
    assert run.status is Status.COMPLETED
    assert run.result is not None
    assert run.result.data == RESULT or (losses and run.result.data == INTERRUPTED)

"""What spans say: names, ids, times and attributes of runs, invocations, steps and attempts.

Attributes are an allow-list: never an input, a result or the message of an exception. Plain values;
who keeps or exports them is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

from ._events import AttemptFinished, InvocationFinished, InvocationStarted, RunEnded, Spent
from ._model import At, Open, Run, Status, StepKind, StepOutcome, StepRecord
from ._outcomes import Blocked, Paused
from ._span_ids import (
    attempt_span_id,
    hashed_id,
    invocation_span_id,
    run_span_id,
    step_span_id,
)
from ._woken import Woken

GEN_AI_OPERATION = "gen_ai.operation.name"
GEN_AI_TOOL = "gen_ai.tool.name"
GEN_AI_CALL = "gen_ai.tool.call.id"
"""Foreign names, of the GenAI semantic conventions 0.1.0, which are still in development."""

_OUTCOMES = {"completed": "success", "failed": "failure", "cancelled": "cancellation"}
"""Ended statuses in the words of OpenTelemetry's result of a pipeline run."""

WAITS = {StepKind.SLEEP: "timer", StepKind.SIGNAL: "event", StepKind.CHILD: "child"}
"""Steps that are waits, in the words of ``sequential.wait.kind``."""

Value = str | int | float | bool


class Told(NamedTuple):
    """One span.

    Attributes:
        name: Of few kinds: flows and tools, no ids.
        span: Its id, a number of 64 bits.
        parent: Id of the span that it belongs to, in the same trace; None for that of the run.
        times: Its start and its end, in seconds since the epoch.
        attributes: By name.
        error: Class of the error that it came to.
        recorded: The records of the run say as much: a span store need not keep it.
        kind: ``internal``, ``server`` or ``consumer``.
    """

    name: str
    span: int
    parent: int | None
    times: tuple[float, float]
    attributes: dict[str, Value]
    error: str | None = None
    recorded: bool = False
    kind: str = "internal"


def told_attempt(event: AttemptFinished) -> Told:
    """Return the span of one attempt, below that of its step."""
    run = event.run
    step = step_span_id(run.run_id, run.generation, event.position)
    attributes = _of_run(run) | {
        "sequential.step.position": event.position,
        "sequential.tool": event.tool,
        "sequential.attempt": event.attempt,
        "sequential.attempt.max": event.most,
        "sequential.attempt.pending": event.pending,
        "sequential.fence": run.fence,
    }
    if event.due is not None:
        attributes["sequential.retry.delay_ms"] = round(event.delay * 1000)
    own, name = attempt_span_id(step, event.attempt, run.fence), f"attempt {event.tool}"
    times = event.started, event.ended
    # Most attempts are the only one of their step, whose record tells of it.
    only = event.attempt == 1 and event.error is None and not event.pending
    return Told(name, own, step, times, attributes, event.error, recorded=only)


def told_backoff(event: AttemptFinished) -> Told | None:
    """Return the wait before an attempt; None if there was none."""
    if event.due is None or not event.delay:
        return None
    run = event.run
    step = step_span_id(run.run_id, run.generation, event.position)
    attributes = _of_run(run) | {
        "sequential.step.position": event.position,
        "sequential.tool": event.tool,
        "sequential.attempt": event.attempt,
        "sequential.wait.kind": "backoff",
        "sequential.wait.deadline": event.due,
        "sequential.wait.outcome": StepOutcome.VALUE.value,
    }
    # From the failure to the next attempt, which may have begun in another process, and late.
    times = event.due - event.delay, event.started
    own = hashed_id(str(step), "backoff", str(event.attempt))
    return Told(f"backoff {event.tool}", own, step, times, attributes)


def told_step(run: Run, step: StepRecord) -> Told:
    """Return the span of a recorded step."""
    attributes = _of_run(run) | {
        "sequential.step.position": step.position,
        "sequential.step.number": step.number,
        "sequential.step.kind": step.kind.value,
        "sequential.step.outcome": step.outcome.value,
        "sequential.step.output_bytes": step.value.size,
    }
    name = step.kind.value
    if step.kind is StepKind.TOOL:
        name = "execute_tool"
        attributes |= {
            GEN_AI_OPERATION: name,
            GEN_AI_TOOL: step.tool,
            GEN_AI_CALL: f"{run.run_id}:{step.generation}:{step.position}",
            "sequential.tool": step.tool,
            "sequential.step.attempts": step.attempts,
        }
        if step.input is not None:
            attributes["sequential.step.input_bytes"] = step.input.size
    elif step.kind in WAITS:
        attributes["sequential.wait.kind"] = WAITS[step.kind]
        attributes["sequential.wait.outcome"] = step.outcome.value
        if step.tool:
            attributes["sequential.wait.key"] = step.tool
    own = step_span_id(run.run_id, step.generation, step.position)
    error = "_OTHER" if step.outcome is StepOutcome.ERROR else None
    shown = f"{name} {step.tool}".strip()
    root, times = run_span_id(run.run_id), (step.started, step.ended)
    return Told(shown, own, root, times, attributes, error, recorded=True)


def told_run(event: RunEnded) -> Told:
    """Return the span of a whole run that has ended."""
    run, spent = event.run, event.spent
    attributes = _of_run(run) | {
        "sequential.run.outcome": run_outcome(run),
        "sequential.run.steps": run.cursor,
    }
    if spent is not None:
        attributes["sequential.run.retries"] = spent.retries
        attributes["sequential.run.active_ms"] = round(spent.active * 1000)
        attributes["sequential.run.waited_ms"] = round(spent.waited * 1000)
    error = None if run.error is None else run.error.type
    own, times = run_span_id(run.run_id), (run.created, event.at)
    return Told(f"run {run.flow}", own, None, times, attributes, error, recorded=True)


def told_record(run: Run, steps: Iterable[StepRecord], ended: float) -> Told:
    """Return the same, of the record of a run and all its steps."""
    spent = reduce(Spent.plus, steps, Spent())
    return told_run(RunEnded(run, ended, spent))


def run_outcome(run: Run) -> str:
    """Return how *run* ended, in the words of OpenTelemetry."""
    return _OUTCOMES.get(run.status, run.status.value)


def told_invocation(event: InvocationFinished, begun: InvocationStarted, woken: Woken) -> Told:
    """Return the span of an invocation."""
    run, outcome = event.run, event.outcome
    attributes = dict(woken.attributes) | _of_run(run)
    attributes |= {
        "sequential.invocation.outcome": type(outcome).__name__.lower(),
        "sequential.invocation.warm": begun.warm,
        "sequential.fence": begun.run.fence,
        "sequential.resume.lag_ms": round(resume_lag(begun) * 1000),
        "sequential.resume.reason": resume_reason(begun.found),
    }
    if isinstance(outcome, Paused | Blocked):
        attributes["sequential.invocation.reason"] = outcome.reason
    own, root = invocation_span_id(run.run_id, begun.run.fence), run_span_id(run.run_id)
    times = begun.at, event.at
    return Told("invocation", own, root, times, attributes, kind=woken.kind)


def resume_lag(begun: InvocationStarted) -> float:
    """Return the seconds between when the run was due and when it was claimed."""
    found = begun.found
    due = found.wake.time if found is not None and isinstance(found.wake, At) else begun.at
    return max(0.0, begun.at - due)


def resume_reason(found: Run | None) -> str:
    """Return what *found*, a run as it was claimed, waited for, in a word.

    ``start``, ``continue`` (there was more to do), ``sleep``, ``signal``, ``timeout``, ``retry``,
    ``message``, ``blocked``, or ``stall`` (its process was lost).
    """
    if found is None or found.fence == 0:
        return "start"
    if found.status is Status.RUNNING:
        return "stall"
    if found.attention is not None:
        return "blocked"
    opened = next(iter(found.open.values()), None)
    return "continue" if opened is None else _waited_for(opened, found)


def _waited_for(opened: Open, found: Run) -> str:
    if not opened.name:
        return "sleep" if opened.kind is StepKind.SLEEP else "retry"
    if any(message.name == opened.name for message in found.inbox):
        return "signal"
    return "message" if found.inbox else "timeout"


def _of_run(run: Run) -> dict[str, Value]:
    return {
        "sequential.run.id": run.run_id,
        "sequential.run.generation": run.generation,
        "sequential.flow.name": run.flow,
        "sequential.flow.version": run.flow_version,
    }

"""What spans say: names, ids, times and attributes of runs, invocations, steps and attempts.

Attributes are an allow-list: never an input, a result or the message of an exception. Plain values;
who keeps or exports them is not known here.
"""

from __future__ import annotations

from typing import NamedTuple

from ._events import AttemptFinished
from ._model import Run, StepKind, StepOutcome, StepRecord
from ._outcomes import Blocked, Outcome, Paused
from ._span_ids import attempt_span_id, run_span_id, step_span_id

GEN_AI_OPERATION = "gen_ai.operation.name"
GEN_AI_TOOL = "gen_ai.tool.name"
GEN_AI_CALL = "gen_ai.tool.call.id"
"""Foreign names, of the GenAI semantic conventions 0.1.0, which are still in development."""

_OUTCOMES = {"completed": "success", "failed": "failure", "cancelled": "cancellation"}
"""Ended statuses in the words of OpenTelemetry's result of a pipeline run."""

Value = str | int | bool


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
        "sequential.attempt.pending": event.pending,
        "sequential.fence": run.fence,
    }
    own, name = attempt_span_id(step, event.attempt, run.fence), f"attempt {event.tool}"
    times = event.started, event.ended
    # Most attempts are the only one of their step, whose record tells of it.
    only = event.attempt == 1 and event.error is None and not event.pending
    return Told(name, own, step, times, attributes, event.error, recorded=only)


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
    elif step.tool:
        attributes["sequential.wait.key"] = step.tool
    own = step_span_id(run.run_id, step.generation, step.position)
    error = "_OTHER" if step.outcome is StepOutcome.ERROR else None
    shown = f"{name} {step.tool}".strip()
    root, times = run_span_id(run.run_id), (step.started, step.ended)
    return Told(shown, own, root, times, attributes, error, recorded=True)


def told_run(run: Run, ended: float) -> Told:
    """Return the span of a whole run that has ended."""
    attributes = _of_run(run) | {
        "sequential.run.outcome": _OUTCOMES.get(run.status, run.status.value),
        "sequential.run.steps": run.cursor,
    }
    error = None if run.error is None else run.error.type
    own, times = run_span_id(run.run_id), (run.created, ended)
    return Told(f"run {run.flow}", own, None, times, attributes, error, recorded=True)


def told_invocation(
    run: Run, outcome: Outcome, span: int, times: tuple[float, float], *, warm: bool
) -> Told:
    """Return the span of an invocation."""
    attributes = _of_run(run) | {
        "sequential.invocation.outcome": type(outcome).__name__.lower(),
        "sequential.invocation.warm": warm,
        "sequential.fence": run.fence,
    }
    if isinstance(outcome, Paused | Blocked):
        attributes["sequential.invocation.reason"] = outcome.reason
    return Told("invocation", span, run_span_id(run.run_id), times, attributes)


def _of_run(run: Run) -> dict[str, Value]:
    return {
        "sequential.run.id": run.run_id,
        "sequential.run.generation": run.generation,
        "sequential.flow.name": run.flow,
        "sequential.flow.version": run.flow_version,
    }

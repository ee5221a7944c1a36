"""Runs and steps made by hand, where a test is about what is made of them."""

from __future__ import annotations

from typing import Any

from sequential.storage import (
    At,
    Loaded,
    Payload,
    Run,
    Status,
    StepKind,
    StepOutcome,
    StepRecord,
    evolve,
)

EMPTY = Payload(b"null", (), None, 4)


def step(number: int, start: float, end: float, **changes: Any) -> StepRecord:
    """Return step *number*, a tool call from *start* to *end*, with *changes*."""
    made = StepRecord(
        0, number, str(number), StepKind.TOOL, "shop.pack", "f", StepOutcome.VALUE, EMPTY, EMPTY,
        1, start, end, 1, "o",
    )  # fmt: skip
    return made._replace(**changes)


def sleep(number: int, start: float, end: float, **changes: Any) -> StepRecord:
    return step(number, start, end, kind=StepKind.SLEEP, tool="", **changes)


def run_of(**changes: Any) -> Run:
    """Return a paused run that was created at 0 and begun at 1, with *changes*."""
    made = Run("r", "order", EMPTY, wake=At(1e9), created=0.0, started=1.0, version=1)
    return evolve(made, **changes)


def loaded(*steps: StepRecord, now: float = 100.0, **changes: Any) -> Loaded:
    """Return a run with *steps*; without *changes* it completed with its last step."""
    if not changes:
        ended = steps[-1].ended if steps else now
        changes = {"status": Status.COMPLETED, "ended": ended, "result": EMPTY, "wake": None}
    return Loaded(run_of(cursor=len(steps), **changes), list(steps), now)

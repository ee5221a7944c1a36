"""What a retry or a fork keeps of a history: how many records, and what values derive from.

Pure, like the transitions in `_protocol` that it serves.
"""

from __future__ import annotations

from collections.abc import Sequence

from ._model import Run, Status, StepOutcome, StepRecord


def seeds_of(run: Run) -> tuple[tuple[int, str], ...]:
    """Return what the run's deterministic values derive from, and from which record on."""
    return run.seeds or ((0, f"{run.run_id}:0"),)


def reseeded(run: Run, copied: int, seed: str) -> tuple[tuple[int, str], ...]:
    """Return the seeds of a history that begins with *copied* records of *run*.

    The code before the copied steps must draw what it drew when they were recorded, or their
    inputs would differ; what is done anew draws from *seed*.
    """
    return (*[each for each in seeds_of(run) if each[0] < copied], (copied, seed))


def kept_by_retry(run: Run, steps: Sequence[StepRecord]) -> int:
    """Return how many of its records a retry of *run* copies: those before the one that failed it.

    A failure that the flow handled is no reason to do again what was done since: only the step
    whose error ended the run is, or the last one if it went wrong. Without one, the flow itself
    raised, and mended code goes on after all that was recorded.
    """
    if run.status is Status.CANCELLED:
        numbers = [step.number for step in steps if step.outcome is StepOutcome.CANCELLED]
    elif run.status is Status.FAILED:
        position = "" if run.error is None else run.error.position
        numbers = [step.number for step in steps if step.position == position]
        if not numbers and steps and steps[-1].outcome is not StepOutcome.VALUE:
            numbers = [steps[-1].number]
    else:
        numbers = []
    return numbers[0] if numbers else len(steps)

"""What must hold of a run that is to end at a moment, after every commit.

I21: it is cancelled when the moment is over, with that reason, and never before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from sequential._model import At, Run, Status, StepOutcome, StepRecord
from sequential._protocol import CANCEL

PATIENCE = 60.0
"""Seconds for which a run may be put off by what crashed or blocked it, at most."""
LATE = 900.0
"""Seconds after its deadline, and after the last fault, within which a run is told of it."""


def is_told(run: Run) -> bool:
    """Tell whether this generation of *run* was cancelled, by whatever."""
    return f"{CANCEL}:{run.generation}" in run.seen


def check_deadline(
    before: Run, run: Run, steps: Sequence[StepRecord], now: float, *, steady: bool
) -> bool:
    """Check what was committed over *before*; return whether the deadline was told with it.

    *now* is the storage's time, which processes know if it is *steady*.
    """
    if run.status is Status.PAUSED and run.deadline is not None and not is_told(run):
        assert isinstance(run.wake, At), "I21 a wait outlasts the deadline"
        latest = max(run.deadline, now + PATIENCE)
        assert run.wake.time <= latest, "I21 it is looked at long after the deadline"
    if run.generation != before.generation:
        return False
    told = [step for step in steps[before.cursor :] if _is_of_deadline(step)]
    for step in told:
        assert run.deadline is not None, "I21 there is no deadline"
        assert step.ended >= run.deadline, "I21 it was cancelled before its deadline"
        assert now >= run.deadline or not steady, "I21 it was cancelled before its deadline"
    return bool(told)


def _is_of_deadline(step: StepRecord) -> bool:
    if step.outcome is not StepOutcome.CANCELLED:
        return False
    return bool(json.loads(step.value.data) == {"reason": "deadline"})

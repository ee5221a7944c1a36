"""Runs that need somebody, each with the reason in a sentence, and what would help.

Told from records alone: no step is read. What `sequential doctor` finds beyond this, damaged
records, needs their steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sequential.storage import Run, Status

from .reading import LOOKED_THROUGH, Reader
from .words import cut, lasting, state_of, wake_of

OVERDUE = 60.0
"""Seconds that a run may be due before nobody seems to look."""

MANY_ATTEMPTS = 5
"""Attempts from which on a step that goes on failing is worth a look."""


class Finding(NamedTuple):
    """One run that needs somebody.

    Attributes:
        run_id: The run.
        flow: Its flow.
        what: In a word.
        why: In a sentence.
        fix: What would help, in a sentence.
        action: The action that does it from here; empty where none can.
        since: Since when, in seconds since the epoch; None if that is not known.
    """

    run_id: str
    flow: str
    what: str
    why: str
    fix: str
    action: str
    since: float | None


class Found(NamedTuple):
    """What was found, how many runs were looked at for it, and where to look on."""

    findings: Sequence[Finding]
    looked: int
    next: str | None


def look(reader: Reader, after: str | None = None) -> Found:
    """Look through quarantined and open runs, `LOOKED_THROUGH` of them, newest first."""
    wanted = (Status.QUARANTINED, Status.PAUSED, Status.RUNNING)
    page = reader.app.find(status=wanted, after=after, limit=LOOKED_THROUGH)
    return Found(list(findings(page.runs, reader.now())), len(page.runs), page.next)


def findings(runs: Iterable[Run], now: float) -> Iterator[Finding]:
    """Yield what *runs* need, at most one finding each."""
    for run in runs:
        found = _found(run, now)
        if found is not None:
            yield found


def _found(run: Run, now: float) -> Finding | None:
    what, why, fix, action, since = _reason(run, now)
    return Finding(run.run_id, run.flow, what, why, fix, action, since) if what else None


def _reason(run: Run, now: float) -> tuple[str, str, str, str, float | None]:
    state, wake = state_of(run, now), wake_of(run)
    late = 0.0 if wake is None else now - wake
    found = run.attention
    if state == "quarantined":
        why = f"it killed {run.stalls} invocations one after the other"
        fix = "find what kills the process in its last step, then redrive it"
        return "quarantined", why, fix, "redrive", None
    if state == "blocked" and found is not None:
        fix = "deploy the code or the tool that it needs; it is looked at again by itself, at once"
        return "blocked", cut(f"{found.reason}: {found.message}", 500), f"{fix} with redrive", \
            "redrive", found.since  # fmt: skip
    if state == "stalled":
        why = f"an invocation was lost: its lease ended {lasting(late)} ago"
        return "stalled", why, f"a worker with flow {run.flow!r} goes on with it", "resume", wake
    if state == "due" and late > OVERDUE:
        why = f"it has been due for {lasting(late)}"
        fix = f"start a worker that has flow {run.flow!r}, or resume it where messages are carried"
        return "overdue", why, fix, "resume", wake
    return _waiting(run)


def _waiting(run: Run) -> tuple[str, str, str, str, float | None]:
    for step in run.open.values():
        if step.kind == "tool" and step.attempt > MANY_ATTEMPTS:
            why = f"{step.tool} has been tried {step.attempt - 1} times; {cut(step.error, 300)}"
            return "retrying", why, "mend what it calls; it goes on by itself", "", step.started
    signals = any(each.kind in ("signal", "child") for each in run.open.values())
    if run.status is Status.PAUSED and run.wake is None and not signals:
        why = "nothing will ever look at it: it has no wake time and waits for no signal"
        return "lost", why, "`sequential doctor` tells more; terminate it, or send it a signal", \
            "terminate", None  # fmt: skip
    return "", "", "", "", None

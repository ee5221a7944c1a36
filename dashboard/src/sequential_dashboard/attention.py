"""Runs that need somebody, each with the reason in a sentence, and what would help.

Told from records alone: no step is read. What `sequential doctor` finds beyond this, damaged
records, needs their steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sequential.storage import Run, Status

from .reading import BLOCKED_WITHIN, LOOKED_THROUGH, Reader
from .words import OPEN, cut, lasting, many, state_of, wake_of

OVERDUE = 60.0
"""Seconds that a run may be due before nobody seems to look."""

MANY_ATTEMPTS = 5
"""Attempts from which on a step that goes on failing is worth a look."""


LOST = "lost"
DROPPED = "dropped"
"""What these are is found among all paused runs: nothing wakes most of them."""

BLOCKED = {
    "changed": "deploy code that fits what is recorded (its page shows the difference), then"
    " redrive it; or fork it from the step named",
    "tool-not-found": "install or register the tool where the flow runs, then redrive it",
    "result": "fork it from the step named, which is then done anew; if the tool's annotation has"
    " changed, deploy one that fits and redrive it",
    "corrupt": "what is stored is damaged: fork it from the step named, or restore a backup",
    "not-a-step": "mend the flow, which awaits what is no step, then redrive it",
    "input": "deploy a flow that takes this input, then redrive it",
    "history-full": "it has too many steps: let the flow use continue_as_new, then fork it",
}
"""What would help a blocked run, by the reason that it is blocked for."""


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
        step: Position of the step that it is about; empty if that is not known.
    """

    run_id: str
    flow: str
    what: str
    why: str
    fix: str
    action: str
    since: float | None
    step: str = ""


class Found(NamedTuple):
    """What was found.

    Attributes:
        findings: In the order in which they were found.
        looked: How many runs were looked at.
        next: Where to look on.
        more: Whether there are quarantined runs beyond these.
    """

    findings: Sequence[Finding]
    looked: int
    next: str | None
    more: bool = False


def look(reader: Reader, after: str | None = None) -> Found:
    """Look through the runs that were to be woken, or will be within the hour, earliest first.

    `LOOKED_THROUGH` of them at a time. What is stalled or overdue comes before whatever goes well,
    however many runs there are, and what is blocked before long. The first page has quarantined
    runs as well, the newest: nothing wakes these.
    """
    now = reader.now()
    page = reader.by_wake(OPEN, now + BLOCKED_WITHIN, after, LOOKED_THROUGH)
    found, looked, more = list(findings(page.runs, now)), len(page.runs), False
    if after is None:
        others = reader.app.find(status=Status.QUARANTINED, limit=LOOKED_THROUGH)
        found += findings(others.runs, now)
        looked, more = looked + len(others.runs), others.next is not None
    return Found(found, looked, page.next, more)


def lost(reader: Reader, after: str | None = None) -> Found:
    """Look for paused runs that nothing will ever wake, and for those that dropped a signal.

    `LOOKED_THROUGH` at a time, newest first. They have no wake time to be found by: this goes
    through all paused runs in turn.
    """
    page = reader.app.find(status=Status.PAUSED, after=after, limit=LOOKED_THROUGH)
    found = [each for each in findings(page.runs, reader.now()) if each.what in (LOST, DROPPED)]
    return Found(found, len(page.runs), page.next)


def findings(runs: Iterable[Run], now: float) -> Iterator[Finding]:
    """Yield what *runs* need, at most one finding each."""
    for run in runs:
        found = _found(run, now)
        if found is not None:
            yield found


def _found(run: Run, now: float) -> Finding | None:
    what, why, fix, action, since = _reason(run, now)
    # What a blocked run waited for when it was blocked is not what blocks it.
    step = "" if run.attention is not None else next(iter(run.open), "")
    return Finding(run.run_id, run.flow, what, why, fix, action, since, step) if what else None


def _reason(run: Run, now: float) -> tuple[str, str, str, str, float | None]:
    state, wake = state_of(run, now), wake_of(run)
    late = 0.0 if wake is None else now - wake
    found = run.attention
    if state == "quarantined":
        why = (
            f"it killed {run.stalls} invocations one after the other,"
            f" in what comes after {many(run.cursor, 'recorded step')}"
        )
        fix = "mend what kills the process there, then redrive it"
        return "quarantined", why, fix, "redrive", None
    if state == "blocked" and found is not None:
        fix = BLOCKED.get(found.reason, "deploy code that can go on with it, then redrive it")
        why = cut(f"{found.reason}: {found.message}", 500)
        return "blocked", why, fix, "redrive", found.since
    if state == "stalled":
        why = f"an invocation was lost: its lease ended {lasting(late)} ago"
        return "stalled", why, _looked_at(run), "resume", wake
    if state == "due" and late > OVERDUE:
        why = f"it has been due for {lasting(late)}"
        return "overdue", why, _looked_at(run), "resume", wake
    return _waiting(run)


def _looked_at(run: Run) -> str:
    return f"start a worker that has flow {run.flow!r}; where messages are carried, resume it now"


def _waiting(run: Run) -> tuple[str, str, str, str, float | None]:
    for step in run.open.values():
        if step.kind == "tool" and step.attempt > MANY_ATTEMPTS:
            why = f"{step.tool} has been tried {step.attempt - 1} times; {cut(step.error, 300)}"
            return "retrying", why, "mend what it calls; it goes on by itself", "", step.started
    for step in run.open.values():
        if step.kind == "signal" and step.error:
            why = f"signal {step.name!r} came and was dropped: {cut(step.error, 300)}"
            fix = "send it again with a value of the type that its page shows"
            return DROPPED, why, fix, "", step.started
    signals = any(each.kind in ("signal", "child") for each in run.open.values())
    if run.status is Status.PAUSED and run.wake is None and not signals:
        why = "nothing will ever look at it: it has no wake time and waits for no signal"
        return LOST, why, "`sequential doctor` tells more; terminate it, or send it a signal", \
            "terminate", None  # fmt: skip
    return "", "", "", "", None

"""Goes through the runs of a storage and names those that are damaged or need somebody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .._app import Sequential
from .._model import ENDED_STATUSES, At, Run, Status, StepKind
from .._storage import Loaded
from ..errors import StorageError
from ._views import lasting, word


class Finding(NamedTuple):
    """One run that needs somebody: *what* in a word, *why* in a sentence."""

    run_id: str
    what: str
    why: str


def audit(app: Sequential, limit: int, overdue: float) -> tuple[list[Finding], int]:
    """Look at up to *limit* runs, newest first; return what was found, and how many there were.

    Args:
        app: The application.
        limit: Runs, at most.
        overdue: Seconds that a run may be due before it is found.
    """
    found: list[Finding] = []
    looked, after = 0, None
    while looked < limit:
        page = app.find(after=after, limit=min(1000, limit - looked))
        for run in page.runs:
            looked += 1
            found.extend(_look(app, run.run_id, overdue))
        after = page.next
        if after is None:
            break
    return found, looked


def _look(app: Sequential, run_id: str, overdue: float) -> Iterator[Finding]:
    try:
        loaded = app.storage.load(run_id)
    except StorageError as error:
        yield Finding(run_id, "damaged", str(error))
        return
    if loaded is None:
        # Purged since the page was read.
        return
    run = loaded.run
    if run.status is Status.PURGED:
        return
    why = _damage(loaded)
    if why:
        yield Finding(run_id, "damaged", why)
    elif run.status not in ENDED_STATUSES:
        yield from _open(run, loaded.now, overdue)


def _damage(loaded: Loaded) -> str:
    """Return what cannot be in a whole record; nothing when it is whole."""
    run = loaded.run
    if [step.number for step in loaded.steps] != list(range(run.cursor)):
        return f"{len(loaded.steps)} of {run.cursor} step records are there"
    if run.status is Status.COMPLETED and run.result is None:
        return "it completed and has no result"
    if run.status is Status.FAILED and run.error is None:
        return "it failed and has no error"
    told = (StepKind.SIGNAL, StepKind.CHILD)
    waits = any(found.kind in told for found in run.open.values())
    if run.status in (Status.PAUSED, Status.RUNNING) and run.wake is None and not waits:
        return "nothing will ever look at it: it has no wake time and waits for no signal"
    return ""


def _open(run: Run, now: float, overdue: float) -> Iterator[Finding]:
    shown = word(run, now)
    late = now - run.wake.time if isinstance(run.wake, At) else 0.0
    if shown == "blocked" and run.attention is not None:
        yield Finding(run.run_id, shown, f"{run.attention.reason}: {run.attention.message}")
    elif shown == "quarantined":
        yield Finding(run.run_id, shown, f"it killed {run.stalls} invocations; redrive it")
    elif shown == "stalled":
        yield Finding(run.run_id, shown, f"its lease ended {lasting(late)} ago")
    elif shown == "due" and late > overdue:
        why = f"due for {lasting(late)}; start a worker that has flow {run.flow!r}"
        yield Finding(run.run_id, "overdue", why)

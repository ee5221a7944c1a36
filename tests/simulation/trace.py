"""A schedule as a person reads it: a line for each event, with time, process, run, and what it was.

Only made when somebody wants to read it. Ids and kinds stand in it, values never.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sequential._model import ENDED_STATUSES, At, In, Run, Status, StepRecord, Wake
from sequential._requests import (
    Abandon,
    Await,
    Create,
    CreateAll,
    Fetch,
    Load,
    Observe,
    Perform,
    Request,
    Send,
    Start,
    Store,
    Wait,
)


class Trace:
    """Lines, with the virtual time that *elapsed* tells."""

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self.lines: list[str] = []
        self._elapsed = elapsed

    def add(self, process: str, run_id: str, text: str) -> None:
        """Add one line."""
        self.lines.append(f"{self._elapsed():>10.1f} s  {process:<4} {run_id:<4} {text}")


def told_commit(run: Run, before: Run, steps: Sequence[StepRecord], zero: float) -> str:
    """Return in words what a commit of *run* over *before* does; times count from *zero*."""
    what = [f"record of step {step.position} ({step.tool or step.kind})" for step in steps]
    if run.generation != before.generation:
        what.append(f"generation {run.generation}")
    if run.status in ENDED_STATUSES and before.status not in ENDED_STATUSES:
        what.append(f"end: {run.status}")
    elif run.status is Status.QUARANTINED:
        what.append("quarantine")
    elif run.owner != before.owner and run.owner:
        what.append(f"claim → fence {run.fence}")
    elif run.status is Status.PAUSED:
        what.append(_parked(run, zero))
    else:
        new = [name for name in run.open if run.open.get(name) != before.open.get(name)]
        what += [f"note on step {name}" for name in new]
    return ", ".join(what) or "keep"


def _parked(run: Run, zero: float) -> str:
    why = "" if run.attention is None else f" blocked ({run.attention.reason})"
    return f"park{why} {_until(run.wake, zero)}"


def _until(wake: Wake, zero: float) -> str:
    if isinstance(wake, At):
        return f"until {wake.time - zero:.1f} s"
    if isinstance(wake, In):
        return f"for {wake.seconds:g} s" if wake.seconds else "until now"
    return "until a signal comes"


def told_request(request: Request | None) -> str:
    """Return in words what an invocation asks for."""
    if isinstance(request, (Perform, Start)):
        context, call = request.call.context, request.call
        step = f"{call.category}.{call.name} at step {context.position}"
        return f"{step}, attempt {context.attempt}"
    if isinstance(request, (Create, CreateAll, Store, Fetch, Observe)):
        return type(request).__name__.lower()
    return _told_wait(request)


def _told_wait(request: Request | None) -> str:
    match request:
        case Abandon(position=position):
            return f"step {position} is needed no more"
        case Await():
            return "wait for an answer"
        case Load(after=after):
            return f"load, steps from {after}"
        case Wait(seconds=seconds):
            return f"wait {seconds:g} s"
        case Send(delay=delay):
            return f"resume message, wanted in {delay:.1f} s"
        case _:
            return "begin"

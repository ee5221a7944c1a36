"""Runs and steps as people and programs are shown them: words, rows, plain JSON data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .. import _codec
from .._app import Sequential
from .._child_runs import CHILDREN_NAMED
from .._model import At, Payload, Run, Status, StepKind, StepOutcome, StepRecord
from .._outcomes import Blocked, Busy, Completed, Failed, Missing, NotMine, Outcome, Paused, Purged
from .._payload import input_place
from .._replay import name_of
from .._storage import Loaded
from ..errors import SequentialError

PREVIEW = 60
"""Characters of a result that a row shows."""

_BY_OUTCOME = {
    "Paused": 0,
    "Busy": 0,
    "Completed": 0,
    "NotMine": 0,
    "Missing": 1,
    "Purged": 1,
    "Lost": 1,
    "Blocked": 3,
    "Quarantined": 3,
    "Failed": 4,
    "Cancelled": 5,
}


def exit_code(outcome: Outcome) -> int:
    """Return what the process exits with for *outcome*."""
    return _BY_OUTCOME[type(outcome).__name__]


def word(run: Run, now: float) -> str:
    """Return the word that *run* is shown by: its status, and for an open one what it waits for."""
    wake = run.wake.time if isinstance(run.wake, At) else None
    if run.status is Status.RUNNING:
        return "stalled" if wake is not None and wake <= now else "running"
    if run.status is not Status.PAUSED:
        return str(run.status)
    if run.attention is not None:
        return "blocked"
    return "due" if wake is not None and wake <= now else "waiting"


# -- values


def plain(value: object) -> Any:
    """Return *value* as JSON that any program reads: decimals and times as text, sets as lists."""
    return _untagged(json.loads(_codec.encode(value)))


def _untagged(value: Any) -> Any:
    if isinstance(value, list):
        return [_untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$" not in value:
        return {key: _untagged(item) for key, item in value.items()}
    inner = value["v"]
    if value["$"] == "dict":
        return {key: _untagged(item) for key, item in inner.items()}
    if value["$"] == "timedelta":
        days, seconds, microseconds = inner
        return days * 86_400 + seconds + microseconds / 1e6
    return _untagged(inner)


def preview(value: object, limit: int = PREVIEW) -> str:
    """Return *value* as JSON, cut at *limit* characters."""
    text = json.dumps(plain(value), ensure_ascii=False)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def moment(seconds: float | None) -> str:
    """Return seconds since the epoch as a time in UTC; nothing for None."""
    if seconds is None:
        return ""
    try:
        found = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        # A sleep of a million years, or a damaged record: no reason to show no run at all.
        return f"@{seconds:g}"
    return found.isoformat(" ", "seconds").replace("+00:00", "Z")


def lasting(seconds: float) -> str:
    """Return a duration in words, to two figures or so."""
    for limit, unit, divisor, digits in (
        (1e-3, "ms", 1e-3, 1), (1, "ms", 1e-3, 0), (60, "s", 1, 1), (3600, "min", 60, 1),
        (86_400, "h", 3600, 1),
    ):  # fmt: skip
        if seconds < limit:
            return f"{seconds / divisor:.{digits}f} {unit}"
    return f"{seconds / 86_400:.1f} d"


# -- runs


RUN_COLUMNS = ("RUN", "FLOW", "STATUS", "STEPS", "CREATED", "WAKE")


def run_row(run: Run, now: float) -> list[str]:
    """Return the cells of one run under `RUN_COLUMNS`."""
    wake = run.wake.time if isinstance(run.wake, At) else None
    ended = run.ended is not None
    steps = str(run.cursor)
    created = moment(run.created)
    return [run.run_id, run.flow, word(run, now), steps, created, "" if ended else moment(wake)]


def run_data(run: Run, now: float) -> dict[str, Any]:
    """Return the record as plain data, without its values."""
    attention = run.attention
    return {
        "run_id": run.run_id,
        "flow": run.flow,
        "version": run.flow_version,
        "status": str(run.status),
        "shown": word(run, now),
        "generation": run.generation,
        "steps": run.cursor,
        "created": run.created,
        "started": run.started,
        "ended": run.ended,
        "wake": run.wake.time if isinstance(run.wake, At) else None,
        "deadline": run.deadline,
        "tags": dict(run.tags),
        "parent": None if run.parent is None else run.parent.run_id,
        "children": run.children,
        "stalls": run.stalls,
        "waiting_for": [found.name for found in run.open.values() if found.name],
        "error": None
        if run.error is None
        else {"type": run.error.type, "message": run.error.message},
        "attention": None
        if attention is None
        else {"reason": attention.reason, "message": attention.message, "diff": attention.diff},
    }


def opened(run: Run, now: float) -> list[str]:
    """Return one sentence per thing that is in flight or waited for."""
    said = [_opened(position, found, now) for position, found in run.open.items()]
    many = sum(found.kind is StepKind.CHILD for found in run.open.values()) >= CHILDREN_NAMED
    return [*said, f"and maybe more of {run.children:,} child runs begun"] if many else said


def _opened(position: str, found: Any, now: float) -> str:
    what = {
        StepKind.TOOL: f"tool call {found.tool}, attempt {found.attempt}",
        StepKind.SIGNAL: f"waits for signal {found.name!r}",
        StepKind.SLEEP: "sleeps",
        StepKind.SAVE: "save point",
        StepKind.CHILD: f"waits for a child run of {found.tool}",
    }.get(found.kind, str(found.kind))
    due = ""
    if found.due is not None:
        left = found.due - now
        due = f" until {moment(found.due)}" + (f" (in {lasting(left)})" if left > 0 else "")
    error = f"; last error: {found.error}" if found.error else ""
    return f"step {position}: {what}{due}{error}"


def input_value(app: Sequential, run: Run) -> Any:
    """Return the input of *run* as plain data; None when it was purged."""
    if run.status is Status.PURGED:
        return None
    payload, place = run.input, input_place(run.run_id)
    try:
        if payload.ref is not None:
            payload = Payload(
                app.storage.get_value(run.run_id, payload.ref), payload.codecs, None, payload.size
            )
        return plain(_codec.decode(app.engine.payloads.unwrap(payload, place)))
    except SequentialError as error:
        return {"unreadable": str(error)}


# -- steps

STEP_COLUMNS = ("STEP", "WHAT", "OUTCOME", "TRIES", "TOOK", "RESULT")


_SILENT = (StepKind.SLEEP, StepKind.SAVE)
"""Steps that come to nothing."""


def what_of(step: StepRecord) -> str:
    """Return what a recorded step is, in a word or two."""
    return name_of(step)


def step_value(app: Sequential, run: Run, step: StepRecord) -> Any:
    """Return the result of *step* as plain data; why not, if it cannot be read here."""
    try:
        return plain(app.value(run, step))
    except SequentialError as error:
        return {"unreadable": str(error)}


def step_row(app: Sequential, run: Run, step: StepRecord) -> list[str]:
    """Return the cells of one step under `STEP_COLUMNS`."""
    value = step_value(app, run, step)
    if step.outcome is StepOutcome.ERROR and isinstance(value, Mapping):
        text = f"{value.get('type')}: {value.get('message')}"[:PREVIEW]
    elif step.kind not in _SILENT and step.outcome is StepOutcome.VALUE:
        text = preview(value)
    elif step.outcome is StepOutcome.CANCELLED and isinstance(value, Mapping):
        text = str(value.get("reason", ""))[:PREVIEW]
    else:
        text = ""
    took = lasting(max(0.0, step.ended - step.started))
    return [step.position, what_of(step), str(step.outcome), str(step.attempts), took, text]


def step_data(app: Sequential, run: Run, step: StepRecord) -> dict[str, Any]:
    """Return one step as plain data."""
    return {
        "position": step.position,
        "number": step.number,
        "kind": str(step.kind),
        "what": step.tool,
        "outcome": str(step.outcome),
        "attempts": step.attempts,
        "started": step.started,
        "ended": step.ended,
        "value": step_value(app, run, step),
    }


def steps_data(app: Sequential, loaded: Loaded) -> list[dict[str, Any]]:
    """Return all steps as plain data."""
    return [step_data(app, loaded.run, step) for step in loaded.steps]


def step_rows(app: Sequential, loaded: Loaded) -> Sequence[Sequence[str]]:
    """Return the cells of all steps."""
    return [step_row(app, loaded.run, step) for step in loaded.steps]


# -- outcomes


def outcome_data(outcome: Outcome) -> dict[str, Any]:
    """Return *outcome* as plain data."""
    data: dict[str, Any] = {
        "run_id": outcome.run_id,
        "outcome": type(outcome).__name__.lower(),
    }
    if isinstance(outcome, Completed):
        data["result"] = plain(outcome.result)
    elif isinstance(outcome, Failed):
        data["error"] = {"type": outcome.error.type, "message": outcome.error.message}
    elif isinstance(outcome, Paused):
        wake = None if outcome.wake is None else outcome.wake.time
        data |= {"position": outcome.position, "reason": outcome.reason, "wake": wake}
    elif isinstance(outcome, Blocked):
        data |= {"reason": outcome.reason, "message": outcome.message, "diff": outcome.diff}
    elif isinstance(outcome, NotMine):
        data |= {"flow": outcome.flow, "version": outcome.version}
    return data


def outcome_text(outcome: Outcome) -> str:
    """Return *outcome* in a sentence, with what to do about it."""
    run_id = outcome.run_id
    if isinstance(outcome, Completed):
        text = f"completed: {preview(outcome.result, 2000)}"
    elif isinstance(outcome, Failed):
        error = outcome.error
        again = f"mend the cause, then: sequential retry {run_id}"
        text = f"failed: {error.type}: {error.message}; {again}"
    elif isinstance(outcome, Paused):
        text = f"paused at step {outcome.position} ({outcome.reason}){_until(outcome.wake)}"
    elif isinstance(outcome, Blocked):
        text = f"blocked ({outcome.reason}): {outcome.message}"
    elif isinstance(outcome, Busy):
        text = f"another invocation has it{_until(outcome.until)}"
    elif isinstance(outcome, NotMine):
        if outcome.version:
            has = f"the code here does not carry on version {outcome.version!r}"
            return f"left alone: {has} of flow {outcome.flow!r}; a process that has it does"
        load = "name its module with --load, or under `modules` in the configuration"
        text = f"left alone: flow {outcome.flow!r} is not registered here; {load}"
    else:
        text = _LAST_WORDS[type(outcome).__name__].format(run_id=run_id)
    return text


_LAST_WORDS = {
    "Cancelled": "cancelled",
    "Quarantined": "quarantined: it killed its invocations too often;"
    " sequential redrive {run_id} tries again",
    "Purged": "purged: only its tombstone is left",
    "Missing": "there is no run {run_id!r} in this storage; sequential list shows all",
    "Lost": "another invocation took {run_id} over; nothing more was written here",
}

NOTHING_THERE = (Missing, Purged)


def _until(wake: At | None) -> str:
    return "" if wake is None else f" until {moment(wake.time)}"

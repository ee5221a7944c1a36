"""Runs, steps and outcomes as plain JSON for clients. Decides nothing."""

from __future__ import annotations

import json
from typing import Any

from sequential import Outcome, Sequential
from sequential.errors import RecordCorrupt, ValuesError
from sequential.outcomes import Blocked, Completed, Failed, Paused
from sequential.storage import At, Run, Status, StepRecord, encode_value

# What is there and cannot be read; a storage that does not answer is another matter.
_UNREADABLE = (ValuesError, RecordCorrupt)
_UNREAD = {"type": "Unreadable", "message": "the result cannot be read here"}

ENDED = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


def plain(value: object) -> Any:
    """Return *value* as JSON that any program reads: decimals and times as text, sets as lists."""
    return _untagged(json.loads(encode_value(value)))


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


def run_data(run: Run) -> dict[str, Any]:
    """Return the record of a run, without its values."""
    attention = run.attention
    return {
        "run_id": run.run_id,
        "flow": run.flow,
        "version": run.flow_version,
        "status": str(run.status),
        "generation": run.generation,
        "steps": run.cursor,
        "created": run.created,
        "started": run.started,
        "ended": run.ended,
        "wake": _time(run.wake) if run.ended is None else None,
        "tags": dict(run.tags),
        "parent": None if run.parent is None else run.parent.run_id,
        "waiting_for": [found.name for found in run.open.values() if found.name],
        "blocked": None
        if attention is None
        else {"reason": attention.reason, "message": attention.message},
    }


def ended_data(app: Sequential, run: Run) -> dict[str, Any]:
    """Return the record of a run with its result or its error, once it has them."""
    data = {**run_data(run), "progress": _progress(app, run), "result": None, "error": None}
    if run.status not in ENDED:
        return data
    try:
        outcome = app.outcome(run)
    except _UNREADABLE:
        return data | {"error": _UNREAD}
    if isinstance(outcome, Completed):
        data["result"] = plain(outcome.result)
    elif isinstance(outcome, Failed):
        data["error"] = {"type": outcome.error.type, "message": outcome.error.message}
    elif isinstance(outcome, Blocked):
        data["error"] = dict(_UNREAD)
    return data


def _progress(app: Sequential, run: Run) -> Any:
    try:
        found = app.progress(run)
    except _UNREADABLE:
        return None
    return None if found is None else plain(found.value)


def step_data(app: Sequential, run: Run, step: StepRecord) -> dict[str, Any]:
    """Return a recorded step; a value that is not kept with the record is left out."""
    value = None
    readable = step.value.ref is None
    if readable:
        try:
            value = plain(app.value(run, step))
        except _UNREADABLE:
            readable = False
    return {
        "position": step.position,
        "number": step.number,
        "kind": str(step.kind),
        "what": step.tool,
        "outcome": str(step.outcome),
        "attempts": step.attempts,
        "started": step.started,
        "ended": step.ended,
        "size": step.value.size,
        "omitted": not readable,
        "value": value,
    }


def outcome_word(outcome: Outcome) -> str:
    """Return the outcome of an invocation in a word; of a pause, why."""
    word = type(outcome).__name__.lower()
    return f"paused ({outcome.reason})" if isinstance(outcome, Paused) else word


def _time(wake: object) -> float | None:
    return wake.time if isinstance(wake, At) else None

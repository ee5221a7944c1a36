"""Two runs side by side: their steps aligned by position, and where they begin to differ."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sequential.storage import Loaded, StepRecord

from .timeline.spans import place


class Row(NamedTuple):
    """One position in both runs.

    Attributes:
        position: Where the step stands.
        left: What it is in the first run; empty if it is not there.
        right: The same of the second.
        left_seconds: How long it took; None if it is not there.
        right_seconds: The same of the second.
        differs: In what: ``step``, ``input``, ``outcome``, ``result``, ``missing``; empty if in
            nothing.
    """

    position: str
    left: str
    right: str
    left_seconds: float | None
    right_seconds: float | None
    differs: str


def rows(left: Loaded, right: Loaded) -> list[Row]:
    """Return a row per position that either run has, in order."""
    first = {step.position: step for step in left.steps}
    second = {step.position: step for step in right.steps}
    keys = sorted({*first, *second}, key=place)
    return [_row(key, first.get(key), second.get(key)) for key in keys]


def first_difference(found: Sequence[Row]) -> Row | None:
    """Return the first row in which the runs differ in more than time."""
    return next((row for row in found if row.differs), None)


def difference(left: Any, right: Any) -> str:
    """Return what differs between two plain values, line by line; empty if nothing does."""
    one, other = _lines(left), _lines(right)
    found = difflib.unified_diff(one, other, "first run", "second run", lineterm="", n=3)
    return "\n".join(found)


def _lines(value: Any) -> list[str]:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True).splitlines()


def _row(position: str, left: StepRecord | None, right: StepRecord | None) -> Row:
    return Row(
        position, _what(left), _what(right), _seconds(left), _seconds(right), _differs(left, right)
    )


def _what(step: StepRecord | None) -> str:
    return "" if step is None else f"{step.tool or step.kind} · {step.outcome}"


def _seconds(step: StepRecord | None) -> float | None:
    return None if step is None else max(0.0, step.ended - step.started)


def _differs(left: StepRecord | None, right: StepRecord | None) -> str:
    if left is None or right is None:
        return "missing"
    if (left.kind, left.tool) != (right.kind, right.tool):
        return "step"
    if left.outcome != right.outcome:
        return "outcome"
    if left.fingerprint != right.fingerprint:
        return "input"
    # Sealed values differ in every byte although they are the same.
    comparable = not left.value.codecs and not right.value.codecs
    one, other = left.value, right.value
    return "result" if comparable and (one.data, one.ref) != (other.data, other.ref) else ""

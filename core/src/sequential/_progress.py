"""How far a run says that it is: its value, and the same as a share and as words. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

PROGRESS_LIMIT = 4096
"""Bytes of an encoded progress value: it stands in the record, which every step writes."""

_WORDS = 80
"""Characters of a value that is shown for want of words."""


class Progress(NamedTuple):
    """What a run has published with `set_progress`.

    Attributes:
        value: As it was given.
        fraction: From 0 to 1, of a number in that range, or of ``done`` and ``total`` in an object;
            None where neither is there.
        text: For people: a text that was given, or ``text`` in an object; else what is known.
    """

    value: Any
    fraction: float | None
    text: str


def progress_of(value: object) -> Progress:
    """Return *value*, as published, with what it says to people."""
    fraction = _fraction(value)
    return Progress(value, fraction, _text(value, fraction))


def _fraction(value: object) -> float | None:
    if isinstance(value, Mapping):
        done, total = value.get("done"), value.get("total")
        if not _is_number(done) or not _is_number(total) or not total > 0:
            return None
        return float(min(max(done / total, 0.0), 1.0))
    if _is_number(value) and 0 <= value <= 1:
        return float(value)
    return None


def _text(value: object, fraction: float | None) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        counted = "" if fraction is None else f"{value['done']} of {value['total']}"
        said = value.get("text")
        if isinstance(said, str):
            return f"{said} ({counted})" if counted else said
        if counted:
            return counted
    elif fraction is not None:
        return f"{fraction:.0%}"
    return json.dumps(value, ensure_ascii=False, default=str)[:_WORDS]


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)

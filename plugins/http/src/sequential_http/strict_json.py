"""Plain JSON from outside, read by the letter; every way to be refused is one exception.

What the value is for is not known here.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 64
"""Levels of containers inside each other."""

_DIGITS = 4300


class JsonRefused(ValueError):
    """The bytes are not JSON as we read it; the message says why, and quotes nothing."""


def read_json(data: bytes) -> Any:
    """Return the value of *data*: UTF-8, no key twice, no NaN, no half characters, not too deep.

    Raises:
        JsonRefused: It is not that. Never RecursionError, never MemoryError for a size that fits
            into the limits of the caller.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise JsonRefused("it is not UTF-8") from None
    if _depth(text) > MAX_DEPTH:
        raise JsonRefused(f"it is nested more than {MAX_DEPTH} levels deep")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
    except JsonRefused:
        raise
    except (ValueError, RecursionError):
        raise JsonRefused("it is not JSON") from None
    if "\\u" in text and not _is_unicode(value):
        raise JsonRefused("a string has half of a surrogate pair")
    return value


def _depth(text: str) -> int:
    """Return how deep brackets stand in *text*, those inside strings left out.

    Before it is read: the reader would answer with a RecursionError, at a depth of its own.
    """
    depth = deepest = 0
    inside = escaped = False
    for character in text:
        if inside:
            inside = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            inside = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _is_unicode(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise JsonRefused("a key stands twice in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise JsonRefused(f"an integer has more than {_DIGITS:,} digits")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise JsonRefused("a number is too large")
    return value


def _constant(name: str) -> NoReturn:  # noqa: ARG001  (as it is called)
    raise JsonRefused("JSON has no NaN and no Infinity")

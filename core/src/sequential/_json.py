"""JSON text as such: its limits, and the strict reader of what clients send.

Everything here is plain JSON. What the ``"$"`` tags of stored values mean is known to `_codec`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, NoReturn

from .errors import NotDecodable

MAX_DEPTH: Final = 64
"""Levels of containers inside each other, on the way in and on the way out."""

MAX_VALUE: Final = 50 * 1024 * 1024
"""Bytes of one value as JSON."""

MAX_DIGITS: Final = 4300
"""Characters of an integer, the sign among them: as many as msgspec reads back."""

MAX_KEYS: Final = 10_000
"""Keys of one object in JSON from clients. A stored object may have more: its size is bounded."""


def path_of(way: Iterable[str | int]) -> str:
    """Return *way* as text, such as ``$.items[3].price``; keys are cut at 40 characters."""
    text = "$"
    for key in way:
        if isinstance(key, str) and key.isidentifier() and key.isascii():
            text += f".{key[:40]}"
        else:
            text += f"[{json.dumps(key)[:40]}]"
    return text


def is_too_deep(value: object) -> bool:
    """Tell whether *value*, as JSON reads it, has more than `MAX_DEPTH` levels of containers."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [item for item in level if type(item) is dict or type(item) is list]
        if not level:
            return False
        level = [
            inner for outer in level for inner in (outer.values() if type(outer) is dict else outer)
        ]
    return True


def too_deep() -> NotDecodable:
    """Return the error for what is nested too deep."""
    return NotDecodable(f"it is nested more than {MAX_DEPTH} levels deep")


def too_long(size: int, limit: int) -> NotDecodable:
    """Return the error for *size* bytes where *limit* are allowed."""
    return NotDecodable(f"it has {size:,} bytes, and {limit:,} is the most that is read")


def is_unicode(text: str) -> bool:
    """Tell whether *text* has no half of a surrogate pair, which UTF-8 cannot say."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def decode_plain(data: bytes | str, *, limit: int = MAX_VALUE) -> Any:
    """Return the value of JSON that a client sent: ``--input``, an HTTP body, a signal.

    Its ``"$"`` keys are data: no tag is looked at.

    Args:
        limit: The most bytes that are read.

    Raises:
        NotDecodable: It is not JSON by the letter of RFC 8259 (UTF-8, no byte order mark, no NaN),
            has a key twice or half of a surrogate pair, or is over a limit of this module.
    """
    text = _utf8(data, limit)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
    except RecursionError:
        raise too_deep() from None
    except ValueError as error:
        raise NotDecodable(f"it is not JSON: {error}") from None
    if is_too_deep(value):
        raise too_deep()
    if "\\u" in text and not is_unicode(json.dumps(value, ensure_ascii=False)):
        raise NotDecodable("a string has half of a surrogate pair; send whole characters")
    return value


def _utf8(data: bytes | str, limit: int) -> str:
    try:
        raw = data.encode() if isinstance(data, str) else data
        if len(raw) > limit:
            raise too_long(len(raw), limit)
        text = raw.decode()
    except UnicodeError:
        raise NotDecodable("it is not UTF-8; send JSON as UTF-8 text") from None
    if text.startswith("\ufeff"):
        raise NotDecodable("it starts with a byte order mark; send it without")
    return text


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_KEYS:
        raise NotDecodable(f"an object has {len(pairs):,} keys, and {MAX_KEYS:,} is the most")
    found = dict(pairs)
    if len(found) != len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise NotDecodable(f"the key {json.dumps(twice)[:40]} stands twice in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise NotDecodable(f"an integer has more than {MAX_DIGITS:,} digits; send it as a string")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise NotDecodable(f"the number {digits[:40]} is too large; send it as a string")
    return value


def _constant(name: str) -> NoReturn:
    raise NotDecodable(f"JSON has no {name}; send null or a string")

"""Values to typed JSON bytes and back: what storages hold.

Owns the writing and the reading of tagged values. What may go in is known to `_plain`; nothing
here knows annotations (`_typed`), storages or compression.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final, TypeVar
from uuid import UUID

from ._fields import fields_of, name_of
from ._json import (
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_KEYS,
    MAX_VALUE,
    decode_plain,
    is_too_deep,
    is_unicode,
    path_of,
    too_deep,
    too_long,
)
from ._plain import HELD, REF, Refused, plain_of, too_large
from ._ref import Address, Ref, at
from .errors import NotDecodable, NotEncodable

__all__ = [
    "MAX_DEPTH",
    "MAX_DIGITS",
    "MAX_KEYS",
    "MAX_VALUE",
    "decode",
    "decode_plain",
    "encode",
    "encode_canonical",
    "held",
    "may_hold",
    "is_class_instance",
]

# -- JSON text: three functions that replace themselves on first use. Importing this module must
# not import msgspec, and asking at each step whether it is there would be a tenth of the step.


def _dumps(value: object) -> bytes:
    _load()
    return _dumps(value)


def _dumps_sorted(value: object) -> bytes:
    _load()
    return _dumps_sorted(value)


def _loads(data: bytes) -> Any:
    _load()
    return _loads(data)


def _load() -> None:
    import msgspec.json

    made = globals()
    made["_dumps"] = msgspec.json.Encoder().encode
    made["_dumps_sorted"] = msgspec.json.Encoder(order="deterministic").encode
    made["_loads"] = msgspec.json.Decoder().decode


# -- writing


def encode(value: object, *, limit: int = MAX_VALUE) -> bytes:
    """Return *value* as typed JSON, object keys in their order.

    Value types (Decimal, bytes, tuple, set, datetime, UUID, Path and their like) are tagged and
    come back as what they were. A subclass of a built-in type is stored as the built-in value, a
    named tuple as a tuple, an enum as its value, an instance of a dataclass, attrs, msgspec or
    pydantic class as an object of its fields by name. No class name is stored. A time zone is
    stored as its offset at that moment.

    Args:
        limit: The most bytes that the result may have.

    Raises:
        NotEncodable: Some part of *value* cannot be stored; the error says which, and why.
    """
    return _encode(value, limit, _dumps)


def encode_canonical(value: object) -> bytes:
    """Return the same as `encode` with object keys sorted: what digests are made of.

    Equal values of equal types give equal bytes, in whatever order keys and members were added.
    """
    return _encode(value, MAX_VALUE, _dumps_sorted)


def _encode(value: object, limit: int, write: Callable[[object], bytes]) -> bytes:
    plain: object = None
    try:
        plain = plain_of(value, limit)
        data = write(plain)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  (all become the one declared error)
        raise _not_encodable(value, plain, error) from None
    if len(data) > limit:
        raise too_large(value, limit).error()
    return data


def is_class_instance(value: object) -> bool:
    """Tell whether *value* comes back plainer than it is, unless an annotation names its class.

    Looks at *value* and, if it is a list, tuple or dict, at its first member: there is no walk.
    """
    kind = type(value)
    if kind in (list, tuple, dict) and value:
        members: Any = value.values() if isinstance(value, dict) else value
        kind = type(next(iter(members)))
    return issubclass(kind, Enum) or fields_of(kind) is not None


def _not_encodable(value: object, plain: object, error: Exception) -> NotEncodable:
    if isinstance(error, Refused):
        return error.error()
    if isinstance(error, UnicodeEncodeError):
        way, text = next(found for found in _strings(plain, ()) if not is_unicode(found[1]))
        reason = f"{json.dumps(text)[:40]} has half of a surrogate pair; decode it rightly"
        return NotEncodable(path_of(way), "str", reason)
    # A dict that another thread changes meanwhile, or a stack that was nearly spent before.
    return NotEncodable("$", name_of(value), f"reading it raised {name_of(error)}")


def _strings(plain: Any, way: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Give all strings and keys of *plain*, in which tags are no part of the way."""
    if type(plain) is str:
        yield way, plain
    elif type(plain) is list:
        for index, item in enumerate(plain):
            yield from _strings(item, (*way, index))
    elif type(plain) is dict and plain.get("$", "dict") != "dict":
        yield from _strings(plain["v"], way)
    elif type(plain) is dict:
        for key, item in (plain["v"] if "$" in plain else plain).items():
            yield (*way, key), key
            yield from _strings(item, (*way, key))


_HELD_BEGINS: Final = b'{"$":"%s","v":[' % HELD.encode()


def may_hold(data: bytes) -> bool:
    """Tell whether there may be a `Ref` that holds its value in what `encode` made *data* of."""
    return _HELD_BEGINS in data


def held(data: bytes) -> bytes | None:
    """Return the encoded value that a `Ref` holds which `encode` made *data* of.

    None if it made *data* of anything else.
    """
    return data[len(_HELD_BEGINS) : -2] if data.startswith(_HELD_BEGINS) else None


# -- reading


def decode(data: bytes, *, limit: int = MAX_VALUE) -> Any:
    """Return the value that `encode` made *data* of.

    Whoever wrote *data*, the result is plain data and value types: no class is looked up, nothing
    is imported.

    Args:
        limit: The most bytes that are read.

    Raises:
        NotDecodable: *data* is not typed JSON, or is over a limit.
    """
    if len(data) > limit:
        raise too_long(len(data), limit)
    try:
        value = _loads(data)
    except RecursionError:
        raise too_deep() from None
    except ValueError as error:
        raise NotDecodable(f"it is not JSON of ours: {error}") from None
    if b'"$"' in data:
        return _revived(value, 0)
    # Whatever is nested too deep has at least two brackets for each level.
    if len(data) > 2 * MAX_DEPTH and is_too_deep(value):
        raise too_deep()
    return value


def _revived(value: Any, depth: int) -> Any:
    """Return *value* with its tags turned into what they stand for; it is changed in place."""
    kind = type(value)
    if kind is not dict and kind is not list:
        return value
    if depth >= MAX_DEPTH:
        raise too_deep()
    if kind is dict and "$" in value:
        return _untagged(value, depth)
    for key, item in value.items() if kind is dict else enumerate(value):
        if type(item) is dict or type(item) is list:
            value[key] = _revived(item, depth + 1)
    return value


def _untagged(tagged: dict[str, Any], depth: int) -> Any:
    tag = tagged["$"]
    inner = tagged.get("v")
    if type(tag) is not str or len(tagged) != 2 or "v" not in tagged:
        raise NotDecodable('an object has the key "$" and is no tagged value')
    try:
        if tag == "dict" and type(inner) is dict:
            return {key: _revived(item, depth + 1) for key, item in inner.items()}
        if tag in _COLLECTIONS and type(inner) is list:
            return _COLLECTIONS[tag](_revived(item, depth + 1) for item in inner)
        if tag in _TEXTS and type(inner) is str:
            return _TEXTS[tag](inner)
        if (tag, type(inner)) in _PARTS:
            return _PARTS[tag, type(inner)](inner)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise NotDecodable(f"a value tagged {tag!r} is damaged: {name_of(error)}") from None
    raise NotDecodable(
        f"this version has no tag {tag[:40]!r} for {name_of(inner)}; read it with a newer one"
    )


def _address(**parts: Any) -> Address:
    address = Address(**parts)
    kinds = [type(part) for part in address[:5]]
    if kinds != [str, int, str, str, int] or not all(type(each) is str for each in address.codecs):
        raise TypeError(address)
    return address._replace(codecs=tuple(address.codecs))


def _finite(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError(text)
    return value


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


_COLLECTIONS: Final[dict[str, Callable[[Iterator[Any]], object]]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    HELD: lambda one: Ref(*one),
}

_PARTS: Final[dict[tuple[str, type], Callable[[Any], object]]] = {
    ("timedelta", list): lambda parts: timedelta(*parts),
    (REF, dict): lambda parts: at(_address(**parts)),
}

_Zoned = TypeVar("_Zoned", datetime, time)

_TINY_OFFSET = re.compile(r"([+-])00:00:00\.(\d{6})\Z")


def _zoned(read: _Zoned, text: str) -> _Zoned:
    # CPython (seen in 3.11 to 3.13) takes an offset of less than a second for none.
    tiny = _TINY_OFFSET.search(text)
    if tiny is None:
        return read
    microseconds = int(tiny[2]) if tiny[1] == "+" else -int(tiny[2])
    return read.replace(tzinfo=timezone(timedelta(microseconds=microseconds)))


_TEXTS: Final[dict[str, Callable[[str], object]]] = {
    "bytes": _from_base64,
    "decimal": _finite,
    "datetime": lambda text: _zoned(datetime.fromisoformat(text), text),
    "date": date.fromisoformat,
    "time": lambda text: _zoned(time.fromisoformat(text), text),
    "uuid": UUID,
    "path": Path,
    "posixpath": PurePosixPath,
    "windowspath": PureWindowsPath,
}

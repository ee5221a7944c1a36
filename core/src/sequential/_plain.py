"""From a value to plain JSON data with tags: what may be stored, and as what.

Owns the tags, and each refusal with the path to what is refused. `_codec` writes and reads JSON.
"""

from __future__ import annotations

import base64
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from operator import attrgetter
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final
from uuid import UUID

from ._fields import fields_of, name_of, remembered
from ._json import MAX_DEPTH, MAX_DIGITS, path_of
from ._ref import Ref, address_of, held_by
from .errors import NotEncodable

Room = list[int]
"""How many bytes are free, then the limit that they are counted down from."""

REF: Final = "ref"
HELD: Final = "held"
"""Tags of a `Ref` whose value is kept elsewhere, and of one that holds it."""

Step = Callable[[Any, int, Room], object]
"""Turns a value, found at a depth, into plain JSON data."""

_Read = Callable[[Any], object]
_MAX_INT: Final = 10**MAX_DIGITS
_MIN_INT: Final = -(10 ** (MAX_DIGITS - 1))
_WORD: Final = 2**63
_SHORT: Final = 64  # shorter strings are not measured one by one
_SAME: Final = frozenset({bool, type(None)})


class Refused(Exception):
    """A value that cannot be stored; the way to it is gathered from the inside out."""

    def __init__(self, value: object, reason: str) -> None:
        self.type_name = name_of(value)
        self.reason = reason
        self.way: list[str | int] = []
        self._around: list[tuple[int, int]] = []

    def inside(self, container: object, *key: str | int) -> Refused:
        """Note that the refused part is in *container*, at *key*; return this."""
        self.way.extend(key)
        self._around.append((id(container), len(self.way)))
        return self

    def error(self) -> NotEncodable:
        """Return the error for users, with the whole path."""
        way = self.way[::-1]
        seen: set[int] = set()
        for container, steps in reversed(self._around):
            if container in seen:
                reason = "it contains itself; return a value without cycles"
                return NotEncodable(path_of(way[: len(way) - steps]), self.type_name, reason)
            seen.add(container)
        return NotEncodable(path_of(way), self.type_name, self.reason)


def too_large(value: object, limit: int) -> Refused:
    """Return the refusal of a *value* that would take more than *limit* bytes."""
    return Refused(value, f"it takes more than {limit:,} bytes; return where to find it instead")


def plain_of(value: Any, limit: int) -> object:
    """Return *value* as dicts, lists, strings, numbers, booleans and None, value types tagged.

    Parts that need no change are returned themselves, not copied. Values that would certainly take
    more than *limit* bytes are refused; the exact size, and strings that are no valid Unicode, are
    left to the writer, which sees both for nothing.
    """
    return step_for(type(value))(value, 0, [limit, limit])


# -- containers: two loops that are alike, because sharing one would cost a call for each member


def _dict(value: dict[Any, Any], depth: int, room: Room) -> object:
    _enter(value, depth, room)
    changed: dict[str, object] | None = None
    key: Any = None
    try:
        for key, item in value.items():
            if type(key) is not str:
                break
            kind = type(item)
            if (
                (kind is str and len(item) < _SHORT)
                or (kind is int and -_WORD < item < _WORD)
                or kind in _SAME
            ):
                continue
            new = (_STEPS.get(kind) or step_for(kind))(item, depth + 1, room)
            if new is not item:
                changed = changed or dict(value)
                changed[key] = new
        else:
            found = changed or value
            return {"$": "dict", "v": found} if "$" in found else found
    except Refused as refused:
        raise refused.inside(value, key) from None
    room[0] += 2 * len(value)  # or it would be counted twice
    return _dict(_with_plain_keys(value), depth, room)


def _list(value: list[Any], depth: int, room: Room) -> object:
    _enter(value, depth, room)
    changed: list[object] | None = None
    index = 0
    try:
        for index, item in enumerate(value):
            kind = type(item)
            if (
                (kind is str and len(item) < _SHORT)
                or (kind is int and -_WORD < item < _WORD)
                or kind in _SAME
            ):
                continue
            new = (_STEPS.get(kind) or step_for(kind))(item, depth + 1, room)
            if new is not item:
                changed = changed or list(value)
                changed[index] = new
    except Refused as refused:
        raise refused.inside(value, index) from None
    return changed or value


def _enter(value: Any, depth: int, room: Room) -> None:
    if depth >= MAX_DEPTH:
        raise Refused(value, f"it is nested more than {MAX_DEPTH} levels deep; flatten it")
    # A member takes two bytes at least. Counting them ends the walk of a small value whose lists
    # share their members, and which would be gigabytes when written.
    room[0] -= 2 * len(value)
    if room[0] < 0:
        raise too_large(value, room[1])


def _with_plain_keys(value: dict[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        if not issubclass(type(key), str):
            raise Refused(value, f"a key is of type {name_of(key)}; use string keys")
        found[str.__str__(key)] = item
    if len(found) != len(value):
        raise Refused(value, "two of its keys are the same string; use distinct keys")
    return found


def _tuple(value: Iterable[Any], depth: int, room: Room) -> object:
    return {"$": "tuple", "v": _list(list(value), depth, room)}


def _set(tag: str, value: Iterable[Any], depth: int, room: Room) -> object:
    members: Any = _list(list(value), depth, room)
    if not all(map(_hashable, members)):
        reason = "a member is a class instance and would come back as a dict; use a list"
        raise Refused(value, reason)
    # The order of a set differs from process to process, a digest must not.
    return {"$": tag, "v": sorted(members, key=repr)}


def _hashable(member: Any) -> bool:
    if type(member) is dict:
        tag = member.get("$", "dict")
        return tag != "dict" and (tag != "tuple" or all(map(_hashable, member["v"])))
    return type(member) is not list


# -- single values


def _same(value: object, _depth: int, _room: Room) -> object:
    return value


def _int(value: int, _depth: int, _room: Room) -> object:
    if not _MIN_INT < value < _MAX_INT:
        raise Refused(value, f"it has more than {MAX_DIGITS:,} digits; return it as a string")
    return value


def _float(value: float, _depth: int, _room: Room) -> object:
    if not math.isfinite(value):
        raise Refused(value, f"JSON has no {value!r}; return None or a string")
    return value


def _str(value: str, _depth: int, room: Room) -> object:
    room[0] -= len(value)
    if room[0] < 0:
        raise too_large(value, room[1])
    return value


def _text(tag: str, write: Callable[[Any], str], value: object, depth: int, room: Room) -> object:
    return {"$": tag, "v": _str(write(value), depth, room)}


def _decimal(value: Decimal) -> str:
    if not Decimal.is_finite(value):
        raise Refused(value, f"JSON has no {Decimal.__str__(value)}; return None or a string")
    return Decimal.__str__(value)


def _base64(value: bytes | bytearray | memoryview) -> str:
    return base64.b64encode(value).decode("ascii")


def _ref(value: Ref[Any], depth: int, room: Room) -> object:
    address = address_of(value)
    if address is not None:
        return {"$": REF, "v": {**address._asdict(), "codecs": list(address.codecs)}}
    if depth >= MAX_DEPTH:
        raise Refused(value, f"it is nested more than {MAX_DEPTH} levels deep; flatten it")
    found = held_by(value)
    try:
        return {"$": HELD, "v": [step_for(type(found))(found, depth + 1, room)]}
    except Refused as refused:
        raise refused.inside(value) from None


def _duration(value: timedelta, _depth: int, _room: Room) -> object:
    value = timedelta.__add__(value, timedelta())  # some subclasses have other days
    return {"$": "timedelta", "v": [value.days, value.seconds, value.microseconds]}


# -- instances of classes: code of theirs may run


def _instance(read: _Read, value: object, depth: int, room: Room) -> object:
    found = read(value)
    return step_for(type(found))(found, depth, room)


@remembered
def step_for(kind: Any) -> Step:
    """Return the step for values whose exact type is *kind*."""
    if kind in _STEPS:
        return _STEPS[kind]
    if issubclass(kind, Enum):
        return partial(_guarded, partial(_instance, attrgetter("value")))
    for base, step in _STEPS.items():
        if issubclass(kind, base):
            return partial(_guarded, partial(_exactly, _EXACT.get(base), step))
    if (read := fields_of(kind)) and not issubclass(kind, BaseException):
        return partial(_guarded, partial(_instance, read))
    return _refuse


def _exactly(exact: _Read | None, step: Step, value: Any, depth: int, room: Room) -> object:
    return step(exact(value) if exact else value, depth, room)


def _guarded(step: Step, value: object, depth: int, room: Room) -> object:
    """Take *step*, which runs code of the value's class: whatever that raises is a refusal."""
    try:
        return step(value, depth, room)
    except Refused as refused:
        raise refused.inside(value) from None
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # noqa: BLE001  (hostile classes raise what they like)
        raise Refused(value, f"its own code raised {name_of(error)}; return plain data") from None


def _refuse(value: object, _depth: int, _room: Room) -> object:
    reason = "only plain data can be stored; return a dict, a dataclass or the like"
    if isinstance(value, BaseException):
        reason = "an exception is not data; raise it, or return its message"
    elif isinstance(value, Iterator | Awaitable | AsyncIterator):
        reason = "it would be spent by reading it; return a list, or the awaited value"
    raise Refused(value, reason)


_STEPS: Final[dict[type, Step]] = {
    dict: _dict,
    list: _list,
    str: _str,
    bool: _same,
    int: _int,
    float: _float,
    type(None): _same,
    tuple: _tuple,
    set: partial(_set, "set"),
    frozenset: partial(_set, "frozenset"),
    bytes: partial(_text, "bytes", _base64),
    bytearray: partial(_text, "bytes", _base64),
    memoryview: partial(_text, "bytes", _base64),
    Decimal: partial(_text, "decimal", _decimal),
    datetime: partial(_guarded, partial(_text, "datetime", datetime.isoformat)),  # asks its tzinfo
    date: partial(_text, "date", date.isoformat),
    time: partial(_guarded, partial(_text, "time", time.isoformat)),
    timedelta: _duration,
    Ref: _ref,
    UUID: partial(_text, "uuid", UUID.__str__),
    Path: partial(_text, "path", Path.__str__),
    PurePosixPath: partial(_text, "posixpath", PurePosixPath.__str__),
    PureWindowsPath: partial(_text, "windowspath", PureWindowsPath.__str__),
}

# The exact value inside an instance of a subclass, read past whatever the subclass overrides; a
# dict or list is read as it presents itself, since an OrderedDict keeps an order of its own.
_EXACT: Final[dict[type, _Read]] = {
    dict: dict,
    list: list,
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
}

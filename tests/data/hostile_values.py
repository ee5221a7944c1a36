"""Values and bytes that must end in a declared error or in plain data: protocol.md 13.5."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from types import SimpleNamespace
from typing import Any


class RaisingBase(BaseException):
    """No Exception: `except Exception` does not see it."""


class Opaque:
    def __repr__(self) -> str:
        raise RaisingBase

    def __eq__(self, other: object) -> bool:
        raise RaisingBase

    def __hash__(self) -> int:
        raise RaisingBase

    def __reduce__(self) -> str:
        raise RaisingBase

    def __getattr__(self, name: str) -> object:
        raise RaisingBase


class RaisingDict(dict[str, int]):
    def keys(self) -> Any:
        raise RaisingBase

    def __iter__(self) -> Iterator[str]:
        raise RaisingBase


class RaisingList(list[int]):
    def __iter__(self) -> Iterator[int]:
        raise RaisingBase


@dataclass
class RaisingField:
    amount: int = 1

    def __getattribute__(self, name: str) -> object:
        if name == "amount":
            raise RaisingBase
        return super().__getattribute__(name)


class RaisingZone(dt.tzinfo):
    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
        raise RaisingBase

    tzname = dst = utcoffset  # type: ignore[assignment]


class EndlessEnum(Enum):
    ONE = 1

    @property
    def value(self) -> object:  # type: ignore[override]
        return self


class HostileName(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RaisingBase


class Nameless(metaclass=HostileName):
    pass


@dataclass(frozen=True)
class Point:
    x: int = 1


@dataclass
class Node:
    next: object = None


def cycle() -> object:
    ring: list[object] = [1]
    ring.append({"again": ring})
    return {"ring": ring}


def cycle_of_instances() -> object:
    node = Node()
    node.next = [node]
    return node


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


async def coroutine() -> None: ...


def open_coroutine() -> object:
    made = coroutine()
    made.close()
    return made


class Text(str):
    __slots__ = ()

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return self is other


NAN = float("nan")
INFINITY = float("inf")

# name, value, path of the refused part, a part of the reason
REFUSED: list[tuple[str, Callable[[], object], str, str]] = [
    ("nan", lambda: NAN, "$", "no nan"),
    ("infinity", lambda: {"a": [1, INFINITY]}, "$.a[1]", "no inf"),
    ("minus infinity", lambda: (1, -INFINITY), "$[1]", "no -inf"),
    ("nan of a float subclass", lambda: type("F", (float,), {})("nan"), "$", "no nan"),
    ("decimal nan", lambda: [Decimal("NaN")], "$[0]", "no NaN"),
    ("signalling decimal nan", lambda: [Decimal("sNaN")], "$[0]", "no sNaN"),
    ("decimal infinity", lambda: {Decimal("-Infinity")}, "$[0]", "no -Infinity"),
    ("integer key", lambda: {"a": {1: 2}}, "$.a", "type int"),
    ("None key", lambda: {None: 2}, "$", "type NoneType"),
    ("tuple key", lambda: {(1, 2): 2}, "$", "type tuple"),
    ("bytes key", lambda: {b"a": 2}, "$", "type bytes"),
    ("equal text keys", lambda: {"a": 1, Text("a"): 2}, "$", "same string"),
    ("lone surrogate", lambda: {"a": ["x", "\ud800"]}, "$.a[1]", "surrogate"),
    ("lone low surrogate in a tuple", lambda: {"a": ("x\udc00",)}, "$.a[0]", "surrogate"),
    ("lone surrogate in a set", lambda: {"\udfff"}, "$[0]", "surrogate"),
    ("lone surrogate in a key", lambda: {"a": {"\ud800": 1}}, '$.a["\\ud800"]', "surrogate"),
    ("lone surrogate under $", lambda: {"$": {"b": "\ud800"}}, '$["$"].b', "surrogate"),
    ("cycle", cycle, "$.ring[1].again", "itself"),
    ("cycle of instances", cycle_of_instances, "$.next[0]", "itself"),
    ("65 levels", lambda: nested(65), "$" + "[0]" * 64, "64 levels"),
    ("10,000 levels", lambda: nested(10_000), "$" + "[0]" * 64, "64 levels"),
    ("shared large strings", lambda: ["x" * 2**20] * 10**5, "$", "bytes"),
    ("over the cap", lambda: "x" * (50 * 2**20 + 1), "$", "bytes"),
    ("over the cap as bytes", lambda: [b"x" * (40 * 2**20)], "$[0]", "bytes"),
    ("over the cap by two quotes", lambda: "x" * (50 * 2**20 - 1), "$", "bytes"),
    ("4,301 digits", lambda: [10**4300], "$[0]", "digits"),
    ("minus 4,300 digits", lambda: -(10**4299), "$", "digits"),
    ("generator", lambda: (n for n in range(3)), "$", "spent"),
    ("iterator", lambda: {"a": iter([1])}, "$.a", "spent"),
    ("coroutine", open_coroutine, "$", "awaited"),
    ("exception", lambda: {"error": ValueError("x")}, "$.error", "exception"),
    ("object", lambda: [object()], "$[0]", "plain data"),
    ("namespace", lambda: SimpleNamespace(a=1), "$", "plain data"),
    ("function", lambda: nested, "$", "plain data"),
    ("class", lambda: Point, "$", "plain data"),
    ("complex", lambda: 1j, "$", "plain data"),
    ("range", lambda: range(3), "$", "plain data"),
    ("object with hostile hooks", lambda: [Opaque()], "$[0]", "plain data"),
    ("object with a hostile metaclass", Nameless, "$", "plain data"),
    ("dict whose keys raise", lambda: {"a": RaisingDict(b=1)}, "$.a", "RaisingBase"),
    ("list whose iteration raises", lambda: RaisingList([1]), "$", "RaisingBase"),
    ("field that raises", lambda: {"a": RaisingField()}, "$.a", "RaisingBase"),
    ("zone that raises", lambda: dt.datetime(2020, 1, 1, tzinfo=RaisingZone()), "$", "RaisingBase"),
    ("enum that is its own value", lambda: EndlessEnum.ONE, "$", "itself"),
    ("set of instances", lambda: {"a": {Point()}}, "$.a", "use a list"),
    ("set of tuples of instances", lambda: {(1, Point())}, "$", "use a list"),
]

# name, JSON from a client, a part of the reason
REFUSED_BODIES: list[tuple[str, bytes, str]] = [
    ("empty", b"", "not JSON"),
    ("spaces", b"  ", "not JSON"),
    ("two values", b"1 2", "not JSON"),
    ("cut short", b'{"a": [1', "not JSON"),
    ("trailing comma", b"[1,]", "not JSON"),
    ("single quotes", b"{'a': 1}", "not JSON"),
    ("leading zero", b"01", "not JSON"),
    ("leading plus", b"+1", "not JSON"),
    ("hexadecimal", b"0x10", "not JSON"),
    ("comment", b"1 // one", "not JSON"),
    ("duplicate keys", b'{"a": 1, "a": 2}', '"a" stands twice'),
    ("duplicate keys inside", b'[{"b": {"k\\u0061": 1, "ka": 1}}]', '"ka" stands twice'),
    ("100,000 arrays", b"[" * 100_000, "64 levels"),
    ("100,000 closed arrays", b"[" * 100_000 + b"]" * 100_000, "64 levels"),
    ("100,000 objects", b'{"a":' * 100_000, "64 levels"),
    ("65 levels", b"[" * 65 + b"]" * 65, "64 levels"),
    ("5,000 digits", b"9" * 5000, "digits"),
    ("minus 4,300 digits", b"-" + b"9" * 4300, "digits"),
    ("NaN", b'{"a": NaN}', "no NaN"),
    ("Infinity", b"[Infinity]", "no Infinity"),
    ("minus Infinity", b"-Infinity", "no -Infinity"),
    ("1e999", b"1e999", "too large"),
    ("minus 1e999", b"[-1e999]", "too large"),
    ("lone surrogate", b'"\\ud800"', "surrogate"),
    ("lone low surrogate", b'["\\uDC00x"]', "surrogate"),
    ("lone surrogate in a key", b'{"\\udfff": 1}', "surrogate"),
    ("surrogates in the wrong order", b'"\\ude00\\ud83d"', "surrogate"),
    ("surrogate as UTF-8", b'"\xed\xa0\x80"', "UTF-8"),
    ("invalid UTF-8", b'"\xff"', "UTF-8"),
    ("overlong UTF-8", b'"\xc0\x80"', "UTF-8"),
    ("UTF-16", '{"a": 1}'.encode("utf-16"), "UTF-8"),
    ("UTF-16 without a mark", '{"a": 1}'.encode("utf-16-le"), "not JSON"),
    ("UTF-32", '{"a": 1}'.encode("utf-32-le"), "not JSON"),
    ("byte order mark", b"\xef\xbb\xbf{}", "byte order mark"),
    ("raw control character", b'"a\x00b"', "not JSON"),
    ("10,001 keys", b"{" + b",".join(b'"%d":1' % n for n in range(10_001)) + b"}", "10,001 keys"),
    ("50 MiB and more", b'"' + b"x" * (50 * 2**20) + b'"', "bytes"),
    ("pickle", b"\x80\x04\x95\x0b\x00\x00\x00.", "UTF-8"),
    ("pickle, protocol 0", b"cos\nsystem\n(S'id'\ntR.", "not JSON"),
]

# Stored bytes that are no value of ours: name, bytes
DAMAGED: list[tuple[str, bytes]] = [
    ("unknown tag", b'{"$":"os.system","v":"id"}'),
    ("tag of a later version", b'{"$":"complex","v":[1,2]}'),
    ("tag without value", b'{"$":"decimal"}'),
    ("tag with more than a value", b'{"$":"decimal","v":"1","w":2}'),
    ("tag with another key", b'{"$":"decimal","w":"1"}'),
    ("tag that is a number", b'{"$":1,"v":"1"}'),
    ("tag that is null", b'{"$":null,"v":"1"}'),
    ("tag that is an object", b'{"$":{"$":"decimal","v":"1"},"v":"1"}'),
    ("decimal of a number", b'{"$":"decimal","v":1.5}'),
    ("decimal of words", b'{"$":"decimal","v":"one"}'),
    ("decimal NaN", b'{"$":"decimal","v":"NaN"}'),
    ("decimal infinity", b'{"$":"decimal","v":"-Infinity"}'),
    ("bytes outside the alphabet", b'{"$":"bytes","v":"a*=="}'),
    ("bytes beyond ASCII", '{"$":"bytes","v":"é==="}'.encode()),
    ("bytes cut short", b'{"$":"bytes","v":"abc"}'),
    ("tuple of text", b'{"$":"tuple","v":"abc"}'),
    ("tuple of an object", b'{"$":"tuple","v":{"a":1}}'),
    ("set of objects", b'{"$":"set","v":[{}]}'),
    ("frozenset of arrays", b'{"$":"frozenset","v":[[]]}'),
    ("datetime of a number", b'{"$":"datetime","v":0}'),
    ("datetime of words", b'{"$":"datetime","v":"now"}'),
    ("year 10000", b'{"$":"date","v":"10000-01-01"}'),
    ("hour 25", b'{"$":"time","v":"25:00"}'),
    ("timedelta of words", b'{"$":"timedelta","v":["1",2,3]}'),
    ("timedelta too long", b'{"$":"timedelta","v":[1000000000000,0,0]}'),
    ("timedelta with eight parts", b'{"$":"timedelta","v":[1,1,1,1,1,1,1,1]}'),
    ("uuid cut short", b'{"$":"uuid","v":"1234"}'),
    ("path of an array", b'{"$":"path","v":["a"]}'),
    ("dict of an array", b'{"$":"dict","v":[["a",1]]}'),
    ("65 levels", b"[" * 65 + b"]" * 65),
    ("65 levels, tagged", b'{"$":"tuple","v":[' * 65 + b"]}" * 65),
    ("100,000 levels, tagged", b'{"$":"tuple","v":[' * 100_000),
    ("5,000 digits", b"9" * 5000),
    ("not a number", b"NaN"),
    ("1e999", b"1e999"),
    ("lone surrogate", b'"\\ud800"'),
    ("invalid UTF-8", b'"\xff"'),
    ("empty", b""),
    ("pickle", b"\x80\x04\x95\x0b\x00\x00\x00."),
    ("over the cap", b'"' + b"x" * (50 * 2**20) + b'"'),
]

# What makes other libraries run code when they read it. Here each is plain data or an error.
GADGETS: list[bytes] = [
    b'{"py/object": "os.system", "py/newargs": ["id"]}',
    b'{"py/object/apply:os.system": ["id"]}',
    b'{"py/reduce": [{"py/type": "os.system"}, {"py/tuple": ["id"]}]}',
    b'{"py/function": "os.system"}',
    b'{"py/type": "subprocess.Popen"}',
    b'{"py/repr": "os/os.system(\'id\')"}',
    b'{"py/ref": "os.system"}',
    b'{"py/state": {"__class__": "os._wrap_close"}}',
    b'{"lc": 2, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "id"}}',
    b'{"lc": 1, "type": "constructor", "id": ["langchain", "llms", "OpenAI"], "kwargs": {}}',
    b'{"lc": 1, "type": "secret", "id": ["AWS_SECRET_ACCESS_KEY"]}',
    b'{"__reduce__": ["os.system", ["id"]]}',
    b'{"__reduce_ex__": [4]}',
    b'{"__class__": "subprocess.Popen", "args": ["id"]}',
    b'{"__init__": {"__globals__": {"os": "system"}}}',
    b'{"__import__": "antigravity"}',
    b'{"__module__": "os", "__name__": "system"}',
    b'{"__dataclass_fields__": {}}',
    b'{"__attrs_attrs__": []}',
    b'{"__struct_fields__": ["a"]}',
    b'{"__pydantic_validator__": "x"}',
    b'{"__proto__": {"admin": true}}',
    b'{"__tool": ["os", "system", {"command": "id"}]}',
    b'{"__error": "x"}',
    b'"!!python/object/apply:os.system [id]"',
    b'"!!python/object/new:subprocess.Popen [id]"',
    b"\"cos\\nsystem\\n(S'id'\\ntR.\"",
    b'"gASVHQAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAJpZJSFlFKULg=="',
    b'{"$type": "System.Diagnostics.Process, System"}',
    b'{"@type": "com.sun.rowset.JdbcRowSetImpl", "dataSourceName": "ldap://x/y"}',
    b'{"@class": "javax.script.ScriptEngineManager"}',
    b'{"$ref": "file:///etc/passwd"}',
    b'{"$": "os.system", "v": "id"}',
    b'{"$": "object", "v": {"class": "os.system"}}',
    b'{"$": "__import__", "v": "antigravity"}',
    b'{"$": "builtins.eval", "v": "1+1"}',
    b'{"$": "_load", "v": []}',
    b'{"$": "dict", "v": {"$": "os.system", "v": "id"}}',
    b'{"$": "path", "v": "/etc/passwd"}',
    b'{"$": "path", "v": "\\\\\\\\evil\\\\share"}',
    b'{"$": "tuple", "v": [{"$": "subprocess.Popen", "v": ["id"]}]}',
    b'{"$": "set", "v": [{"$": "tuple", "v": ["os.system"]}]}',
    b'{"\\u0024": "os.system", "v": "id"}',
]

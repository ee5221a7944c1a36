"""Flow programs with structure, as data: one language, interpreted in both styles of flow.

A block is a list of statements, a statement is a list that begins with its word; see `STEPS` and
the interpreters. What a program has met so far decides its ifs and the inputs of its tools, so a
value that comes back in another form sends it another way. What disturbs a run is not known here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from sequential import (
    Registry,
    Rejected,
    RetryPolicy,
    RunCancelled,
    SignalTimedOut,
    Steps,
    ToolContext,
    ToolError,
    continue_as_new,
    det,
    flow,
    gather,
    map_tool,
    race,
    run_child,
    save,
    sleep,
    tool,
    tool_call,
    wait_for_signal,
)
from sequential.errors import ChildCancelled, ChildFailed

Statement = list[Any]
Block = list[Statement]

LARGE = 70_000
"""Characters of a text that a record only refers to."""


class Colour(Enum):
    RED = "r"
    GREEN = "g"


@dataclass
class Item:
    """A class with value types inside, read back by annotation."""

    name: str
    price: Decimal
    at: datetime
    colour: Colour
    tags: tuple[str, ...] = ()


class Broken(Exception):
    """What a program raises itself."""


def _item(number: int) -> Item:
    price, colour = Decimal(number) / 8, list(Colour)[number % 2]
    return Item(f"i{number}", price, _moment(number), colour, ("x",) * (number % 3))


def _moment(number: int) -> datetime:
    return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(days=number, microseconds=number)


VALUES: dict[str, tuple[Any, Callable[[int], Any]]] = {
    "int": (int, lambda n: n * 10**20),
    "float": (float, lambda n: n / 7),
    "text": (str, lambda n: "é\0🦊\u202e" * n),
    "none": (None, lambda n: None),
    "decimal": (Decimal, lambda n: Decimal(n) / 8),
    "datetime": (datetime, _moment),
    "date": (date, lambda n: _moment(n).date()),
    "time": (time, lambda n: time(n % 24, n % 60, 1, n)),
    "timedelta": (timedelta, lambda n: timedelta(n, n, n)),
    "uuid": (UUID, lambda n: UUID(int=n)),
    "path": (Path, lambda n: Path("a") / str(n)),
    "bytes": (bytes, lambda n: bytes([n, 0, 255])),
    "tuple": (tuple, lambda n: (n, (Decimal(n), "t"))),
    "set": (set, lambda n: {n}),
    "frozenset": (frozenset, lambda n: frozenset({(n, "f")})),
    "dollar": (dict, lambda n: {"$": "decimal", "v": n, "": {"$": {"$": None}}}),
    "list": (list[Item], lambda n: [_item(n), _item(n + 1)]),
    "class": (Item, _item),
    "enum": (Colour, lambda n: list(Colour)[n % 2]),
    "large": (str, lambda n: "x" * (LARGE + n)),
}
"""What tools return: an annotation, and how the value is made."""


def digest(got: object) -> int:
    """Return a number that every form of every value in *got* counts for."""
    return int.from_bytes(sha256(repr(got).encode()).digest()[:4])


def shown(value: object) -> str:
    """Return *value* with its type, short."""
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) < 200 else f"{text[:20]}… {digest(value)}"


_POLICY = RetryPolicy(max_attempts=3, first=4.0, jitter=False)


@cache
def registry() -> Registry:
    """Return, once made, both interpreters and their tools."""
    known = Registry()
    for name, (annotation, make) in VALUES.items():

        def give(number: int, make: Callable[[int], Any] = make) -> Any:
            return make(number)

        give.__annotations__ = {"number": int, "make": object, "return": annotation}
        tool("give", name, registry=known)(give)
    _add_tools(known)
    flow(name="generator", registry=known)(generator)
    flow(name="coroutine", registry=known)(coroutine)
    return known


def _add_tools(known: Registry) -> None:
    @tool("t", "add", registry=known)
    def add(number: int) -> int:
        return number

    @tool("t", "echo", registry=known)
    def echo(what: Any) -> Any:
        return what

    @tool("t", "fail", registry=known)
    def fail(number: int) -> int:
        raise ValueError(f"no {number}")

    @tool("t", "flaky", retry=_POLICY, registry=known)
    def flaky(context: ToolContext, number: int, failures: int) -> int:
        if context.attempt <= failures:
            raise ConnectionError("no answer") if context.attempt % 2 else Rejected("not now")
        return number

    @tool("t", "once", mode="at-most-once", registry=known)
    def once(number: int) -> int:
        return number

    @tool("t", "unfit", registry=known)
    def unfit(number: int) -> object:
        return [object(), number]


def _call(name: str, **given: Any) -> Any:
    return tool_call("t", name, given)


STEPS: dict[str, Callable[..., Any]] = {
    "give": lambda kind, number: tool_call("give", kind, {"number": number}),
    "add": lambda number: _call("add", number=number),
    "fail": lambda number: _call("fail", number=number),
    "flaky": lambda number, failures: _call("flaky", number=number, failures=failures),
    "unfit": lambda number: _call("unfit", number=number),
    "sleep": sleep,
    "save": save,
    # Sent when the run stands there, before it starts, or never: see the tests.
    "wait": lambda name: wait_for_signal(name, int),
    "wait_for": lambda name, limit: wait_for_signal(name, int, timeout=limit, default=None),
    "wait_or_raise": lambda name, limit: wait_for_signal(name, int, timeout=limit),
    "return": lambda number: tool_call("t", "fail", {"number": number}, errors="return"),
    "child": lambda style, block: run_child(style, {"program": block}),
}
"""Statements that are one step whose result is kept."""

CAUGHT = (ToolError, SignalTimedOut, ChildFailed, ChildCancelled, Broken)


def _plainly(word: str, rest: list[Any], got: list[Any]) -> bool:
    """Do a statement that takes no step; tell whether it was one."""
    if word == "det":
        got.append([det.random(), str(det.uuid4())])
    elif word == "raise":
        raise Broken(f"number {rest[0]}")
    return word == "det"


def _chosen(rest: list[Any], got: list[Any]) -> Block:
    """Return the block that an ``if`` takes."""
    block: Block = rest[digest(got) % 2]
    return block


def _plain(ends: Any) -> list[Any]:
    """Return what branches came to, errors as text."""
    return [str(each) if isinstance(each, Exception) else each for each in ends]


def _added(number: int) -> Any:
    return _call("add", number=number)


# -- the same twice, line by line ----------------------------------------------------------------


def generator(program: Block, round: int = 0) -> Steps[list[str]]:
    got: list[Any] = [round]
    try:
        yield from _generator(program, round, got)
    except RunCancelled:
        yield from _call("add", number=len(got))
        raise
    return [shown(value) for value in got]


def _generator(  # noqa: C901, PLR0912  (one branch a word)
    block: Block, turn: int, got: list[Any]
) -> Generator[Any, Any, None]:
    for word, *rest in block:
        if word in STEPS:
            # The three ways to ask: yielded, delegated to, and as a literal.
            if word == "return":
                got.append((yield {"__tool": ["t", "fail", {"number": rest[0]}]}))
            elif len(got) % 2:
                got.append((yield STEPS[word](*rest)))
            else:
                got.append((yield from STEPS[word](*rest)))
        elif word == "echo":
            got.append((yield _call("echo", what=got[-1])))
        elif word == "once":
            with suppress(ToolError):
                yield _call("once", number=rest[0])
        elif word == "loop":
            for _ in range(rest[0]):
                yield from _generator(rest[1], turn, got)
        elif word == "if":
            yield from _generator(_chosen(rest, got), turn, got)
        elif word == "call":
            inner: list[Any] = [turn]
            yield from _generator(rest[0], turn, inner)
            got.append(inner)
        elif word == "try":
            try:
                yield from _generator(rest[0], turn, got)
            except CAUGHT as error:
                got.append(str(error))
                yield from _generator(rest[1], turn, got)
            else:
                got.append("else")
            finally:
                yield from _generator(rest[2], turn, got)
        elif word == "with":
            try:
                yield from _generator(rest[0], turn, got)
            finally:
                yield _call("add", number=len(got))
        elif word == "gather":
            branches = [_branch(each, turn) for each in rest[0]]
            ends = yield gather(*branches, errors="collect", max_concurrency=rest[1])
            got.append(_plain(ends))
        elif word == "race":
            got.append(_plain((yield race(_never(), _branch(rest[0], turn)))))
        elif word == "map":
            got.append((yield from map_tool(_added, rest[0], max_concurrency=rest[1])))
        elif word == "anew":
            if turn < 2:
                yield continue_as_new({"program": block, "round": turn + 1})
        else:
            _plainly(word, rest, got)


def _branch(block: Block, turn: int) -> Generator[Any, Any, list[Any]]:
    got: list[Any] = [turn]
    yield from _generator(block, turn, got)
    return got


def _never() -> Generator[Any, Any, None]:
    try:
        yield wait_for_signal("never")
    finally:
        yield _call("add", number=1)


async def coroutine(program: Block, round: int = 0) -> list[str]:
    got: list[Any] = [round]
    try:
        await _coroutine(program, round, got)
    except RunCancelled:
        await _call("add", number=len(got))
        raise
    return [shown(value) for value in got]


async def _coroutine(  # noqa: C901, PLR0912  (one branch a word)
    block: Block, turn: int, got: list[Any]
) -> None:
    for word, *rest in block:
        if word in STEPS:
            got.append(await STEPS[word](*rest))
        elif word == "echo":
            got.append(await _call("echo", what=got[-1]))
        elif word == "once":
            with suppress(ToolError):
                await _call("once", number=rest[0])
        elif word == "loop":
            for _ in range(rest[0]):
                await _coroutine(rest[1], turn, got)
        elif word == "if":
            await _coroutine(_chosen(rest, got), turn, got)
        elif word == "call":
            inner: list[Any] = [turn]
            await _coroutine(rest[0], turn, inner)
            got.append(inner)
        elif word == "try":
            try:
                await _coroutine(rest[0], turn, got)
            except CAUGHT as error:
                got.append(str(error))
                await _coroutine(rest[1], turn, got)
            else:
                got.append("else")
            finally:
                await _coroutine(rest[2], turn, got)
        elif word == "with":
            async with _closing(got):
                await _coroutine(rest[0], turn, got)
        elif word == "gather":
            branches = [_async_branch(each, turn) for each in rest[0]]
            ends = await gather(*branches, errors="collect", max_concurrency=rest[1])
            got.append(_plain(ends))
        elif word == "race":
            got.append(_plain(await race(_async_never(), _async_branch(rest[0], turn))))
        elif word == "map":
            got.append(await map_tool(_added, rest[0], max_concurrency=rest[1]))
        elif word == "anew":
            if turn < 2:
                await continue_as_new({"program": block, "round": turn + 1})
        else:
            _plainly(word, rest, got)


async def _async_branch(block: Block, turn: int) -> list[Any]:
    got: list[Any] = [turn]
    await _coroutine(block, turn, got)
    return got


async def _async_never() -> None:
    async with _closing([1]):
        await wait_for_signal("never")


@asynccontextmanager
async def _closing(got: list[Any]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await _call("add", number=len(got))

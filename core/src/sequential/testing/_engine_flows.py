"""Flows and tools for tests of the whole engine: small ones, with places where things can happen.

A flow or a tool comes by a named place; what a test has planned there happens then: somebody else
acts, time passes, the process is lost. Knows no storage and no failpoint by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from .._calls import ToolContext
from .._children import run_child
from .._parallel import gather
from .._registry import Registry, flow, tool
from .._steps import Steps, continue_as_new, save, sleep, tool_call, wait_for_signal
from .._tools import RetryPolicy
from ..errors import RunCancelled, ToolError

LARGE = 100_000
"""Characters of a value that is kept beside its record."""

RESULTS = {
    "errand": (b"[1,2,3]", b"[1,2,3,4]"),
    "letter": (b"[1,7,2]",),
    "careful": (b"[1,2]", b"[-1,2]"),
    "bulky": (b"[100000,2,3]",),
    "odd": (b'["ResultNotEncodable",2]',),
    "stubborn": (b"[5,2]",),
    "counting": (b"3",),
    "spread": (b"[1,2,3,4]",),
    "spread-once": (b"[1,2]", b"[-1,2]"),
    "family": (b"[1,2]",),
}
"""What each flow returns, undisturbed or not, as it is stored."""

_NAMES = ("first", "second", "third")
_LATER = RetryPolicy(max_attempts=3, first=120.0, jitter=False)


class ProcessLost(BaseException):
    """The process is gone: nobody catches this, and nothing is tidied up."""


class Places:
    """What happens where.

    Attributes:
        passed: How often each place was come by.
        effects: What the tools did elsewhere: how often each idempotency key was seen there.
    """

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()
        self.effects: Counter[str] = Counter()
        self._plans: dict[str, tuple[bool, Callable[[], object]]] = {}

    def at(self, place: str, act: Callable[[], object], *, always: bool = False) -> None:
        """Let *act* happen the next time that *place* is come by, or every time."""
        self._plans[place] = (always, act)

    def clear(self) -> None:
        """Let nothing happen any more."""
        self._plans.clear()

    def here(self, place: str) -> None:
        """Come by *place*."""
        self.passed[place] += 1
        always, act = self._plans.get(place, (False, _nothing))
        if not always:
            self._plans.pop(place, None)
        act()


def _nothing() -> None:
    pass


def make_registry(places: Places, code: str = "") -> Registry:
    """Return the flows and tools of one deployment.

    Args:
        places: What they come by.
        code: Which code was deployed: ``changed`` asks for another second step, ``longer`` for a
            fourth, ``gone`` has no flows; anything else is the code that all others know.
    """
    known = Registry()
    tools = _tools(known, places)
    if code != "gone":
        _errands(known, places, tools, code)
        _others(known, places, tools)
        _guarded(known, places, tools)
        _longer_ones(known, tools)
        _side_by_side(known, places, tools)
    return known


Tool = Callable[[int], Any]


def _tools(known: Registry, places: Places) -> dict[str, Tool]:
    def used(name: str, context: ToolContext) -> None:
        places.here(name)
        places.effects[context.idempotency_key] += 1
        places.here(f"{name} done")

    made = {name: _named(known, name, used) for name in ("first", "second", "third", "undo")}

    @tool("t", "once", mode="at-most-once", registry=known)
    def once(context: ToolContext, number: int) -> int:
        used("once", context)
        return number

    @tool("t", "bulk", registry=known)
    def bulk(context: ToolContext, number: int) -> str:  # noqa: ARG001  (tools look alike)
        used("bulk", context)
        return "x" * LARGE

    @tool("t", "odd", registry=known)
    def odd(context: ToolContext, number: int) -> object:  # noqa: ARG001  (tools look alike)
        used("odd", context)
        return object()

    @tool("t", "flaky", retry=_LATER, registry=known)
    def flaky(context: ToolContext, number: int) -> int:
        used("flaky", context)
        return number

    return made | {"once": once, "bulk": bulk, "odd": odd, "flaky": flaky}


def _named(known: Registry, name: str, used: Callable[[str, ToolContext], None]) -> Tool:
    @tool("t", name, registry=known)
    def plain(context: ToolContext, number: int) -> int:
        used(name, context)
        return number

    return plain


def _errands(known: Registry, places: Places, tools: dict[str, Tool], code: str) -> None:
    @flow(name="errand", registry=known)
    async def errand() -> list[int]:
        places.here("body")
        if code == "changed":
            places.here("changed code")
        got = []
        for number, name in enumerate(("first", "second", "third"), 1):
            asked = "undo" if (code, number) == ("changed", 2) else name
            got.append(await tools[asked](number))
            places.here(f"body {number}")
        if code == "longer":
            places.here("longer code")
            got.append(await tools["undo"](4))
        return got


def _others(known: Registry, places: Places, tools: dict[str, Tool]) -> None:
    @flow(name="letter", registry=known)
    def letter() -> Steps[list[int]]:
        places.here("body")
        got = [(yield from tools["first"](1))]
        got.append((yield from wait_for_signal("go", int)))
        got.append((yield from tools["second"](2)))
        return got

    @flow(name="careful", registry=known)
    async def careful() -> list[int]:
        places.here("body")
        try:
            got = [await tools["once"](1)]
        except ToolError as error:
            got = [-1 if error.type == "StepInterrupted" else -2]
        return [*got, await tools["second"](2)]

    @flow(name="bulky", registry=known)
    async def bulky() -> list[int]:
        places.here("body")
        text = await tools["bulk"](1)
        return [len(text), await tools["second"](2), await tools["third"](3)]

    @flow(name="odd", registry=known)
    async def odd() -> list[object]:
        places.here("body")
        try:
            got = [await tools["odd"](1)]
        except ToolError as error:
            got = [error.type]
        return [*got, await tools["second"](2)]

    @flow(name="stubborn", registry=known)
    async def stubborn() -> list[int]:
        places.here("body")
        return [await tools["flaky"](5), await tools["second"](2)]


def _guarded(known: Registry, places: Places, tools: dict[str, Tool]) -> None:
    @flow(name="guarded", registry=known)
    def guarded() -> Steps[list[int]]:
        places.here("body")
        try:
            got = [(yield from tools["first"](1))]
            return [*got, (yield from wait_for_signal("go", int))]
        except RunCancelled:
            yield from tools["undo"](9)
            raise


def _side_by_side(known: Registry, places: Places, tools: dict[str, Tool]) -> None:
    @flow(name="spread", registry=known)
    def spread() -> Steps[list[int]]:
        places.here("body")
        got = yield from gather(*[tools[name](n) for n, name in enumerate(_NAMES, 1)])
        return [*got, (yield from tools["undo"](4))]

    async def once_or(instead: int) -> int:
        try:
            return int(await tools["once"](1))
        except ToolError as error:
            return instead if error.type == "StepInterrupted" else -2

    @flow(name="spread-once", registry=known)
    async def spread_once() -> list[int]:
        places.here("body")
        return list(await gather(once_or(-1), tools["second"](2)))


def _longer_ones(known: Registry, tools: dict[str, Tool]) -> None:
    @flow(name="counting", registry=known)
    def counting(number: int = 0) -> Steps[int]:
        number += yield from tools["first"](1)
        if number < 3:
            yield from continue_as_new({"number": number})
        return number

    @flow(name="single", registry=known)
    async def single() -> int:
        return int(await tools["first"](1))

    @flow(name="family", registry=known)
    async def family() -> list[int]:
        return [await run_child(single), await tools["second"](2)]

    @flow(name="journey", registry=known)
    def journey(number: int = 1) -> Steps[list[object]]:
        got: list[object] = [(yield from tools["first"](number))]
        try:
            got.append((yield from tools["flaky"](2)))
            yield from sleep(3600)
            got.append((yield from wait_for_signal("go", int)))
            got.append((yield from wait_for_signal("never", int, timeout=60, default="late")))
            yield save()
            text = yield from tools["bulk"](1)
            got.append(len(text))
            got.append((yield from tools["once"](3)))
        except RunCancelled:
            yield from tools["undo"](9)
            raise
        return got

    @flow(name="failing", registry=known)
    async def failing() -> int:
        await tools["first"](1)
        return int(await tool_call("t", "second", {"number": 2}))

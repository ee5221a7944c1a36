"""Small flow programs as data: one interpreter in both styles, and what a history must come to.

A program is a list of operations, the input of a run. What disturbs the run is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import cache
from itertools import count
from typing import Any

from sequential import (
    Registry,
    Rejected,
    RetryPolicy,
    RunCancelled,
    Steps,
    ToolContext,
    ToolError,
    continue_as_new,
    det,
    flow,
    save,
    sleep,
    tool,
    tool_call,
    wait_for_signal,
)
from sequential._model import StepOutcome, StepRecord

Op = list[Any]
Program = list[Op]
STYLES = ("generator", "coroutine")
EXTRA: Op = ["add", -1]
"""What changed code asks for first, and no program does."""


class Code(StrEnum):
    """Which version of the code a process has."""

    OLD = "old"
    COMPATIBLE = "compatible"
    """Each flow is rewritten in the other style; the steps are the same."""
    CHANGED = "changed"
    """Each flow asks for one step more, before all others."""
    MISSING = "missing"
    """One of the flows is gone."""
    TOOLLESS = "toolless"
    """One of the tools is gone."""

    @property
    def family(self) -> str:
        """Codes of one family can carry on each other's histories, those of two never."""
        return "new" if self is Code.CHANGED else "old"


@cache
def registry(code: Code = Code.OLD) -> Registry:
    """Return, once made, the interpreter in both styles and its tools, in this version."""
    known = Registry()
    _add_tools(known, code)
    first, second = STYLES if code is not Code.COMPATIBLE else reversed(STYLES)
    _add_coroutine(known, second, code)
    if code is not Code.MISSING:
        _add_generator(known, first, code)
    return known


def _add_tools(known: Registry, code: Code) -> None:  # noqa: C901  (a list of small functions)
    policy = RetryPolicy(max_attempts=3, first=4.0, jitter=False)

    @tool("t", "undo", registry=known)
    def undo(number: int) -> int:
        return number

    @tool("t", "fail", registry=known)
    def fail(number: int) -> int:
        raise ValueError(f"no {number}")

    @tool("t", "flaky", retry=policy, registry=known)
    def flaky(context: ToolContext, number: int, failures: int) -> int:
        if context.attempt <= failures:
            raise ConnectionError("no answer") if context.attempt % 2 else Rejected("not now")
        return number

    @tool("t", "once", mode="at-most-once", registry=known)
    def once(number: int) -> int:
        return number

    @tool("t", "token", registry=known)
    def token() -> int:
        return next(_TOKENS[0])

    @tool("t", "poison", registry=known)
    def poison(number: int) -> int:
        return number

    @tool("t", "secret", registry=known)
    def secret(text: str) -> int:
        return len(text)

    if code is not Code.TOOLLESS:

        @tool("t", "add", registry=known)
        def add(number: int) -> int:
            return number


def restart_tokens() -> None:
    """Let the tool ``token``, which returns another number each time, begin from 1 again."""
    _TOKENS[0] = count(1)


_TOKENS = [count(1)]


def _called(name: str) -> Callable[..., Any]:
    return lambda number: tool_call("t", name, {"number": number})


_STEPS: dict[str, Callable[..., Any]] = {
    "add": _called("add"),
    "undo": _called("undo"),
    "fail": _called("fail"),
    "stop": _called("fail"),
    "once": _called("once"),
    "poison": _called("poison"),
    "return": lambda number: tool_call("t", "fail", {"number": number}, errors="return"),
    "flaky": lambda number, failures: tool_call(
        "t", "flaky", {"number": number, "failures": failures}
    ),
    "secret": lambda text: tool_call("t", "secret", {"text": text}),
    "token": lambda: tool_call("t", "token"),
    "sleep": sleep,
    "save": save,
    "wait": lambda name: wait_for_signal(name, int),
    "wait_for": lambda name, limit: wait_for_signal(name, int, timeout=limit, default=None),
    "continue": continue_as_new,
}


def _step_of(op: Op) -> Any:
    kind, *rest = op
    return _STEPS[kind](*rest)


def _add_generator(known: Registry, name: str, code: Code) -> None:
    @flow(name=name, registry=known)
    def generator(input: Program) -> Steps[list[Any]]:
        got: list[Any] = []
        try:
            if code is Code.CHANGED:
                yield _step_of(EXTRA)
            for op in input:
                if op[0] == "det":
                    got.append(det.random())
                    continue
                try:
                    got.append((yield _step_of(op)))
                except ToolError as error:
                    if op[0] == "stop":
                        raise
                    got.append([error.type, error.attempts])
        except RunCancelled:
            yield _step_of(["undo", len(got)])
            raise
        return got


def _add_coroutine(known: Registry, name: str, code: Code) -> None:
    @flow(name=name, registry=known)
    async def coroutine(input: Program) -> list[Any]:
        got: list[Any] = []
        try:
            if code is Code.CHANGED:
                await _step_of(EXTRA)
            for op in input:
                if op[0] == "det":
                    got.append(det.random())
                    continue
                try:
                    got.append(await _step_of(op))
                except ToolError as error:
                    if op[0] == "stop":
                        raise
                    got.append([error.type, error.attempts])
        except RunCancelled:
            await _step_of(["undo", len(got)])
            raise
        return got


def expected(program: Program, steps: Sequence[StepRecord]) -> list[Any]:
    """Return what *program* must return over the recorded *steps*; det values are left out."""
    got: list[Any] = []
    records = iter(steps)
    for op in program:
        if op[0] == "det":
            continue
        record = next(records)
        value = json.loads(record.value.data)
        if record.outcome is StepOutcome.ERROR:
            if op[0] == "return":
                got.append({"__error": value["message"]})
            else:
                got.append([value["type"], record.attempts])
        elif record.outcome is StepOutcome.TIMEOUT:
            got.append(None)
        else:
            got.append(value)
        _check(op, record, value)
    assert next(records, None) is None
    return got


def _check(op: Op, record: StepRecord, value: Any) -> None:
    """Check the record against what its operation can come to at all."""
    kind = op[0]
    if kind in {"add", "poison"}:
        assert value == op[1]
    elif kind == "secret":
        assert value == len(op[1])
    elif kind == "flaky":
        assert record.attempts == min(op[2] + 1, 3)
        assert record.outcome is (StepOutcome.VALUE if op[2] < 3 else StepOutcome.ERROR)
    elif kind in {"fail", "stop"}:
        assert (record.outcome, value["message"]) == (StepOutcome.ERROR, f"no {op[1]}")
    elif kind == "once" and record.outcome is StepOutcome.ERROR:
        assert value["type"] == "StepInterrupted"
    elif kind in {"sleep", "save"}:
        assert value is None
    if kind == "sleep":
        assert record.ended >= record.started + op[1] - 1e-6

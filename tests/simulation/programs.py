"""Small flow programs as data: one interpreter in both styles, and what a history must come to.

A program is a list of operations, the input of a run. What disturbs the run is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from sequential import (
    Registry,
    Rejected,
    RetryPolicy,
    RunCancelled,
    Steps,
    ToolContext,
    ToolError,
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


@cache
def registry() -> Registry:  # noqa: C901  (a list of small functions)
    """Return, once made, the interpreter in both styles and its tools."""
    known = Registry()

    @tool("t", "add", registry=known)
    def add(number: int) -> int:
        return number

    @tool("t", "undo", registry=known)
    def undo(number: int) -> int:
        return number

    @tool("t", "fail", registry=known)
    def fail(number: int) -> int:
        raise ValueError(f"no {number}")

    policy = RetryPolicy(max_attempts=3, first=4.0, jitter=False)

    @tool("t", "flaky", retry=policy, registry=known)
    def flaky(context: ToolContext, number: int, failures: int) -> int:
        if context.attempt <= failures:
            raise ConnectionError("no answer") if context.attempt % 2 else Rejected("not now")
        return number

    @tool("t", "once", mode="at-most-once", registry=known)
    def once(number: int) -> int:
        return number

    def step_of(op: Op) -> Any:
        kind, *rest = op
        steps: dict[str, Callable[..., Any]] = {
            "add": add, "fail": fail, "flaky": flaky, "once": once, "sleep": sleep,
            "save": save, "wait": lambda name: wait_for_signal(name, int),
            "wait_for": lambda name, limit: wait_for_signal(
                name, int, timeout=limit, default=None
            ),
            "return": lambda number: tool_call("t", "fail", {"number": number}, errors="return"),
        }  # fmt: skip
        return steps[kind](*rest)

    @flow(name="generator", registry=known)
    def generator(input: Program) -> Steps[list[Any]]:
        got: list[Any] = []
        try:
            for op in input:
                if op[0] == "det":
                    got.append(det.random())
                    continue
                try:
                    got.append((yield step_of(op)))
                except ToolError as error:
                    got.append([error.type, error.attempts])
        except RunCancelled:
            yield undo(len(got))
            raise
        return got

    @flow(name="coroutine", registry=known)
    async def coroutine(input: Program) -> list[Any]:
        got: list[Any] = []
        try:
            for op in input:
                if op[0] == "det":
                    got.append(det.random())
                    continue
                try:
                    got.append(await step_of(op))
                except ToolError as error:
                    got.append([error.type, error.attempts])
        except RunCancelled:
            await undo(len(got))
            raise
        return got

    return known


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
    if kind == "add":
        assert value == op[1]
    elif kind == "flaky":
        assert record.attempts == min(op[2] + 1, 3)
        assert record.outcome is (StepOutcome.VALUE if op[2] < 3 else StepOutcome.ERROR)
    elif kind == "fail":
        assert (record.outcome, value["message"]) == (StepOutcome.ERROR, f"no {op[1]}")
    elif kind == "once" and record.outcome is StepOutcome.ERROR:
        assert value["type"] == "StepInterrupted"
    elif kind in {"sleep", "save"}:
        assert value is None
    if kind == "sleep":
        assert record.ended >= record.started + op[1] - 1e-6

"""What programs ask of people and say to them: typed waits, calls answered by a token, progress.

The operations of these, and the tool that hands out tokens; what is made of them is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

from sequential import (
    Pending,
    Registry,
    Rejected,
    RetryPolicy,
    ToolContext,
    set_progress,
    sleep,
    tool,
    tool_call,
    wait_for_signal,
)
from sequential._model import Message, Open
from tests.simulation.choices import Choices
from tests.simulation.references import STEPLESS

TYPES: Mapping[str, Any] = {"int": int, "str": str, "any": Any}
"""What waits take, by what it is called in a program."""
CALLS = "t.ask"
"""The tool that hands out tokens."""


class Handed(NamedTuple):
    """A token, and the attempt that handed it out."""

    token: str
    run_id: str
    generation: int
    position: str
    epoch: int
    key: str


HANDED: list[Handed] = []
"""What was handed out in this schedule, in order."""


def add_asking(known: Registry) -> None:
    """Register the tool that hands out a token and lets its answer come later."""
    policy = RetryPolicy(max_attempts=3, first=4.0, jitter=False)

    @tool("t", "ask", retry=policy, registry=known)
    def ask(context: ToolContext, failures: int, limit: float | None) -> Pending | int:
        place = (context.run_id, context.generation, context.position)
        key = context.idempotency_key
        HANDED.append(Handed(context.answer_token, *place, context.epoch, key))
        if context.attempt <= failures:
            raise ConnectionError("no answer") if context.attempt % 2 else Rejected("not now")
        return Pending(timeout=limit)


def takes(wait: Open, message: Message) -> bool:
    """Tell whether *wait*, as it is stored, is for *message* and takes its value."""
    if wait.name != message.name or not wait.schema:
        return wait.name == message.name
    named = json.loads(wait.schema).get("type")
    return named in _NAMED and fits(_NAMED[named], json.loads(message.value.data))


_NAMED = {"integer": "int", "string": "str"}


def begin_anew() -> None:
    """Forget what was handed out and said in another schedule."""
    HANDED.clear()
    _TIMES[0] = count(1)


_TIMES = [count(1)]


def _say(mark: list[int], seconds: int) -> Any:
    set_progress([*mark, next(_TIMES[0])])
    return sleep(seconds) if seconds else tool_call("t", "add", {"number": mark[1]})


STEPS: Mapping[str, Callable[..., Any]] = {
    "typed": lambda name, kind: wait_for_signal(name, TYPES[kind]),
    "ask": lambda failures, limit: tool_call("t", "ask", {"failures": failures, "limit": limit}),
    "say": _say,
}
"""What makes the steps of the operations."""


def wanted_by(op: list[Any]) -> str:
    """Return what type the wait *op* takes; empty if it is none."""
    known = {"wait": "int", "wait_for": "int", "ask": "int"}
    return str(op[2]) if op[0] == "typed" else known.get(op[0], "")


def fits(kind: str, value: object) -> bool:
    """Tell whether *value* is of the type *kind*."""
    return kind == "any" or type(value).__name__ == kind


def several(choices: Choices, names: Sequence[str]) -> list[Any]:
    """Draw waits of one name and several types, side by side."""
    draw, name = choices.one_of, choices.one_of(names)
    waits = [["typed", name, draw(tuple(TYPES))] for _ in range(2 + choices.below(3))]
    return draw((["gather", waits, "raise", None], ["race", waits]))


def numbered(program: list[Any]) -> list[Any]:
    """Give each *say* in *program* a mark: its step, and a number of its own; return *program*."""
    steps = [op for op in program if op[0] not in STEPLESS]
    for place, op in enumerate(steps):
        for number, each in enumerate(_within(op)):
            if each[0] == "say":
                each[1] = [place, 1 + number]
            if each[0] in {"child", "start"}:
                numbered(each[2])
    return program


def _within(op: list[Any]) -> Iterator[list[Any]]:
    """Yield *op* and what is done in its branches, but not what other runs do."""
    yield op
    if op[0] in {"gather", "race"}:
        for branch in op[1]:
            for each in [branch] if branch and isinstance(branch[0], str) else branch:
                yield from _within(each)


def marks(program: list[Any]) -> Iterator[list[int]]:
    """Yield the marks of what *program* says, in its branches as well."""
    for op in program:
        yield from (each[1] for each in _within(op) if each[0] == "say")


__all__ = [
    "CALLS",
    "HANDED",
    "STEPS",
    "TYPES",
    "Handed",
    "add_asking",
    "begin_anew",
    "fits",
    "marks",
    "numbered",
    "several",
    "takes",
    "wanted_by",
]

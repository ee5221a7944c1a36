"""An agent: a model says what is next, within a budget of calls; people approve what is risky."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sequential import RetryPolicy, Steps, ToolError, flow, tool, tool_call, wait_for_signal
from sequential.patterns import remind

RISKY = {"delete"}


@dataclass
class Move:
    """What the model wants: tools to be called, or its answer."""

    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    answer: str = ""


@tool("model", "next", retry=RetryPolicy(max_attempts=4))
def next_move(task: str, seen: list[str]) -> Move:
    raise NotImplementedError("a request to a model")


@tool("mail", "ask")
def ask(who: str, text: str) -> None:
    raise NotImplementedError("a request to the mail service")


@flow
def agent(task: str, budget: int = 10) -> Steps[str]:
    """Carry out *task* with at most *budget* calls of tools."""
    seen: list[str] = []
    while True:
        move = yield from next_move(task, seen)
        if not move.calls:
            return move.answer
        for call in move.calls:
            if budget == 0:
                return f"gave up: the budget is used; seen so far: {'; '.join(seen)}"
            budget -= 1
            seen.append((yield from done(call["tool"], call["input"])))


def done(name: str, given: dict[str, Any]) -> Steps[str]:
    """Call the tool *name* if that is allowed; return what the model is to be told."""
    if name in RISKY and not (yield from approved(f"{name} {given}")):
        return f"{name} was not allowed"
    try:
        return f"{name}: {(yield from tool_call('agent', name, given))}"
    except ToolError as error:
        # The model may know a way around.
        return f"{name} failed: {error.message}"


def approved(what: str) -> Steps[bool]:
    """Ask a person, for a day, with a reminder every eight hours."""
    yield from ask("operator", f"may I {what}?")
    return (
        yield from remind(
            wait_for_signal("approval", bool, timeout=timedelta(days=1), default=False),
            every=timedelta(hours=8),
            remind=lambda number: ask("operator", f"reminder {number}: may I {what}?"),
            times=2,
        )
    )

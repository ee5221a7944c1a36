# pyright: basic
from __future__ import annotations

from typing import Any

from sequential.testing import Played, crash_everywhere

from .agent import Move, agent, ask, next_move


def searching(task: str, seen: list[str]) -> Move:
    """Stand for a model that looks, deletes what it found, and says what it saw."""
    if not seen:
        return Move([{"tool": "search", "input": {"what": task}}])
    if len(seen) == 1:
        files = [{"tool": "delete", "input": {"file": name}} for name in ("a", "b")]
        return Move(files)
    return Move(answer="; ".join(seen))


def deleted(file: str) -> str:
    if file == "b":
        raise FileNotFoundError(file)
    return f"{file} is gone"


def played(model: Any = searching, approvals: Any = (), **given: Any) -> Played[str]:
    tools = {
        next_move: model,
        ask: lambda who, text: None,
        "agent.search": lambda what: f"{what} in a, b",
        "agent.delete": deleted,
    }
    signals = {"approval": list(approvals)}
    task = {"task": "spam"} | given
    return crash_everywhere(agent, task, tools=tools, signals=signals).played


def test_an_agent_does_what_it_may_and_hears_what_failed() -> None:
    result = played(approvals=[True, True]).result
    assert result == "search: spam in a, b; delete: a is gone; delete failed: b"


def test_nothing_risky_is_done_without_an_approval() -> None:
    refused = played(approvals=[False, False])
    assert "delete was not allowed; delete was not allowed" in refused.result
    assert not [call for call in refused.calls if call.tool == "agent.delete"]


def test_who_does_not_answer_is_reminded_and_means_no() -> None:
    silent = played(budget=2)
    assert silent.slept == 86_400
    asked = [call.input["text"].split(":")[0] for call in silent.calls if call.tool == "mail.ask"]
    assert asked == ["may I delete {'file'", "reminder 1", "reminder 2"]


def test_an_agent_that_goes_round_in_circles_is_stopped_by_its_budget() -> None:
    again = Move([{"tool": "search", "input": {"what": "x"}}])
    circling = played(lambda task, seen: again, budget=4)
    assert circling.result.startswith("gave up: the budget is used")
    assert len([call for call in circling.calls if call.tool == "agent.search"]) == 4

"""The flows of ``sequential demo``: one for each way in which a run can stand.

Each function makes a registry of its own, so that nothing of this reaches the user's flows.
"""

from __future__ import annotations

from typing import Any

from .._registry import Registry, flow, tool
from .._steps import Steps, save, sleep, tool_call, wait_for_signal

_USERS = {1: "Ada", 2: "Grace"}
_A_DAY = 86_400.0


def demo_registry() -> Registry:
    """Return the demonstration's flows and tools, as they were deployed first."""
    registry = _tools()

    @flow(name="summary", registry=registry)
    def summary(user_id: int) -> Steps[dict[str, Any]]:
        user = yield tool_call("demo", "user", {"id": user_id})
        posts = yield tool_call("demo", "posts", {"user_id": user["id"]})
        return {"user": user["name"], "posts": len(posts)}

    @flow(name="refund", registry=registry)
    def refund(order: str) -> Steps[str]:
        found = yield tool_call("demo", "user", {"id": 2})
        yield tool_call("demo", "refuse", {"order": order})
        return f"refunded to {found['name']}"

    @flow(name="approval", registry=registry)
    def approval(amount: int) -> Steps[str]:
        yield tool_call("demo", "posts", {"user_id": 1})
        decision = yield wait_for_signal("decision")
        return f"{decision} for {amount}"

    @flow(name="reminder", registry=registry)
    def reminder(text: str) -> Steps[str]:
        yield tool_call("demo", "user", {"id": 1})
        yield sleep(_A_DAY)
        return text

    @flow(name="order", registry=registry)
    def order(item: str) -> Steps[str]:
        yield tool_call("demo", "reserve", {"item": item})
        yield save()
        return f"{item} sent"

    assert len({summary.name, refund.name, approval.name, reminder.name, order.name}) == len(
        registry.flows
    )
    return registry


def changed_registry() -> Registry:
    """Return the same with an ``order`` that disagrees with the runs begun before it."""
    registry = _tools()

    @flow(name="order", registry=registry)
    def order(item: str) -> Steps[str]:
        yield tool_call("demo", "user", {"id": 1})
        yield tool_call("demo", "reserve", {"item": item})
        return f"{item} sent"

    assert order.name in registry.flows
    return registry


def _tools() -> Registry:
    registry = Registry()

    @tool("demo", "user", registry=registry)
    def user(id: int) -> dict[str, Any]:
        return {"id": id, "name": _USERS[id]}

    @tool("demo", "posts", registry=registry)
    def posts(user_id: int) -> list[dict[str, int]]:
        return [{"id": number, "user_id": user_id} for number in (1, 2, 3)]

    @tool("demo", "reserve", registry=registry)
    def reserve(item: str) -> str:
        return f"{item}-1"

    @tool("demo", "refuse", registry=registry)
    def refuse(order: str) -> None:
        msg = f"the bank knows no order {order}"
        raise LookupError(msg)

    assert {user.name, posts.name, reserve.name, refuse.name} <= {key[1] for key in registry.tools}
    return registry

"""What mypy and pyright must know about flows and tools. Never run; `test_typing` checks it.

`wrong_uses.py.txt` beside it is what they must refuse.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

from sequential import (
    RetryPolicy,
    Sequential,
    Steps,
    ToolContext,
    det,
    flow,
    run_child,
    save,
    sleep,
    tool,
    tool_call,
    wait_for_signal,
)


@dataclass
class User:
    id: int
    name: str


@tool("api", "user", retry=RetryPolicy(max_attempts=5), timeout=10)
def get_user(id: int) -> User:
    return User(id, "Ada")


@tool("api", "user-async")
async def fetch_user(id: int, *, fresh: bool = False) -> User:
    return User(id, "Ada" if fresh else "Grace")


@tool("bank", "charge")
def charge(context: ToolContext, amount: int) -> str:
    return f"{context.idempotency_key} {amount}"


@tool("bank", "charge-async")
async def charge_async(context: ToolContext, amount: int) -> str:
    return f"{context.idempotency_key} {amount}"


@flow
def literal(input: dict[str, int]) -> Steps[str]:
    user = yield {"__tool": ["api", "user", {"id": input["userId"]}]}
    return f"Hello, {user.name}!"


@flow
def generator(user_id: int) -> Steps[str]:
    user = yield from get_user(user_id)
    assert_type(user, User)
    other = yield from fetch_user(id=user_id, fresh=True)
    assert_type(other, User)
    receipt = yield from charge(120)
    assert_type(receipt, str)
    answer = yield from wait_for_signal("answer", bool)
    assert_type(answer, bool)
    yield save()
    return user.name


@flow
def outer(user_id: int) -> Steps[int]:
    name = yield from generator(user_id)
    assert_type(name, str)
    return len(name)


@flow(version="2")
async def coroutine(user_id: int, note: str = "") -> User:
    user = await get_user(user_id)
    assert_type(user, User)
    other = await fetch_user(user_id)
    assert_type(other, User)
    receipt = await charge_async(amount=120)
    assert_type(receipt, str)
    untyped = await tool_call("api", "user", {"id": 1})
    assert_type(untyped, Any)
    await sleep(timedelta(days=1))
    assert_type(det.random(), float)
    return user if note else other


@flow
async def around(user_id: int) -> str:
    user = await coroutine(user_id)
    assert_type(user, User)
    return user.name


@flow(name="signals")
async def signals() -> None:
    assert_type(await wait_for_signal("a", User), User)
    assert_type(await wait_for_signal("a", User, timeout=3), User)
    assert_type(await wait_for_signal("a", User, timeout=3, default=None), User | None)
    assert_type(await wait_for_signal("a"), Any)


def outside(app: Sequential) -> None:
    assert_type(app.run(generator, {"user_id": 1}), str)
    assert_type(app.run(coroutine, {"user_id": 1}, run_id="one"), User)
    assert_type(app.run("coroutine", {"user_id": 1}), Any)
    assert_type(coroutine.start(app, 1, note="x"), str)
    assert_type(coroutine.run(app, user_id=1), User)
    assert_type(generator.run(app, 1), str)


async def within_a_loop(app: Sequential) -> None:
    assert_type(await app.arun(coroutine, {"user_id": 1}), User)
    assert_type(await app.asignal("run", "answer", value=True), bool)
    assert_type(await app.astart(coroutine, {"user_id": 1}, run_id="one"), str)


@flow
def double(number: int) -> Steps[int]:
    yield from sleep(1)
    return 2 * number


@flow
async def family(number: int) -> int:
    """Children know their results, in both styles, and their arguments are checked."""
    first = await run_child(double, {"number": number})
    assert_type(first, int)
    second = await double.run_child(number=number)
    assert_type(second, int)
    third = await run_child(double, {"number": number}, errors="return")
    assert_type(third, int | dict[str, Any])
    named = await run_child("double", {"number": number})
    assert_type(named, Any)
    run_id = await double.start_child(number)
    assert_type(run_id, str)
    return first + second

"""What mypy and pyright must know about flows and tools. Never run; `test_typing` checks it.

`wrong_uses.py.txt` beside it is what they must refuse.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

from sequential import (
    Raced,
    RetryPolicy,
    Sequential,
    Steps,
    ToolContext,
    deprecate_patch,
    det,
    flow,
    gather,
    map_tool,
    patched,
    race,
    run_child,
    save,
    set_progress,
    sleep,
    tool,
    tool_call,
    wait_for_signal,
)
from sequential.outcomes import Progress
from sequential.patterns import Arrived, Saga, as_completed, poll, quorum, remind, saga, shield
from sequential.refs import Ref


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


def half(user_id: int) -> Steps[int]:
    user = yield from get_user(user_id)
    return user.id


@flow
async def in_parallel(user_id: int) -> None:
    both = await gather(get_user(user_id), charge(1))
    assert_type(both, tuple[User, str])
    mixed = await gather(half(1), coroutine(2), generator(3), sleep(1), max_concurrency=2)
    assert_type(mixed, tuple[int, User, str, None])
    many = await gather(*[get_user(n) for n in range(3)])
    assert_type(many, tuple[User, ...])
    collected = await gather(*[get_user(n) for n in range(3)], errors="collect")
    assert_type(collected, tuple[User | Exception, ...])
    nested = await gather(gather(half(1)), half(2))
    assert_type(nested, tuple[tuple[int], int])
    assert_type(await race(half(1), sleep(1)), Raced)
    assert_type(await map_tool(get_user, range(3)), list[User])
    assert_type(await map_tool(fetch_user, [1, 2], max_concurrency=1), list[User])
    assert_type(await map_tool(half, [1]), list[int])


@flow
def in_parallel_by_steps(user_id: int) -> Steps[int]:
    both = yield from gather(get_user(user_id), half(user_id))
    assert_type(both, tuple[User, int])
    raced = yield from race(half(1), sleep(1))
    assert_type(raced.winner, int)
    return both[1]


@flow(version="2", compatible={"1"})
async def changed(user_id: int) -> User:
    set_progress({"done": 1, "total": 2})
    deprecate_patch("older")
    if assert_type(patched("newer"), bool):
        return await fetch_user(user_id, fresh=True)
    return await get_user(user_id)


def outside(app: Sequential) -> None:
    assert_type(app.run(changed, {"user_id": 1}, deadline=timedelta(hours=1)), User)
    assert_type(app.progress("one"), Progress | None)
    assert_type(app.answer("token", User(1, "Ada")), bool)
    assert_type(next(app.follow("one", every=1)), Progress)
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


def patterns_by_generator() -> Steps[None]:
    def body(undo: Saga) -> Steps[User]:
        undo.undo_with(charge, amount=-1)
        return (yield from get_user(1))

    made = yield from saga(body)
    assert_type(made, User)
    kept = yield from shield(generator(1))
    assert_type(kept, str)
    first = yield from quorum(1, get_user(1), fetch_user(2), coroutine(3))
    assert_type(first[0].branch, int)
    users = yield from as_completed(get_user(1), shield(fetch_user(2)), max_concurrency=1)
    assert_type(users, list[Arrived[User]])
    right = yield from poll(lambda: get_user(1), until=lambda user: user.id == 1, every=1)
    assert_type(right, User)
    wait = wait_for_signal("answer", bool)
    answer = yield from remind(wait, every=1, remind=charge, times=3)
    assert_type(answer, bool)


async def patterns_by_coroutine() -> None:
    async def body(undo: Saga) -> User:
        undo.undo_with(charge, amount=-1)
        return await get_user(1)

    made = await saga(body)
    assert_type(made, User)
    kept = await shield(coroutine(1))
    assert_type(kept, User)
    users = await as_completed(get_user(1), shield(fetch_user(2)), max_concurrency=1)
    assert_type(users, list[Arrived[User]])
    right = await poll(lambda: get_user(1), until=lambda user: user.id == 1, every=1)
    assert_type(right, User)
    wait = wait_for_signal("answer", bool)
    answer = await remind(wait, every=1, remind=charge, times=3)
    assert_type(answer, bool)


@tool("shop", "rows")
def read_rows(year: int) -> Ref[list[User]]:
    return Ref([User(year, "Ada")])


@tool("shop", "count")
def count_rows(context: ToolContext, rows: Ref[list[User]]) -> int:
    assert_type(context.load(rows), list[User])
    return len(context.load(rows))


@flow
async def handing_on(year: int) -> Ref[list[User]]:
    found = await read_rows(year)
    assert_type(found, Ref[list[User]])
    assert_type(await found.load(), list[User])
    assert_type(await count_rows(found), int)
    return found


@flow
def handing_on_as_generator(year: int) -> Steps[int]:
    found = yield from handing_on.run_child(year)
    assert_type(found, Ref[list[User]])
    users = yield from found.load()
    assert_type(users, list[User])
    return (yield from count_rows(found))


def read_by_a_client(app: Sequential) -> None:
    assert_type(app.load(app.run(handing_on, {"year": 1})), list[User])


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

"""Flows in both styles: one engine, one history; inputs, sub-flows, deploy safety of the author."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pydantic
import pytest

from sequential import (
    Registry,
    SignalTimedOut,
    Step,
    Steps,
    ToolContext,
    ToolError,
    flow,
    save,
    sleep,
    tool,
    tool_call,
    wait_for_signal,
)
from sequential._model import StepRecord
from sequential._outcomes import Completed, Failed, Paused
from sequential.errors import InputMismatch
from tests.fix_stage import Stage


@dataclass
class User:
    id: int
    joined: datetime


class Order(pydantic.BaseModel):
    id: int
    price: Decimal


class Item(msgspec.Struct):
    name: str
    tags: tuple[str, ...] = ()


NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)


def tools_of_everything(registry: Registry) -> None:
    @tool("api", "user", registry=registry)
    def user(id: int) -> User:
        return User(id, NOON)

    @tool("api", "fail", registry=registry)
    def fail() -> None:
        raise KeyError("gone")


def generator_style(registry: Registry) -> None:
    tools_of_everything(registry)

    @flow(registry=registry, name="everything")
    def everything(id: int) -> Steps[list[Any]]:
        user = yield tool_call("api", "user", {"id": id})
        try:
            yield tool_call("api", "fail")
            failed = ""
        except ToolError as error:
            failed = str(error)
        returned = yield {"__tool": ["api", "fail"]}
        yield {"__save": True}
        yield sleep(30)
        try:
            yield wait_for_signal("late", timeout=5)
            late = False
        except SignalTimedOut:
            late = True
        answer = yield wait_for_signal("answer", int)
        return [user.id, user.joined, failed, returned, late, answer]


async def returning(step: Step[Any]) -> Any:
    return await step


def coroutine_style(registry: Registry) -> None:
    tools_of_everything(registry)

    @flow(registry=registry, name="everything")
    async def everything(id: int) -> list[Any]:
        user = await tool_call("api", "user", {"id": id})
        try:
            await tool_call("api", "fail")
            failed = ""
        except ToolError as error:
            failed = str(error)
        returned = await returning(tool_call("api", "fail", errors="return"))
        await save()
        await sleep(timedelta(seconds=30))
        try:
            await wait_for_signal("late", timeout=5)
            late = False
        except SignalTimedOut:
            late = True
        answer = await wait_for_signal("answer", int)
        return [user.id, user.joined, failed, returned, late, answer]


STYLES = [generator_style, coroutine_style]


def history(stage: Stage, style: Callable[[Registry], None], **settings: Any) -> Any:
    registry = Registry()
    style(registry)
    run_id = f"{style.__name__}-{len(settings)}-{settings.get('pause', '')}"
    app = stage.app(registry, **settings)
    app.start("everything", {"id": 7}, run_id=run_id)
    assert stage.drive(app, run_id) == Paused(run_id, "6", None, "signal")
    app.signal(run_id, "answer", 42)
    outcome = stage.drive(app, run_id)
    assert isinstance(outcome, Completed)
    return outcome.result, [comparable(step) for step in app.steps(run_id)]


def comparable(step: StepRecord) -> tuple[Any, ...]:
    return step._replace(started=0.0, ended=0.0, op_id="", fence=0)


@pytest.mark.parametrize("pause", ["when-waiting", "every-step", "budget"])
@pytest.mark.parametrize("warm", [0, 256])
def test_both_styles_have_one_history(any_stage: Stage, pause: str, warm: int) -> None:
    first = history(any_stage, generator_style, pause=pause, warm=warm)
    second = history(any_stage, coroutine_style, pause=pause, warm=warm)
    assert first == second
    result, records = first
    assert result[:2] == [7, NOON]
    assert [str(record[3]) for record in records] == [
        "tool",
        "tool",
        "tool",
        "save",
        "sleep",
        "signal",
        "signal",
    ]
    assert [str(record[6]) for record in records] == [
        "value",
        "error",
        "error",
        "value",
        "value",
        "timeout",
        "value",
    ]


def test_the_styles_can_be_exchanged_under_an_open_run(any_stage: Stage) -> None:
    registries = [Registry(), Registry()]
    for registry, style in zip(registries, STYLES, strict=True):
        style(registry)
    run_id = any_stage.app(registries[0]).start("everything", {"id": 1})
    outcome: Any = None
    for turn in range(12):
        app = any_stage.app(registries[turn % 2], pause="every-step")
        outcome = app.execute(run_id)
        if getattr(outcome, "wake", None) is None:
            break
        any_stage.clock.advance(10)
    assert outcome == Paused(run_id, "6", None, "signal")


# -- the value that a flow sees ------------------------------------------------------------------


def test_a_flow_sees_the_decoded_value_on_the_first_run_and_on_replay(any_stage: Stage) -> None:
    registry = any_stage.registry
    seen: list[Any] = []

    @tool("v", "pair", registry=registry)
    def pair() -> tuple[int, str]:
        return (1, "a")

    @tool("v", "order", registry=registry)
    def order() -> Order:
        return Order(id=1, price=Decimal("1.10"))

    @tool("v", "items", registry=registry)
    async def items() -> list[Item]:
        return [Item("a", ("x",))]

    @tool("v", "user", registry=registry)
    def user() -> User:
        return User(1, NOON)

    @tool("v", "bare", registry=registry)
    def bare():  # type: ignore[no-untyped-def]  # noqa: ANN202
        return {"when": NOON, "price": Decimal("1.10"), "pair": (1, 2), "user": User(1, NOON)}

    @flow(registry=registry)
    def looking() -> Steps[None]:
        seen.append(
            [(yield pair()), (yield order()), (yield items()), (yield user()), (yield bare())]
        )
        yield save()

    app = any_stage.app(warm=0)
    run_id = app.start(looking)
    app.execute(run_id)
    assert app.execute(run_id) == Completed(run_id, None)
    first, second = seen
    assert first == second
    assert first[:4] == [
        (1, "a"),
        Order(id=1, price=Decimal("1.10")),
        [Item("a", ("x",))],
        User(1, NOON),
    ]
    assert first[4]["pair"] == (1, 2)
    assert first[4]["when"] == NOON
    assert first[4]["price"] == Decimal("1.10")
    assert first[4]["user"] == {"id": 1, "joined": NOON}


def test_a_literal_yield_is_read_by_the_annotation_of_the_tool(stage: Stage) -> None:
    @tool("v", "user", registry=stage.registry)
    def user() -> User:
        return User(1, NOON)

    @flow(registry=stage.registry)
    def looking() -> Steps[Any]:
        return (yield {"__tool": ["v", "user"]}) == User(1, NOON)

    assert stage.app().run(looking) is True


def test_the_result_of_a_flow_is_read_by_its_annotation(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    def generated() -> Steps[User]:
        yield from ()
        return User(1, NOON)

    @flow(registry=any_stage.registry)
    async def awaited() -> tuple[User, Order]:
        return User(1, NOON), Order(id=1, price=Decimal(2))

    app = any_stage.app()
    assert app.run(generated) == User(1, NOON)
    assert app.run(awaited) == (User(1, NOON), Order(id=1, price=Decimal(2)))


def test_a_result_that_no_longer_fits_its_annotation_does_not_break_looking_at_the_run(
    stage: Stage,
) -> None:
    @flow(registry=stage.registry)
    def liar() -> Steps[int]:
        yield from ()
        return "text"  # type: ignore[return-value]

    app = stage.app()
    run_id = app.start(liar)
    outcome = app.execute(run_id)
    assert isinstance(outcome, Completed | Failed)
    assert app.execute(run_id) == outcome


def test_a_result_that_cannot_be_stored_fails_the_run(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    def making() -> Steps[Any]:
        yield from ()
        return {"a": [object()]}

    app = any_stage.app()
    run_id = app.start(making)
    outcome = app.execute(run_id)
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "NotEncodable"
    assert "a" in outcome.error.message
    assert app.execute(run_id) == outcome


# -- inputs --------------------------------------------------------------------------------------


def test_an_input_is_converted_and_checked(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    def typed(user: User, factor: int = 2) -> Steps[Any]:
        yield from ()
        return [user.joined, user.id * factor]

    app = any_stage.app()
    assert app.run(typed, {"user": {"id": 2, "joined": NOON.isoformat()}}) == [NOON, 4]
    assert typed.run(app, User(3, NOON), factor=3) == [NOON, 9]
    assert app.outcome(app.get(typed.start(app, User(3, NOON)))).run_id
    for wrong in ({}, {"user": 1}, {"user": {"id": 1, "joined": NOON}, "x": 1}, [1]):
        with pytest.raises(InputMismatch, match="flow "):
            app.start(typed, wrong)


def test_a_raw_input_comes_as_it_is(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    def raw(input: dict[str, Any]) -> Steps[Any]:
        yield from ()
        return input

    app = any_stage.app()
    assert app.run(raw, {"userId": 1, "$": "x"}) == {"userId": 1, "$": "x"}
    assert app.run(raw) == {}


def test_a_large_input_stands_by_reference(any_stage: Stage) -> None:
    @tool("api", "size", registry=any_stage.registry)
    def size(text: str) -> int:
        return len(text)

    @flow(registry=any_stage.registry)
    def measuring(text: str) -> Steps[Any]:
        first = yield size(text)
        yield save()
        second = yield size(text)
        return first + second

    app = any_stage.app(warm=0)
    run_id = app.start(measuring, {"text": "x" * 200_000})
    assert app.get(run_id).input.ref is not None
    app.execute(run_id)
    assert app.execute(run_id) == Completed(run_id, 400_000)
    assert app.start(measuring, {"text": "x" * 200_000}, run_id=run_id) == run_id


def test_a_large_result_stands_by_reference(any_stage: Stage) -> None:
    @tool("api", "blob", registry=any_stage.registry)
    def blob(size: int) -> bytes:
        return bytes(size)

    @flow(registry=any_stage.registry)
    def making() -> Steps[Any]:
        small = yield blob(100)
        large = yield blob(300_000)
        yield save()
        return [small, large]

    app = any_stage.app(warm=0)
    run_id = app.start(making)
    app.execute(run_id)
    assert app.execute(run_id) == Completed(run_id, [bytes(100), bytes(300_000)])
    refs = [step.value.ref is not None for step in app.steps(run_id)]
    assert refs == [False, True, False]
    result = app.get(run_id).result
    assert result is not None
    assert result.ref is not None


def test_a_flow_that_asks_for_a_tool_context_is_refused_when_it_is_decorated() -> None:
    with pytest.raises((TypeError, InputMismatch), match="ToolContext"):

        @flow(registry=Registry())
        def confused(context: ToolContext) -> Steps[None]:
            yield


# -- flows in flows ------------------------------------------------------------------------------


def test_sub_flows_are_delegated_to(any_stage: Stage) -> None:
    registry = any_stage.registry

    @tool("api", "add", registry=registry)
    def add(a: int, b: int) -> int:
        return a + b

    @flow(registry=registry)
    def inner(n: int) -> Steps[int]:
        n = yield add(n, 1)
        return (yield from add(n, 1))

    def helper(n: int) -> Steps[Any]:
        return (yield from inner(n))  # a flow may be either kind

    @flow(registry=registry)
    def outer(n: int) -> Steps[int]:
        n = yield from helper(n)
        return (yield from helper(n))  # type: ignore[no-any-return]

    @flow(registry=registry)
    async def ainner(n: int) -> int:
        return await add(await add(n, 1), 1)

    @flow(registry=registry)
    async def aouter(n: int) -> int:
        awaited: Any = ainner(n)
        return int(await awaited) + await add(n, 1)

    app = any_stage.app(pause="every-step", warm=0)
    assert app.run(outer, {"n": 0}) == 4
    assert app.run(aouter, {"n": 0}) == 3


def test_a_coroutine_may_be_delegated_to_from_helpers_and_context_managers(stage: Stage) -> None:
    log: list[str] = []

    @tool("api", "note", registry=stage.registry)
    def note(what: str) -> None:
        log.append(what)

    class Guard:
        async def __aenter__(self) -> None:
            await note("enter")

        async def __aexit__(self, *_: object) -> None:
            await note("exit")

    @flow(registry=stage.registry)
    async def guarded() -> str:
        async with Guard():
            await note("in")
        return "done"

    app = stage.app(pause="every-step", warm=0)
    assert app.run(guarded) == "done"
    assert log == ["enter", "in", "exit"]


# -- surroundings --------------------------------------------------------------------------------

WHO = contextvars.ContextVar("WHO", default="nobody")


def test_context_variables_of_runs_do_not_meet(stage: Stage) -> None:
    @flow(registry=stage.registry)
    def setting(name: str) -> Steps[list[str]]:
        before = WHO.get()
        WHO.set(name)
        yield save()
        return [before, WHO.get()]

    app = stage.app()
    ids = [app.start(setting, {"name": name}) for name in ("a", "b")]
    for run_id in ids:
        app.execute(run_id)
    results = [app.execute(run_id) for run_id in ids]
    assert [outcome.result for outcome in results if isinstance(outcome, Completed)] == [
        ["nobody", "a"],
        ["nobody", "b"],
    ]
    assert WHO.get() == "nobody"


def test_a_flow_is_not_driven_on_a_thread_with_a_running_loop(stage: Stage) -> None:
    @flow(registry=stage.registry)
    async def answer() -> int:
        return 42

    app = stage.app()
    run_id = app.start(answer)

    async def wrongly() -> None:
        with pytest.raises(RuntimeError, match="await the twin that starts with a"):
            app.execute(run_id)
        with pytest.raises(RuntimeError, match="await the twin that starts with a"):
            app.run(answer)

    asyncio.run(wrongly())
    assert app.execute(run_id) == Completed(run_id, 42)


def test_the_awaitable_twins_do_the_same(any_stage: Stage) -> None:
    @tool("api", "later", registry=any_stage.registry)
    async def later(n: int) -> int:
        await asyncio.sleep(0)
        return n + 1

    @flow(registry=any_stage.registry)
    async def answer(n: int) -> int:
        n = await later(n)
        return n + await wait_for_signal("go", int)

    app = any_stage.app()

    async def rightly() -> list[Any]:
        run_id = await app.astart(answer, {"n": 1})
        first = await app.aexecute(run_id)
        accepted = await app.asignal(run_id, "go", 5)
        last = await app.aexecute(run_id)
        page = await app.afind(status="completed")
        steps = await app.asteps(run_id)
        record = await app.aget(run_id)
        waited = await app.await_(run_id, timeout=1)
        return [first, accepted, last, len(page.runs), len(steps), str(record.status), waited]

    first, accepted, last, found, steps, status, waited = asyncio.run(rightly())
    assert isinstance(first, Paused)
    assert (accepted, found, steps, status) == (True, 1, 2, "completed")
    assert last == waited == Completed(last.run_id, 7)


def test_arun_carries_a_run_to_its_end(stage: Stage) -> None:
    @flow(registry=stage.registry)
    async def answer(n: int) -> int:
        await sleep(100)
        return n

    async def running() -> int:
        return await stage.app().arun(answer, {"n": 3})

    assert asyncio.run(running()) == 3


Twin = Callable[..., Coroutine[Any, Any, Any]]


def test_every_verb_has_a_twin(stage: Stage) -> None:
    app: Any = stage.app()
    verbs = "start start_many execute get steps find signal cancel terminate retry redrive fork"
    for verb in [*verbs.split(), "purge", "sweep", "run"]:
        assert asyncio.iscoroutinefunction(getattr(app, f"a{verb}")), verb

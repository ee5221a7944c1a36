"""A tool as its author declares it: options, policy, input by name, context."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sequential import (
    Registry,
    Rejected,
    RetryPolicy,
    Steps,
    ToolContext,
    ToolError,
    flow,
    tool,
    tool_call,
)
from sequential._outcomes import Blocked, Completed, Failed
from tests.fix_stage import Crash, Stage


def test_sync_and_async_tools_are_called_alike(any_stage: Stage) -> None:
    registry = any_stage.registry

    @tool("api", "sync", registry=registry)
    def sync(n: int) -> int:
        return n + 1

    @tool("api", "async", registry=registry)
    async def asynchronous(n: int) -> int:
        return n + 2

    @flow(registry=registry)
    def generated(n: int) -> Steps[list[int]]:
        return [(yield sync(n)), (yield asynchronous(n))]

    @flow(registry=registry)
    async def awaited(n: int) -> list[int]:
        return [await sync(n), await asynchronous(n)]

    app = any_stage.app()
    assert app.run(generated, {"n": 1}) == app.run(awaited, {"n": 1}) == [2, 3]


def test_a_tool_gets_its_context_wherever_the_parameter_stands(stage: Stage) -> None:
    seen: list[ToolContext] = []

    @tool("api", "first", registry=stage.registry)
    def first(context: ToolContext, n: int) -> None:
        seen.append(context)

    @tool("api", "last", registry=stage.registry)
    async def last(n: int, call: ToolContext) -> None:
        seen.append(call)

    @flow(registry=stage.registry, name="contextual")
    def contextual() -> Steps[None]:
        yield first(1)
        yield tool_call("api", "last", {"n": 1})

    app = stage.app()
    run_id = app.start(contextual)
    app.execute(run_id)
    one, two = seen
    assert (one.run_id, one.flow, one.generation, one.position) == (run_id, "contextual", 0, "0")
    assert (one.attempt, one.epoch, one.fence, two.position) == (1, 0, 1, "1")
    assert one.deployment == stage.storage.deployment
    assert one.idempotency_key.startswith("sq1_")
    assert one.idempotency_key != two.idempotency_key
    assert [step.input.data for step in app.steps(run_id) if step.input] == [b'{"n":1}'] * 2


def test_defaults_are_the_tools_and_no_part_of_the_recorded_input(stage: Stage) -> None:
    @tool("api", "greet", registry=stage.registry)
    def greet(name: str, word: str = "hello") -> str:
        return f"{word} {name}"

    @flow(registry=stage.registry)
    def greeting() -> Steps[Any]:
        return (yield greet("Ada"))

    app = stage.app()
    run_id = app.start(greeting)
    assert app.execute(run_id) == Completed(run_id, "hello Ada")
    (step,) = app.steps(run_id)
    assert step.input is not None
    assert step.input.data == b'{"name":"Ada"}'


def test_a_raw_input_comes_as_it_is(stage: Stage) -> None:
    @tool("api", "raw", registry=stage.registry)
    def take(input: Any) -> Any:
        return input

    @flow(registry=stage.registry)
    def taking() -> Steps[Any]:
        return [
            (yield take([1, "a"])),
            (yield {"__tool": ["api", "raw", {"any": "thing"}]}),
            (yield {"__tool": ["api", "raw", 7]}),
            (yield {"__tool": ["api", "raw"]}),
        ]

    assert stage.app().run(taking) == [[1, "a"], {"any": "thing"}, 7, {}]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"id": "1"}, "expected `int`, got `str`"),
        ({"nme": 1}, "'id' missing"),
        ({"id": 1, "nme": 1}, "'nme' not among its parameters; it takes 'id'"),
        ([1], "not list"),
    ],
)
def test_an_input_that_does_not_fit_a_tool_fails_the_step_and_is_not_tried_again(
    stage: Stage, given: Any, said: str
) -> None:
    ran: list[int] = []

    @tool("api", "user", registry=stage.registry, retry=RetryPolicy(max_attempts=5))
    def user(id: int) -> None:
        ran.append(id)

    @flow(registry=stage.registry)
    def asking() -> Steps[list[Any]]:
        try:
            yield tool_call("api", "user", given)
        except ToolError as error:
            return [error.type, error.message, error.attempts]
        return []

    kind, message, attempts = stage.app().run(asking)
    assert (kind, attempts, ran) == ("InputMismatch", 1, [])
    assert said in message
    assert "tool api.user" in message


def test_a_call_in_the_flow_that_does_not_fit_fails_there(stage: Stage) -> None:
    @tool("api", "user", registry=stage.registry)
    def user(id: int) -> None: ...

    @flow(registry=stage.registry)
    def asking() -> Steps[None]:
        yield user(1, 2)  # type: ignore[call-arg]

    app = stage.app()
    outcome = app.execute(app.start(asking))
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "InputMismatch"


def test_an_ignored_argument_may_change_between_invocations(stage: Stage) -> None:
    def deploy(token: str, page: int) -> Registry:
        registry = Registry()

        @tool("api", "get", registry=registry, ignore=["token"])
        def get(page: int, token: str) -> str:
            return f"{page} {token}"

        @flow(registry=registry, name="paging")
        def paging() -> Steps[list[str]]:
            first = yield get(page, token)
            yield {"__save": True}
            second = yield get(page=page, token=token)
            return [first, second]

        return registry

    run_id = stage.app(deploy("a", 1)).start("paging")
    stage.app(deploy("a", 1)).execute(run_id)
    blocked = stage.app(deploy("b", 2)).execute(run_id)
    assert isinstance(blocked, Blocked)
    app = stage.app(deploy("b", 1))
    app.redrive(run_id)
    assert app.execute(run_id) == Completed(run_id, ["1 a", "1 b"])


def test_an_ignored_argument_is_not_recorded(stage: Stage) -> None:
    @tool("api", "get", registry=stage.registry, ignore=["token"])
    def get(page: int, token: str) -> int:
        return page

    @flow(registry=stage.registry)
    def paging() -> Steps[Any]:
        return (yield get(1, "secret"))

    app = stage.app()
    run_id = app.start(paging)
    app.execute(run_id)
    assert b"secret" not in repr(app.steps(run_id)).encode()


def test_a_tool_cannot_change_the_flows_own_value(stage: Stage) -> None:
    @tool("api", "spoil", registry=stage.registry)
    def spoil(items: list[int]) -> list[int]:
        items.append(99)
        return items

    @flow(registry=stage.registry)
    def spoiling() -> Steps[Any]:
        mine = [1]
        theirs = yield spoil(mine)
        return [mine, theirs, theirs is mine]

    assert stage.app().run(spoiling) == [[1], [1, 99], False]


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["raise", "return"])
def test_a_tool_may_say_how_its_errors_come(any_stage: Stage, style: Any) -> None:
    @tool("api", "fail", registry=any_stage.registry, errors=style)
    def fail() -> None:
        raise LookupError("no such user")

    @flow(registry=any_stage.registry)
    def failing() -> Steps[Any]:
        try:
            result = yield fail()
        except ToolError as error:
            result = ["raised", error.tool, error.type, error.message, error.attempts]
        yield {"__save": True}
        return result

    app = any_stage.app(warm=0)
    run_id = app.start(failing)
    app.execute(run_id)
    expected: Any = {
        "raise": ["raised", "api.fail", "LookupError", "no such user", 1],
        "return": {"__error": "no such user"},
    }[style]
    assert app.execute(run_id) == Completed(run_id, expected)


def test_a_literal_returns_errors_whatever_the_tool_says(stage: Stage) -> None:
    @tool("api", "fail", registry=stage.registry, errors="raise")
    def fail() -> None:
        raise ValueError("bad")

    @flow(registry=stage.registry)
    def failing() -> Steps[Any]:
        return [
            (yield {"__tool": ["api", "fail"]}),
            (yield tool_call("api", "fail", errors="return")),
        ]

    assert stage.app().run(failing) == [{"__error": "bad"}] * 2


def test_a_returned_value_that_looks_like_an_error_is_a_value(stage: Stage) -> None:
    @tool("api", "odd", registry=stage.registry)
    def odd() -> Any:
        return {"__error": "not really"}

    @flow(registry=stage.registry)
    def asking() -> Steps[Any]:
        return [(yield odd()), (yield {"__tool": ["api", "odd"]})]

    app = stage.app()
    run_id = app.start(asking)
    assert app.execute(run_id) == Completed(run_id, [{"__error": "not really"}] * 2)
    assert {str(step.outcome) for step in app.steps(run_id)} == {"value"}


def test_the_error_on_replay_is_the_error_of_the_first_run(any_stage: Stage) -> None:
    seen: list[Any] = []

    @tool("api", "fail", registry=any_stage.registry)
    def fail() -> None:
        raise Rejected("no", {"code": 7}, retryable=False)

    @flow(registry=any_stage.registry)
    def failing() -> Steps[None]:
        try:
            yield fail()
        except ToolError as error:
            seen.append((str(error), error.data, error.retryable, type(error)))
        yield {"__save": True}

    app = any_stage.app(warm=0)
    run_id = app.start(failing)
    app.execute(run_id)
    app.execute(run_id)
    assert seen[0] == seen[1] == ("api.fail failed: Rejected: no", {"code": 7}, False, ToolError)


# -- the idempotency key -------------------------------------------------------------------------


def test_the_key_stays_over_a_crash_and_over_attempts_whose_effect_is_unknown(
    any_stage: Stage,
) -> None:
    keys: list[str] = []

    @tool("api", "pay", registry=any_stage.registry, retry=RetryPolicy(max_attempts=3, first=1))
    def pay(context: ToolContext) -> None:
        keys.append(context.idempotency_key)
        if len(keys) == 1:
            raise Crash
        if len(keys) == 2:
            raise ConnectionError

    @flow(registry=any_stage.registry)
    def paying() -> Steps[None]:
        yield pay()

    run_id = any_stage.app().start(paying)
    any_stage.crash(any_stage.app(), run_id)
    assert any_stage.drive(any_stage.app(), run_id) == Completed(run_id, None)
    assert len(keys) == 3
    assert len(set(keys)) == 1


@pytest.mark.parametrize("error", [Rejected("no"), KeyError("definite")])
def test_the_key_is_new_after_a_definite_failure(stage: Stage, error: Exception) -> None:
    keys: list[str] = []
    policy = RetryPolicy(max_attempts=3, first=1, definite=(KeyError,))

    @tool("api", "pay", registry=stage.registry, retry=policy)
    def pay(context: ToolContext) -> None:
        keys.append(context.idempotency_key)
        if len(keys) < 3:
            raise error

    @flow(registry=stage.registry)
    def paying() -> Steps[None]:
        yield pay()

    stage.app().run(paying)
    assert len(set(keys)) == 3


def test_keys_differ_between_runs_positions_and_deployments(stage: Stage) -> None:
    keys: list[str] = []

    @tool("api", "pay", registry=stage.registry)
    def pay(context: ToolContext) -> None:
        keys.append(context.idempotency_key)

    @flow(registry=stage.registry)
    def paying() -> Steps[None]:
        yield pay()
        yield pay()

    stage.app().run(paying, run_id="a")
    stage.app().run(paying, run_id="b")
    assert len(set(keys)) == 4


# -- the policy ----------------------------------------------------------------------------------


def test_waits_grow_to_the_longest_and_jitter_stays_within() -> None:
    policy = RetryPolicy(first=1, factor=2, longest=timedelta(seconds=5))
    assert [policy.delay(n, 1.0) for n in (1, 2, 3, 4, 500)] == [1, 2, 4, 5, 5]
    assert policy.delay(3, 0.25) == 1
    assert policy.delay(3, 0.0) == 0
    exact = RetryPolicy(first=timedelta(seconds=1), factor=3, jitter=False)
    assert [exact.delay(n, 0.0) for n in (1, 2, 3)] == [1, 3, 9]


@pytest.mark.parametrize(
    "settings", [{"max_attempts": 0}, {"factor": 0.5}, {"first": -1}, {"longest": float("nan")}]
)
def test_a_policy_that_cannot_be_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        RetryPolicy(**settings)


def test_what_is_tried_again_is_the_policys_choice() -> None:
    policy = RetryPolicy(max_attempts=3, retry_on=(ConnectionError,))
    assert policy.allows(ConnectionResetError(), 1)
    assert not policy.allows(ValueError(), 1)
    assert not policy.allows(ConnectionError(), 3)
    assert policy.allows(Rejected("later"), 1)
    assert not policy.allows(Rejected("never", retryable=False), 1)


def test_a_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="exactly-once"):
        tool("api", mode="exactly-once", registry=Registry())  # type: ignore[arg-type]


def test_a_way_of_errors_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="ignore"):
        tool("api", errors="ignore", registry=Registry())  # type: ignore[arg-type]


def test_ignoring_a_parameter_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="tokn"):

        @tool("api", "get", ignore=["tokn"], registry=Registry())
        def get(token: str) -> None: ...

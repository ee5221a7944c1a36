"""Flows over a store of five methods: the JavaScript original's face, without its faults."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from sequential import (
    Pending,
    Registry,
    RetryPolicy,
    RunFailed,
    Steps,
    ToolError,
    det,
    flow,
    is_pausing,
    logger,
    save,
    sleep,
    tool,
    tool_call,
    wait_for_signal,
)
from sequential._memory import MemoryStorage
from sequential.errors import (
    ConfigError,
    FlowChanged,
    FlowNotFound,
    InputMismatch,
    NotAStep,
    NotEncodable,
    RecordCorrupt,
    RunMissing,
    RunStatusWrong,
    RunTaken,
    ToolNotFound,
)
from sequential.executor import FlowExecutor, Paused, create_flow_executor
from sequential.testing import FakeClock

Flow = Callable[..., Any]


class Store:
    """A database as a user would have it: everything in it is JSON text."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.results: dict[tuple[str, int], str] = {}
        self.log: list[tuple[Any, ...]] = []

    def get(self, run_id: str) -> Any:
        found = self.states.get(run_id)
        return None if found is None else json.loads(found)

    def set(self, run_id: str, state: Any) -> None:
        self.log.append(("set", run_id, state))
        self.states[run_id] = json.dumps(state)

    def delete(self, run_id: str) -> None:
        self.log.append(("delete", run_id))
        self.states.pop(run_id, None)
        self.results = {key: value for key, value in self.results.items() if key[0] != run_id}

    def get_result(self, run_id: str, step: int) -> Any:
        found = self.results.get((run_id, step))
        return None if found is None else json.loads(found)

    def set_result(self, run_id: str, step: int, result: Any) -> None:
        self.log.append(("set_result", run_id, step, result))
        self.results[run_id, step] = json.dumps(result)


class CamelStore:
    """The same, async and in the words of JavaScript."""

    def __init__(self) -> None:
        self.inner = Store()
        self.loops: set[asyncio.AbstractEventLoop] = set()

    async def get(self, run_id: str) -> Any:
        self.loops.add(asyncio.get_running_loop())
        return self.inner.get(run_id)

    async def set(self, run_id: str, state: Any) -> None:
        await asyncio.sleep(0)
        self.inner.set(run_id, state)

    async def delete(self, run_id: str) -> None:
        self.inner.delete(run_id)

    async def getResult(self, run_id: str, step: int) -> Any:  # noqa: N802
        return self.inner.get_result(run_id, step)

    async def setResult(self, run_id: str, step: int, result: Any) -> None:  # noqa: N802
        self.inner.set_result(run_id, step, result)


class Api:
    """The other side: remembers every call, answers with what it was told, or raises it."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {"user": {"id": 7}, "posts": [{"id": 1}, {"id": 2}], **answers}
        self.calls: list[tuple[str, str, Any]] = []

    def __call__(self, category: str, name: str, input: Any) -> Any:
        self.calls.append((category, name, input))
        answer = self.answers[name]
        if isinstance(answer, BaseException):
            raise answer
        return answer


def workflow(input: dict[str, Any]) -> Steps[Any]:
    user = yield {"__tool": ["api", "user", {"id": input["userId"]}]}
    posts = yield {"__tool": ["api", "posts", {"uid": user["id"]}]}
    return {"user": user, "posts": posts}


DONE = {"user": {"id": 7}, "posts": [{"id": 1}, {"id": 2}]}
INPUT = {"userId": 123}


def one(name: str = "user") -> Flow:
    """Return a flow that makes one call and returns what it was given."""

    def asks() -> Steps[Any]:
        return (yield {"__tool": ["api", name, {}]})

    return asks


def finish(executor: FlowExecutor, *args: Any) -> Any:
    """Execute until the flow is over."""
    for _ in range(20):
        answer = executor.execute(*args)
        if not isinstance(answer, Paused):
            return answer
    raise AssertionError("the flow does not end")


# -- as its README says ------------------------------------------------------------------------


def test_the_flow_pauses_after_each_tool_call_and_then_returns() -> None:
    api, resumed = Api(), list[str]()
    executor = create_flow_executor(Store(), api, resumed.append)
    answers = [executor.execute(workflow, "exec-id", INPUT) for _ in range(3)]
    assert answers == [{"paused": "exec-id", "step": 0}, {"paused": "exec-id", "step": 1}, DONE]
    assert api.calls == [("api", "user", {"id": 123}), ("api", "posts", {"uid": 7})]
    assert resumed == ["exec-id", "exec-id"]


def test_the_store_is_told_the_result_then_the_step_and_at_the_end_to_delete() -> None:
    store = Store()
    finish(create_flow_executor(store, Api()), workflow, "r", INPUT)
    state = {"flow": "workflow", "input": INPUT}
    assert store.log == [
        ("set_result", "r", 0, {"id": 7}),
        ("set", "r", {"step": 1, **state}),
        ("set_result", "r", 1, [{"id": 1}, {"id": 2}]),
        ("set", "r", {"step": 2, **state}),
        ("delete", "r"),
    ]
    assert not store.results


def test_another_process_goes_on_with_what_the_store_has() -> None:
    store = Store()
    for _ in range(2):
        assert isinstance(create_flow_executor(store, Api()).execute(workflow, "r", INPUT), Paused)
    dead = Api(user=AssertionError(), posts=AssertionError())
    assert create_flow_executor(store, dead).execute(workflow, "r", INPUT) == DONE
    assert dead.calls == []


def test_a_tool_error_is_given_to_the_flow_and_stored() -> None:
    def flaky() -> Steps[Any]:
        result = yield {"__tool": ["api", "user", {}]}
        if result.get("__error"):
            return {"failed": True, "reason": result["__error"]}
        return result

    store = Store()
    executor = create_flow_executor(store, Api(user=ConnectionError("no route")))
    executor.execute(flaky, "r")
    assert store.get_result("r", 0) == {"__error": "no route"}
    assert executor.execute(flaky, "r") == {"failed": True, "reason": "no route"}


def test_a_store_of_javascript_is_read_as_it_is() -> None:
    store = Store()
    store.states["r"] = json.dumps({"step": 1.0})
    store.results["r", 0] = json.dumps({"id": 9})
    api = Api()
    assert finish(create_flow_executor(store, api), workflow, "r", INPUT)["user"] == {"id": 9}
    assert api.calls == [("api", "posts", {"uid": 9})]


def test_coroutines_and_registered_flows_mean_the_same() -> None:
    registry = Registry()

    @flow(registry=registry, name="two")
    async def two(user_id: int) -> list[Any]:
        return [await tool_call("api", "user", {"id": user_id}), await tool_call("api", "posts")]

    executor = create_flow_executor(Store(), Api(), registry=registry)
    assert finish(executor, two, "a", {"user_id": 1}) == list(DONE.values())
    assert finish(executor, "two", "b", {"user_id": 1}) == list(DONE.values())


def test_without_call_the_registered_tools_are_asked() -> None:
    registry, where = Registry(), list[str]()

    @tool("api", "user", registry=registry)
    def user(id: int) -> dict[str, int]:
        where.append("sync")
        return {"id": id}

    @tool("api", "posts", registry=registry)
    async def posts(uid: int) -> list[int]:
        where.append("async")
        return [uid]

    executor = create_flow_executor(Store(), registry=registry)
    assert finish(executor, workflow, "r", INPUT) == {"user": {"id": 123}, "posts": [123]}
    assert where == ["sync", "async"]


def test_a_call_that_nobody_answers_saves_nothing_and_heals() -> None:
    registry, store = Registry(), Store()
    executor = create_flow_executor(store, registry=registry)
    with pytest.raises(ToolNotFound, match=r"api\.user"):
        executor.execute(one(), "r")
    assert store.log == []

    @tool("api", "user", registry=registry)
    def user() -> int:
        return 1

    assert finish(executor, one(), "r") == 1


# -- resuming by id ----------------------------------------------------------------------------


def test_a_run_is_resumed_by_its_id_alone() -> None:
    executor = create_flow_executor(Store(), Api())
    executor.execute(workflow, "r", INPUT)
    assert executor.resume("r") == {"paused": "r", "step": 1}
    assert executor.resume("r") == DONE


def test_a_late_message_does_not_start_a_completed_run_again() -> None:
    api = Api()
    executor = create_flow_executor(Store(), api)
    finish(executor, workflow, "r", INPUT)
    with pytest.raises(RunMissing):
        executor.resume("r")
    assert len(api.calls) == 2


def test_a_store_that_only_keeps_the_step_needs_flow_and_input() -> None:
    class Bare(Store):
        def set(self, run_id: str, state: Any) -> None:
            super().set(run_id, {"step": state["step"]})

    executor = create_flow_executor(Bare(), Api())
    executor.execute(workflow, "r", INPUT)
    with pytest.raises(ConfigError, match="give both to execute"):
        executor.resume("r")
    assert finish(executor, workflow, "r", INPUT) == DONE


def test_a_flow_that_this_process_does_not_know_is_named() -> None:
    store = Store()
    create_flow_executor(store, Api()).execute(workflow, "r", INPUT)
    with pytest.raises(FlowNotFound, match="workflow"):
        create_flow_executor(store, Api(), registry=Registry()).resume("r")


def test_an_input_that_is_left_out_is_the_stored_one() -> None:
    api = Api()
    executor = create_flow_executor(Store(), api)
    executor.execute(workflow, "r", INPUT)
    assert finish(executor, workflow, "r") == DONE
    assert api.calls[0] == ("api", "user", {"id": 123})


def test_an_id_is_made_where_none_is_given() -> None:
    paused = create_flow_executor(Store(), Api()).execute(workflow, input=INPUT)
    assert len(paused["paused"]) == 36


@pytest.mark.parametrize(
    ("other", "given", "named"), [(one(), None, "flow 'workflow'"), (workflow, {}, "another input")]
)
def test_an_id_belongs_to_one_flow_and_one_input(other: Flow, given: Any, named: str) -> None:
    executor = create_flow_executor(Store(), Api())
    executor.execute(workflow, "r", INPUT)
    with pytest.raises(RunTaken, match=named):
        executor.execute(other, "r", given)


def test_a_resume_that_executes_at_once_carries_the_run_to_its_end() -> None:
    ends: list[Any] = []

    def again(run_id: str) -> None:
        ends.append(executor.resume(run_id))

    executor = create_flow_executor(Store(), Api(), again)
    assert executor.execute(workflow, "r", INPUT) == {"paused": "r", "step": 0}
    assert ends == [DONE, {"paused": "r", "step": 1}]


# -- faults of the original that are mended ------------------------------------------------------


def saving() -> Steps[Any]:
    yield {"__save": True}
    user = yield {"__tool": ["api", "user", {}]}
    yield save()
    return user


def test_a_save_point_advances() -> None:
    resumed: list[str] = []
    executor = create_flow_executor(Store(), Api(), resumed.append)
    answers = [executor.execute(saving, "r") for _ in range(4)]
    assert answers == [*({"paused": "r", "step": step} for step in range(3)), {"id": 7}]
    assert len(resumed) == 3


@pytest.mark.parametrize("text", ["$pause$", "paused", ""])
def test_an_error_is_an_error_whatever_its_text(text: str) -> None:
    def raises() -> Steps[Any]:
        yield {"__tool": ["api", "user", {}]}
        raise ValueError(text)

    executor = create_flow_executor(Store(), Api())
    executor.execute(raises, "r")
    with pytest.raises(ValueError, match=f"^{text.replace('$', '.')}$"):
        executor.execute(raises, "r")


def test_an_error_before_the_first_step_is_the_flows_own() -> None:
    def raises() -> Steps[Any]:
        yield from ()
        raise KeyError("early")

    with pytest.raises(KeyError, match="early"):
        create_flow_executor(Store(), Api()).execute(raises, "r")


def test_a_missing_result_names_the_run_and_the_step() -> None:
    store, api = Store(), Api()
    executor = create_flow_executor(store, api)
    executor.execute(workflow, "r-9", INPUT)
    del store.results["r-9", 0]
    with pytest.raises(RecordCorrupt, match=r"'r-9'.*step 0"):
        executor.execute(workflow, "r-9", INPUT)
    assert len(api.calls) == 1


def test_a_store_that_raises_for_a_missing_result_says_the_same() -> None:
    class Strict(Store):
        def get_result(self, run_id: str, step: int) -> Any:
            return json.loads(self.results[run_id, step])

    store = Strict()
    executor = create_flow_executor(store, Api())
    assert finish(executor, workflow, "r", INPUT) == DONE
    store.states["s"] = json.dumps({"step": 1})
    with pytest.raises(RecordCorrupt, match=r"'s'.*step 0"):
        executor.execute(workflow, "s", INPUT)


def test_a_result_that_looks_like_a_pause_is_a_result() -> None:
    def lookalike() -> Steps[Any]:
        yield from ()
        return {"paused": "r", "step": 0}

    def hands_on() -> Steps[Any]:
        yield from ()
        return Paused("r", 0)

    store = Store()
    executor = create_flow_executor(store, Api())
    for each in (lookalike, hands_on):
        answer = executor.execute(each, "r")
        assert answer == {"paused": "r", "step": 0}
        assert type(answer) is dict
    assert store.log == [("delete", "r")] * 2


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


ODD = [StopIteration(), Hostile(), ValueError(), ExceptionGroup("", [OSError()])]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_whatever_a_tool_throws_is_an_error_that_is_seen(odd: Exception) -> None:
    executor = create_flow_executor(Store(), Api(user=odd))
    assert finish(executor, one(), "r")["__error"]


def test_an_async_call_that_is_cancelled_is_a_failed_call() -> None:
    async def call(category: str, name: str, input: Any) -> Any:
        raise asyncio.CancelledError

    assert finish(create_flow_executor(Store(), call), one(), "r") == {"__error": "CancelledError"}


def async_failing(run_id: str) -> Any:
    async def fails() -> None:
        raise ConnectionError(run_id)

    return fails()


def failing(run_id: str) -> Any:
    raise ConnectionError(run_id)


@pytest.mark.parametrize("resume", [failing, async_failing])
def test_a_failing_resume_is_logged_and_harms_nobody(
    resume: Flow, caplog: pytest.LogCaptureFixture
) -> None:
    executor = create_flow_executor(Store(), Api(), resume)
    with caplog.at_level(logging.ERROR, "sequential"):
        assert finish(executor, workflow, "r", INPUT) == DONE
        asyncio.run(executor.aexecute(workflow, "r2", INPUT))
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"run {each}: resume failed after step {step}" for each, step in
                    [("r", 0), ("r", 1), ("r2", 0)]]  # fmt: skip


def test_a_call_whose_step_was_lost_is_not_made_again() -> None:
    class Dies(Store):
        died = False

        def set(self, run_id: str, state: Any) -> None:
            if not self.died:
                self.died = True
                raise ConnectionError("the process dies here")
            super().set(run_id, state)

    api = Api()
    executor = create_flow_executor(Dies(), api)
    with pytest.raises(ConnectionError):
        executor.execute(workflow, "r", INPUT)
    assert finish(executor, workflow, "r", INPUT) == DONE
    assert len(api.calls) == 2


def test_an_invocation_that_was_overtaken_writes_nothing() -> None:
    store = Store()
    fast = create_flow_executor(store, Api())

    def slow(category: str, name: str, input: Any) -> Any:
        fast.execute(workflow, "r", INPUT)
        fast.execute(workflow, "r", INPUT)
        return {"id": "stale"}

    resumed: list[str] = []
    late = create_flow_executor(store, slow, resumed.append)
    assert late.execute(workflow, "r", INPUT) == {"paused": "r", "step": 1}
    assert resumed == []
    assert store.get("r")["step"] == 2
    assert fast.execute(workflow, "r", INPUT) == DONE


def test_an_invocation_that_outlived_its_run_does_not_raise_it_from_the_dead() -> None:
    store = Store()
    fast = create_flow_executor(store, Api())
    fast.execute(workflow, "r", INPUT)

    def slow(category: str, name: str, input: Any) -> Any:
        finish(fast, workflow, "r", INPUT)
        return "stale"

    create_flow_executor(store, slow).execute(workflow, "r", INPUT)
    assert (store.states, store.results) == ({}, {})


@pytest.mark.parametrize("missing", ["get", "set", "delete", "get_result", "set_result"])
def test_a_store_that_lacks_a_method_is_refused_at_once(missing: str) -> None:
    store = Store()
    setattr(store, missing, None)
    with pytest.raises(ConfigError, match=f"'{missing}'"):
        create_flow_executor(store, Api())


def test_code_that_asks_for_less_than_was_saved_is_refused() -> None:
    def workflow() -> Steps[Any]:
        yield from ()
        return "early"

    store = Store()
    store.states["r"] = json.dumps({"step": 1})
    store.results["r", 0] = "1"
    with pytest.raises(FlowChanged, match="the end of the flow"):
        create_flow_executor(store, Api()).execute(workflow, "r")
    assert "r" in store.states


# -- values --------------------------------------------------------------------------------------

VALUES: list[Any] = [
    None,
    0,
    "",
    [],
    {},
    (1, 2),
    {"$": "none", "v": None},
    {"__error": "a field of theirs"},
    {"__error": None, "$": 1},
    Decimal("1.10"),
    datetime(2026, 1, 2, tzinfo=UTC),
    {"deep": [{"x": b"\x00"}]},
    10**30,
    "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_is_the_same_on_every_replay_and_plain_in_the_store(value: Any) -> None:
    seen: list[Any] = []

    def looks(input: Any) -> Steps[Any]:
        given = yield tool_call("api", "user")
        seen.append((input, given))
        yield save()
        return given

    store = Store()
    given = {"value": value}
    executor = create_flow_executor(store, Api(user=value))
    assert finish(executor, looks, "r", given) == value
    assert seen == [(given, value)] * 2
    assert [type(each[1]) for each in seen] == [type(value)] * 2


def test_what_a_flow_does_to_a_value_stays_with_it() -> None:
    class Live(Store):
        """Hands out the very objects that it was given."""

        def get_result(self, run_id: str, step: int) -> Any:
            return self.live.get((run_id, step))

        def set_result(self, run_id: str, step: int, result: Any) -> None:
            self.live[run_id, step] = result

        live: dict[Any, Any] = {}  # noqa: RUF012

    def spoils(input: Any) -> Steps[Any]:
        user = yield tool_call("api", "user", input)
        user["id"] += 1
        input["n"] += 1
        yield save()
        return [user, input]

    answer = Api()
    assert finish(create_flow_executor(Live(), answer), spoils, "r", {"n": 1}) == [
        {"id": 8},
        {"n": 2},
    ]
    assert answer.answers["user"] == {"id": 7}


def test_a_result_is_read_by_the_tools_annotation() -> None:
    registry = Registry()

    @tool("api", "user", registry=registry)
    def user() -> tuple[int, ...]:
        return (1, 2)

    @flow(registry=registry)
    async def asks() -> list[Any]:
        given = await user()
        return [type(given).__name__, given]

    assert finish(create_flow_executor(Store(), registry=registry), asks, "r") == ["tuple", (1, 2)]


def test_a_tool_error_is_raised_in_the_python_form_the_same_on_replay() -> None:
    caught: list[ToolError] = []

    async def asks() -> str:
        try:
            await tool_call("api", "user")
        except ToolError as error:
            caught.append(error)
        await save()
        return "went on"

    store = Store()
    assert finish(create_flow_executor(store, Api(user=OSError("gone"))), asks, "r") == "went on"
    said = [(each.tool, each.type, each.message, each.attempts) for each in caught]
    assert said == [("api.user", "OSError", "gone", 1)] * 2
    assert store.log[0][3]["__error"] == "gone"


def test_a_result_that_cannot_be_stored_is_a_failed_call() -> None:
    answer = finish(create_flow_executor(Store(), Api(user=object())), one(), "r")
    assert "cannot store" in answer["__error"]


def test_a_flow_whose_result_cannot_be_stored_raises() -> None:
    def returns() -> Steps[Any]:
        yield from ()
        return object()

    with pytest.raises(NotEncodable):
        create_flow_executor(Store(), Api()).execute(returns, "r")


BAD_STATES = [{"step": -1}, {"step": "x"}, {"step": 1.5}, {"step": None}, [1], "1"]


@pytest.mark.parametrize("state", BAD_STATES, ids=repr)
def test_a_record_that_cannot_be_is_refused(state: Any) -> None:
    store = Store()
    store.states["r"] = json.dumps(state)
    with pytest.raises(RecordCorrupt, match="'r'"):
        create_flow_executor(store, Api()).execute(workflow, "r", INPUT)


@pytest.mark.parametrize("result", [{"$": "nonsense", "v": 1}, {"$": 1}])
def test_a_result_that_nobody_can_read_names_run_and_step(result: Any) -> None:
    store = Store()
    store.states["r"] = json.dumps({"step": 1})
    store.results["r", 0] = json.dumps(result)
    with pytest.raises(RecordCorrupt, match=r"'r'.*step 0"):
        create_flow_executor(store, Api()).execute(workflow, "r", INPUT)


# -- the end -----------------------------------------------------------------------------------


def test_a_kept_outcome_is_given_again_and_nothing_runs() -> None:
    store, api = Store(), Api()
    executor = create_flow_executor(store, api, on_complete="keep")
    assert finish(executor, workflow, "r", INPUT) == DONE
    kept = {"status": "completed", "result": DONE}
    assert store.get("r") == {"step": 2, "flow": "workflow", "input": INPUT, **kept}
    assert executor.execute(workflow, "r", INPUT) == executor.resume("r") == DONE
    assert len(api.calls) == 2


def test_a_flow_that_raised_is_kept_with_its_error_and_mended_code_goes_on() -> None:
    broken = [True]

    def mended() -> Steps[Any]:
        user = yield {"__tool": ["api", "user", {}]}
        if broken:
            raise ValueError("a bug")
        return user

    store = Store()
    executor = create_flow_executor(store, Api(), on_complete="keep")
    with pytest.raises(ValueError, match="a bug"):
        finish(executor, mended, "r")
    assert store.get("r")["error"] == {"type": "ValueError", "message": "a bug"}
    broken.clear()
    assert executor.resume("r") == {"id": 7}
    assert store.get("r")["status"] == "completed"


def test_there_are_two_ways_to_complete() -> None:
    with pytest.raises(ConfigError, match="on_complete"):
        create_flow_executor(Store(), on_complete="forget")  # type: ignore[arg-type]


# -- what five methods cannot do ------------------------------------------------------------------


@pytest.mark.parametrize("step", [sleep(1), wait_for_signal("go")], ids=repr)
def test_what_five_methods_cannot_keep_is_refused_by_name(step: Any) -> None:
    def waits() -> Steps[Any]:
        yield step

    with pytest.raises(ConfigError, match=f"cannot keep {step!r}"):
        create_flow_executor(Store(), Api()).execute(waits, "r")


def test_an_at_most_once_tool_is_refused_before_it_runs() -> None:
    registry = Registry()

    @tool("api", "user", mode="at-most-once", registry=registry)
    def user() -> None:
        raise AssertionError

    with pytest.raises(ConfigError, match="at-most-once"):
        create_flow_executor(Store(), registry=registry).execute(one(), "r")


def test_an_answer_that_comes_later_is_a_failed_call() -> None:
    registry = Registry()

    @tool("api", "user", retry=RetryPolicy(max_attempts=3), registry=registry)
    def user() -> Any:
        return Pending()

    executor = create_flow_executor(Store(), registry=registry)
    assert "needs signals" in finish(executor, one(), "r")["__error"]


def test_det_now_does_not_answer_wrongly() -> None:
    def asks() -> Steps[Any]:
        yield from ()
        return det.now()

    with pytest.raises(ValueError, match="NaN"):
        create_flow_executor(Store(), Api()).execute(asks, "r")


# -- the same as everywhere ------------------------------------------------------------------------


def test_a_tool_is_tried_as_often_as_its_policy_says() -> None:
    registry, tries, clock = Registry(), list[float](), FakeClock()

    @tool(
        "api", "user",
        retry=RetryPolicy(max_attempts=3, first=100, jitter=False), registry=registry,
    )  # fmt: skip
    def user() -> str:
        tries.append(clock.now())
        if len(tries) < 3:
            raise ConnectionError
        return "there"

    executor = create_flow_executor(Store(), registry=registry, clock=clock)
    assert finish(executor, one(), "r") == "there"
    assert [round(later - tries[0]) for later in tries] == [0, 100, 300]


def test_random_values_and_log_lines_are_those_of_the_first_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    drawn: list[Any] = []

    def draws() -> Steps[Any]:
        logger("mine").warning("begins")
        drawn.append((det.random(), det.uuid4()))
        yield {"__tool": ["api", "user", {}]}
        logger("mine").warning("goes on")
        yield save()
        return None

    finish(create_flow_executor(Store(), Api()), draws, "r")
    assert len(drawn) == 3
    assert len(set(drawn)) == 1
    assert [each.getMessage() for each in caplog.records] == ["begins", "goes on"]


def test_a_pause_unwinds_the_flow() -> None:
    pausing: list[bool] = []

    def cleans() -> Generator[Any, Any, None]:
        try:
            yield {"__tool": ["api", "user", {}]}
        finally:
            pausing.append(is_pausing())

    finish(create_flow_executor(Store(), Api()), cleans, "r")
    assert pausing == [True, False]


def test_what_is_no_step_is_refused_with_its_place() -> None:
    def yields() -> Steps[Any]:
        yield {"neither": 1}

    with pytest.raises(NotAStep, match=r"test_five_methods\.py"):
        create_flow_executor(Store(), Api()).execute(yields, "r")


def test_an_input_that_does_not_fit_is_refused() -> None:
    async def takes(user_id: int) -> None: ...

    with pytest.raises(InputMismatch, match="user_id"):
        create_flow_executor(Store(), Api()).execute(takes, "r", {"other": 1})


@pytest.mark.parametrize("what", [3, lambda: None, print])
def test_what_is_no_flow_is_refused(what: Any) -> None:
    with pytest.raises(TypeError, match="flow"):
        create_flow_executor(Store(), Api()).execute(what, "r")


# -- sync and async --------------------------------------------------------------------------------


class AsyncApi(Api):
    """Awaited; remembers on which loop."""

    loops: set[asyncio.AbstractEventLoop]

    async def answer(self, category: str, name: str, input: Any) -> Any:
        await asyncio.sleep(0)
        self.loops = {asyncio.get_running_loop()}
        return self(category, name, input)


def test_async_stores_and_calls_need_no_loop() -> None:
    store, resumed = CamelStore(), list[str]()

    async def resume(run_id: str) -> None:
        resumed.append(run_id)

    executor = create_flow_executor(store, AsyncApi().answer, resume)
    assert finish(executor, workflow, "r", INPUT) == DONE
    assert resumed == ["r", "r"]
    assert store.inner.log[-1] == ("delete", "r")
    assert len(store.loops) == 1


def test_the_twin_awaits_on_the_loop_of_its_caller() -> None:
    store, api = CamelStore(), AsyncApi()

    async def carry() -> tuple[list[Any], asyncio.AbstractEventLoop]:
        executor = create_flow_executor(store, api.answer)
        answers = [await executor.aexecute(workflow, "r", INPUT)]
        answers.append(await executor.aresume("r"))
        answers.append(await executor.aresume("r"))
        return answers, asyncio.get_running_loop()

    answers, loop = asyncio.run(carry())
    assert answers == [{"paused": "r", "step": 0}, {"paused": "r", "step": 1}, DONE]
    assert store.loops == api.loops == {loop}


def test_the_twin_does_not_hold_up_the_loop() -> None:
    went_on = threading.Event()

    def call(category: str, name: str, input: Any) -> bool:
        return went_on.wait(30)

    async def carry() -> Any:
        executor = create_flow_executor(Store(), call)
        running = asyncio.create_task(executor.aexecute(one(), "r"))
        await asyncio.sleep(0)
        went_on.set()
        await running
        return await executor.aresume("r")

    assert asyncio.run(carry()) is True


def test_on_a_loop_the_sync_method_points_to_its_twin() -> None:
    async def carry() -> None:
        create_flow_executor(Store(), Api()).execute(workflow, "r", INPUT)

    with pytest.raises(RuntimeError, match="await the twin"):
        asyncio.run(carry())


def test_a_resume_that_awaits_the_next_invocation_needs_no_thread_for_each() -> None:
    def many() -> Steps[int]:
        for _ in range(100):
            yield {"__tool": ["api", "user", {}]}
        return 100

    ends: list[Any] = []

    async def again(run_id: str) -> None:
        ends.append(await executor.aresume(run_id))

    executor = create_flow_executor(CamelStore(), Api(), again)
    asyncio.run(executor.aexecute(many, "r"))
    assert ends[0] == 100


# -- a full storage --------------------------------------------------------------------------------


def test_a_full_storage_answers_the_same() -> None:
    api, resumed = Api(), list[str]()
    executor = create_flow_executor(MemoryStorage(FakeClock()), api, resumed.append)
    answers = [executor.execute(workflow, "r", INPUT), executor.resume("r"), executor.resume("r")]
    assert answers == [{"paused": "r", "step": 0}, {"paused": "r", "step": 1}, DONE]
    assert [type(each) for each in answers] == [Paused, Paused, dict]
    assert (len(api.calls), resumed) == (2, ["r", "r"])


def test_with_a_full_storage_a_completed_run_is_deleted_but_not_started_again() -> None:
    api = Api()
    executor = create_flow_executor(MemoryStorage(FakeClock()), api)
    finish(executor, workflow, "r", INPUT)
    with pytest.raises(RunStatusWrong, match="deleted"):
        executor.execute(workflow, "r", INPUT)
    with pytest.raises(RunStatusWrong, match="deleted"):
        executor.resume("r")
    assert len(api.calls) == 2


def test_with_a_full_storage_an_outcome_can_be_kept() -> None:
    executor = create_flow_executor(MemoryStorage(FakeClock()), Api(), on_complete="keep")
    assert finish(executor, workflow, "r", INPUT) == executor.resume("r") == DONE
    with pytest.raises(RunTaken):
        executor.execute(workflow, "r", {"userId": 1})


def test_with_a_full_storage_a_second_invocation_is_held_off() -> None:
    storage, resumed = MemoryStorage(FakeClock()), list[str]()
    seen: list[Any] = []

    def call(category: str, name: str, input: Any) -> Any:
        if not seen:
            seen.append(other.execute(workflow, "r", INPUT))
        return Api()(category, name, input)

    other = create_flow_executor(storage, Api(user=AssertionError()), resumed.append)
    executor = create_flow_executor(storage, call)
    assert finish(executor, workflow, "r", INPUT) == DONE
    assert seen == [{"paused": "r", "step": 0}]
    assert resumed == []


def test_with_a_full_storage_a_flow_may_sleep() -> None:
    clock, resumed = FakeClock(), list[str]()

    def naps() -> Steps[str]:
        yield sleep(60)
        return "rested"

    executor = create_flow_executor(MemoryStorage(clock), Api(), resumed.append, clock=clock)
    assert executor.execute(naps, "r") == {"paused": "r", "step": 0}
    assert executor.resume("r") == {"paused": "r", "step": 0}
    assert resumed == []  # nobody is asked to come before it is time
    clock.advance(61)
    assert executor.resume("r") == "rested"


def test_with_a_full_storage_a_flow_that_raised_is_told_by_name() -> None:
    def raises() -> Steps[Any]:
        yield from ()
        raise ValueError("$pause$")

    executor = create_flow_executor(MemoryStorage(FakeClock()), Api())
    with pytest.raises(RunFailed) as failed:
        executor.execute(raises, "r")
    assert (failed.value.type, failed.value.message) == ("ValueError", "$pause$")
    with pytest.raises(RunMissing):
        executor.resume("nobody")

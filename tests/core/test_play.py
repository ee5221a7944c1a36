"""Playing flows with fake tools, replaying them after every step, and losing their process."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest

from sequential import (
    Pending,
    Registry,
    Rejected,
    RetryPolicy,
    RunBlocked,
    RunCancelled,
    RunFailed,
    Sequential,
    SignalTimedOut,
    Steps,
    ToolContext,
    ToolError,
    continue_as_new,
    det,
    flow,
    save,
    sleep,
    tool,
    tool_call,
    wait_for_signal,
)
from sequential.errors import InputMismatch, ToolNotFound
from sequential.outcomes import Lost
from sequential.testing import FakeClock, verify_replay
from sequential.testing._crashes import _Disk, _ProcessLost, crash_everywhere
from sequential.testing._play import play

REGISTRY = Registry()


@dataclass
class Item:
    name: str
    price: int


@tool("shop", "reserve", retry=RetryPolicy(max_attempts=3, first=10, jitter=False),
      registry=REGISTRY)  # fmt: skip
def reserve(item: Item) -> Item:
    raise NotImplementedError


@tool("shop", "pay", mode="at-most-once", registry=REGISTRY)
def pay(amount: int) -> str:
    raise NotImplementedError


@tool("shop", "ship", timeout=5, registry=REGISTRY)
async def ship(name: str) -> str:
    raise NotImplementedError


@flow(registry=REGISTRY)
async def order(item: Item) -> str:
    reserved = await reserve(item)
    await sleep(timedelta(days=30))
    agreed = await wait_for_signal("agreed", bool, timeout=timedelta(days=3), default=False)
    await save()
    return f"{reserved.name} for {reserved.price}, {'agreed' if agreed else 'not agreed'}"


@flow(registry=REGISTRY)
def listing(input: Any) -> Steps[list[Any]]:
    first = yield tool_call("api", "get", {"key": input})
    second = yield {"__tool": ["api", "get", {"key": first}]}
    return [first, second]


PEAR = {"item": {"name": "pear", "price": 3}}


def cheaper(item: Item) -> Item:
    return Item(item.name, item.price - 1)


# -- play ----------------------------------------------------------------------------------------


def test_a_coroutine_flow_is_played_to_its_end_without_waiting() -> None:
    began = time.monotonic()
    played = play(order, PEAR, tools={reserve: cheaper})
    assert played.result == "pear for 2, not agreed"
    assert played.error is None
    assert played.slept == 33 * 86_400
    assert time.monotonic() - began < 10


def test_a_generator_flow_is_played_with_tools_that_only_the_test_knows() -> None:
    played = play(listing, 1, tools={"api.get": lambda key: key * 10})
    assert played.result == [10, 100]
    assert [(call.tool, call.input) for call in played.calls] == [
        ("api.get", {"key": 1}),
        ("api.get", {"key": 10}),
    ]


def test_steps_say_position_what_input_and_outcome() -> None:
    played = play(order, PEAR, tools={reserve: cheaper}, signals={"agreed": True})
    assert [(s.position, s.what, s.outcome, s.attempts) for s in played.steps] == [
        ("0", "shop.reserve", "value", 1),
        ("1", "sleep", "value", 1),
        ("2", "signal agreed", "value", 1),
        ("3", "save", "value", 1),
    ]
    assert played.steps[0].input == PEAR
    assert played.steps[0].value == {"name": "pear", "price": 2}
    assert played.steps[2].value is True


def test_a_tool_given_by_name_keeps_its_options_and_types() -> None:
    answers = [TimeoutError("slow"), {"name": "plum", "price": 1}]
    played = play(order, PEAR, tools={"shop.reserve": answers}, registry=REGISTRY)
    assert played.result == "plum for 1, not agreed"


def test_a_name_that_no_registry_knows_gets_one_attempt() -> None:
    played = play(order, PEAR, tools={"shop.reserve": [TimeoutError("slow")]}, registry=Registry())
    assert isinstance(played.error, RunFailed)
    assert len(played.calls) == 1


def test_retries_are_made_by_the_policy_and_their_waits_skipped() -> None:
    tools = {reserve: [TimeoutError("slow"), Rejected, Item("pear", 3)]}
    played = play(order, PEAR, tools=tools)
    assert played.result == "pear for 3, not agreed"
    assert [call.attempt for call in played.calls] == [1, 2, 3]
    assert played.steps[0].attempts == 3
    assert played.slept == 10 + 20 + 33 * 86_400


def test_an_error_of_a_tool_reaches_the_flow() -> None:
    seen: list[ToolError] = []

    @flow(registry=Registry())
    async def catching() -> str:
        try:
            return await ship("pear")
        except ToolError as error:
            seen.append(error)
            return "caught"

    played = play(catching, tools={ship: [LookupError("no pear")]})
    assert played.result == "caught"
    assert (seen[0].type, seen[0].message) == ("LookupError", "no pear")
    assert played.steps[0].outcome == "error"
    assert played.steps[0].value["message"] == "no pear"


def test_a_flow_that_raises_is_told_with_its_own_exception_as_cause() -> None:
    played = play(order, PEAR, tools={reserve: [ValueError("sold out")] * 3})
    assert isinstance(played.error, RunFailed)
    assert (played.error.type, played.returned) == ("ToolError", None)
    assert isinstance(played.error.__cause__, ToolError)
    with pytest.raises(RunFailed, match="sold out"):
        _ = played.result


def test_a_generator_flow_that_raises_keeps_its_cause_too() -> None:
    played = play(listing, 1, tools={"api.get": [RuntimeError("down")]})
    assert isinstance(played.error, RunFailed)
    assert isinstance(played.error.__cause__, ToolError)


def test_a_flow_that_ends_as_cancelled_says_so() -> None:
    @flow(registry=Registry())
    async def leaving() -> None:
        await save()
        raise RunCancelled

    played = play(leaving)
    assert isinstance(played.error, RunCancelled)
    with pytest.raises(RunCancelled):
        _ = played.result


def test_a_tool_that_was_not_given_is_named_with_those_that_were() -> None:
    with pytest.raises(ToolNotFound) as caught:
        play(order, PEAR, tools={"api.get": [1], ship: ["x"]})
    assert (caught.value.category, caught.value.name) == ("shop", "reserve")
    assert caught.value.known == ("api.get", "shop.ship")
    assert "api.get, shop.ship" in caught.value.__notes__[0]


def test_a_signal_that_never_comes_is_named() -> None:
    @flow(registry=Registry())
    async def waiting() -> None:
        await wait_for_signal("approved")

    with pytest.raises(RunBlocked, match=r"'approved', which never comes \(given: rejected\)"):
        play(waiting, signals={"rejected": 1})


def test_several_signals_of_one_name_come_in_order() -> None:
    @flow(registry=Registry())
    async def collecting() -> list[int]:
        return [await wait_for_signal("n", int) for _ in range(3)]

    assert play(collecting, signals={"n": [3, 1, 2]}).result == [3, 1, 2]


def test_a_signal_that_is_late_raises_in_the_flow() -> None:
    @flow(registry=Registry())
    async def impatient() -> str:
        try:
            await wait_for_signal("n", int, timeout=60)
        except SignalTimedOut:
            return "late"
        return "in time"

    assert play(impatient).result == "late"


def test_an_answer_may_come_later_as_a_signal() -> None:
    tools = {"api.get": [Pending("answer"), 2]}
    assert play(listing, 1, tools=tools, signals={"answer": 5}).result == [5, 2]


def test_a_list_that_is_too_short_fails_the_test_and_no_flow() -> None:
    @flow(registry=Registry())
    async def swallowing() -> str:
        try:
            await tool_call("api", "get")
            await tool_call("api", "get")
        except ToolError:
            return "swallowed"
        return "done"

    with pytest.raises(AssertionError, match=r"api\.get was given 1 answers and"):
        play(swallowing, tools={"api.get": ["one"]})


def test_a_fake_that_asserts_fails_the_test_and_no_flow() -> None:
    def get(key: int) -> None:
        assert key == 2, "the wrong id"

    with pytest.raises(AssertionError, match="the wrong id"):
        play(listing, 1, tools={"api.get": get})


def test_pytest_fail_in_a_fake_fails_the_test() -> None:
    def get(key: int) -> None:
        pytest.fail("never to be called")

    with pytest.raises(pytest.fail.Exception, match="never to be called"):
        play(listing, 1, tools={"api.get": get})


@pytest.mark.parametrize("fake", [ship.function, lambda name: f"sent {name}", ["sent pear"]])
def test_fakes_of_an_async_tool_may_be_sync_or_async(fake: Any) -> None:
    @flow(registry=Registry())
    async def shipping() -> str:
        return await ship("pear")

    async def sent(name: str) -> str:
        return f"sent {name}"

    given = sent if fake is ship.function else fake
    assert play(shipping, tools={ship: given}).result == "sent pear"


def test_a_fake_may_ask_for_the_context() -> None:
    def keyed(item: Item, context: ToolContext) -> Item:
        return Item(f"{context.run_id} {context.position} {context.attempt}", item.price)

    assert play(order, PEAR, tools={reserve: keyed}).result == "play 0 1 for 3, not agreed"


def test_a_mock_gets_the_input_by_name() -> None:
    mock = Mock(side_effect=[1, 2])
    assert play(listing, 7, tools={"api.get": mock}).result == [1, 2]
    mock.assert_called_with(key=1)


def test_a_mock_of_a_tool_with_a_raw_input_gets_it_as_it_is() -> None:
    @flow(registry=Registry())
    def raw(input: int) -> Steps[Any]:
        return (yield tool_call("api", "get", input))

    mock = Mock(return_value="got")
    assert play(raw, 7, tools={"api.get": mock}).result == "got"
    mock.assert_called_once_with(7)


def test_a_real_tool_can_be_let_in() -> None:
    @tool("shop", "twice", registry=Registry())
    def twice(key: int) -> int:
        return key * 2

    assert play(listing, 1, tools={"api.get": twice}).result == [2, 4]


def test_an_input_that_the_real_tool_would_refuse_is_refused() -> None:
    @flow(registry=Registry())
    async def wrong() -> None:
        await tool_call("shop", "reserve", {"article": 1})

    played = play(wrong, tools={reserve: cheaper})
    assert isinstance(played.error, RunFailed)
    assert "'item' missing" in played.error.message


@pytest.mark.parametrize("given", [5, "a text", None])
def test_what_is_neither_function_nor_list_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match=r"api\.get is given"):
        play(listing, 1, tools={"api.get": given})


@pytest.mark.parametrize("key", ["get", ".get", "api.", 5])
def test_a_name_without_a_category_is_refused(key: Any) -> None:
    with pytest.raises(ValueError, match=r"category\.name"):
        play(listing, 1, tools={key: [1]})


def test_an_input_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputMismatch):
        play(order, {"article": 1})


def test_a_flow_that_yields_no_step_is_told_its_place() -> None:
    @flow(registry=Registry())
    def odd() -> Steps[None]:
        yield 5

    with pytest.raises(RunBlocked, match=r"test_play\.py:\d+ yields or awaits int 5"):
        play(odd)


def test_the_clock_shows_the_start_that_was_asked_for() -> None:
    @flow(registry=Registry())
    async def dated() -> list[str]:
        before = det.now()
        await sleep(3_600)
        return [before.isoformat(), det.now().isoformat()]

    started = play(dated, start=datetime(2030, 1, 1, tzinfo=UTC))
    assert started.result == ["2030-01-01T00:00:00+00:00", "2030-01-01T01:00:00+00:00"]
    with pytest.raises(ValueError, match="has no time zone"):
        play(dated, start=datetime(2030, 1, 1))  # noqa: DTZ001  (that is what is refused)


def test_two_plays_draw_the_same_ids() -> None:
    @flow(registry=Registry())
    async def drawing() -> str:
        await save()
        return str(det.uuid4())

    assert play(drawing).result == play(drawing).result


def counting(count: int) -> Any:
    @flow(registry=Registry())
    async def generations(left: int) -> str:
        await tool_call("api", "tick", {"left": left})
        if left:
            await continue_as_new({"left": left - 1})
        return "over"

    return generations


def test_steps_and_calls_of_all_generations_are_told() -> None:
    played = play(counting(2), {"left": 2}, tools={"api.tick": lambda left: left})
    assert [step.value for step in played.steps] == [2, 1, 0]
    assert [call.generation for call in played.calls] == [0, 1, 2]


def test_a_flow_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sequential.testing._play._MOST_TURNS", 50)

    @flow(registry=Registry())
    async def for_ever() -> None:
        await sleep(1)
        await continue_as_new()

    with pytest.raises(RunBlocked, match="not ended after 50 invocations"):
        play(for_ever)


def test_a_run_that_comes_to_no_end_of_its_own_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sequential, "execute", lambda app, run_id: Lost(run_id, "taken"))
    with pytest.raises(RunBlocked, match="taken"):
        play(order, PEAR, tools={reserve: cheaper})


def test_a_large_result_of_a_tool_is_told_whole() -> None:
    played = play(listing, 1, tools={"api.get": ["x" * 1_000_000, 2]})
    assert len(played.steps[0].value) == 1_000_000


# -- replays -------------------------------------------------------------------------------------


def test_a_deterministic_flow_replays_after_every_step() -> None:
    tools = {reserve: [TimeoutError("slow"), Item("pear", 3)]}
    played = verify_replay(order, PEAR, tools=tools, signals={"agreed": True})
    assert played.result == "pear for 3, agreed"
    assert len(played.calls) == 2


def test_a_flow_whose_input_to_a_tool_changes_is_shown_the_difference() -> None:
    numbers = itertools.count()

    @flow(registry=Registry())
    async def careless() -> None:
        await tool_call("api", "get", {"key": next(numbers)})
        await tool_call("api", "get", {"key": 7})

    with pytest.raises(AssertionError, match=r"(?s)careless.*recorded: .*0.*asked: .*1"):
        verify_replay(careless, tools={"api.get": lambda key: key})


def test_a_flow_that_takes_another_way_after_a_sleep_is_found() -> None:
    numbers = itertools.count()

    @flow(registry=Registry())
    async def wavering() -> None:
        if next(numbers) % 2:
            await save()
        await sleep(60)
        await save()

    with pytest.raises(AssertionError, match="step 0"):
        verify_replay(wavering)


def test_a_result_that_changes_on_replay_is_found() -> None:
    numbers = itertools.count()

    @flow(registry=Registry())
    async def numbered() -> int:
        return next(numbers)

    with pytest.raises(AssertionError, match="result"):
        verify_replay(numbered)


def test_a_flow_that_fails_the_same_way_each_time_replays() -> None:
    played = verify_replay(listing, 1, tools={"api.get": [ValueError("no")]})
    assert isinstance(played.error, RunFailed)


def test_what_keeps_a_flow_from_its_end_is_no_difference() -> None:
    @flow(registry=Registry())
    async def waiting() -> None:
        await wait_for_signal("approved")

    with pytest.raises(RunBlocked, match="never comes"):
        verify_replay(waiting)


# -- crashes -------------------------------------------------------------------------------------


def test_a_flow_survives_a_crash_at_every_write() -> None:
    tools = {reserve: [TimeoutError("slow"), Item("pear", 3)]}
    survived = crash_everywhere(order, PEAR, tools=tools, signals={"agreed": True})
    assert survived.played.result == "pear for 3, agreed"
    written = [crash.write for crash in survived.crashes if crash.when == "before"]
    assert written == [
        "create the run",
        "accept the signal 'agreed'",
        "claim the run",
        "note an attempt",
        "record step 0, shop.reserve",
        "park the run",
        "claim the run",
        "record step 1, sleep",
        "record step 2, agreed",
        "record step 3, save",
        "claim the run",
        "end the run as completed",
    ]
    assert len(survived.crashes) == 2 * len(written)


def test_the_crashes_that_repeat_a_tool_call_are_told() -> None:
    survived = crash_everywhere(listing, 1, tools={"api.get": lambda key: key + 1})
    repeating = [crash for crash in survived.crashes if crash.repeated]
    assert [(crash.when, crash.write, crash.repeated) for crash in repeating] == [
        ("before", "record step 0, api.get", ("api.get at step 0",)),
        ("before", "record step 1, api.get", ("api.get at step 1",)),
    ]
    assert survived.repeated == {"api.get at step 0", "api.get at step 1"}
    assert "before write 2 (record step 0, api.get): repeats api.get at step 0" in str(survived)


def test_an_at_most_once_call_is_interrupted_and_never_repeated() -> None:
    @flow(registry=Registry())
    async def paying() -> str:
        try:
            return await pay(5)
        except ToolError as error:
            return error.type

    survived = crash_everywhere(paying, tools={pay: lambda amount: f"paid {amount}"})
    assert survived.played.result == "paid 5"
    assert survived.repeated == frozenset()
    assert survived.interrupted == {"shop.pay at step 0"}


def test_flows_that_hold_times_and_ids_survive_unchanged() -> None:
    @flow(registry=Registry())
    async def dated() -> list[str]:
        await save()
        return [det.now().isoformat(), str(det.uuid4())]

    assert crash_everywhere(dated).repeated == frozenset()


def test_every_generation_and_large_values_are_crashed_through() -> None:
    survived = crash_everywhere(
        counting(1), {"left": 1}, tools={"api.tick": lambda left: "x" * 100_000}
    )
    written = [crash.write for crash in survived.crashes]
    assert "begin a new generation" in written
    assert "keep a large value" in written


def test_a_flow_that_fails_fails_the_same_after_every_crash() -> None:
    survived = crash_everywhere(listing, 1, tools={"api.get": [ValueError("no")]})
    assert isinstance(survived.played.error, RunFailed)


Make = Callable[[Iterator[int]], tuple[Any, dict[str, Any]]]


def another_way(numbers: Iterator[int]) -> tuple[Any, dict[str, Any]]:
    @flow(registry=Registry())
    async def wavering() -> None:
        if next(numbers) == 2:
            await save()
        await tool_call("api", "get", {"key": 1})

    return wavering, {"api.get": lambda key: key}


def another_input(numbers: Iterator[int]) -> tuple[Any, dict[str, Any]]:
    @flow(registry=Registry())
    async def careless() -> None:
        await save()
        await tool_call("api", "get", {"key": next(numbers)})

    return careless, {"api.get": lambda key: key}


def another_result(numbers: Iterator[int]) -> tuple[Any, dict[str, Any]]:
    @flow(registry=Registry())
    async def numbered() -> int:
        await save()
        return next(numbers)

    return numbered, {}


def another_answer(numbers: Iterator[int]) -> tuple[Any, dict[str, Any]]:
    return listing, {"api.get": lambda key: next(numbers)}


@pytest.mark.parametrize("make", [another_way, another_input, another_result, another_answer])
def test_a_run_that_comes_to_another_end_is_told_with_the_place(make: Make) -> None:
    made, fakes = make(itertools.count())
    with pytest.raises((AssertionError, RunBlocked)) as caught:
        crash_everywhere(made, 1 if made is listing else None, tools=fakes)
    told = str(caught.value) + "".join(getattr(caught.value, "__notes__", ()))
    assert re.search(r"lost (before|after) write \d+ \(", told)


# Each play calls the flow once or twice; the number says in which call it leaves its save out.
@pytest.mark.parametrize(
    ("call", "told"),
    [
        (0, r"lost before write 0 .*recorded one more step: step 0, save"),
        (2, r"lost after write 0 .*recorded only 0 of 1 steps"),
        (9, r"did not come as far as before write 3 \(claim the run\)"),
        (14, r"(?s)is blocked: .*The process was lost before write 4 \(end the run"),
    ],
)
def test_a_step_that_is_left_out_once_is_found(call: int, told: str) -> None:
    numbers = itertools.count()

    @flow(registry=Registry())
    async def forgetful() -> None:
        if next(numbers) != call:
            await save()

    with pytest.raises((AssertionError, RunBlocked)) as caught:
        crash_everywhere(forgetful)
    assert re.search(told, "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])]))


def test_a_lost_process_reaches_the_storage_no_more() -> None:
    disk = _Disk(FakeClock(), (0, "before"))
    with pytest.raises(_ProcessLost):
        disk.put_value("play", b"1")
    with pytest.raises(_ProcessLost):
        disk.load("play")
    with pytest.raises(_ProcessLost):
        disk.put_value("play", b"1")
    assert disk.writes == ["keep a large value"]
    disk.restart()
    assert disk.load("play") is None

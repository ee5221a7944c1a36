"""Patterns in both styles of flow: what they do, after a crash anywhere, on replay, on a cancel."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from sequential import (
    Registry,
    RetryPolicy,
    RunCancelled,
    RunFailed,
    Sequential,
    SignalTimedOut,
    Steps,
    ToolError,
    det,
    gather,
    race,
    save,
    sleep,
    tool,
    wait_for_signal,
)
from sequential._flow import Flow, SubFlow
from sequential.outcomes import Cancelled, Completed, Failed, Outcome, Paused
from sequential.patterns import (
    Arrived,
    CompensationFailed,
    PollTimedOut,
    QuorumLost,
    Saga,
    as_completed,
    poll,
    quorum,
    remind,
    saga,
    shield,
)
from sequential.testing import FakeClock, Played, crash_everywhere, play, verify_replay

REGISTRY = Registry()


@tool("trip", "book", registry=REGISTRY)
def book(what: str) -> str:
    raise NotImplementedError


@tool("trip", "unbook", retry=RetryPolicy(max_attempts=2, jitter=False), registry=REGISTRY)
def unbook(what: str) -> str:
    raise NotImplementedError


@tool("trip", "state", registry=REGISTRY)
def state(of: str) -> str:
    raise NotImplementedError


def booked(what: str) -> str:
    if what == "car":
        raise ConnectionError("no car")
    return f"a {what}"


TOOLS: dict[Any, Any] = {
    book: booked,
    unbook: lambda what: f"no {what}",
    state: lambda of: f"{of} is ready",
}


def styles(generator: Callable[..., Any], coroutine: Callable[..., Any]) -> list[Any]:
    """Return two flows under one name, so that the same test reads both."""
    made: list[Flow[..., Any]] = [Flow("f", "1", each) for each in (generator, coroutine)]
    return [pytest.param(made[0], id="generator"), pytest.param(made[1], id="coroutine")]


def survived(flow: Flow[..., Any], **changed: Any) -> Played[Any]:
    """Play *flow*, replay it after each step, and lose its process at every write."""
    given: dict[str, Any] = {"tools": TOOLS, "registry": REGISTRY, **changed}
    verify_replay(flow, **given)
    return crash_everywhere(flow, **given).played


def called(played: Played[Any]) -> list[str]:
    return [
        " ".join([call.tool.removeprefix("trip."), *call.input.values()]) for call in played.calls
    ]


# -- saga ----------------------------------------------------------------------------------------


def trip_by_generator(last: str = "car") -> Steps[str]:
    def body(undo: Saga) -> Steps[str]:
        for what in ("flight", "hotel", last):
            yield from book(what)
            undo.undo_with(unbook, what)
        return "booked"

    try:
        return (yield from saga(body))
    except ToolError as error:
        return f"not booked: {error.message}"


async def trip_by_coroutine(last: str = "car") -> str:
    async def body(undo: Saga) -> str:
        for what in ("flight", "hotel", last):
            await book(what)
            undo.undo_with(unbook, what=what)
        return "booked"

    try:
        return await saga(body)
    except ToolError as error:
        return f"not booked: {error.message}"


trips = pytest.mark.parametrize("trip", styles(trip_by_generator, trip_by_coroutine))


@trips
def test_a_saga_undoes_the_last_first(trip: Flow[..., Any]) -> None:
    played = survived(trip)
    assert played.result == "not booked: no car"
    undone = ["unbook hotel", "unbook flight"]
    assert called(played) == ["book flight", "book hotel", "book car", *undone]


@trips
def test_a_saga_that_comes_to_its_end_undoes_nothing(trip: Flow[..., Any]) -> None:
    played = survived(trip, input={"last": "dinner"})
    assert played.result == "booked"
    assert len(played.calls) == 3


@trips
def test_a_compensation_is_tried_again(trip: Flow[..., Any]) -> None:
    answers = [ConnectionError("down"), "no hotel", "no flight"]
    played = survived(trip, tools=TOOLS | {unbook: answers})
    assert played.result == "not booked: no car"
    assert [step.attempts for step in played.steps[3:]] == [2, 1]


@trips
def test_a_compensation_that_fails_does_not_stop_the_others(trip: Flow[..., Any]) -> None:
    def unbooked(what: str) -> str:
        if what == "hotel":
            raise ConnectionError("closed")
        return "done"

    played = survived(trip, tools=TOOLS | {unbook: unbooked})
    assert called(played)[-1] == "unbook flight"
    assert isinstance(played.error, RunFailed)
    assert played.error.type == "CompensationFailed"
    assert "1 compensations failed: trip.unbook failed after 2 attempts" in played.error.message
    assert "because of ToolError: trip.book failed: ConnectionError: no car" in played.error.message
    assert isinstance(played.error.__cause__, CompensationFailed)
    assert isinstance(played.error.__cause__.cause, ToolError)


def test_compensations_may_be_sub_flows_and_be_told_before_the_step() -> None:
    def unbooking(what: str) -> Steps[None]:
        yield from state(what)
        yield from unbook(what)

    async def body(undo: Saga) -> None:
        undo.undo_with(unbooking, "car")
        await book("car")

    async def trip() -> None:
        await saga(body)

    played = survived(Flow("f", "1", trip))
    assert called(played) == ["book car", "state car", "unbook car"]
    assert played.error is not None


# -- arrivals ------------------------------------------------------------------------------------


def later(seconds: float, what: str) -> Steps[str]:
    yield from sleep(seconds)
    return (yield from book(what))


async def later_too(seconds: float, what: str) -> str:
    await sleep(seconds)
    return await book(what)


def arrivals_by_generator() -> Steps[list[Arrived[str]]]:
    return (yield from as_completed(later(3, "hotel"), later_too(1, "flight"), book("dinner")))


async def arrivals_by_coroutine() -> list[Arrived[str]]:
    return await as_completed(later(3, "hotel"), later_too(1, "flight"), book("dinner"))


@pytest.mark.parametrize("flow", styles(arrivals_by_generator, arrivals_by_coroutine))
def test_results_come_in_the_order_of_their_arrival(flow: Flow[..., Any]) -> None:
    played = survived(flow)
    assert played.result == [(2, "a dinner"), (1, "a flight"), (0, "a hotel")]
    assert played.slept == 3


def two_by_generator() -> Steps[list[Arrived[str | None]]]:
    return (yield from quorum(2, book("car"), later(2, "boat"), later_too(1, "flight"), sleep(99)))


async def two_by_coroutine() -> list[Arrived[str | None]]:
    return await quorum(2, book("car"), later(2, "boat"), later_too(1, "flight"), sleep(99))


twos = pytest.mark.parametrize("flow", styles(two_by_generator, two_by_coroutine))


@twos
def test_a_quorum_is_the_first_that_succeed(flow: Flow[..., Any]) -> None:
    played = survived(flow)
    assert played.result == [(2, "a flight"), (1, "a boat")]
    assert played.slept == 2


def test_a_quorum_cancels_the_others_and_waits_for_their_cleanup() -> None:
    async def slow() -> None:
        try:
            await sleep(99)
        finally:
            await unbook("slow")

    async def flow() -> list[Arrived[Any]]:
        return await quorum(1, slow(), book("flight"))

    played = survived(Flow("f", "1", flow))
    assert played.result == [(1, "a flight")]
    assert called(played) == ["book flight", "unbook slow"]


def lost_by_generator() -> Steps[Any]:
    yield from quorum(2, book("car"), later(1, "car"), sleep(99))


async def lost_by_coroutine() -> None:
    await quorum(2, book("car"), later(1, "car"), sleep(99))


@pytest.mark.parametrize("flow", styles(lost_by_generator, lost_by_coroutine))
def test_a_quorum_that_cannot_be_reached_any_more_is_lost(flow: Flow[..., Any]) -> None:
    played = survived(flow)
    assert played.slept == 1
    assert played.error is not None
    lost = played.error.__cause__
    assert isinstance(lost, QuorumLost)
    assert list(lost.errors) == [0, 1]
    assert str(lost).startswith("2 of 3 branches had to succeed, 2 failed: branch 0: trip.book")


# -- polling -------------------------------------------------------------------------------------


def ready(text: str) -> bool:
    return text == "ready"


def polling(limit: float | None) -> SubFlow[str]:
    job = partial(state, "job")
    return poll(job, until=ready, every=10, backoff=2, longest=30, timeout=limit)


def polled_by_generator(limit: float | None = None) -> Steps[str]:
    return (yield from polling(limit))


async def polled_by_coroutine(limit: float | None = None) -> str:
    return await polling(limit)


polls = pytest.mark.parametrize("flow", styles(polled_by_generator, polled_by_coroutine))


@polls
def test_polling_waits_longer_each_time_up_to_a_limit(flow: Flow[..., Any]) -> None:
    played = survived(flow, tools={state: [*["busy"] * 4, "ready"]})
    assert played.result == "ready"
    assert played.slept == 10 + 20 + 30 + 30


@polls
def test_polling_asks_a_last_time_when_its_time_is_up(flow: Flow[..., Any]) -> None:
    played = survived(flow, input={"limit": 35}, tools={state: [*["busy"] * 3, "ready"]})
    assert played.result == "ready"
    assert played.slept == 35


@polls
def test_polling_ends_when_its_time_is_up(flow: Flow[..., Any]) -> None:
    played = survived(flow, input={"limit": 35}, tools={state: ["busy"] * 4})
    assert played.error is not None
    assert isinstance(played.error.__cause__, PollTimedOut)
    assert str(played.error.__cause__) == "it was not so within 35 s; asked 4 times"


# -- reminders -----------------------------------------------------------------------------------


def reminded_by_generator(times: int | None = None, limit: float | None = None) -> Steps[str]:
    wait = wait_for_signal("answer", str, timeout=limit)
    return (yield from remind(wait, every=10, remind=lambda n: state(f"{n}"), times=times))


async def reminded_by_coroutine(times: int | None = None, limit: float | None = None) -> str:
    wait = wait_for_signal("answer", str, timeout=limit)
    return await remind(wait, every=10, remind=lambda n: state(f"{n}"), times=times)


reminders = pytest.mark.parametrize("flow", styles(reminded_by_generator, reminded_by_coroutine))


@reminders
def test_nobody_is_reminded_who_has_answered(flow: Flow[..., Any]) -> None:
    played = survived(flow, signals={"answer": "yes"})
    assert played.result == "yes"
    assert not played.calls
    assert played.slept == 0


@reminders
def test_a_wait_reminds_until_its_time_is_up(flow: Flow[..., Any]) -> None:
    played = survived(flow, input={"times": 2, "limit": 45})
    assert called(played) == ["state 1", "state 2"]
    assert played.slept == 45
    assert played.error is not None
    assert isinstance(played.error.__cause__, SignalTimedOut)


@reminders
def test_an_answer_ends_the_reminders(flow: Flow[..., Any]) -> None:
    stage = Stage(flow, {state: lambda of: of})
    while stage.did != ["state 1", "state 2"]:
        stage.execute()
        stage.clock.advance(5)
    stage.app.signal(stage.run_id, "answer", "yes")
    assert stage.end() == Completed(stage.run_id, "yes")
    assert stage.did == ["state 1", "state 2"]


# -- cancels -------------------------------------------------------------------------------------


class Stage:
    """A run of a flow with tools of its own, to be cancelled at any time."""

    def __init__(self, flow: Flow[..., Any], tools: dict[Any, Callable[..., Any]]) -> None:
        self.did: list[str] = []
        self.registry = Registry()
        self.registry.add_flow(flow)
        for known, function in tools.items():
            self._add(known, function)
        self.clock = FakeClock()
        self.app = Sequential("memory:", pause="every-step", warm=0, clock=self.clock,
                              registry=self.registry)  # fmt: skip
        self.run_id = self.app.start(flow)

    def _add(self, known: Any, function: Callable[..., Any]) -> None:
        @tool(known.category, known.name, registry=self.registry)
        def noted(input: dict[str, Any]) -> Any:
            self.did.append(" ".join([known.name, *input.values()]))
            return function(**input)

    def execute(self) -> Outcome:
        return self.app.execute(self.run_id)

    def end(self) -> Outcome:
        """Carry the run to its end."""
        while isinstance(outcome := self.execute(), Paused):
            if outcome.wake is not None:
                self.clock.advance(max(0.0, outcome.wake.time - self.clock.now()))
        return outcome

    def cancelled_after(self, invocations: int) -> Outcome:
        """Cancel the run after some invocations, and carry it to its end."""
        for _ in range(invocations):
            self.execute()
        self.app.cancel(self.run_id)
        return self.end()


def tools(**changed: Callable[..., Any]) -> dict[Any, Callable[..., Any]]:
    given = {"book": lambda what: what, "unbook": lambda what: what, "state": lambda of: of}
    return dict(zip((book, unbook, state), (given | changed).values(), strict=True))


@trips
@pytest.mark.parametrize("steps", range(4))
def test_a_cancelled_saga_undoes_what_it_did(trip: Flow[..., Any], steps: int) -> None:
    played = survived(trip, input={"last": "dinner"}, cancel_after=steps)
    if steps == 3:
        # The cancel came when nothing was left to do.
        assert played.result == "booked"
        return
    assert isinstance(played.error, RunCancelled)
    done = ["flight", "hotel", "dinner"][:steps]
    assert called(played) == [
        *(f"book {what}" for what in done),
        *(f"unbook {what}" for what in reversed(done)),
    ]


@trips
@pytest.mark.parametrize("steps", [3, 4])
def test_a_cancel_does_not_interrupt_compensations(trip: Flow[..., Any], steps: int) -> None:
    # Cancelled when the car was refused, or when the hotel is given back and the flight is not.
    played = survived(trip, cancel_after=steps)
    assert isinstance(played.error, RunCancelled)
    assert called(played)[-2:] == ["unbook hotel", "unbook flight"]


def test_a_run_that_was_cancelled_and_could_not_be_undone_has_failed() -> None:
    def unbooked(what: str) -> str:
        raise ConnectionError(what)

    stage = Stage(Flow("f", "1", trip_by_coroutine), tools(unbook=unbooked))
    ended = stage.cancelled_after(1)
    assert isinstance(ended, Failed)
    assert ended.error.type == "CompensationFailed"
    assert "because of RunCancelled" in ended.error.message


def test_a_saga_that_loses_a_race_undoes_what_it_did_and_says_what_it_could_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(undo: Saga) -> None:
        for what in ("flight", "hotel"):
            undo.undo_with(unbook, what)
            await book(what)
        await sleep(99)

    def unbooked(what: str) -> str:
        if what == "flight":
            raise ConnectionError(what)
        return what

    async def flow() -> Any:
        return await race(saga(body), sleep(50))

    played = survived(Flow("f", "1", flow), tools=TOOLS | {unbook: unbooked})
    assert played.result == (1, None)
    assert called(played)[2:] == ["unbook hotel", *["unbook flight"] * 2]
    assert "a compensation failed: trip.unbook failed after 2 attempts" in caplog.text


def insisted_by_generator() -> Steps[None]:
    def inner() -> Steps[None]:
        yield from book("flight")
        yield from sleep(100)
        yield from gather(book("hotel"), later(10, "dinner"))
        yield from race(sleep(99), wait_for_signal("go", timeout=50, default=None))

    yield from shield(inner())
    yield from book("car")


async def insisted_by_coroutine() -> None:
    async def inner() -> None:
        await book("flight")
        await sleep(100)
        await gather(book("hotel"), later_too(10, "dinner"))
        await race(sleep(99), wait_for_signal("go", timeout=50, default=None))

    await shield(inner())
    await book("car")


@pytest.mark.parametrize("flow", styles(insisted_by_generator, insisted_by_coroutine))
@pytest.mark.parametrize("invocations", range(1, 6))
def test_what_is_shielded_goes_to_its_end_before_a_cancel_is_raised(
    flow: Flow[..., Any], invocations: int
) -> None:
    stage = Stage(flow, tools())
    begun = stage.clock.now()
    assert isinstance(stage.cancelled_after(invocations), Cancelled)
    assert stage.did == ["book flight", "book hotel", "book dinner"]
    # Times to wait are not begun anew.
    assert stage.clock.now() - begun == pytest.approx(160, abs=1)


def test_a_shield_makes_no_difference_without_a_cancel() -> None:
    played = survived(Flow("f", "1", insisted_by_coroutine))
    assert called(played) == ["book flight", "book hotel", "book dinner", "book car"]
    assert played.slept == 160


def test_the_loser_of_a_race_is_told_when_it_leaves_the_shield() -> None:
    async def inner() -> None:
        await sleep(20)
        await book("flight")
        # A race of its own has its losers all the same.
        assert (await race(sleep(99), sleep(10))).winner == 1

    async def slow() -> None:
        try:
            await shield(inner())
            await gather(book("hotel"), later_too(1, "hotel"))
        except RunCancelled:
            await unbook("hotel")
            raise

    async def flow() -> Any:
        won = await race(slow(), sleep(5), shield(sleep(40)))
        return won, (det.now() - datetime.fromtimestamp(begun, UTC)).total_seconds()

    begun = FakeClock().now()
    played = survived(Flow("f", "1", flow))
    assert played.result[0] == (1, None)
    assert played.result[1] == pytest.approx(40, abs=1)
    assert called(played) == ["book flight", "unbook hotel"]


def test_an_error_of_what_is_shielded_is_raised_unless_there_was_a_cancel() -> None:
    async def flow() -> str:
        try:
            await shield(later_too(10, "car"))
        except ToolError as error:
            return error.message
        return "booked"

    assert survived(Flow("f", "1", flow)).result == "no car"
    assert isinstance(Stage(Flow("f", "1", flow), tools(book=booked)).cancelled_after(1), Cancelled)


def waiting_by_generator() -> Steps[Any]:
    yield from remind(quorum(1, sleep(99), sleep(98)), every=9, remind=lambda n: state(str(n)))


async def waiting_by_coroutine() -> None:
    await remind(quorum(1, sleep(99), sleep(98)), every=9, remind=lambda n: state(str(n)))


@pytest.mark.parametrize("flow", styles(waiting_by_generator, waiting_by_coroutine))
@pytest.mark.parametrize("invocations", range(4))
def test_other_patterns_end_with_a_cancel(flow: Flow[..., Any], invocations: int) -> None:
    stage = Stage(flow, tools())
    assert isinstance(stage.cancelled_after(invocations), Cancelled)
    assert len(stage.did) < invocations or not stage.did


# -- wrong uses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: quorum(0, sleep(1)), "quorum takes a whole number of 1 or more, not 0"),
        (lambda: quorum(True, sleep(1)), "quorum takes a whole number of 1 or more, not True"),
        (lambda: quorum(2, sleep(1)), "quorum of 2 needs as many branches; 1 can never reach it"),
        (lambda: quorum(1, len), "branch 0 of quorum is builtin_function_or_method"),  # type: ignore[arg-type]
        (lambda: as_completed(sleep(1), 3), "branch 1 of as_completed is int 3; a branch is a"),  # type: ignore[arg-type]
        (lambda: as_completed(max_concurrency=0), "max_concurrency = 0 cannot be used"),
        (lambda: shield(sleep), "branch 0 of shield is function"),  # type: ignore[arg-type]
        (lambda: saga(trip_by_generator()), "saga takes a function, not generator"),  # type: ignore[arg-type]
        (lambda: saga(lambda undo: 3), "branch 0 of saga is int 3"),  # type: ignore[arg-type,return-value]
        (lambda: Saga().undo_with(None), "undo_with takes a function, not NoneType None; give"),  # type: ignore[arg-type]
        (lambda: poll(3, until=ready, every=1), r"give it one that makes the step: lambda: tool"),  # type: ignore[arg-type]
        (lambda: poll(save, until=3, every=1), r"poll\(until=\) takes a function, not int 3"),  # type: ignore[arg-type]
        (lambda: poll(save, until=bool, every=0), "every = 0 cannot be used; give more"),
        (lambda: poll(save, until=bool, every=1, backoff=0), "backoff = 0 cannot be"),
        (lambda: poll(save, until=bool, every=1, timeout=-1), "-1 cannot be a duration"),
        (lambda: remind(sleep, every=1, remind=sleep), "branch 0 of remind is function"),  # type: ignore[arg-type]
        (lambda: remind(sleep(1), every=1, remind=3), r"remind\(remind=\) takes a function"),  # type: ignore[arg-type]
        (lambda: remind(sleep(1), every=1, remind=sleep, times=-1), "0 or more, not -1"),
        (lambda: remind(sleep(1), every=timedelta(), remind=sleep), "every = datetime.timedelta"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::sequential._steps.StepNeverAwaited")
def test_a_wrong_use_says_what_to_do(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        wrong()


def test_what_a_pattern_is_given_to_make_branches_must_make_them() -> None:
    async def flow() -> None:
        await poll(lambda: 3, until=bool, every=1)  # type: ignore[arg-type,return-value]

    error = play(Flow("f", "1", flow)).error
    assert isinstance(error, RunFailed)
    assert error.message.startswith("branch 0 of poll is int 3; a branch is a step")


def test_branches_that_never_began_are_closed() -> None:
    async def flow() -> str:
        try:
            await shield(as_completed(book("car"), later_too(1, "boat"), max_concurrency=1))
        except ToolError as error:
            return error.message
        return ""

    assert survived(Flow("f", "1", flow)).result == "no car"

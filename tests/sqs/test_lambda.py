"""The Lambda handler: batches, schedules, deadlines, and chains that Lambda cuts."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from sequential import Registry, Sequential, Steps, ToolContext, flow, sleep, tool
from sequential.errors import ConfigError, StorageUnavailable
from sequential.hookspecs import ResumeMessage
from sequential.outcomes import Busy, Completed
from sequential.storage import At, Status, evolve
from sequential.telemetry import Telemetry
from sequential.testing import FakeClock
from sequential_sqs.aws_lambda import EventUnknown, Handler, lambda_handler
from sequential_sqs.messages import write_body
from sequential_sqs.transport import SqsTransport
from sequential_sqs.url import SqsSettings
from tests.sqs.event_source import (
    LONGEST_CHAIN,
    SCHEDULE,
    Context,
    EventSource,
    event,
    failures,
)
from tests.sqs.memory_queue import Deed, MemoryQueue

STEPS = 40


class Shop:
    """An application on virtual time, whose steps take a second each and are counted."""

    def __init__(
        self,
        clock: FakeClock,
        queue: MemoryQueue,
        pause: str = "when-waiting",
        *plugins: object,
    ) -> None:
        registry = Registry()
        self.clock = clock
        self.queue = queue
        self.done: list[tuple[str, int]] = []
        self.trouble: dict[str, BaseException] = {}

        @tool("shop", "pack", registry=registry)
        def pack(context: ToolContext, number: int) -> int:
            clock.advance(1)
            self.done.append((context.run_id, number))
            if error := self.trouble.get(context.run_id):
                raise error
            return number

        @flow(name="count", registry=registry)
        def count(steps: int = 1) -> Steps[int]:
            total = 0
            for number in range(steps):
                total += yield from pack(number=number)
            return total

        @flow(name="nap", registry=registry)
        def nap(seconds: float) -> Steps[str]:
            yield from sleep(seconds)
            return "woken"

        transport = SqsTransport(SqsSettings("flows"), clock, queue)
        self.app = Sequential("memory:", transport, pause, plugins, registry=registry, clock=clock)
        self.handler = lambda_handler(self.app)

    def call(self, seconds: float = 60.0) -> list[str]:
        """Hand over all that is visible as one batch; return what was reported back."""
        batch = self.queue.receive(10)
        return failures(self.handler(event(batch), Context(self.clock, seconds)))


@pytest.fixture
def shop(clock: FakeClock, queue: MemoryQueue) -> Iterator[Shop]:
    shop = Shop(clock, queue)
    yield shop
    shop.app.close()


# -- batches


def test_a_batch_is_carried_on(shop: Shop) -> None:
    for number in range(10):
        shop.app.start("count", {"steps": 2}, run_id=f"r{number}")
    assert shop.call() == []
    assert {shop.app.get(f"r{number}").status for number in range(10)} == {Status.COMPLETED}


BAD: dict[str, Callable[[Shop], None]] = {
    "malformed": lambda shop: None,
    "fails": lambda shop: shop.trouble.update(bad=ValueError("no")),
    "exits": lambda shop: shop.trouble.update(bad=SystemExit(3)),
    "out of memory": lambda shop: shop.trouble.update(bad=MemoryError()),
    "missing": lambda shop: None,
    "of others": lambda shop: None,
    "busy": lambda shop: None,
    "storage": lambda shop: None,
}
REPORTED = {"exits", "out of memory", "of others", "busy", "storage"}


@pytest.mark.parametrize("place", [0, 4, 9])
@pytest.mark.parametrize("kind", BAD)
def test_one_bad_message_of_ten_takes_no_other_along(
    shop: Shop, kind: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"r{number}" if number != place else "bad" for number in range(10)]
    execute = shop.app.execute

    def look(run_id: str, *, seconds: float | None = None) -> Any:
        if run_id == "bad" and kind == "storage":
            raise StorageUnavailable("memory:", "gone")
        return execute(run_id, seconds=seconds)

    monkeypatch.setattr(shop.app, "resume", look)
    for run_id in ids:
        if (run_id, kind) == ("bad", "malformed"):
            shop.queue.put('{"v":1,"f":"bad","code":"import os"}')
        elif (run_id, kind) == ("bad", "missing"):
            shop.queue.put(write_body("bad"))
        else:
            shop.app.start("count", {"steps": 1}, run_id=run_id)
    BAD[kind](shop)
    if kind == "busy":
        run = shop.app.get("bad")
        held = evolve(run, status=Status.RUNNING, owner="else", fence=1, op_id="o",
                      wake=At(shop.clock.now() + 60))  # fmt: skip
        shop.app.storage.commit(held, run)
    if kind == "of others":
        run = shop.app.get("bad")
        shop.app.storage.commit(evolve(run, flow="foreign", op_id="o"), run)
    reported = shop.call()
    assert reported == ([f"m{place + 1}"] if kind in REPORTED else [])
    good = [run_id for run_id in ids if run_id != "bad"]
    assert {shop.app.get(run_id).status for run_id in good} == {Status.COMPLETED}


def test_what_is_busy_comes_again_when_its_lease_has_ended(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = At(shop.clock.now() + 60)
    monkeypatch.setattr(shop.app, "resume", lambda run_id, **_: Busy(run_id, until))
    shop.queue.put(write_body("r1"))
    source = EventSource(shop.queue, shop.handler)
    while shop.queue.messages and source.invoked < 10:
        source.invoke()
        shop.clock.advance(66)
    assert source.invoked == 3
    first, second = shop.queue.did("put_off")
    assert 61 <= first.seconds <= 65
    assert 1 <= second.seconds <= 5  # the lease has ended by then


def test_a_malformed_message_is_set_aside_with_an_alarm(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.queue.dead = True
    shop.queue.put("{}")
    assert shop.call() == []
    assert [body for body, _ in shop.queue.set_aside_ones] == ["{}"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_malformed_message_that_cannot_be_set_aside_is_reported_back(shop: Shop) -> None:
    shop.queue.failing = {"set_aside"}
    shop.queue.put("{}")
    assert shop.call() == ["m1"]


def test_ended_runs_are_purged_when_their_time_has_come(shop: Shop) -> None:
    shop.app.start("count", {"steps": 1}, run_id="r1")
    shop.call()
    shop.clock.advance(8 * 86_400)
    assert shop.handler(SCHEDULE, Context(shop.clock)) == {"sent": 1}
    shop.call()
    assert shop.app.get("r1").status is Status.PURGED


# -- deadlines


def test_a_run_is_paused_before_the_deadline_and_its_message_is_out(shop: Shop) -> None:
    shop.app.start("count", {"steps": STEPS}, run_id="r1")
    begun = shop.clock.monotonic()
    assert shop.call(20) == []
    assert shop.clock.monotonic() - begun <= 20
    run = shop.app.get("r1")
    assert (run.status, run.cursor) == (Status.PAUSED, len(shop.done))
    assert len(shop.done) > 10
    assert len(shop.queue.messages) == 2  # the one that Lambda is about to delete, and the next


def test_a_long_run_starves_none_behind_it(shop: Shop) -> None:
    for run_id in ("long", "r1", "r2"):
        steps = 1000 if run_id == "long" else 1
        shop.app.start("count", {"steps": steps}, run_id=run_id)
    assert shop.call(35) == []
    assert {shop.app.get(run_id).status for run_id in ("r1", "r2")} == {Status.COMPLETED}
    assert shop.app.get("long").cursor >= 8


def test_what_there_is_no_time_for_is_given_back_at_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(run_id: str, **_: Any) -> Any:
        shop.clock.advance(56)
        return Completed(run_id, None)

    monkeypatch.setattr(shop.app, "resume", slow)
    for number in range(3):
        shop.queue.put(write_body(f"r{number}"))
    assert shop.call(60) == ["m2", "m3"]
    assert shop.queue.deeds == [Deed("put_off", "m2", 0), Deed("put_off", "m3", 0)]
    shop.queue.failing = {"put_off"}
    assert shop.call(60) == ["m3"]  # that it could not be given back is no error


def test_a_timeout_that_leaves_no_time_is_said_at_once(shop: Shop) -> None:
    shop.app.start("count", {"steps": 1}, run_id="r1")
    with pytest.raises(ConfigError, match=r"timeout of the function = '3.0s' cannot be used"):
        shop.call(3)
    assert not shop.done


# -- schedules


@pytest.mark.parametrize("source", ["aws.events", "aws.scheduler"])
def test_a_schedule_sweeps(shop: Shop, source: str) -> None:
    for number in range(250):
        shop.app.start("count", {"steps": 1}, run_id=f"r{number}")
    shop.queue.messages.clear()
    assert shop.handler({**SCHEDULE, "source": source}, Context(shop.clock)) == {"sent": 250}
    assert len(shop.queue.messages) == 250


def test_a_sleep_longer_than_a_delay_ends_by_the_schedule(shop: Shop) -> None:
    shop.app.start("nap", {"seconds": 3600}, run_id="r1")
    shop.call()
    shop.queue.messages.clear()
    shop.clock.advance(3599)
    assert shop.handler(SCHEDULE, Context(shop.clock)) == {"sent": 0}
    shop.clock.advance(2)
    assert shop.handler(SCHEDULE, Context(shop.clock)) == {"sent": 1}
    shop.call()
    assert shop.app.get("r1").status is Status.COMPLETED


def test_a_shorter_sleep_ends_by_a_delayed_message(shop: Shop) -> None:
    shop.app.start("nap", {"seconds": 600}, run_id="r1")
    source = EventSource(shop.queue, shop.handler)
    assert source.invoke()
    assert not source.invoke()
    shop.clock.advance(600)
    assert source.invoke()
    assert shop.app.get("r1").status is Status.COMPLETED


def test_a_sweep_stops_before_the_deadline(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(limit: int) -> int:
        shop.clock.advance(10)
        return limit

    monkeypatch.setattr(shop.app, "sweep", slow)
    assert shop.handler(SCHEDULE, Context(shop.clock, 60)) == {"sent": 600}


# -- what is neither


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        "hush",
        {},
        {"Records": []},
        {"Records": "hush"},
        {"Records": [{"eventSource": "aws:s3", "s3": {"bucket": {"name": "hush"}}}]},
        {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": '{"v":1,"f":"r1"}'}}]},
        {"version": "2.0", "rawPath": "/resume/r1", "requestContext": {"http": {}}},
        {**SCHEDULE, "source": "my.app"},
        {**SCHEDULE, "detail-type": "EC2 Instance State-change Notification"},
        {"Records": [{"eventSource": "aws:sqs"}]},
    ],
    ids=lambda given: f"{given!s:.40}",
)
def test_another_event_is_refused_in_a_sentence(shop: Shop, given: object) -> None:
    if given == {"Records": []}:
        assert shop.handler(given, Context(shop.clock)) == {"batchItemFailures": []}
        return
    with pytest.raises(EventUnknown, match="look at what invokes the function") as refused:
        shop.handler(given, Context(shop.clock))
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("count", [None, "", "x", "²", 3])
def test_a_receive_count_that_is_none_is_one(shop: Shop, count: object) -> None:
    shop.queue.put(write_body("r1"))
    given = event(shop.queue.receive(1))
    given["Records"][0]["attributes"] = {"ApproximateReceiveCount": count}
    assert failures(shop.handler(given, Context(shop.clock))) == []


def test_a_body_that_is_no_text_is_malformed(shop: Shop) -> None:
    shop.queue.put(write_body("r1"))
    given = event(shop.queue.receive(1))
    del given["Records"][0]["body"]
    assert failures(shop.handler(given, Context(shop.clock))) == []


# -- the application


def test_a_factory_is_called_once_with_the_first_event(shop: Shop) -> None:
    made: list[Sequential] = []

    def make() -> Sequential:
        made.append(shop.app)
        return shop.app

    handler: Handler = lambda_handler(make)
    assert not made
    for _ in range(3):
        handler(SCHEDULE, Context(shop.clock))
    assert made == [shop.app]


def test_a_factory_that_fails_is_called_again(shop: Shop) -> None:
    tries = iter([StorageUnavailable("memory:", "gone"), None])

    def make() -> Sequential:
        if error := next(tries):
            raise error
        return shop.app

    handler = lambda_handler(make)
    with pytest.raises(StorageUnavailable):
        handler(SCHEDULE, Context(shop.clock))
    assert handler(SCHEDULE, Context(shop.clock)) == {"sent": 0}


def test_another_transport_is_refused_in_a_sentence(clock: FakeClock) -> None:
    with Sequential("memory:", plugins=[], clock=clock) as app:
        handler = lambda_handler(app)
        with pytest.raises(ConfigError, match="on Lambda name the queue: sqs://queue-name"):
            handler(SCHEDULE, Context(clock))


@pytest.mark.parametrize("margin", [0, -1, float("nan")])
def test_a_margin_that_is_none_is_refused(shop: Shop, margin: float) -> None:
    with pytest.raises(ConfigError, match="margin"):
        lambda_handler(shop.app, margin)


def test_what_is_no_application_is_refused() -> None:
    with pytest.raises(TypeError, match="'app' is no application"):
        lambda_handler("app")  # type: ignore[arg-type]


# -- chains that Lambda cuts


def test_by_the_budget_a_long_run_is_few_invocations(clock: FakeClock, queue: MemoryQueue) -> None:
    shop = Shop(clock, queue)
    shop.app.start("count", {"steps": 200}, run_id="r1")
    source = EventSource(queue, shop.handler, seconds=65, guarded=True)
    while source.invoke():
        pass
    assert shop.app.get("r1").status is Status.COMPLETED
    assert source.invoked == 4  # 200 steps of a second, at most 60 in each
    assert not source.cut
    shop.app.close()


def test_a_chain_that_lambda_cuts_is_carried_on_by_the_sweep(
    clock: FakeClock, queue: MemoryQueue
) -> None:
    shop = Shop(clock, queue, "every-step")
    shop.app.start("count", {"steps": STEPS}, run_id="r1")
    source = EventSource(queue, shop.handler, guarded=True)
    while source.invoke():
        pass
    # The first message came from outside: it is a chain of its own.
    assert source.invoked == LONGEST_CHAIN
    assert source.cut == [write_body("r1")]
    run = shop.app.get("r1")
    assert (run.status, run.cursor) == (Status.PAUSED, LONGEST_CHAIN)
    sweeps = 0
    while shop.app.get("r1").status is not Status.COMPLETED:
        clock.advance(60)
        assert source.sweep() == 1
        sweeps += 1
        while source.invoke():
            pass
    assert sweeps == 2  # 40 steps in chains of 16
    assert shop.done == [("r1", number) for number in range(STEPS)]
    shop.app.close()


def test_messages_are_out_when_the_handler_returns(shop: Shop) -> None:
    """What is sent later would be sent in the time of another invocation, or never."""
    shop.app.transport.send([ResumeMessage("none")])
    shop.app.start("count", {"steps": STEPS}, run_id="r1")
    before = len(shop.queue.sent)
    shop.call(20)
    assert len(shop.queue.sent) == before + 1


def test_telemetry_is_out_when_the_handler_returns(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    monkeypatch.setattr(shop.app, "flush", asked.append)
    shop.app.start("count", {"steps": 100}, run_id="r1")
    shop.call(30.0)
    # The run was let go five seconds before the deadline, and a part of these is for spans.
    assert len(asked) == 1
    assert 0 < asked[0] <= 2
    shop.handler(SCHEDULE, Context(shop.clock, 30.0))
    assert len(asked) == 2


def test_what_telemetry_may_take_leaves_time_for_the_answer(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    monkeypatch.setattr(shop.app, "flush", asked.append)

    def sweep(limit: int) -> int:
        shop.clock.advance(5)
        return 0 * limit

    monkeypatch.setattr(shop.app, "sweep", sweep)
    for seconds in (5.2, 5.9):
        shop.handler(SCHEDULE, Context(shop.clock, seconds))
    assert asked == [0.0, pytest.approx(0.7)]


def test_an_invocation_says_which_message_it_answers(clock: FakeClock, queue: MemoryQueue) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = Telemetry(provider)
    shop = Shop(clock, queue, "every-step", telemetry)
    shop.app.start("count", {"steps": 2}, run_id="r1")
    source = EventSource(shop.queue, shop.handler)
    while source.invoke():
        pass
    assert telemetry.flush(10.0)
    told = [each for each in exporter.get_finished_spans() if each.name == "invocation"]
    assert len(told) == 3
    for number, each in enumerate(told):
        assert each.kind is SpanKind.CONSUMER
        assert each.attributes is not None
        assert each.attributes["messaging.message.id"] == f"m{number + 1}"
        assert each.attributes["messaging.destination.name"] == "flows"
        assert each.attributes["faas.trigger"] == "pubsub"
        assert each.attributes["faas.coldstart"] is (number == 0)
        assert each.attributes["faas.invocation_id"] == Context.aws_request_id
    # Each message after the first was sent by the invocation before.
    assert not told[0].links
    for before, each in itertools.pairwise(told):
        assert before.context is not None
        assert [link.context.span_id for link in each.links] == [before.context.span_id]
    shop.app.close()
    provider.shutdown()

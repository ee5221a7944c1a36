"""Listening: what becomes of a message, on threads, when things fail, and at the end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sequential import Outcome
from sequential._clock import SYSTEM_CLOCK
from sequential.errors import StorageUnavailable
from sequential.hookspecs import ResumeMessage
from sequential.outcomes import Busy, Completed, Missing, NotMine
from sequential.storage import At
from sequential.testing import FakeClock
from sequential_sqs.consumer import Consumer
from sequential_sqs.messages import write_body
from sequential_sqs.plugin import open_sqs
from sequential_sqs.queue import Received
from sequential_sqs.transport import SqsTransport
from sequential_sqs.url import SqsSettings
from tests.fix_sqs import ask, make_queue, new_url
from tests.sqs.memory_queue import Deed, MemoryQueue

PATIENCE = 20.0
SETTINGS = SqsSettings("flows", threads=2)


def until(enough: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not enough():
        assert time.monotonic() < end
        time.sleep(0.005)


def passed(clock: FakeClock) -> bool:
    clock.advance(1)
    return True


def done(run_id: str) -> Outcome:
    return Completed(run_id, None)


def taken(
    queue: MemoryQueue,
    handle: Callable[[str], Outcome] = done,
    settings: SqsSettings = SETTINGS,
) -> Received:
    """Deliver what is visible, and have it settled here."""
    clock = queue.clock
    consumer = Consumer(queue, settings, clock, handle)
    (received,) = queue.receive(10)
    consumer.take(received, threading.Event())
    return received


@contextmanager
def listening(
    queue: MemoryQueue,
    handle: Callable[[str], Outcome],
    settings: SqsSettings = SETTINGS,
    stop: threading.Event | None = None,
) -> Iterator[threading.Event]:
    stop = stop or threading.Event()
    consumer = Consumer(queue, settings, queue.clock, handle)
    thread = threading.Thread(target=consumer.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


# -- one message


def test_what_is_done_is_deleted(queue: MemoryQueue) -> None:
    name = queue.put(write_body("r1"))
    taken(queue)
    assert queue.deeds == [Deed("delete", name)]
    assert not queue.messages


def test_a_busy_run_is_looked_at_thrice_and_then_left_to_the_sweeper(
    queue: MemoryQueue, clock: FakeClock
) -> None:
    queue.put(write_body("r1"))
    looks: list[float] = []

    def busy(run_id: str) -> Outcome:
        looks.append(clock.now())
        return Busy(run_id, At(clock.now() + 60))

    while queue.messages:
        taken(queue, busy)
        clock.advance(66)
    assert len(looks) == 3
    assert [deed.what for deed in queue.deeds] == ["put_off", "put_off", "delete"]
    assert all(61 <= deed.seconds <= 65 for deed in queue.did("put_off"))


def test_in_a_queue_that_keeps_an_order_a_busy_run_is_not_kept_waiting(
    queue: MemoryQueue, clock: FakeClock
) -> None:
    queue.put(write_body("r1"))
    in_order = SqsSettings("flows.fifo")
    taken(queue, lambda run_id: Busy(run_id, At(clock.now() + 60)), in_order)
    assert [deed.seconds for deed in queue.did("put_off")] == [5]


def test_a_flow_of_others_is_left_to_the_visibility(queue: MemoryQueue) -> None:
    queue.put(write_body("r1"))
    taken(queue, lambda run_id: NotMine(run_id, "order"))
    assert not queue.deeds
    assert not queue.visible()


def test_a_message_for_no_run_is_deleted_with_a_word(
    queue: MemoryQueue, caplog: pytest.LogCaptureFixture
) -> None:
    queue.put(write_body("r1"))
    taken(queue, Missing)
    assert not queue.messages
    (record,) = caplog.records
    assert vars(record)["sequential"] == "message-missing"
    assert "run r1, which is not in this storage" in record.message


@pytest.mark.parametrize(
    "error", [ValueError("no"), StorageUnavailable("s", "down"), SystemExit(3)]
)
def test_what_could_not_be_looked_at_comes_again_later_and_later(
    queue: MemoryQueue, clock: FakeClock, error: BaseException
) -> None:
    queue.put(write_body("r1"))

    def fails(run_id: str) -> Outcome:
        raise error

    for _ in range(4):
        taken(queue, fails)
        clock.advance(300)
    assert queue.messages
    waits = [deed.seconds for deed in queue.did("put_off")]
    assert len(waits) == 4
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, [2, 4, 16, 64], strict=True))


@pytest.mark.parametrize("failing", ["put_off", "delete"])
def test_a_message_that_cannot_be_answered_comes_again(
    queue: MemoryQueue, clock: FakeClock, failing: str
) -> None:
    queue.put(write_body("r1"))
    queue.failing = {failing}

    def handle(run_id: str) -> Outcome:
        return Busy(run_id, None) if failing == "put_off" else done(run_id)

    with listening(queue, handle):
        until(lambda: next(iter(queue.messages.values())).receives)
    assert queue.messages
    clock.advance(queue.visibility)
    assert queue.visible()


# -- messages that none of us sent


def test_a_malformed_message_is_moved_to_where_people_look(
    queue: MemoryQueue, caplog: pytest.LogCaptureFixture
) -> None:
    queue.dead = True
    queue.put('{"hush":1}')
    taken(queue)
    assert queue.set_aside_ones == [('{"hush":1}', "the body has other fields than v and f")]
    assert not queue.messages
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert vars(record)["sequential"] == "message-malformed"
    assert "hush" not in record.message


def test_without_such_a_place_it_is_deleted_with_an_alarm(
    queue: MemoryQueue, caplog: pytest.LogCaptureFixture
) -> None:
    queue.put("\n\x1b[31mhush")
    taken(queue)
    assert not queue.messages
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "deleted (dead= would keep such ones)" in record.message
    assert "hush" not in record.message


def test_a_malformed_message_that_cannot_be_moved_is_not_lost(queue: MemoryQueue) -> None:
    queue.failing = {"set_aside"}
    queue.put("{}")
    taken(queue)
    assert len(queue.messages) == 1
    assert not queue.deeds


def test_nobody_is_asked_about_a_malformed_message(queue: MemoryQueue) -> None:
    queue.put('{"v":1,"f":"../r1"}')

    def never(run_id: str) -> Outcome:
        raise AssertionError(run_id)

    taken(queue, never)
    assert not queue.messages


# -- many


def test_as_many_as_there_are_threads_are_handled_at_a_time(queue: MemoryQueue) -> None:
    for number in range(5):
        queue.put(write_body(f"r{number}"))
    meeting, most = threading.Barrier(2), 0
    inside = 0
    lock = threading.Lock()

    def handle(run_id: str) -> Outcome:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        if run_id in {"r0", "r1"}:
            meeting.wait(PATIENCE)
        with lock:
            inside -= 1
        return done(run_id)

    with listening(queue, handle):
        until(lambda: not queue.messages)
    assert most == 2


def test_no_more_is_received_than_can_be_handled(queue: MemoryQueue) -> None:
    for number in range(5):
        queue.put(write_body(f"r{number}"))
    go = threading.Event()

    def handle(run_id: str) -> Outcome:
        go.wait(PATIENCE)
        return done(run_id)

    with listening(queue, handle):
        until(lambda: len(queue.visible()) == 3)
        time.sleep(0.05)
        assert len(queue.visible()) == 3
        go.set()
        until(lambda: not queue.messages)


def test_a_message_that_takes_long_is_renewed(queue: MemoryQueue, clock: FakeClock) -> None:
    queue.put(write_body("r1"))
    begun, go = threading.Event(), threading.Event()

    def handle(run_id: str) -> Outcome:
        begun.set()
        go.wait(PATIENCE)
        return done(run_id)

    consumer = Consumer(queue, SETTINGS, clock, handle)
    stop = threading.Event()
    thread = threading.Thread(target=consumer.run, args=(stop,), daemon=True)
    thread.start()
    begun.wait(PATIENCE)
    for _ in range(10):
        clock.advance(queue.visibility / 3)
        consumer.renew()
    assert next(iter(queue.messages.values())).receives == 1
    assert [deed.seconds for deed in queue.did("put_off")] == [queue.visibility] * 10
    go.set()
    until(lambda: not queue.messages)
    consumer.renew()
    stop.set()
    thread.join(PATIENCE)
    assert len(queue.did("put_off")) == 10


def test_a_renewal_that_fails_ends_nothing(queue: MemoryQueue, clock: FakeClock) -> None:
    queue.put(write_body("r1"))
    consumer = Consumer(queue, SETTINGS, clock, done)

    def handle(run_id: str) -> Outcome:
        queue.failing = {"put_off"}
        consumer.renew()
        queue.failing = set()
        return done(run_id)

    consumer = Consumer(queue, SETTINGS, clock, handle)
    stop = threading.Event()
    thread = threading.Thread(target=consumer.run, args=(stop,), daemon=True)
    thread.start()
    until(lambda: not queue.messages)
    stop.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()


# -- when things fail


def test_a_queue_that_is_gone_is_asked_again_more_and_more_rarely(
    queue: MemoryQueue, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    queue.put(write_body("r1"))
    queue.failing = {"receive"}
    with listening(queue, done):
        until(lambda: clock.monotonic() > 100)
        queue.failing = set()
        until(lambda: not queue.messages)
    said = [record.args for record in caplog.records if "gives nothing" in record.message]
    pauses = [args[1] for args in said if isinstance(args, tuple)]
    assert pauses[:7] == [1, 2, 4, 8, 16, 30, 30]


def test_while_the_storage_is_down_messages_are_tried_more_and_more_rarely(
    queue: MemoryQueue, clock: FakeClock
) -> None:
    for number in range(100):
        queue.put(write_body(f"r{number}"))
    down = True
    tries: list[float] = []

    def handle(run_id: str) -> Outcome:
        tries.append(clock.monotonic())
        if down:
            raise StorageUnavailable("memory:", "gone")
        return done(run_id)

    with listening(queue, handle):
        until(lambda: clock.monotonic() > 300)
        down = False
        until(lambda: passed(clock) and not queue.messages)
    # One look every half minute in the end, with two threads; without a pause it is all the time.
    assert len([moment for moment in tries if moment <= 300]) <= 50


# -- the end


def test_what_was_received_and_not_begun_is_given_back_at_once(
    queue: MemoryQueue, clock: FakeClock
) -> None:
    name = queue.put(write_body("r1"))
    (received,) = queue.receive(10)
    stop = threading.Event()
    stop.set()
    Consumer(queue, SETTINGS, clock, done).take(received, stop)
    assert queue.deeds == [Deed("put_off", name, 0)]
    assert queue.visible()


def test_the_end_waits_for_what_was_begun(queue: MemoryQueue, clock: FakeClock) -> None:
    queue.put(write_body("r1"))
    begun, go = threading.Event(), threading.Event()

    def handle(run_id: str) -> Outcome:
        begun.set()
        go.wait(PATIENCE)
        return done(run_id)

    stop = threading.Event()
    consumer = Consumer(queue, SETTINGS, clock, handle)
    thread = threading.Thread(target=consumer.run, args=(stop,), daemon=True)
    thread.start()
    begun.wait(PATIENCE)
    stop.set()
    thread.join(0.1)
    assert thread.is_alive()
    go.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not queue.messages


def test_closing_waits_for_a_listener_that_was_told_to_stop(
    queue: MemoryQueue, clock: FakeClock
) -> None:
    transport = SqsTransport(SETTINGS, clock, queue)
    queue.put(write_body("r1"))
    begun, go, stop = threading.Event(), threading.Event(), threading.Event()

    def handle(run_id: str) -> Outcome:
        begun.set()
        go.wait(PATIENCE)
        return done(run_id)

    listener = threading.Thread(target=transport.listen, args=(handle, stop), daemon=True)
    listener.start()
    begun.wait(PATIENCE)
    stop.set()
    closer = threading.Thread(target=transport.close, daemon=True)
    closer.start()
    closer.join(0.1)
    assert closer.is_alive()
    go.set()
    closer.join(PATIENCE)
    assert not closer.is_alive()


# -- on a server


@pytest.fixture(params=["ministack", "moto_sqs"])
def endpoint(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def test_a_message_is_renewed_on_a_server(endpoint: str) -> None:
    transport = open_sqs(new_url(endpoint, visibility="2s"), SYSTEM_CLOCK)
    heard: list[str] = []

    def handle(run_id: str) -> Outcome:
        heard.append(run_id)
        time.sleep(5)  # the server's visibility passes by no other clock
        return done(run_id)

    stop = threading.Event()
    thread = threading.Thread(target=transport.listen, args=(handle, stop), daemon=True)
    transport.send([ResumeMessage("r1")])
    thread.start()
    until(lambda: heard)
    time.sleep(5.5)
    stop.set()
    thread.join(PATIENCE)
    transport.close()
    assert heard == ["r1"]


@pytest.mark.parametrize("fifo", [False, True])
def test_a_malformed_message_is_moved_on_a_server(endpoint: str, fifo: bool) -> None:
    end = ".fifo" if fifo else ""
    name = f"late-{time.monotonic_ns()}{end}"
    dead = make_queue(endpoint, name)
    transport = open_sqs(new_url(endpoint, fifo=fifo, dead=name), SYSTEM_CLOCK)
    assert isinstance(transport, SqsTransport)
    queue = transport.settings.queue
    where = ask(endpoint, "GetQueueUrl", QueueName=queue)["QueueUrl"]
    more = {"MessageGroupId": "g", "MessageDeduplicationId": "d"} if fifo else {}
    ask(endpoint, "SendMessage", QueueUrl=where, MessageBody="{}", **more)
    stop = threading.Event()
    thread = threading.Thread(target=transport.listen, args=(done, stop), daemon=True)
    thread.start()
    found: list[dict[str, str]] = []

    def arrived() -> bool:
        got = ask(endpoint, "ReceiveMessage", QueueUrl=dead, MessageAttributeNames=["All"])
        found.extend(got.get("Messages", ()))
        return bool(found)

    until(arrived)
    stop.set()
    thread.join(PATIENCE)
    transport.close()
    assert found[0]["Body"] == "{}"
    counted = ask(endpoint, "GetQueueAttributes", QueueUrl=where, AttributeNames=["All"])
    attributes = counted["Attributes"]
    assert attributes["ApproximateNumberOfMessages"] == "0"
    assert attributes["ApproximateNumberOfMessagesNotVisible"] == "0"

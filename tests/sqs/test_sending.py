"""What is sent: batches, delays, groups, duplicates and traces, and what is said when it fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest

from sequential._clock import SYSTEM_CLOCK
from sequential.errors import TransportError
from sequential.hookspecs import ResumeMessage
from sequential.testing import FakeClock
from sequential_sqs.messages import write_body
from sequential_sqs.plugin import open_sqs
from sequential_sqs.queue import AT_ONCE, Outgoing, QueueFailed
from sequential_sqs.transport import SqsTransport
from sequential_sqs.url import SqsSettings
from tests.fix_sqs import ask, new_url
from tests.sqs.memory_queue import MemoryQueue

TRACE = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "a=1,b=2"}


@pytest.fixture
def transport(clock: FakeClock, queue: MemoryQueue) -> SqsTransport:
    return SqsTransport(SqsSettings("flows"), clock, queue)


@pytest.fixture
def in_order(clock: FakeClock, queue: MemoryQueue) -> SqsTransport:
    return SqsTransport(SqsSettings("flows.fifo"), clock, queue)


def sent(queue: MemoryQueue) -> list[Outgoing]:
    return [message for batch in queue.sent for message in batch]


class Stubborn(MemoryQueue):
    """Refuses the runs of *refusals* as often as that says; *broken* requests find no server."""

    refusals: dict[str, int]
    broken: set[int]
    requests = 0

    def send(self, batch: Sequence[Outgoing]) -> Mapping[int, str]:
        self.requests += 1
        if self.requests in self.broken:
            raise QueueFailed("the server is gone")
        refused = {}
        for place, message in enumerate(batch):
            if self.refusals.get(message.body, 0):
                self.refusals[message.body] -= 1
                refused[place] = "InternalError: try again"
        super().send([each for place, each in enumerate(batch) if place not in refused] or batch)
        return refused


@pytest.fixture
def stubborn(clock: FakeClock) -> Stubborn:
    queue = Stubborn(clock)
    queue.refusals, queue.broken = {}, set()
    return queue


# -- batches


@pytest.mark.parametrize(("number", "sizes"), [(0, []), (1, [1]), (10, [10]), (23, [10, 10, 3])])
def test_messages_go_ten_at_a_time(
    transport: SqsTransport, queue: MemoryQueue, number: int, sizes: list[int]
) -> None:
    transport.send([ResumeMessage(f"r{each}") for each in range(number)])
    assert [len(batch) for batch in queue.sent] == sizes
    assert [each.body for each in sent(queue)] == [write_body(f"r{each}") for each in range(number)]


def test_what_is_refused_once_is_sent_once_more(clock: FakeClock, stubborn: Stubborn) -> None:
    transport = SqsTransport(SqsSettings("flows"), clock, stubborn)
    stubborn.refusals = {write_body("r1"): 1, write_body("r3"): 1}
    transport.send([ResumeMessage(f"r{each}") for each in range(5)])
    assert [len(batch) for batch in stubborn.sent] == [3, 2]
    assert {each.body for each in sent(stubborn)} == {write_body(f"r{each}") for each in range(5)}


def test_what_is_refused_twice_is_named(clock: FakeClock, stubborn: Stubborn) -> None:
    transport = SqsTransport(SqsSettings("flows"), clock, stubborn)
    stubborn.refusals = {write_body("r3"): 2, write_body("r12"): 2}
    with pytest.raises(TransportError) as failed:
        transport.send([ResumeMessage(f"r{each}") for each in range(15)])
    assert failed.value.unsent == ("r3", "r12")
    assert "sqs://flows did not take 2 of 15: InternalError: try again" in str(failed.value)


def test_a_batch_that_fails_keeps_no_other_back(clock: FakeClock, stubborn: Stubborn) -> None:
    transport = SqsTransport(SqsSettings("flows"), clock, stubborn)
    stubborn.broken = {2}
    with pytest.raises(TransportError, match="the server is gone") as failed:
        transport.send([ResumeMessage(f"r{each}") for each in range(25)])
    assert failed.value.unsent == tuple(f"r{each}" for each in range(10, 20))
    assert len(sent(stubborn)) == 15


def test_a_second_try_that_fails_names_only_what_was_refused(
    clock: FakeClock, stubborn: Stubborn
) -> None:
    transport = SqsTransport(SqsSettings("flows"), clock, stubborn)
    stubborn.refusals, stubborn.broken = {write_body("r1"): 1}, {2}
    with pytest.raises(TransportError) as failed:
        transport.send([ResumeMessage(f"r{each}") for each in range(3)])
    assert failed.value.unsent == ("r1",)


# -- delays


@pytest.mark.parametrize(
    ("delay", "seconds"), [(-5, 0), (0, 0), (0.06, 1), (1, 1), (1.2, 2), (899.5, 900), (900, 900)]
)
def test_a_delay_is_rounded_up(
    transport: SqsTransport, queue: MemoryQueue, delay: float, seconds: int
) -> None:
    transport.send([ResumeMessage("r1", delay)])
    assert [each.delay for each in sent(queue)] == [seconds]


def test_a_longer_wait_is_left_to_the_stored_wake_time(
    transport: SqsTransport, queue: MemoryQueue
) -> None:
    transport.send([ResumeMessage("late", 900.5), ResumeMessage("now")])
    assert [each.body for each in sent(queue)] == [write_body("now")]


def test_a_queue_that_drops_duplicates_delays_nothing(
    in_order: SqsTransport, queue: MemoryQueue
) -> None:
    assert in_order.longest_delay == 0
    in_order.send([ResumeMessage("late", 1), ResumeMessage("now")])
    assert [(each.body, each.delay) for each in sent(queue)] == [(write_body("now"), 0)]


# -- groups and duplicates


def test_messages_of_a_run_are_a_group(in_order: SqsTransport, queue: MemoryQueue) -> None:
    in_order.send([ResumeMessage("r1", key="k1"), ResumeMessage("r2", key="k1")])
    assert [each.group for each in sent(queue)] == ["r1", "r2"]


def test_only_messages_of_one_run_and_key_are_duplicates(
    in_order: SqsTransport, queue: MemoryQueue
) -> None:
    for run_id, key in [("r1", "k1"), ("r1", "k1"), ("r1", "k2"), ("r2", "k1"), ("r1", "")]:
        in_order.send([ResumeMessage(run_id, key=key)])
    in_order.send([ResumeMessage("r1")])
    ids = [each.dedup for each in sent(queue)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 5


def test_the_longest_run_id_and_key_fit(in_order: SqsTransport, queue: MemoryQueue) -> None:
    in_order.send([ResumeMessage("r" * 128, key="k" * 128)])
    assert len(sent(queue)[0].dedup) <= 128


def test_an_ordinary_queue_gets_neither(transport: SqsTransport, queue: MemoryQueue) -> None:
    transport.send([ResumeMessage("r1", key="k1")])
    assert sent(queue) == [Outgoing(write_body("r1"))]


# -- traces


def test_the_trace_travels_beside_the_message(transport: SqsTransport, queue: MemoryQueue) -> None:
    transport.send([ResumeMessage("r1", trace={**TRACE, "baggage": "secret=1"})])
    assert sent(queue)[0].attributes == TRACE
    assert sent(queue)[0].body == write_body("r1")


@pytest.mark.parametrize(
    "trace",
    [
        {"traceparent": ""},
        {"traceparent": "00-zz"},
        {"traceparent": f"{TRACE['traceparent']}\n"},
        {"tracestate": ""},
        {"tracestate": "x" * 10_000},
        {"tracestate": "a=\x00"},
        {"tracestate": "a=é"},
    ],
    ids=lambda trace: f"{trace!s:.30}",
)
def test_a_trace_that_cannot_travel_keeps_no_message_back(
    transport: SqsTransport, queue: MemoryQueue, trace: Mapping[str, str]
) -> None:
    transport.send([ResumeMessage("r1", trace=trace)])
    assert sent(queue) == [Outgoing(write_body("r1"))]


# -- servers


@pytest.fixture(params=["ministack", "moto_sqs"])
def endpoint(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def url(endpoint: str) -> str:
    return new_url(endpoint)


@pytest.fixture
def real(url: str) -> Iterator[SqsTransport]:
    transport = open_sqs(url, SYSTEM_CLOCK)
    assert isinstance(transport, SqsTransport)
    yield transport
    transport.close()


def test_a_server_shows_body_and_trace_as_they_were_sent(real: SqsTransport, endpoint: str) -> None:
    real.send([ResumeMessage("r1", key="k", trace=TRACE)])
    where = ask(endpoint, "GetQueueUrl", QueueName=real.settings.queue)["QueueUrl"]
    got = ask(endpoint, "ReceiveMessage", QueueUrl=where, MessageAttributeNames=["All"])
    (message,) = got["Messages"]
    assert message["Body"] == '{"v":1,"f":"r1"}'
    found = message["MessageAttributes"]
    assert {name: each["StringValue"] for name, each in found.items()} == TRACE


def test_a_server_drops_a_duplicate_of_a_commit(endpoint: str) -> None:
    transport = open_sqs(new_url(endpoint, fifo=True), SYSTEM_CLOCK)
    assert isinstance(transport, SqsTransport)
    transport.send([ResumeMessage("r1", key="k1")])
    transport.send([ResumeMessage("r1", key="k1"), ResumeMessage("r2", key="k1")])
    received = [*transport.queue.receive(AT_ONCE), *transport.queue.receive(AT_ONCE)]
    assert sorted(each.body for each in received) == [write_body("r1"), write_body("r2")]
    transport.close()


def test_a_queue_that_is_not_there_is_said_in_a_sentence(endpoint: str) -> None:
    url = f"sqs://nowhere?endpoint={endpoint}&region=us-east-1"
    transport = open_sqs(url, SYSTEM_CLOCK)
    with pytest.raises(TransportError, match="create the queue, or correct its name") as failed:
        transport.send([ResumeMessage("r1")])
    assert failed.value.unsent == ("r1",)
    transport.close()


def test_a_server_that_is_gone_is_said_in_a_sentence(s3_session: None) -> None:
    url = "sqs://flows?endpoint=http://127.0.0.1:9&region=us-east-1&timeout=1"
    transport = open_sqs(url, SYSTEM_CLOCK)
    with pytest.raises(TransportError, match="sqs://flows did not take 1 of 1: EndpointConn"):
        transport.send([ResumeMessage("r1")])
    transport.close()


def test_a_closed_transport_says_so(real: SqsTransport) -> None:
    real.close()
    with pytest.raises(TransportError, match="was closed; open it again"):
        real.send([ResumeMessage("r1")])

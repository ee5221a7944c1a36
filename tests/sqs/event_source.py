"""What AWS puts between a queue and a function: events, deadlines, the guard against loops.

Knows nothing of Sequential: messages are texts here. Time is the clock's that is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sequential.storage import Clock
from sequential_sqs.aws_lambda import Handler
from sequential_sqs.queue import Received
from tests.sqs.memory_queue import MemoryQueue

QUEUE_ARN = "arn:aws:sqs:us-east-1:123456789012:flows"
SCHEDULE = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2026-01-01T00:00:00Z",
    "region": "us-east-1",
    "resources": ["arn:aws:events:us-east-1:123456789012:rule/sweep"],
    "detail": {},
}
LONGEST_CHAIN = 16
"""Invocations of one lineage, after which Lambda drops the message that would start the next."""


class Context:
    """The context of an invocation that may take *seconds* by *clock*."""

    def __init__(self, clock: Clock, seconds: float = 60.0) -> None:
        self._clock = clock
        self._until = clock.monotonic() + seconds

    aws_request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:orders"

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._until - self._clock.monotonic()) * 1000))


def record(received: Received) -> dict[str, Any]:
    """Return *received* as it stands in an event."""
    return {
        "messageId": received.message_id,
        "receiptHandle": received.receipt,
        "body": received.body,
        "attributes": {"ApproximateReceiveCount": str(received.receives), "SenderId": "A"},
        "messageAttributes": {
            name: {"stringValue": text, "dataType": "String"}
            for name, text in received.trace.items()
        },
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": QUEUE_ARN,
        "awsRegion": "us-east-1",
    }


def event(batch: Sequence[Received]) -> dict[str, Any]:
    """Return the event for a batch."""
    return {"Records": [record(received) for received in batch]}


def failures(answer: Mapping[str, Any]) -> list[str]:
    """Return the messages that a function reported back."""
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


class EventSource:
    """Hands batches of *queue* to *handler*, and deletes what it does not report back.

    Args:
        queue: Where messages are.
        handler: The function.
        size: Messages in a batch, at most.
        seconds: The function's timeout.
        guarded: Whether Lambda's guard against loops is on, as it is by default.
    """

    def __init__(
        self,
        queue: MemoryQueue,
        handler: Handler,
        *,
        size: int = 10,
        seconds: float = 60.0,
        guarded: bool = False,
    ) -> None:
        self.cut: list[str] = []
        self.invoked = 0
        self._queue = queue
        self._handler = handler
        self._size = size
        self._seconds = seconds
        self._guarded = guarded
        self._hops: dict[str, int] = {}

    def invoke(self) -> bool:
        """Hand over one batch; return False if there was none."""
        batch = self._queue.receive(self._size)
        if not batch:
            return False
        lineage = max(self._hops.get(received.message_id, 0) for received in batch) + 1
        if self._guarded and lineage > LONGEST_CHAIN:
            for received in batch:
                self.cut.append(received.body)
                self._queue.delete(received.receipt)
            return True
        answer = self._called(event(batch), lineage)
        kept = set(failures(answer))
        for received in batch:
            if received.message_id not in kept:
                self._queue.delete(received.receipt)
        return True

    def sweep(self) -> int:
        """Call the function as the schedule does, which starts a lineage; return what it sent."""
        sent: int = self._called(SCHEDULE, 0)["sent"]
        return sent

    def _called(self, event: Mapping[str, Any], lineage: int) -> dict[str, Any]:
        before = set(self._queue.messages) if self._guarded else set()
        self.invoked += 1
        answer = self._handler(event, Context(self._queue.clock, self._seconds))
        if self._guarded:
            # botocore adds the lineage to whatever is sent during an invocation.
            self._hops |= dict.fromkeys(set(self._queue.messages) - before, lineage)
        return answer

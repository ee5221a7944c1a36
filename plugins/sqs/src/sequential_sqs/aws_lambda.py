"""The handler for AWS Lambda: carries on the runs that SQS names, and sweeps on a schedule.

Knows the shapes of the two events and how long an invocation may last. Lambda deletes the messages
of a batch that are not reported back; what becomes of each is `settling`'s to say.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from sequential import Outcome, Sequential
from sequential.errors import ConfigError
from sequential.outcomes import Cancelled, Completed, Failed, Purged
from sequential.spans import on_lambda, woken_by

from .answers import Delete
from .queue import QueueFailed, Received, trace_in
from .settling import Settling
from .transport import SqsTransport

MARGIN = 5.0
"""Seconds before the deadline at which the last run must have been let go."""

_FLUSH, _ANSWER = 2.0, 0.2
"""Seconds that telemetry may take at most, and that must be left after it."""

_SWEPT_AT_ONCE = 100
_SCHEDULES = ("aws.events", "aws.scheduler")


class LambdaContext(Protocol):
    """What is asked of the context that Lambda hands over."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until this invocation is killed."""


class EventUnknown(ValueError):
    """Lambda was called with an event that is neither SQS's nor a schedule's."""

    def __init__(self, event: object) -> None:
        fields = sorted(map(str, event))[:8] if isinstance(event, Mapping) else []
        shape = f"an object with {', '.join(fields)}" if fields else type(event).__name__
        super().__init__(
            f"the event is {shape:.200}; this handler takes batches of an SQS event source and"
            " scheduled events: look at what invokes the function"
        )


Handler = Callable[[Any, LambdaContext], dict[str, Any]]


def lambda_handler(app: Sequential | Callable[[], Sequential], margin: float = MARGIN) -> Handler:
    """Return a handler for events of SQS and of a schedule.

    The event source must have ``ReportBatchItemFailures``: the answer to a batch names the messages
    that are to come again. Each run gets an equal part of the time that is left, so that a long one
    at the front of a batch starves none behind it. Nothing is under way after the handler returned.

    Args:
        app: The application, or what makes it, which is called once, for the first event. Its
            transport is the queue: ``sqs://…``.
        margin: Seconds before the deadline at which runs are paused, above 0: long enough for one
            commit and one message.

    Raises:
        TypeError: *app* is neither.
        ConfigError: *margin* cannot be used. The handler raises it if the application's transport
            is no queue, or the function's timeout is not above *margin*: then nothing was done.

    Example:
        >>> handler = lambda_handler(Sequential.from_config)
    """
    given: object = app
    if not isinstance(given, Sequential) and not callable(given):
        msg = f"{given!r:.80} is no application; give one, or a function that makes it"
        raise TypeError(msg)
    if not margin > 0:
        raise ConfigError("margin", margin, "give seconds above 0")
    entrance = _Entrance(app, margin)
    return entrance.handle


class _Entrance:
    """The application behind one handler, opened with the first event."""

    def __init__(self, app: Sequential | Callable[[], Sequential], margin: float) -> None:
        self._app = app if isinstance(app, Sequential) else None
        self._make = app if callable(app) else None
        self._margin = margin
        self._lock = threading.Lock()
        self._cold = True

    def handle(self, event: Any, context: LambdaContext) -> dict[str, Any]:
        budget = _Budget(context, self._margin)
        records = _records(event)
        app, transport = self._opened()
        cold, self._cold = self._cold, False
        try:
            if records is None:
                return {"sent": _sweep(app, budget)}
            with woken_by(on_lambda(context, "pubsub", cold=cold)):
                return _Batch(app, transport, budget).carry_on(records)
        finally:
            # Once the handler has returned, the process may be frozen; an answer must get out too.
            left = context.get_remaining_time_in_millis() / 1000
            app.flush(max(0.0, min(_FLUSH, left - _ANSWER)))

    def _opened(self) -> tuple[Sequential, SqsTransport]:
        with self._lock:
            if self._app is None:
                assert self._make is not None
                self._app = self._make()
        transport = self._app.transport
        if not isinstance(transport, SqsTransport):
            raise ConfigError(
                "transport", type(transport).__name__, "on Lambda name the queue: sqs://queue-name"
            )
        return self._app, transport


class _Budget:
    """The seconds that this invocation has left, less the margin."""

    def __init__(self, context: LambdaContext, margin: float) -> None:
        self._context = context
        self._margin = margin
        seconds = context.get_remaining_time_in_millis() / 1000
        if seconds <= margin:
            raise ConfigError(
                "timeout of the function",
                f"{seconds:.1f}s",
                f"give it more than the margin of {margin:g} s, such as 60 s",
            )

    def left(self) -> float:
        return self._context.get_remaining_time_in_millis() / 1000 - self._margin


class _Batch:
    """The messages of one invocation."""

    def __init__(self, app: Sequential, transport: SqsTransport, budget: _Budget) -> None:
        self._app = app
        self._queue = transport.queue
        self._settling = Settling(transport.queue, transport.settings, app.clock)
        self._budget = budget

    def carry_on(self, records: Sequence[Received]) -> dict[str, Any]:
        again: list[Received] = []
        for place, received in enumerate(records):
            share = self._budget.left() / (len(records) - place)
            if share <= 0:
                # They were delivered and not looked at: somebody else may have them at once.
                self._give_back(records[place:])
                again += records[place:]
                break
            if not isinstance(self._settled(received, share), Delete):
                again.append(received)
        return {"batchItemFailures": [{"itemIdentifier": each.message_id} for each in again]}

    def _settled(self, received: Received, seconds: float) -> object:
        return self._settling.settle(received, lambda run_id: self._execute(run_id, seconds))

    def _execute(self, run_id: str, seconds: float) -> Outcome:
        outcome = self._app.execute(run_id, seconds=seconds)
        if isinstance(outcome, Completed | Failed | Cancelled | Purged):
            # It may be due because its time to be purged has come.
            self._app.tidy(run_id)
        return outcome

    def _give_back(self, records: Sequence[Received]) -> None:
        try:
            self._queue.put_off([each.receipt for each in records], 0)
        except QueueFailed:
            return  # they come again when their visibility ends


def _sweep(app: Sequential, budget: _Budget) -> int:
    sent = 0
    while budget.left() > 0:
        found = app.sweep(_SWEPT_AT_ONCE)
        sent += found
        if found < _SWEPT_AT_ONCE:
            app.roll_up()
            break
    return sent


def _records(event: object) -> list[Received] | None:
    """Return the messages of a batch, or None for a schedule.

    Raises:
        EventUnknown: It is neither.
    """
    if not isinstance(event, Mapping):
        raise EventUnknown(event)
    if event.get("source") in _SCHEDULES and event.get("detail-type") == "Scheduled Event":
        return None
    records = event.get("Records")
    if not isinstance(records, list) or not all(_is_message(record) for record in records):
        raise EventUnknown(event)
    return [_received(record) for record in records]


def _is_message(record: object) -> bool:
    return (
        isinstance(record, Mapping)
        and record.get("eventSource") == "aws:sqs"
        and isinstance(record.get("messageId"), str)
        and isinstance(record.get("receiptHandle"), str)
    )


def _received(record: Mapping[str, Any]) -> Received:
    attributes = record.get("attributes")
    count = attributes.get("ApproximateReceiveCount") if isinstance(attributes, Mapping) else None
    receives = int(count) if isinstance(count, str) and count.isdecimal() else 1
    body = record.get("body")
    return Received(
        record["messageId"],
        record["receiptHandle"],
        body if isinstance(body, str) else "",
        receives,
        trace_in(record.get("messageAttributes"), "stringValue"),
    )

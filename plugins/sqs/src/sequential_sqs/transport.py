"""The transport over one queue of SQS: what a resume message looks like there, and who listens.

Decides delays, groups and duplicates. Requests are `queue`'s, listening is `consumer`'s.
"""

from __future__ import annotations

import hashlib
import math
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence

from sequential import Outcome
from sequential.errors import TransportError
from sequential.hookspecs import ResumeMessage
from sequential.storage import Clock

from .messages import write_body
from .queue import AT_ONCE, Outgoing, Queue, QueueFailed, SqsQueue
from .url import SqsSettings

LONGEST_DELAY = 900.0
"""Seconds that SQS delays a message at most; for a longer wait the stored wake time is enough."""

_TRACE = {
    "traceparent": re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII),
    "tracestate": re.compile(r"[\x20-\x7e]{1,512}", re.ASCII),
}


class SqsTransport:
    """Sends to one queue, and listens to it. Safe for several threads, and after a fork.

    Args:
        settings: Which queue, and how.
        clock: Tells the time, and does the waiting between two tries.
        queue: For tests; by default the queue that *settings* name.

    Attributes:
        queue: What is asked of SQS.
        settings: As given.
    """

    carries = True

    def __init__(self, settings: SqsSettings, clock: Clock, queue: Queue | None = None) -> None:
        self.settings = settings
        self.queue: Queue = SqsQueue(settings) if queue is None else queue
        # A queue that drops duplicates cannot delay single messages.
        self.longest_delay = 0.0 if settings.fifo else LONGEST_DELAY
        self._clock = clock
        self._listeners = 0
        self._changed = threading.Condition()

    def send(self, messages: Sequence[ResumeMessage]) -> None:
        """Send *messages*, ten in a request; what is refused is sent once more.

        One that must wait longer than the queue can delay it is left to its stored wake time.

        Raises:
            TransportError: Some may not have been sent; it names their runs.
        """
        sent = [each for each in messages if each.delay <= self.longest_delay]
        lost: list[ResumeMessage] = []
        why = ""
        for start in range(0, len(sent), AT_ONCE):
            batch = sent[start : start + AT_ONCE]
            refused = self._send(batch)
            lost += [batch[place] for place in refused]
            why = next(iter(refused.values()), why)
        if lost:
            reason = f"{self.settings.name} did not take {len(lost)} of {len(sent)}: {why}"
            raise TransportError(reason, [each.run_id for each in lost])

    def listen(self, handle: Callable[[str], Outcome], stop: threading.Event) -> None:
        """Hand over what arrives, on several threads, until *stop* is set.

        Returns at most *wait* seconds later, when what was begun is settled; messages that nobody
        began with are given back at once.
        """
        from .consumer import Consumer

        self._count(1)
        try:
            Consumer(self.queue, self.settings, self._clock, handle).run(stop)
        finally:
            self._count(-1)

    def close(self) -> None:
        """Give the connections back, once those who listen have been told to stop and returned.

        Waits for them a little longer than a request that listens takes: its messages would
        otherwise be nobody's until their visibility ends.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._listeners, self.settings.wait + 2.0)
        if isinstance(self.queue, SqsQueue):
            self.queue.close()

    def _count(self, change: int) -> None:
        with self._changed:
            self._listeners += change
            self._changed.notify_all()

    def _send(self, batch: Sequence[ResumeMessage]) -> Mapping[int, str]:
        """Send up to ten messages; return why some may not have been sent, by their place."""
        outgoing = [self._outgoing(message) for message in batch]
        left = list(range(len(batch)))
        try:
            if not (left := list(self.queue.send(outgoing))):
                return {}
            refused = self.queue.send([outgoing[place] for place in left])
        except QueueFailed as error:
            return dict.fromkeys(left, str(error))
        return {left[place]: why for place, why in refused.items()}

    def _outgoing(self, message: ResumeMessage) -> Outgoing:
        body, attributes = write_body(message.run_id), _trace(message.trace)
        if not self.settings.fifo:
            # Rounded up: a message that comes early finds nothing to do, and is gone.
            return Outgoing(body, math.ceil(max(0.0, message.delay)), attributes=attributes)
        # The run and the key together may be longer than such an id can be.
        same = f"{message.run_id}:{message.key or secrets.token_hex(16)}"
        dedup = hashlib.sha256(same.encode()).hexdigest()
        return Outgoing(body, 0, message.run_id, dedup, attributes)


def _trace(given: Mapping[str, str]) -> dict[str, str]:
    """Return the part of *given* that can be handed on: a trace never keeps a message back."""
    return {
        name: given[name]
        for name, shape in _TRACE.items()
        if name in given and shape.fullmatch(given[name])
    }

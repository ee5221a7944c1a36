"""One message, whole: read it, have its run looked at, and say what becomes of it.

Shared by the worker's consumer and the Lambda handler, which differ in who deletes. Asks for the
time and the look; knows no thread and no boto3.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from sequential import Outcome
from sequential.outcomes import Missing
from sequential.spans import Woken, woken_by
from sequential.storage import Clock

from .answers import DELETE, LEAVE, Answer, Later, answer_to, answer_to_error
from .messages import Malformed, read_body
from .queue import Queue, QueueFailed, Received
from .url import SqsSettings

_log = logging.getLogger("sequential")

_LONGEST = 900.0
_LONGEST_IN_ORDER = 5.0
"""Behind a message that is put off, those of the same run wait in a queue that keeps an order."""


class Settling:
    """Settles messages of one queue.

    Args:
        queue: Where a message is put off or set aside.
        settings: The queue's.
        clock: Tells the time that a busy run is held against.
        chance: Returns a number from 0 to 1, so that messages of one run come apart.
    """

    def __init__(
        self,
        queue: Queue,
        settings: SqsSettings,
        clock: Clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._queue = queue
        self._name = settings.name
        self._queue_name = settings.queue
        self._longest = _LONGEST_IN_ORDER if settings.fifo else _LONGEST
        self._clock = clock
        self._chance = chance

    def settle(self, received: Received, handle: Callable[[str], Outcome]) -> Answer:
        """Have the message's run looked at by *handle*; return what becomes of the message.

        After `Later` it was put off already; after `Delete` it is to be deleted by the caller.
        Never raises for what *handle* does, nor for what the message is.
        """
        try:
            run_id = read_body(received.body)
        except Malformed as error:
            return self._set_aside(received, str(error))
        with woken_by(self._woken(received)):
            answer = self._answer(run_id, received.receives, handle)
        if isinstance(answer, Later):
            try:
                self._queue.put_off([received.receipt], answer.seconds)
            except QueueFailed as error:
                _log.warning("run %s: its message was not put off: %s", run_id, error)
                return LEAVE
        return answer

    def _woken(self, received: Received) -> Woken:
        attributes = {
            "messaging.system": "aws_sqs",
            "messaging.operation.type": "process",
            "messaging.destination.name": self._queue_name,
            "messaging.message.id": received.message_id,
        }
        return Woken("consumer", attributes, received.trace)

    def _answer(self, run_id: str, receives: int, handle: Callable[[str], Outcome]) -> Answer:
        try:
            outcome = handle(run_id)
        except (Exception, SystemExit) as error:  # noqa: BLE001  (one run never stops the others)
            answer = answer_to_error(receives, self._chance())
            _log.warning(
                "run %s was not looked at, its message comes again in %d s: %s: %s",
                run_id,
                answer.seconds,
                type(error).__name__,
                error,
            )
            return answer
        if isinstance(outcome, Missing):
            _log.warning(
                "%s brought a message for run %s, which is not in this storage",
                self._name,
                run_id,
                extra={"sequential": "message-missing"},
            )
        return answer_to(outcome, receives, self._clock.now(), self._longest, self._chance())

    def _set_aside(self, received: Received, reason: str) -> Answer:
        """Take a malformed message out of the way; what it says is not repeated in the log."""
        try:
            kept = self._queue.set_aside(received, reason)
        except QueueFailed as error:
            _log.error(
                "%s: the malformed message %s could not be set aside, and comes again: %s",
                self._name,
                received.message_id,
                error,
            )
            return LEAVE
        _log.error(
            "%s brought message %s, which no Sequential sent: %s; it was %s",
            self._name,
            received.message_id,
            reason,
            "moved to the dead-letter queue" if kept else "deleted (dead= would keep such ones)",
            extra={"sequential": "message-malformed"},
        )
        return DELETE

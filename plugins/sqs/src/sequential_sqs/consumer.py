"""The listener: receives messages, has each handled on a thread, renews what takes long, drains.

Owns threads and places. What becomes of one message is `settling`'s; whether a run may be taken is
the record's, so that any number of listeners share a queue.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from sequential import Outcome
from sequential.errors import StorageUnavailable
from sequential.storage import Clock

from .answers import Delete
from .queue import AT_ONCE, Queue, QueueFailed, Received
from .settling import Settling
from .url import SqsSettings

_log = logging.getLogger("sequential")

_LOOK = 0.5  # seconds between two looks whether to stop
_LONGEST_PAUSE = 30.0


class Places:
    """How many messages may still be taken on."""

    def __init__(self, number: int) -> None:
        self._number = self._free = number
        self._changed = threading.Condition()

    def take(self, most: int, seconds: float) -> int:
        """Wait up to *seconds* for a free place; take up to *most*, and return how many."""
        with self._changed:
            self._changed.wait_for(lambda: self._free, seconds)
            taken = min(most, self._free)
            self._free -= taken
            return taken

    def give_back(self, number: int) -> None:
        """Free *number* places."""
        with self._changed:
            self._free += number
            self._changed.notify_all()

    def wait_until_free(self) -> None:
        """Wait until no place is taken."""
        with self._changed:
            self._changed.wait_for(lambda: self._free == self._number)


class Consumer:
    """Hands the messages of *messages* to *handle*. One call of `run` each."""

    def __init__(
        self,
        messages: Queue,
        settings: SqsSettings,
        clock: Clock,
        handle: Callable[[str], Outcome],
    ) -> None:
        self._messages = messages
        self._settings = settings
        self._clock = clock
        self._handle = handle
        self._settling = Settling(messages, settings, clock)
        self._places = Places(settings.threads)
        self._jobs: queue.SimpleQueue[Received | None] = queue.SimpleQueue()
        self._flying: set[str] = set()
        self._over = threading.Event()
        self._failures = 0  # requests in a row that found no queue
        self._down = 0  # messages in a row that found no storage

    def run(self, stop: threading.Event) -> None:
        """Receive until *stop* is set; return when what was received is settled."""
        if stop.is_set():
            return
        for number in range(self._settings.threads):
            _daemon(lambda: self._work(stop), f"sequential-sqs-{number}")
        _daemon(self._renew_until_over, "sequential-sqs-renew")
        try:
            while not stop.is_set():
                self._receive(stop)
            self._places.wait_until_free()
        finally:
            self._over.set()
            for _ in range(self._settings.threads):
                self._jobs.put(None)

    # -- receiving ---------------------------------------------------------------------------

    def _receive(self, stop: threading.Event) -> None:
        """Take on as many messages as there are places, after a pause if the storage is down."""
        if self._down and self._clock.wait(_pause(self._down), stop):
            return
        places = self._places.take(AT_ONCE, _LOOK)
        if not places:
            return
        number = 0
        try:
            for received in self._messages.receive(places):
                number += 1
                self._flying.add(received.receipt)
                self._jobs.put(received)
            self._failures = 0
        except QueueFailed as error:
            self._failures += 1
            pause = _pause(self._failures)
            name = self._settings.name
            _log.warning("%s gives nothing, asking again in %.1f s: %s", name, pause, error)
            self._clock.wait(pause, stop)
        finally:
            self._places.give_back(places - number)

    # -- handling ----------------------------------------------------------------------------

    def _work(self, stop: threading.Event) -> None:
        while (received := self._jobs.get()) is not None:
            try:
                self.take(received, stop)
            except QueueFailed as error:
                _log.warning("message %s comes again: %s", received.message_id, error)
            except Exception:  # noqa: BLE001  (whatever a queue raises, the others go on)
                _log.exception("message %s comes again", received.message_id)
            finally:
                self._flying.discard(received.receipt)
                self._places.give_back(1)

    def take(self, received: Received, stop: threading.Event) -> None:
        """Settle one message; when told to stop, give it back untouched.

        Raises:
            QueueFailed: It could not be deleted, or given back; it comes again by itself.
        """
        if stop.is_set():
            self._messages.put_off([received.receipt], 0)
            return
        answer = self._settling.settle(received, lambda run_id: self._look(run_id, received))
        if isinstance(answer, Delete):
            self._messages.delete(received.receipt)

    def _look(self, run_id: str, received: Received) -> Outcome:
        try:
            outcome = self._handle(run_id)
        except StorageUnavailable:
            self._down += 1
            raise
        finally:
            # What is answered from here on must not be renewed.
            self._flying.discard(received.receipt)
        self._down = 0
        return outcome

    # -- renewing ----------------------------------------------------------------------------

    def _renew_until_over(self) -> None:
        while not self._over.wait(self._settings.visibility / 3):
            self.renew()

    def renew(self) -> None:
        """Keep what is being handled here from others for another while."""
        receipts = sorted(self._flying.copy())
        if not receipts:
            return
        try:
            self._messages.put_off(receipts, self._settings.visibility)
        except QueueFailed as error:
            _log.warning("%d messages were not renewed: %s", len(receipts), error)


def _pause(failures: int) -> float:
    return float(min(_LOOK * 2.0 ** min(failures, 16), _LONGEST_PAUSE))


def _daemon(target: Callable[[], None], name: str) -> None:
    # Never a pool: its threads would keep a process alive whose tool does not end.
    threading.Thread(target=target, daemon=True, name=name).start()

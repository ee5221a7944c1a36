"""The transport that needs no broker: workers ask the storage for what is due.

Within one process a message wakes the worker at once, so that a run which pauses after a step goes
on without waiting for the next poll. Nothing leaves the process.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

from ._clock import Clock
from ._transport import Handle, ResumeMessage
from .errors import ConfigError

_EVERY = 0.5


class PollingTransport:
    """Keeps resume messages for the worker of this process; *every* is its poll in seconds."""

    carries = False
    longest_delay = 0.0

    def __init__(self, every: float = _EVERY) -> None:
        self.every = every
        self._sent: queue.SimpleQueue[str] = queue.SimpleQueue()

    def send(self, messages: Sequence[ResumeMessage]) -> None:
        """Tell the worker of this process, if there is one; delayed messages it finds itself."""
        for message in messages:
            if message.delay <= 0:
                self.tell(message.run_id)

    def tell(self, run_id: str) -> None:
        """Tell the worker of this process to look at the run."""
        self._sent.put(run_id)

    def listen(self, handle: Handle, stop: threading.Event) -> None:
        """Hand over what this process sent until *stop* is set."""
        while not stop.is_set():
            try:
                handle(self._sent.get(timeout=self.every))
            except queue.Empty:
                continue

    def take(self, timeout: float) -> str | None:
        """Return a run id that this process sent, waiting for one up to *timeout* seconds."""
        try:
            return self._sent.get(timeout=timeout)
        except queue.Empty:
            return None

    def close(self) -> None:
        """There is nothing to give back."""


def open_polling(url: str, clock: Clock) -> PollingTransport:  # noqa: ARG001  (a factory's signature)
    """Open ``poll:`` or ``poll:?every=0.5s``.

    Raises:
        ConfigError: An option is unknown, or not a number of seconds.
    """
    every = _EVERY
    for name, value in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name != "every":
            raise ConfigError("transport", url, f"{name!r} is no option of poll:; use every=0.5s")
        try:
            every = float(value.removesuffix("s"))
        except ValueError:
            every = 0.0
        if not 0 < every <= 3600:
            raise ConfigError("transport", url, "every is seconds up to 3600, such as every=0.5s")
    return PollingTransport(every)

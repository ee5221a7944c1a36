"""The time of the server, from the ``Date`` of its answers: to much less than the second it shows.

Every answer bounds the difference to this machine's monotonic clock from both sides; the bounds of
many answers together are narrow. Knows no runs.
"""

from __future__ import annotations

import threading
import time
from email.utils import parsedate_to_datetime

from sequential.storage import Clock


class ServerTime:
    """A `Clock` whose ``now`` is the server's; *clock* gives the skew, and does the waiting."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ahead: float | None = None  # of the monotonic clock

    @property
    def known(self) -> bool:
        """Whether any answer has told the time yet."""
        return self._ahead is not None

    def learn(self, date: str | None, sent: float, received: float) -> None:
        """Take in the ``Date`` of an answer; *sent* and *received* are monotonic seconds."""
        if date is None or not date.endswith("GMT"):
            return  # none, or the beginning of one
        try:
            told = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        least, most = told - received, told + 1.0 - sent
        with self._lock:
            ahead = least if self._ahead is None else self._ahead
            self._ahead = min(max(ahead, least), most)

    def now(self) -> float:
        """Return the server's time, in seconds since the epoch."""
        return time.monotonic() + (self._ahead or 0.0)

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return self._clock.monotonic()

    def skew(self) -> float:
        """Return what is added to the server's time: zero but in tests."""
        return self._clock.skew()

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        """Wait until *event* is set or *seconds* passed; return whether it was set."""
        return self._clock.wait(seconds, event)

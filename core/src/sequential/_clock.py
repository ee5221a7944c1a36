"""The clock that everything asks, so that tests own time.

`SystemClock` is the machine's; `sequential.testing.FakeClock` stands still until it is told.
Nothing here knows of runs or leases.
"""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Protocol


class Clock(Protocol):
    """What the engine and the storages ask about time. All values are seconds."""

    def now(self) -> float:
        """Return seconds since the epoch, by this host."""

    def monotonic(self) -> float:
        """Return seconds that only grow, from an arbitrary start."""

    def skew(self) -> float:
        """Return what a storage adds to its own clock: zero but in tests."""

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        """Wait until *event* is set or *seconds* passed; return whether it was set."""


class SystemClock:
    """The clock of this machine."""

    # Not wrapped: the engine asks several times a step.
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    def skew(self) -> float:
        """Return zero: the storage's clock is right as it is."""
        return 0.0

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        """Wait until *event* is set or *seconds* passed; return whether it was set."""
        if event is not None:
            return event.wait(seconds)
        time.sleep(max(0.0, seconds))
        return False


SYSTEM_CLOCK = SystemClock()


def seconds_of(duration: timedelta | float) -> float:
    """Return *duration* in seconds.

    Raises:
        ValueError: It is negative, not a number, or longer than three thousand years.
    """
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not 0 <= seconds < 1e11:
        msg = f"{duration!r} cannot be a duration; give seconds from 0, or a timedelta"
        raise ValueError(msg)
    return seconds

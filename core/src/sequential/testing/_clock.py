"""A clock that stands still until it is told. Knows nothing of runs."""

from __future__ import annotations

import threading


class FakeClock:
    """A `Clock` that the test moves.

    Args:
        start: Seconds since the epoch that it shows first.

    Example:
        >>> clock = FakeClock(start=100.0)
        >>> clock.advance(5)
        >>> clock.now()
        105.0
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._lock = threading.Lock()
        self._now = start
        self._monotonic = 0.0
        self._skew = 0.0

    def now(self) -> float:
        """Return seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds that it was moved forward in all."""
        return self._monotonic

    def skew(self) -> float:
        """Return what a storage adds to its own clock."""
        return self._skew

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        """Let *seconds* pass at once; return whether *event* was set."""
        self.advance(max(0.0, seconds))
        return event is not None and event.is_set()

    def advance(self, seconds: float) -> None:
        """Move it by *seconds*; below zero it steps back, as a clock that is set does."""
        with self._lock:
            self._now += seconds
            self._monotonic += max(0.0, seconds)

    def set_skew(self, seconds: float) -> None:
        """Make storages see a time that is *seconds* ahead of this one."""
        self._skew = seconds

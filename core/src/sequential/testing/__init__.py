"""For tests of flows and of plugins: a clock that the test moves. Ships in the wheel."""

from __future__ import annotations

from ._clock import FakeClock

__all__ = ["FakeClock"]

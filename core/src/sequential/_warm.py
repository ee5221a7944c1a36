"""Paused flows that are still in memory, a bounded number of them, oldest out first.

Valid exactly as long as the record stands where the flow stands; whoever takes one out checks that.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from ._runner import Turn


class WarmTurns:
    """At most *limit* turns by run id; one is out of here while it is in use."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._turns: OrderedDict[str, Turn] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, run_id: str) -> Turn | None:
        """Return the turn of that run, and forget it."""
        with self._lock:
            return self._turns.pop(run_id, None)

    def keep(self, run_id: str, turn: Turn) -> None:
        """Keep *turn*; discard the one that it replaces or pushes out."""
        with self._lock:
            out = [self._turns.pop(run_id, None)]
            if self._limit > 0:
                self._turns[run_id] = turn
            else:
                out.append(turn)
            while len(self._turns) > self._limit:
                out.append(self._turns.popitem(last=False)[1])
        _discard(out)

    def clear(self) -> None:
        """Discard all."""
        with self._lock:
            out: list[Turn | None] = list(self._turns.values())
            self._turns.clear()
        _discard(out)


def _discard(turns: list[Turn | None]) -> None:
    for turn in turns:
        if turn is not None:
            turn.player.discard()

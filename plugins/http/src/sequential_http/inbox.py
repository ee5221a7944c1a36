"""Run ids between the server that hears of them and the threads that work on them.

Each waits once, however often it was asked for, so that a message that is sent ten thousand times
costs one look. Nothing is kept: what is lost with the process is found by the next sweep.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

_log = logging.getLogger("sequential")

ROOM = 10_000
_TRIES = 5
_LOOK = 0.5  # seconds between two looks whether to stop


class Inbox:
    """At most *room* run ids, in order of arrival."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._waiting: dict[str, int] = {}
        self._news = threading.Condition()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, run_id: str, tries: int = 0) -> bool:
        """Let *run_id* wait for a thread; False if there is no room."""
        with self._news:
            if run_id in self._waiting:
                return True
            if len(self._waiting) >= self._room:
                return False
            self._waiting[run_id] = tries
            self._news.notify()
            return True

    def take(self, seconds: float) -> tuple[str, int] | None:
        """Return the id that waits longest and how often it was tried; None after *seconds*."""
        with self._news:
            if not self._news.wait_for(lambda: self._waiting, seconds):
                return None
            run_id = next(iter(self._waiting))
            return run_id, self._waiting.pop(run_id)

    def work(self, handle: Callable[[str], object], is_over: Callable[[], bool]) -> None:
        """Hand over what waits until *is_over*; hand over again, up to five times, what raised."""
        while not is_over():
            found = self.take(_LOOK)
            if found is None:
                continue
            if is_over():
                self.put(*found)
                return
            self._hand_over(*found, handle, is_over)

    def _hand_over(
        self, run_id: str, tries: int, handle: Callable[[str], object], is_over: Callable[[], bool]
    ) -> None:
        try:
            handle(run_id)
        except Exception as error:  # noqa: BLE001  (a handler may fail in any way)
            if tries + 1 >= _TRIES:
                _log.warning("run %s is left to the sweeper: %s", run_id, error)
                return
            _pause(_LOOK * 2.0**tries, is_over)
            self.put(run_id, tries + 1)


def _pause(seconds: float, is_over: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not is_over() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))

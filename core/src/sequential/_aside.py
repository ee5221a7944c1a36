"""Work put aside: done in order, on a thread of its own, while nobody waits for it.

What finds no room is dropped and counted. Knows nothing of what the work is.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Aside(Generic[T]):
    """Hands each item to *work*, on a daemon thread that starts with the first.

    Args:
        work: Is called with each item; must not raise.
        room: How many items may wait.

    Attributes:
        dropped: How many found no room.
    """

    def __init__(self, work: Callable[[T], object], room: int) -> None:
        self.dropped = 0
        self._work = work
        self._room = room
        self._items: queue.SimpleQueue[tuple[T] | threading.Event] = queue.SimpleQueue()
        self._thread_of = 0
        self._lock = threading.Lock()

    def put(self, item: T) -> None:
        """Leave *item* to the thread. Returns at once."""
        if self._items.qsize() >= self._room:
            self.dropped += 1
            return
        self._items.put((item,))
        if self._thread_of != os.getpid():
            self._start()

    def wait(self, seconds: float) -> bool:
        """Wait until all that was put is done, for at most *seconds*; return whether it is."""
        if self._thread_of != os.getpid():
            return self._items.empty()
        done = threading.Event()
        self._items.put(done)
        return done.wait(seconds)

    def _start(self) -> None:
        with self._lock:
            # A forked process has what was put before, and no thread.
            if self._thread_of != os.getpid():
                self._thread_of = os.getpid()
                threading.Thread(target=self._run, daemon=True, name="sequential-aside").start()

    def _run(self) -> None:
        while True:
            item = self._items.get()
            if isinstance(item, threading.Event):
                item.set()
            else:
                self._work(*item)

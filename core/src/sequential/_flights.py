"""Attempts of one invocation under way at once, each on a thread of its own.

A pool's threads would keep the process alive, so these are daemons; what is abandoned is left
behind, told that its result is not wanted. What an attempt comes to is not known here.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextvars import copy_context

from ._calls import Hold
from ._requests import Abandon, Arrival, Await, Perform, Performed, Start

Act = Callable[[Perform], Performed]
Flown = tuple[Hold, Arrival | BaseException]


class Flights:
    """What was started and has not been waited for.

    Args:
        perform: Makes one attempt; an exception that it lets through is raised by `wait`.
    """

    def __init__(self, perform: Act) -> None:
        self._perform = perform
        self._under_way: dict[str, Hold] = {}
        self._landed: queue.SimpleQueue[Flown] = queue.SimpleQueue()

    def answer(self, request: Start | Await | Abandon) -> Arrival | None:
        """Answer one request."""
        if isinstance(request, Await):
            return self.wait(request.seconds)
        if isinstance(request, Abandon):
            self._abandon(request.position)
        else:
            self._under_way[request.call.context.position] = request.call.context.hold
            self.start(Perform(request.call, request.run))
        return None

    def start(self, request: Perform) -> None:
        """Begin one attempt, and return."""
        context = copy_context()
        threading.Thread(
            target=context.run, args=(self.fly, request), daemon=True, name="sequential-attempt"
        ).start()

    def fly(self, request: Perform) -> None:
        """Make one attempt, and leave its end for `wait`."""
        call = request.call.context
        try:
            end: Arrival | BaseException = Arrival(call.position, self._perform(request))
        except BaseException as raised:  # noqa: BLE001  (raised where it is waited for)
            end = raised
        self._landed.put((call.hold, end))

    def wait(self, seconds: float | None) -> Arrival | None:
        """Return the first end that is there, or comes within *seconds*; None for any time."""
        longest = None if seconds is None else min(seconds, threading.TIMEOUT_MAX)
        while True:
            try:
                hold, end = self._landed.get(timeout=longest)
            except queue.Empty:
                return None
            if isinstance(end, BaseException):
                raise end
            if self._under_way.get(end.position) is hold:
                del self._under_way[end.position]
                return end

    def close(self) -> None:
        """Abandon all that is under way: the invocation is over."""
        for position in list(self._under_way):
            self._abandon(position)

    def _abandon(self, position: str) -> None:
        hold = self._under_way.pop(position, None)
        if hold is not None:
            hold.abandon()


class InTurn(Flights):
    """The same without threads: an attempt is made when it is started, and lands in that order."""

    def start(self, request: Perform) -> None:
        """Make the attempt."""
        self.fly(request)

"""The worker: a process that carries runs on until it is told to stop.

Owns which runs are looked at next and on which thread, and how the process drains. What an
invocation is stands in `_invoke`; whether a run may be taken is the record's, so that any number of
workers, on any number of machines, look at one storage without knowing of each other.
"""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from ._app import Sequential
from ._outcomes import Busy, Outcome
from ._polling import PollingTransport

_log = logging.getLogger("sequential")

_HOLD = 30.0
"""Seconds that no other worker is told of a run that this one was told of; at most half a lease,
so that a worker which dies in between delays nothing for longer than one that dies at work."""

_WORST_PAUSE = 30.0
"""Seconds between two looks at a storage that is down, at most."""

_AHEAD = 0.1
"""Seconds: what a worker gets through in that time, at its pace of late, it asks the storage for at
once. Each look writes down what was handed out, and what is handed out here nobody else begins."""

_MOST_AHEAD = 64
"""Runs that it asks for beyond its free places, at most."""

_MOST_SENT = 256
"""Runs sent by this process that wait in it at most: others do many before it comes to the rest."""

_STATISTICS_EVERY = 60.0
"""Seconds between two looks whether it is time to make statistics."""

_NOBODY = ""
"""An id that no run has: wakes the loop, which waits for what this process sent."""


class InFlight:
    """The runs under way in this worker: one run is never executed on two threads at once.

    Attributes:
        executed: How many invocations ended.
    """

    def __init__(self) -> None:
        self.executed = 0
        self._lock = threading.Lock()
        self._again: dict[str, bool] = {}

    def __len__(self) -> int:
        return len(self._again)

    def enter(self, run_id: str) -> bool:
        """Take *run_id*; False if it is under way, and then it will be looked at once more."""
        with self._lock:
            free = run_id not in self._again
            self._again[run_id] = not free
            return free

    def leave(self, run_id: str) -> bool:
        """Let go of *run_id*; return whether somebody asked for it meanwhile."""
        with self._lock:
            self.executed += 1
            return self._again.pop(run_id)


class Waiting:
    """What a worker looks at next: what was sent here, and what the storage handed to it, by turns.

    Of what was sent the newest first: what is under way comes to its end before more is begun. The
    storage tells of what waits here for long.

    Attributes:
        found: What the storage handed to this worker: no other is told of it for a while.
        dropped: Whether runs were left out that the storage tells of.
    """

    def __init__(self) -> None:
        self.found: deque[str] = deque()
        self.dropped = False
        self._sent: dict[str, None] = {}  # the last is the newest
        self._sent_next = True

    def __len__(self) -> int:
        return len(self.found) + len(self._sent)

    def add(self, run_id: str) -> None:
        """Take in what this process sent."""
        self._sent.pop(run_id, None)
        self._sent[run_id] = None
        if len(self._sent) > _MOST_SENT:
            # It is due, and whoever is free by then finds it in the storage.
            del self._sent[next(iter(self._sent))]
            self.dropped = True

    def next(self) -> str | None:
        """Take out who is next; None if nobody waits."""
        self._sent_next = not self._sent_next
        if self._sent and (self._sent_next or not self.found):
            return self._sent.popitem()[0]
        if not self.found:
            return None
        run_id = self.found.popleft()
        self._sent.pop(run_id, None)
        return run_id


class Worker:
    """Carries on the runs of one application, *concurrency* of them at a time.

    With a transport that carries no messages (polling) it asks the storage for what is due, and
    goes on at once with what this process itself sent: a run that pauses after a step keeps its
    frame and its place here. With one that carries, it listens, and sweeps.

    Args:
        app: The application; its registered flows are the ones that are looked for.
        concurrency: Runs under way at a time, from 1.
        sweep_every: Seconds between two sweeps, with a transport that carries messages.
        grace: Seconds that running tools get to end once the worker was told to stop.
    """

    def __init__(
        self,
        app: Sequential,
        concurrency: int = 4,
        *,
        sweep_every: float = 30.0,
        grace: float = 30.0,
    ) -> None:
        if concurrency < 1:
            msg = f"a worker cannot have a concurrency of {concurrency}; give 1 or more"
            raise ValueError(msg)
        self._app = app
        self._concurrency = concurrency
        self._sweep_every = sweep_every
        self._grace = grace
        self._hold = min(_HOLD, app.engine.terms.lease / 2)
        # A plain flag: it is set in signal handlers, where a lock could be held already.
        self._stopping = False
        self._flying = InFlight()
        transport = app.transport
        self._inbox = transport if isinstance(transport, PollingTransport) else PollingTransport()
        self._waiting = Waiting()
        self._jobs: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._slots = threading.BoundedSemaphore(concurrency)
        self._next_look = 0.0
        self._looked = (time.monotonic(), 0)  # when, and how many invocations there had been
        self._failures = 0
        self._more = False

    @property
    def executed(self) -> int:
        """How many invocations this worker has made, those with nothing to do included."""
        return self._flying.executed

    def run(self) -> None:
        """Carry runs on until `stop`, SIGTERM or SIGINT; then drain, and return.

        Signals are heard when this is called on the main thread; a second one ends the drain. On
        return no run is under way here, but for tools that did not end within *grace*: their
        threads are daemons, and their runs go on elsewhere when the lease ends. A worker runs
        once; for another turn make another.
        """
        before = self._app.driver.stopping
        self._app.driver.stopping = self._is_stopping
        done = threading.Event()
        _daemon(lambda: self._roll_up(done), "sequential-statistics")
        try:
            with self._signals():
                self._listen() if self._app.transport.carries else self._poll()
        finally:
            done.set()
            self._stopping = True
            self._app.driver.stopping = before

    def stop(self) -> None:
        """Take nothing new, let every run pause at its next step, and make `run` return.

        Returns at once. Safe from any thread and in signal handlers.
        """
        self._stopping = True
        self._wake()

    def _is_stopping(self) -> bool:
        return self._stopping

    def _wake(self) -> None:
        self._inbox.tell(_NOBODY)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def told(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  (as it is called)
            if self._stopping:
                self._grace = 0.0
            self.stop()

        before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _roll_up(self, done: threading.Event) -> None:
        """Make statistics now and then, on a thread of its own: no run waits for them."""
        while not done.is_set():
            self._app.roll_up()
            done.wait(_STATISTICS_EVERY)

    # -- a transport without messages: looking for what is due -------------------------------

    def _poll(self) -> None:
        for number in range(self._concurrency):
            _daemon(self._work, f"sequential-worker-{number}")
        while not self._stopping:
            self._fill()
            self._hear(self._next_look - time.monotonic())
        self._drain()
        for _ in range(self._concurrency):
            self._jobs.put(None)

    def _hear(self, seconds: float) -> None:
        """Wait for what this process sends, until the next look when a slot is free for it."""
        free = len(self._flying) < self._concurrency
        run_id = self._inbox.take(max(0.0, seconds) if free else _WORST_PAUSE)
        while run_id is not None:
            if run_id != _NOBODY:
                self._waiting.add(run_id)
            run_id = self._inbox.take(0.0)

    def _fill(self) -> None:
        """Give every free slot a run: what this process sent, and what the storage says is due.

        The storage is asked at its times even while this process has work of its own, so that
        one busy flow cannot keep the runs of others waiting.
        """
        while not self._stopping and (free := self._concurrency - len(self._flying)) > 0:
            more = self._more or self._waiting.dropped
            if time.monotonic() >= self._next_look or (more and not self._waiting):
                self._waiting.found.extend(self._due(free + self._ahead()))
            run_id = self._waiting.next()
            if run_id is None:
                return
            self._give(run_id)

    def _ahead(self) -> int:
        """Return how many runs are begun here in a moment, at the pace of late."""
        then, before = self._looked
        now, executed = time.monotonic(), self._flying.executed
        self._looked = (now, executed)
        pace = (executed - before) / max(now - then, 0.001)
        return min(int(pace * _AHEAD), _MOST_AHEAD)

    def _give(self, run_id: str) -> None:
        if self._flying.enter(run_id):
            self._jobs.put(run_id)

    def _due(self, limit: int) -> Sequence[str]:
        pause = self._inbox.every
        try:
            found = self._app.storage.due(limit, self._app.registry.carried(), self._hold)
            self._failures = 0
            self._more, self._waiting.dropped = len(found) >= limit, False
        except Exception as error:  # noqa: BLE001  (whatever a storage raises, the worker goes on)
            found, self._more = (), False
            self._failures += 1
            pause = self._backoff()
            _log.warning("cannot look for due runs, trying again in %.1f s: %s", pause, error)
        self._next_look = time.monotonic() + pause
        return found

    def _backoff(self) -> float:
        return float(min(self._inbox.every * 2.0 ** min(self._failures, 16), _WORST_PAUSE))

    def _work(self) -> None:
        while (run_id := self._jobs.get()) is not None:
            try:
                self._app.resume(run_id)
            except BaseException:  # noqa: BLE001  (said below)
                # Also SystemExit from a flow: one run never stops the others. Its record was
                # released, or its lease will end.
                _log.exception("run %s: the invocation broke off", run_id)
            finally:
                again = self._flying.leave(run_id)
            self._inbox.tell(run_id if again else _NOBODY)

    def _drain(self) -> None:
        """Wait until nothing is under way, or the grace is over."""
        until = time.monotonic() + self._grace
        while len(self._flying):
            left = min(until, time.monotonic() + self._grace) - time.monotonic()
            if left <= 0:
                _log.warning("%d runs still under way are left to their leases", len(self._flying))
                return
            # What is sent from now on stays in the storage, due: another worker finds it.
            self._inbox.take(left)

    # -- a transport with messages: listening, and sweeping ----------------------------------

    def _listen(self) -> None:
        stop = threading.Event()
        _daemon(lambda: self._hear_transport(stop), "sequential-listen")
        try:
            while not self._stopping:
                if time.monotonic() >= self._next_look:
                    self._sweep()
                self._inbox.take(max(0.0, self._next_look - time.monotonic()))
        finally:
            stop.set()
        self._drain()

    def _hear_transport(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                self._app.transport.listen(self._handle, stop)
                failures = 0
            except Exception:  # noqa: BLE001  (whatever a transport raises, the worker goes on)
                failures += 1
                _log.exception("the transport stopped listening; it is asked again")
            # Also after a return without a reason: nobody may turn this into a busy loop.
            stop.wait(min(0.5 * 2.0 ** min(failures, 16), _WORST_PAUSE))

    def _sweep(self) -> None:
        try:
            self._app.sweep()
        except Exception as error:  # noqa: BLE001  (whatever a storage raises, the worker goes on)
            _log.warning("the sweep failed, the next one follows: %s", error)
        self._next_look = time.monotonic() + self._sweep_every

    def _handle(self, run_id: str) -> Outcome:
        """Answer one message. Called by the transport, on as many threads as it likes."""
        with self._slots:
            if self._stopping or not self._flying.enter(run_id):
                return Busy(run_id, None)
            while True:
                try:
                    outcome = self._app.resume(run_id)
                finally:
                    again = self._flying.leave(run_id)
                    self._wake()
                if not again or self._is_stopping() or not self._flying.enter(run_id):
                    return outcome


def _daemon(target: Callable[[], None], name: str) -> None:
    # Never a pool: its threads would keep a process alive whose tool does not end.
    threading.Thread(target=target, daemon=True, name=name).start()

"""The production driver of the runner: answers its requests with a storage, tools, time, sends.

The only place where an invocation meets the outside. Decides nothing about runs.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ._calls import CALL
from ._clock import Clock
from ._events import SignalDropped
from ._flights import Act, Flights
from ._invoke import Invoked, begin, resume
from ._leases import Leases
from ._letters import Letters
from ._model import At, In, Run
from ._outcomes import Outcome
from ._plugins import Plugins
from ._ref import Ref
from ._referring import loaded
from ._requests import (
    Commit,
    Create,
    CreateAll,
    Engine,
    Fetch,
    Load,
    Observe,
    Perform,
    Performed,
    Requests,
    Send,
    Store,
    Wait,
)
from ._storage import Loaded, Storage
from ._telling import tell_parent
from ._transport import ResumeMessage, ResumeTransport
from ._warm import WarmTurns
from .errors import TransportError

_log = logging.getLogger("sequential")


_ROUNDING = 1e-6
"""Seconds: differences below it come from adding and subtracting, not from clocks."""


_SOON = 0.05
"""Seconds: a thread that is paused between an answer and reading its clock is wrong by less."""


def token() -> str:
    """Return 128 random bits from the operating system, as 32 hex digits."""
    return os.urandom(16).hex()


class KnownTime:
    """The storage's time, as far as this process knows: its last answer, and what passed since."""

    def __init__(self, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self._offset = clock.now() + clock.skew() - clock.monotonic()

    def now(self) -> float:
        """Return the storage's time in seconds since the epoch."""
        return self._offset + self._monotonic()

    def is_now(self, now: float) -> None:
        """Take *now*, just told by the storage, as the time."""
        offset = now - self._monotonic()
        # Rounding alone must not turn the clock back: a sleep due just now would be parked again.
        if abs(offset - self._offset) > _ROUNDING:
            self._offset = offset


class Surroundings:
    """What one invocation may know: the time, its budget, whether the process wants to end."""

    def __init__(
        self,
        time: KnownTime,
        clock: Clock,
        seconds: float,
        stopping: Callable[[], bool],
        letters: Letters,
    ) -> None:
        self.letters = letters
        self.now = time.now
        self.token = token
        self.stopping = stopping
        self._clock = clock
        self._until = clock.monotonic() + seconds

    def left(self) -> float:
        """Return how many seconds this invocation may go on."""
        return self._until - self._clock.monotonic()


class Driver:
    """Carries out invocations for one application."""

    def __init__(
        self,
        engine: Engine,
        storage: Storage,
        transport: ResumeTransport,
        plugins: Plugins,
        clock: Clock,
        warm: int,
    ) -> None:
        self.engine = engine
        self.time = KnownTime(clock)
        self.warm = WarmTurns(warm)
        self.leases = Leases(storage, engine.terms, clock, token)
        self.stopping: Callable[[], bool] = lambda: False
        self.flights: Callable[[Act], Flights] = Flights
        self._letters = Letters()
        self._storage = storage
        self._transport = transport
        self._plugins = plugins
        self._clock = clock
        # Looked up once, not for every call of a tool.
        self._load_ref = self.load
        self._answers: dict[type, Callable[[Any], Any]] = {
            Commit: self._commit,
            Perform: self._perform,
            Create: lambda request: storage.create(request.run),
            CreateAll: self._create_all,
            Load: self._load,
            Send: lambda request: self.send(request.run, request.delay),
            Wait: lambda request: clock.wait(request.seconds) and None,
            Store: lambda request: storage.put_value(request.run_id, request.data),
            Fetch: lambda request: storage.get_value(request.run_id, request.digest),
            Observe: self._observe,
        }

    def resume(self, run_id: str, seconds: float | None = None) -> Invoked:
        """Make one invocation of run *run_id*, for at most *seconds* and the policy's budget."""
        refuse_loop()
        world = self._surroundings(seconds)
        warm = self.warm.take(run_id)
        return self._carry(run_id, resume(self.engine, world, run_id, warm))

    def begin(self, run: Run, seconds: float | None = None) -> Outcome:
        """Make the first invocation of *run*, which was created already claimed."""
        if isinstance(run.wake, At):
            # Created a moment ago: the end of the lease tells the storage's time, and until now
            # this process may have known its own clock only.
            self.time.is_now(run.wake.time - self.engine.terms.lease)
        return self._carry(run.run_id, begin(self.engine, self._surroundings(seconds), run)).outcome

    def tell_parent(self, run: Run) -> None:
        """Tell the parent of *run*, which ended elsewhere; a sweeper does it where this fails."""
        self.answer(tell_parent(self.engine, self._surroundings(None), run))

    def send(self, run: Run, delay: float) -> None:
        """Send a resume message for *run*, if the transport can delay it so long.

        What is due in a moment is sent at once: the storage's time is known here to some
        milliseconds, and a message that is a moment early is read when it is due.
        """
        delay = delay if delay > _SOON else 0.0
        if delay <= self._transport.longest_delay:
            trace = self._plugins.trace() or run.trace
            self.send_all([ResumeMessage(run.run_id, delay, run.op_id, trace)])

    def send_all(self, messages: Sequence[ResumeMessage]) -> int:
        """Send *messages*; return how many were taken."""
        try:
            self._transport.send(messages)
        except TransportError as error:
            # The record is the outbox: a sweeper finds what a transport lost.
            _log.warning("%s", error)
            return len(messages) - len(error.unsent)
        return len(messages)

    def answer(self, requests: Requests[Any]) -> Any:
        """Answer *requests* until they come to their end; return what they came to."""
        flights = self.flights(self._perform)
        try:
            return self._answered(requests, flights)
        finally:
            flights.close()

    def _answered(self, requests: Requests[Any], flights: Flights) -> Any:
        answers: Mapping[type, Callable[[Any], Any]] = self._answers
        answer: Any = None
        error: BaseException | None = None
        while True:
            try:
                if error is None:
                    request = requests.send(answer)
                else:
                    thrown, error = error, None
                    request = requests.throw(thrown)
            except StopIteration as stop:
                return stop.value
            act: Callable[[Any], Any] = answers.get(type(request), flights.answer)
            try:
                answer = act(request)
            except BaseException as raised:  # noqa: BLE001  (the runner decides what it means)
                error = raised

    def load(self, ref: Ref[Any]) -> Any:
        """Return the value that *ref* stands for."""
        return self.answer(loaded(self.engine, ref))

    def close(self) -> None:
        """Stop renewing, and discard the flows in memory."""
        self.leases.close()
        self.warm.clear()

    def _surroundings(self, seconds: float | None) -> Surroundings:
        limit = min(self.engine.policy.seconds, math.inf if seconds is None else seconds)
        return Surroundings(self.time, self._clock, limit, self.stopping, self._letters)

    def _carry(self, run_id: str, requests: Requests[Invoked]) -> Invoked:
        invoked: Invoked = self.answer(requests)
        if invoked.turn is not None:
            self.warm.keep(run_id, invoked.turn)
        return invoked

    # -- one answer each ---------------------------------------------------------------------

    def _commit(self, request: Commit) -> object:
        answer = self._storage.commit(request.run, request.expect, request.steps)
        if isinstance(answer, Run):
            self.leases.moved(answer)
        asked = request.run.wake
        if isinstance(answer, Run) and isinstance(asked, In) and isinstance(answer.wake, At):
            self.time.is_now(answer.wake.time - asked.seconds)
        return answer

    def _create_all(self, request: CreateAll) -> Sequence[Run]:
        together: Callable[[Sequence[Run]], Sequence[Run]] | None = getattr(
            self._storage, "create_all", None
        )
        if together is not None:
            return together(request.runs)
        return [self._storage.create(run) for run in request.runs]

    def _load(self, request: Load) -> Loaded | None:
        loaded = self._storage.load(request.run_id, request.after)
        if loaded is not None:
            self.time.is_now(loaded.now)
        return loaded

    def _perform(self, request: Perform) -> Performed:
        hold = request.call.context.hold
        hold.load = self._load_ref
        lease = self.leases.add(request.run, hold)
        result, error = None, None
        current = CALL.set(request.call.context)
        try:
            result = self._plugins.call_tool(request.call)
        except MemoryError:
            raise
        except Exception as raised:  # noqa: BLE001  (a tool may raise anything; it is recorded)
            error = raised
        finally:
            CALL.reset(current)
            self.leases.remove(lease)
        return Performed(result, error, lease.run, hold.lost)

    def _observe(self, request: Observe) -> None:
        event = request.event
        if isinstance(event, SignalDropped):
            _log.warning(
                "run %s: signal %r (id %s) does not fit the type that step %s waits for; dropped",
                event.run.run_id,
                event.name,
                event.signal_id,
                event.position,
            )
        self._plugins.observe(event)


def refuse_loop() -> None:
    """Refuse to drive a flow on a thread whose event loop it would block.

    Raises:
        RuntimeError: An event loop runs on this thread.
    """
    # Where asyncio was never imported no loop runs, and importing it would double a cold start.
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or asyncio._get_running_loop() is None:  # noqa: SLF001  (public in asyncio)
        return
    msg = "a flow cannot run on a thread with an event loop; await the twin that starts with a"
    raise RuntimeError(msg)

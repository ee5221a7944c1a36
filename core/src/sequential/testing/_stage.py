"""Processes, a storage and a clock in one thread: the production generators, driven by hand.

An `Invocation` answers one request of `_invoke.resume` at a time, so that a test or a seeded
schedule decides what happens between any two of them. Answers come from a real storage, real tools
and the real lease table; only time, randomness and threads are replaced. What is done between the
requests is the caller's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from .._calling import RegisteredTools
from .._invoke import Invoked, begin, resume
from .._leases import Lease, Leases
from .._model import At, In, Run, StepRecord
from .._outcomes import Outcome
from .._outside import Outside
from .._pause import PausePolicy
from .._payload import Payloads
from .._protocol import NOW, Terms
from .._referring import loaded
from .._registry import Registry
from .._replay import Check
from .._requests import (
    Abandon,
    Arrival,
    Await,
    Commit,
    Create,
    CreateAll,
    Engine,
    Fetch,
    Load,
    Observe,
    Perform,
    Performed,
    Request,
    Requests,
    Send,
    Start,
    Store,
    Wait,
    World,
)
from .._runner import Turn
from .._storage import Storage
from ._clock import FakeClock
from ._staged_time import Execution, StagedWorld, Time, answered

_DOWN = (MemoryError, KeyboardInterrupt, SystemExit)
"""What a tool raises that takes the process down."""


class Stage:
    """One deployment: a storage, a clock, an engine, and what its tools and transport saw.

    Attributes:
        executions: Every execution of a tool, in order.
        sent: Ids in resume messages, in order.
        on_send: Told the id and the delay of each resume message.
    """

    def __init__(  # noqa: PLR0913  (the parts of a deployment, each with a default)
        self,
        registry: Registry,
        storage: Storage,
        clock: FakeClock,
        *,
        pause: str = "when-waiting",
        terms: Terms | None = None,
        check: Check = "inputs",
        seed: int = 0,
        max_steps: int = 50_000,
    ) -> None:
        self.clock = clock
        self.storage = storage
        self.rng = random.Random(seed)  # noqa: S311  (the same for the same seed)
        self.executions: list[Execution] = []
        self.sent: list[str] = []
        self.on_send: Callable[[str, float], object] = lambda *_: None
        self.terms = terms or Terms()
        self.engine = Engine(
            registry,
            Payloads(),
            self.terms,
            PausePolicy.parse(pause),
            check,
            storage.deployment,
            max_steps,
            observed=False,
        )
        self.tools = RegisteredTools(registry)
        self.outside = Outside(self.engine, storage, clock, self.token)

    def token(self) -> str:
        """Return 128 seeded bits."""
        return f"{self.rng.getrandbits(128):032x}"

    def start(self, flow: str, given: bytes = b"{}", run_id: str = "r") -> str:
        """Create a paused run that is due now."""
        payload, digest = self.outside.input_payload(run_id, given)
        now = self.clock.now()
        self.outside.create(Run(run_id, flow, payload, wake=NOW, asked=digest, created=now))
        return run_id

    def run(self, run_id: str = "r") -> Run:
        """Return the stored record."""
        loaded = self.storage.load(run_id, 1 << 30)
        assert loaded is not None
        return loaded.run

    def steps(self, run_id: str = "r") -> list[StepRecord]:
        """Return the stored records of the run's generation."""
        loaded = self.storage.load(run_id)
        return list(loaded.steps if loaded else ())

    def count(self, tool: str) -> int:
        """Return how often *tool* was executed."""
        return sum(each.tool == tool for each in self.executions)

    def send(self, run_id: str, delay: float) -> None:
        """Take a resume message."""
        self.sent.append(run_id)
        self.on_send(run_id, delay)

    def process(self, storage: Storage | None = None, registry: Registry | None = None) -> Process:
        """Return a new process of this deployment, with a way to the storage of its own.

        *registry* is its code, when that is another version than the stage's.
        """
        process = Process(self, storage or self.storage)
        if registry is not None:
            process.engine = replace(self.engine, registry=registry)
            process.tools = RegisteredTools(registry)
        return process


class Process:
    """One process: its warm frames, its idea of the time, its lease table.

    Attributes:
        engine: What it carries out invocations with; its registry is its code.
        tools: Where its tools are called.
        stopping: Whether it was asked to end.
        seconds: Budget of each invocation.
        keeps: Whether paused flows stay in memory.
        order: Says which of the positions in flight lands first; none of them to let time pass.
        together: Says whether another one has landed when it is asked for without waiting.
    """

    def __init__(self, stage: Stage, storage: Storage) -> None:
        self.stage = stage
        self.storage = storage
        self.engine = stage.engine
        self.tools = stage.tools
        self.time = Time(stage.clock)
        self.leases = Leases(storage, stage.terms, stage.clock, stage.token)
        self.warm: dict[str, Turn] = {}
        self.stopping = False
        self.seconds = float("inf")
        self.keeps = True
        self.together: Callable[[], bool] = lambda: False
        self.order: Callable[[Sequence[str]], str] = lambda positions: positions[0]

    def invoke(self, run_id: str = "r") -> Invocation:
        """Return a new invocation of the run that has asked for nothing yet."""
        return Invocation(self, self._resumed(run_id, self._world()), run_id)

    def _resumed(self, run_id: str, world: World) -> Requests[Invoked]:
        # The warm frame is taken when it begins: one that crashes before that must not lose it.
        turn = self.warm.pop(run_id, None)
        return (yield from resume(self.engine, world, run_id, turn))

    def begin(self, run: Run) -> Invocation:
        """Return the first invocation of *run*, which was created claimed."""
        if isinstance(run.wake, At):
            self.time.is_now(run.wake.time - self.stage.terms.lease)
        return Invocation(self, begin(self.engine, self._world(), run), run.run_id)

    def _world(self) -> World:
        token = self.stage.token
        return StagedWorld(self.time, self.stage.clock, token, self.seconds, lambda: self.stopping)

    def execute(self, run_id: str = "r") -> Outcome:
        """Make one whole invocation."""
        return self.invoke(run_id).finish()

    def forget(self) -> None:
        """Discard the warm frames, as a new process would have none."""
        for turn in self.warm.values():
            turn.player.discard()
        self.warm.clear()


class Invocation:
    """One invocation under way: at *request*, which is answered by the next `advance`.

    A `Perform` takes two advances: after the first the tool has run and its answer is on the way,
    with the lease in the process's table. What was started has run, and lands when it is awaited.

    Attributes:
        request: What is asked; None before the first request and after the end.
        outcome: What it came to.
        error: What it raised instead.
    """

    def __init__(self, process: Process, requests: Requests[Invoked], run_id: str) -> None:
        self.process = process
        self.run_id = run_id
        self.request: Request | None = None
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.over = False
        self._requests = requests
        self._performing: tuple[Lease, Performed] | None = None
        self._flying: dict[str, tuple[Lease, Performed | BaseException]] = {}

    def advance(self) -> bool:
        """Answer the request and run to the next; return whether there is one."""
        if self.over:
            return False
        request = self.request
        if request is None:
            self._go(lambda: self._requests.send(None))
        elif isinstance(request, Perform) and self._performing is None:
            self._begin(request)
        else:
            self._answer(request)
        return not self.over

    @property
    def held(self) -> Run | None:
        """The record under which tools run for it, if any do; as it was when they began."""
        for lease, _ in self._flying.values():
            return lease.run
        return self.request.run if isinstance(self.request, Perform) else None

    def until(self, wanted: Callable[[Request], bool]) -> Request:
        """Advance to the first request that *wanted* holds for, and return it, unanswered."""
        while self.advance():
            if self.request is not None and self._performing is None and wanted(self.request):
                return self.request
        raise AssertionError("the invocation ended before it asked for that")

    def finish(self) -> Outcome:
        """Advance to the end; return the outcome or raise what it raised."""
        while self.advance():
            pass
        if self.error is not None:
            raise self.error
        assert self.outcome is not None
        return self.outcome

    def crash(self) -> None:
        """Stop for good, as a killed process does: nothing more is asked."""
        if self._performing is not None:
            self.process.leases.remove(self._performing[0])
        self._abandon_all()
        self.over = True
        self.request = None
        self._requests.close()

    def _begin(self, request: Perform) -> None:
        try:
            self._performing = self._perform(request)
        except _DOWN as raised:
            error = raised
            self._go(lambda: self._requests.throw(error))

    def _answer(self, request: Request) -> None:
        try:
            if self._performing is not None:
                lease, done = self._performing
                self._performing = None
                self.process.leases.remove(lease)
                answer: object = Performed(done.result, done.error, lease.run, lease.hold.lost)
            else:
                answer = self._ANSWERS[type(request)](self, request)
        except (Exception, *_DOWN) as raised:  # noqa: BLE001  (the runner decides what it means)
            error = raised
            self._go(lambda: self._requests.throw(error))
        else:
            self._go(lambda: self._requests.send(answer))

    def _go(self, act: Callable[[], Request]) -> None:
        try:
            self.request = act()
        except StopIteration as stop:
            self._ended(stop.value)
        except BaseException as raised:  # noqa: BLE001  (kept for whoever looks)
            self.error = raised
            self.over, self.request = True, None
            self._abandon_all()

    def _ended(self, invoked: Invoked) -> None:
        self.over, self.request = True, None
        self._abandon_all()
        self.outcome = invoked.outcome
        if invoked.turn is None:
            return
        if self.process.keeps:
            replaced = self.process.warm.pop(self.run_id, None)
            if replaced is not None:
                replaced.player.discard()
            self.process.warm[self.run_id] = invoked.turn
        else:
            invoked.turn.player.discard()

    # -- answers -----------------------------------------------------------------------------

    def _commit(self, request: Commit) -> object:
        answer = self.process.storage.commit(request.run, request.expect, request.steps)
        asked = request.run.wake
        if isinstance(answer, Run):
            self.process.leases.moved(answer)
            if isinstance(asked, In) and isinstance(answer.wake, At):
                self.process.time.is_now(answer.wake.time - asked.seconds)
        return answer

    def _load(self, request: Load) -> object:
        loaded = self.process.storage.load(request.run_id, request.after)
        if loaded is not None:
            self.process.time.is_now(loaded.now)
        return loaded

    def _perform(self, request: Perform) -> tuple[Lease, Performed]:
        hold = request.call.context.hold
        hold.load = lambda ref: answered(
            loaded(self.process.engine, ref), lambda asked: self._ANSWERS[type(asked)](self, asked)
        )
        lease = Lease(request.run, hold, self.process.stage.clock.monotonic())
        # Into the table without the thread that looks at it: `renew_due` is the schedule's.
        self.process.leases._table[id(lease)] = lease  # noqa: SLF001
        self.process.stage.executions.append(Execution.of(request.call))
        try:
            result = self.process.tools.sequential_call_tool(request.call)
        except _DOWN:
            self.process.leases.remove(lease)
            raise
        except Exception as raised:  # noqa: BLE001  (a tool may raise anything; it is recorded)
            return lease, Performed(None, raised, request.run)
        if result is None:
            # There is no such tool here: nothing was executed.
            self.process.stage.executions.pop()
        return lease, Performed(result, None, request.run)

    def _start(self, request: Start) -> None:
        context = request.call.context
        try:
            flown: tuple[Lease, Performed | BaseException] = self._perform(Perform(*request))
        except _DOWN as raised:
            # Raised where it is waited for, as on a thread.
            flown = (Lease(request.run, context.hold, 0.0), raised)
        self._flying[context.position] = flown

    def _await(self, request: Await) -> Arrival | None:
        if request.seconds == 0.0 and not self.process.together():
            return None
        position = self.process.order(list(self._flying)) if self._flying else ""
        if position not in self._flying:
            if request.seconds is not None:
                self.process.stage.clock.advance(request.seconds)
                return None
            position = next(iter(self._flying))
        lease, done = self._flying.pop(position)
        self.process.leases.remove(lease)
        if isinstance(done, BaseException):
            raise done
        return Arrival(position, Performed(done.result, done.error, lease.run, lease.hold.lost))

    def _abandon(self, position: str) -> None:
        lease = self._flying.pop(position, (None,))[0]
        if lease is not None:
            lease.hold.abandon()
            self.process.leases.remove(lease)

    def _abandon_all(self) -> None:
        for position in list(self._flying):
            self._abandon(position)

    _ANSWERS: ClassVar[Mapping[type, Callable[[Invocation, Any], object]]] = {
        Commit: _commit,
        Create: lambda self, asked: self.process.storage.create(asked.run),
        CreateAll: lambda self, asked: [self.process.storage.create(run) for run in asked.runs],
        Load: _load,
        Send: lambda self, asked: self.process.stage.send(asked.run.run_id, asked.delay),
        Wait: lambda self, asked: self.process.stage.clock.advance(asked.seconds),
        Store: lambda self, asked: self.process.storage.put_value(asked.run_id, asked.data),
        Fetch: lambda self, asked: self.process.storage.get_value(asked.run_id, asked.digest),
        Start: _start,
        Await: _await,
        Abandon: lambda self, asked: self._abandon(asked.position),
        Observe: lambda *_: None,
    }

"""Plays a flow to its end with fake tools: no storage outside memory, no I/O, no waiting.

The engine, the storage in memory and the rules of retries are the real ones; only tools and time
are not. What happens to a flow whose process is lost stands in `_crashes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from .. import _codec
from .._app import Sequential
from .._carrying import carry_children
from .._flights import InTurn
from .._flow import Flow
from .._memory import MemoryStorage
from .._model import OPEN_STATUSES, At, Run, StepOutcome, StepRecord, evolve
from .._outcomes import Blocked, Busy, Cancelled, Completed, Failed, Outcome, Paused
from .._pause import PausePolicy
from .._registry import REGISTRY, Registry
from .._replay import name_of
from .._storage import STALE, Stale
from ..errors import RunBlocked, RunCancelled, RunFailed, ToolNotFound
from ._clock import FakeClock
from ._fakes import Call, Cast, FakeAsserted, Fakes

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

RUN_ID = "play"
"""Of every played run, so that what derives from it is the same each time."""

_MOST_TURNS = 10_000
"""Invocations after which a flow is taken for one that never ends."""

EACH_STEP = PausePolicy(steps=1, every_step=True)
"""Pause after every step, not only after tool calls."""


class PlayedStep(NamedTuple):
    """One recorded step.

    Attributes:
        position: Such as ``"0"``.
        what: ``category.name`` of a tool call, ``signal name``, ``child flow``, ``start flow``,
            ``sleep`` or ``save``.
        input: Of a tool call, without ignored parameters; None where there is none.
        outcome: ``value``, ``error``, ``timeout`` or ``cancelled``.
        value: The result; of an error an object with ``type`` and ``message``.
        attempts: How many were made, from 1.
    """

    position: str
    what: str
    input: Any
    outcome: StepOutcome
    value: Any
    attempts: int


@dataclass(frozen=True, slots=True)
class Played(Generic[R_co]):
    """A flow that was played to its end.

    Attributes:
        returned: What the flow returned; None if it raised. `result` is the one to look at.
        error: `RunFailed` (its cause is the flow's own exception) or `RunCancelled`; None if the
            flow returned.
        steps: Recorded steps in order, of all generations.
        calls: Every attempt of every tool call, in order.
        slept: Seconds that were skipped: sleeps, waits for signals, and waits between attempts.
    """

    returned: R_co | None
    error: RunFailed | RunCancelled | None
    steps: Sequence[PlayedStep]
    calls: Sequence[Call]
    slept: float

    @property
    def result(self) -> R_co:
        """What the flow returned.

        Raises:
            RunFailed: The flow raised.
            RunCancelled: It ended as cancelled.
        """
        if self.error is not None:
            raise self.error
        return self.returned  # type: ignore[return-value]


@dataclass(frozen=True)
class Script:
    """What is played: a flow, its input, the fakes, the signals, and when.

    Attributes:
        registry: Where options of tools are looked up that are given by name.
        cancel_after: Steps after which the run is cancelled.
    """

    flow: Flow[..., Any]
    input: object
    tools: Fakes
    signals: Mapping[str, object]
    start: datetime | None
    registry: Registry
    cancel_after: int | None = None

    def clock(self) -> FakeClock:
        """Return a new clock that shows the start."""
        if self.start is None:
            return FakeClock()
        if self.start.tzinfo is None:
            msg = f"start = {self.start!r} has no time zone; add tzinfo, such as datetime.UTC"
            raise ValueError(msg)
        return FakeClock(self.start.timestamp())

    def sent(self) -> list[tuple[str, str, object]]:
        """Return id, name and value of every signal, in order."""
        return [
            (f"{name}:{number}", name, value)
            for name, given in self.signals.items()
            for number, value in enumerate(given if isinstance(given, list) else [given])
        ]

    def cast(self) -> Cast:
        """Return a cast that has done nothing yet."""
        return Cast(self.flow, self.tools, self.registry)


class KeptMemory(MemoryStorage):
    """Memory that also tells the played run's earlier records, and is the same each time."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.records: list[StepRecord] = []

    @property
    def runs(self) -> Sequence[Run]:
        """All runs: the one that is played, and its children."""
        return list(self._runs.values())

    @property
    def deployment(self) -> str:
        """The same for every play, so that ids derived from it are the same too."""
        return RUN_ID

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        """Write as the contract says, and remember *steps*."""
        answer = super().commit(run, expect, steps)
        if answer is not STALE and run.run_id == RUN_ID:
            self.records.extend(steps)
        return answer


class Stage:
    """One process that plays *script* on *storage*; to be closed."""

    def __init__(
        self,
        script: Script,
        cast: Cast,
        storage: KeptMemory,
        clock: FakeClock,
        pause: PausePolicy | None = None,
    ) -> None:
        self.script, self.cast, self.storage, self.clock = script, cast, storage, clock
        if script.cancel_after is not None:
            pause = EACH_STEP  # so that there is a moment between steps
        self.app = Sequential(
            storage,
            pause=pause or "when-waiting",
            plugins=[cast],
            registry=cast.registry,
            warm=0 if pause else 1,
            clock=clock,
        )
        self.app.driver.flights = InTurn  # so that branches end in the same order each time

    def play(self) -> Played[Any]:
        """Start the run, or find it, and carry it to its end."""
        app, script = self.app, self.script
        app.start(script.flow, script.input, run_id=RUN_ID)
        for sent_id, name, value in script.sent():
            if app.get(RUN_ID).status in OPEN_STATUSES:
                app.signal(RUN_ID, name, value, signal_id=sent_id)
        try:
            return self._played(self._carried())
        except FakeAsserted as spoken:
            raise spoken.error from None

    def _carried(self) -> Outcome:
        """Execute the run again and again, skipping the time between."""
        for _ in range(_MOST_TURNS):
            self._cancel_if_due()
            outcome = self.app.execute(RUN_ID)
            if not isinstance(outcome, Paused | Busy):
                return outcome
            if carry_children(self.app, RUN_ID, self.clock.now):
                continue
            self._refuse_blocked()
            wakes = [run.wake.time for run in self._concerned() if isinstance(run.wake, At)]
            if not wakes:
                raise RunBlocked(RUN_ID, self._awaited())
            self.clock.advance(max(0.0, min(wakes) - self.clock.now()))
        reason = f"it has not ended after {_MOST_TURNS:,} invocations; let a fake end its loop"
        raise RunBlocked(RUN_ID, reason)

    def _cancel_if_due(self) -> None:
        after = self.script.cancel_after
        due = after is not None and len(self.storage.records) >= after
        if due and self.app.get(RUN_ID).status in OPEN_STATUSES:
            self.app.cancel(RUN_ID)

    def _concerned(self) -> Sequence[Run]:
        """Return the open runs that the play is about: not those that nobody waits for."""
        return [
            run
            for run in self.storage.runs
            if run.status in OPEN_STATUSES and (run.parent is None or run.parent.waits)
        ]

    def _refuse_blocked(self) -> None:
        for run in self._concerned():
            if run.attention is not None:
                raise self._obstacle(self.app.outcome(run))

    def _awaited(self) -> str:
        run = next(each for each in self._concerned() if not each.children)
        (position, found), *_ = run.open.items()
        given = ", ".join(sorted(self.script.signals)) or "none"
        return (
            f"step {position} waits for the signal {found.name!r}, which never comes (given:"
            f" {given}); give it under `signals`"
        )

    def _played(self, outcome: Outcome) -> Played[Any]:
        returned, error = None, None
        if isinstance(outcome, Completed):
            returned = outcome.result
        else:
            error = self._error(outcome)
        steps = tuple(self._step(record) for record in self.storage.records)
        calls = tuple(self.cast.calls)
        return Played(returned, error, steps, calls, self.clock.monotonic())

    def _error(self, outcome: Outcome) -> RunFailed | RunCancelled:
        if isinstance(outcome, Cancelled):
            return RunCancelled(RUN_ID)
        if not isinstance(outcome, Failed):
            raise self._obstacle(outcome)
        stored = outcome.error
        data = None if stored.data is None else _codec.decode(stored.data.data)
        error = RunFailed(RUN_ID, stored.type, stored.message, data)
        error.__cause__ = next(
            (caught for caught in reversed(self.cast.caught)
             if type(caught).__name__ == stored.type), None,
        )  # fmt: skip
        return error

    def _obstacle(self, outcome: Outcome) -> Exception:
        if not isinstance(outcome, Blocked):
            return RunBlocked(RUN_ID, f"it came to {outcome}")
        if outcome.reason != "tool-not-found" or self.cast.missing is None:
            return RunBlocked(RUN_ID, outcome.message, outcome.diff)
        given = self.cast.registry.tool_names()
        error = ToolNotFound(*self.cast.missing, given)
        error.add_note(f"The play was given {', '.join(given) or 'no tools'}; see `tools`.")
        return error

    def _step(self, record: StepRecord) -> PlayedStep:
        run = evolve(self.app.get(RUN_ID), generation=record.generation)
        given = None if record.input is None else _codec.decode(record.input.data)
        what, value = name_of(record), self.app.value(run, record)
        return PlayedStep(record.position, what, given, record.outcome, value, record.attempts)


def play(  # noqa: PLR0913  (what is played, each with a default)
    flow: Flow[..., R],
    input: object = None,
    *,
    tools: Fakes | None = None,
    signals: Mapping[str, object] | None = None,
    start: datetime | None = None,
    cancel_after: int | None = None,
    registry: Registry = REGISTRY,
) -> Played[R]:
    """Play *flow* to its end, with fake tools and without waiting; return what happened.

    Sleeps, timeouts and waits between attempts pass at once. Nothing leaves the process. Child
    runs that the flow waits for are played too, with the same fakes; those that it only starts
    are not.

    Args:
        flow: In either style.
        input: An object of the flow's parameters by name, or its raw input.
        tools: ``"category.name"``, or the tool itself, to a function that is called as the tool
            would be, or a list of its answers, of which exceptions are raised. Retries, types
            and other options are those of the tool. An AssertionError in a function ends the play
            and is raised here.
        signals: Name to value, or to a list of values. All are sent before the flow begins.
        start: What the clock shows first, with a time zone.
        cancel_after: Cancel the run when so many steps are recorded: the flow is told at the next.
        registry: Where tools that are given by name are looked up for their options.

    Raises:
        ToolNotFound: The flow calls a tool that is not among *tools*.
        RunBlocked: The flow cannot go on: it yielded no step, or waits for a signal that is not
            among *signals*. That the flow raised is no error here: see `Played.result`.
        InputMismatch: The input does not fit the flow's parameters.
    """
    script = Script(flow, input, tools or {}, signals or {}, start, registry, cancel_after)
    clock = script.clock()
    stage = Stage(script, script.cast(), KeptMemory(clock), clock)
    try:
        return stage.play()
    finally:
        stage.app.close()

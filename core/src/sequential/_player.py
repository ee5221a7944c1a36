"""The flow's side of an invocation: the flow is called, asks for steps, and is given records.

Each step asked for is put in terms of records and, while records are left, held against the next
one. What is new is not carried out here, and nothing is committed: that is `_runner`. A generator
of requests only because a large value may have to be fetched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from . import _codec, _typed
from ._attempts import compared_input
from ._events import Spent
from ._failure import tool_error
from ._flow import Flow
from ._frame import Frame
from ._model import Payload, Run, StepKind, StepOutcome, StepRecord
from ._payload import Place
from ._protocol import seeds_of
from ._replay import Asked, agrees, describe_asked, describe_record, diff, without_input
from ._requests import Engine, Fetch, Requests
from ._scope import Scope
from ._steps import NO_DEFAULT, ContinueStep, SignalStep, SleepStep, Step, ToolStep
from ._tools import DEFAULT_OPTIONS
from .errors import (
    FlowChanged,
    InputMismatch,
    NotAStep,
    NotEncodable,
    RunCancelled,
    SignalTimedOut,
    ValuesError,
)


class Obstacle(Exception):
    """Something that a deploy or a person must remove before the run can go on."""

    def __init__(self, reason: str, message: str, lines: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.diff = lines


@dataclass(frozen=True, slots=True)
class Over:
    """The flow returned *result*, or raised *error*, which came from the step at *position*."""

    result: object = None
    error: BaseException | None = None
    position: str = ""


class Player:
    """One flow under way, and the records that it is still to be given.

    Attributes:
        frame: The flow's generator or coroutine, once it was called.
        ready: Records that the flow has not been given yet.
        step: What the flow waits for.
        asked: The same in terms of records.
        spent: What the records that the flow was given took together; only if that is observed.
    """

    def __init__(self, engine: Engine, flow: Flow[..., Any], records: Iterable[StepRecord]) -> None:
        self.engine = engine
        self.flow = flow
        self.frame: Frame | None = None
        self.ready = deque(records)
        self.step: Step[Any] | None = None
        self.asked = Asked("", StepKind.SAVE)
        self._count = 0
        self.spent = Spent()
        self._thrown: list[tuple[BaseException, str]] = []

    def play(self, run: Run) -> Requests[Over | None]:
        """Give the flow all the records that are ready; return how it ended, or None if it waits.

        Raises:
            Obstacle: History and code disagree, or the flow cannot be called or go on.
        """
        over = None if self.frame is not None else (yield from self._call(run))
        while over is None and self.ready:
            record = self.ready[0]
            self._match(run, record)
            self.ready.popleft()
            data = record.value.data
            if record.value.ref is not None or record.value.codecs or self.engine.payloads.strict:
                place = value_place(run, record.position)
                data = yield from self._unwrapped(record.value, place)
            over = self._feed(run, record, data)
        if self.ready:
            raise self._changed(run, self.ready[0], None)
        return over

    def _call(self, run: Run) -> Requests[Over | None]:
        seeds = [(number, self.engine.deployment, seed) for number, seed in seeds_of(run)]
        begun = run.begun or run.created
        replaying = bool(self.ready) or bool(run.open)
        scope = Scope(seeds, begun, replaying=replaying, run=(run.run_id, run.created))
        try:
            data = yield from self._unwrapped(run.input, input_place(run.run_id))
            self.frame = Frame(self.flow, _codec.decode(data), scope)
        except (ValuesError, InputMismatch) as error:
            raise Obstacle("input", str(error)) from error
        return self._advance(None, None)

    def _advance(self, value: object, error: BaseException | None) -> Over | None:
        """Give the flow *value*, or raise *error* in it, until it asks for a step or is over."""
        frame = self.frame
        assert frame is not None
        while True:
            try:
                step = frame.send(value) if error is None else frame.throw(error)
            except StopIteration as stop:
                return Over(result=stop.value)
            except (Exception, RunCancelled) as raised:  # noqa: BLE001  (whatever the flow raises)
                return self._raised(raised)
            try:
                self._ask(step)
            except NotEncodable as refused:
                # The flow's own mistake, the same on every replay: it is told at the step.
                value, error = None, refused
            else:
                return None

    def _raised(self, raised: BaseException) -> Over:
        if isinstance(raised, MemoryError):
            raise raised
        if isinstance(raised, NotAStep):
            raise Obstacle("not-a-step", str(raised)) from raised
        return Over(error=raised, position=self._origin(raised))

    def _origin(self, raised: BaseException) -> str:
        """Return the position of the step whose error *raised* is, or was raised because of."""
        chain: list[BaseException] = []
        link: BaseException | None = raised
        while link is not None and link not in chain:
            chain.append(link)
            link = link.__cause__ or link.__context__
        found = [position for error, position in self._thrown if error in chain]
        return found[-1] if found else ""

    # -- asking ------------------------------------------------------------------------------

    def _ask(self, step: Step[Any]) -> None:
        """Take *step* as what the flow waits for, and say what it is in terms of records."""
        position = str(self._count)
        if isinstance(step, ToolStep):
            self.asked = self._asked_tool(step, position)
        elif isinstance(step, SleepStep):
            self.asked = Asked(position, StepKind.SLEEP)
        elif isinstance(step, SignalStep):
            self.asked = Asked(position, StepKind.SIGNAL, step.name)
        else:
            self.asked = Asked(position, StepKind.SAVE)
        self.step = step
        self._count += 1

    def _asked_tool(self, step: ToolStep[Any], position: str) -> Asked:
        tool = f"{step.category}.{step.name}"
        record = self.ready[0] if self.ready else None
        engine = self.engine
        known = engine.registry.tools.get((step.category, step.name))
        options = DEFAULT_OPTIONS if known is None else known.options
        # Also where it is not compared: what is refused on the first run is refused on replay.
        data = _codec.encode_canonical(compared_input(step, options))
        if options.ignore:
            _codec.encode(step.input)
        if record is not None and engine.check != "inputs":
            return Asked(position, StepKind.TOOL, tool, record.fingerprint, data)
        if record is not None and record.input is not None and record.input.data == data:
            # The same bytes have the same digest; hashing them again is half of a replay.
            return Asked(position, StepKind.TOOL, tool, record.fingerprint, data)
        like = "" if record is None else record.fingerprint
        digest = engine.payloads.fingerprint(data, like)
        return Asked(position, StepKind.TOOL, tool, digest, data)

    def _match(self, run: Run, record: StepRecord) -> None:
        if isinstance(self.step, ContinueStep) or not agrees(record, self.asked, self.engine.check):
            raise self._changed(run, record, self.asked)

    def _changed(self, run: Run, record: StepRecord, asked: Asked | None) -> Obstacle:
        recorded = describe_record(record)
        # The record keeps its diff in plain: what is sealed elsewhere must not stand there.
        sealed = self.engine.payloads.applied or bool(record.value.codecs)
        now = describe_asked(without_input(asked) if sealed else asked)
        error = FlowChanged(run.run_id, record.position, recorded, now)
        return Obstacle("changed", str(error), diff(record.position, recorded, now))

    # -- giving the flow what was recorded ---------------------------------------------------

    def _feed(self, run: Run, record: StepRecord, data: bytes) -> Over | None:
        try:
            value, error = self._reply(run, record, data)
        except ValuesError as unfit:
            raise Obstacle("result", str(unfit)) from unfit
        if error is not None:
            self._thrown.append((error, record.position))
        assert self.frame is not None
        if self.engine.observed:
            self.spent = self.spent.plus(record)
        scope = self.frame.scope
        scope.records = record.number + 1
        scope.draws = 0
        scope.now = record.ended
        # Code before a step that was waited for in an earlier invocation ran there already.
        scope.replaying = bool(self.ready) or str(self._count) in run.open
        return self._advance(value, error)

    def _reply(
        self, run: Run, record: StepRecord, data: bytes
    ) -> tuple[object, BaseException | None]:
        step, outcome = self.step, record.outcome
        if outcome is StepOutcome.CANCELLED:
            return None, RunCancelled(run.run_id)
        if isinstance(step, ToolStep):
            if outcome is StepOutcome.ERROR:
                failed = tool_error(record.tool, data, record.attempts)
                return (
                    ({"__error": failed.message or failed.type}, None)
                    if step.errors == "return"
                    else (None, failed)
                )
            tool = self.engine.registry.tools.get((step.category, step.name))
            shape = None if tool is None else tool.result
            value = _codec.decode(data)
            return (value if shape is None else shape.read(value)), None
        if isinstance(step, SignalStep):
            return self._signalled(step, outcome, data)
        return None, None

    def _signalled(
        self, step: SignalStep[Any], outcome: StepOutcome, data: bytes
    ) -> tuple[object, BaseException | None]:
        if outcome is StepOutcome.TIMEOUT:
            late = step.default is NO_DEFAULT
            return (None, SignalTimedOut(step.name)) if late else (step.default, None)
        shape = _typed.shape_of(step.annotation, where=f"signal {step.name!r}")
        return shape.read(_codec.decode(data)), None

    def _unwrapped(self, payload: Payload, place: Place) -> Requests[bytes]:
        try:
            if payload.ref is not None:
                payload = payload._replace(data=(yield Fetch(place.run_id, payload.ref)))
            return self.engine.payloads.unwrap(payload, place)
        except ValuesError as error:
            raise Obstacle("corrupt", str(error)) from error

    def fits(self, data: bytes) -> bool:
        """Tell whether *data* can be read as the signal that the flow waits for.

        What a client sent in another form is dropped: it must not block the run for ever.
        """
        assert isinstance(self.step, SignalStep)
        try:
            self._signalled(self.step, StepOutcome.VALUE, data)
        except ValuesError:
            return False
        return True

    def discard(self) -> None:
        """Unwind the flow, if it was called."""
        if self.frame is not None:
            self.frame.discard()


def input_place(run_id: str) -> Place:
    """Return the place of a run's input, which later generations may share."""
    return Place(run_id, 0, "input")


def value_place(run: Run, position: str) -> Place:
    """Return the place of the result of the step at *position*."""
    return Place(run.run_id, run.generation, f"{position}:value")

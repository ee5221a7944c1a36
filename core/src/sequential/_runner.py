"""The turn of one invocation at a run that it has claimed, as a generator of requests; no I/O.

Plays the flow over its records, carries out what is new, commits each result before the flow sees
it, pauses or finishes. Claiming stands in `_invoke`, the flow's side in `_player`, transitions of
the record in `_protocol`, the attempts of a tool call in `_attempts`. Threads, clocks, storages and
transports are the driver's: the simulator drives these very lines.
"""

from __future__ import annotations

from typing import Any, NoReturn

from . import _codec
from ._attempts import Attempts, Settled, Waiting, first_message, read_message
from ._events import RunEnded, SignalDropped, StepRecorded
from ._failure import error_value
from ._holding import Holding
from ._model import At, ErrorValue, Open, Payload, Run, Status, StepKind, StepOutcome, StepRecord
from ._outcomes import Paused
from ._payload import INLINE_LIMIT, RECORD_LIMIT, Place
from ._player import Obstacle, Over, Player, input_place
from ._protocol import CANCEL, NOW, Gain, continue_as_new, end, give_up, keep, park, release
from ._replay import Asked, describe_asked, diff, without_input
from ._requests import Observe, Requests, Send, Store
from ._steps import ContinueStep, SignalStep, SleepStep, Step, ToolStep
from .errors import FlowChanged, InputMismatch, NotEncodable, RunCancelled, ValuesError

_NULL = b"null"


class Turn:
    """One run under way. Kept between invocations of a warm process, under run and cursor.

    Attributes:
        holding: The record, and how it is committed to.
        player: The flow, and the records it is still to be given.
        gained: Records added since the last claim.
    """

    def __init__(self, holding: Holding, player: Player) -> None:
        self.holding = holding
        self.player = player
        self.gained = 0

    def carry(self) -> Requests[Paused | None]:
        """Go on from wherever the flow stands; return a pause, or None when the run has ended.

        Raises:
            Obstacle: The run must be blocked.
            LeaseLost: Another invocation has the run.
        """
        while True:
            over = yield from self.player.play(self.holding.run)
            if over is not None:
                yield from self._finish(over)
                return None
            pause = yield from self._carry_out()
            if pause is not None:
                return pause

    # -- carrying out what is new ------------------------------------------------------------

    def _carry_out(self) -> Requests[Paused | None]:
        """Settle the step and record it, or park; None means that its record is ready."""
        holding, step = self.holding, self.player.step
        holding.look()
        found = holding.run.open.get(self.player.asked.position)
        if found is not None:
            self._refuse_other(found)
        if isinstance(step, ContinueStep):
            return (yield from self._continue(step))
        self._refuse_full()
        started = holding.world.now() if found is None else found.started
        settled: Settled | Waiting | None = self._cancelled() if holding.run.inbox else None
        if settled is None and isinstance(step, ToolStep):
            attempts = Attempts(holding, step, self.player.asked)
            if not self._has_time(attempts.options.timeout):
                return (yield from self._rather_pause())
            settled = yield from attempts.settle(found, started)
        elif settled is None:
            settled = yield from self._other(step, found, started)
        if isinstance(settled, Waiting):
            return (yield from self._wait(settled))
        return (yield from self._record(settled, started))

    def _refuse_full(self) -> None:
        most = self.holding.engine.max_steps
        if self.holding.run.cursor >= most:
            message = f"{most} steps are the most that a run may have here"
            raise Obstacle("history-full", f"{message}; use continue_as_new, and fork this one")

    def _refuse_other(self, found: Open) -> None:
        """Refuse a step other than the one that was begun here and is not recorded yet."""
        asked, check = self.player.asked, self.holding.engine.check
        was = found.name if found.kind is StepKind.SIGNAL else found.tool
        same = found.kind is asked.kind and (check == "off" or was == asked.tool)
        if check == "inputs" and asked.kind is StepKind.TOOL and found.fingerprint:
            payloads = self.holding.engine.payloads
            digest = payloads.fingerprint(asked.input or b"", found.fingerprint)
            same = same and found.fingerprint == digest
        if not same or isinstance(self.player.step, ContinueStep):
            self._refuse(asked.position, found, asked)

    def _refuse(self, position: str, found: Open, asked: Asked | None) -> NoReturn:
        was = found.name if found.kind is StepKind.SIGNAL else found.tool
        begun = describe_asked(Asked("", found.kind, was)) + " (begun)"
        if self.holding.engine.payloads.applied:
            asked = without_input(asked)
        run_id, now = self.holding.run.run_id, describe_asked(asked)
        error = FlowChanged(run_id, position, begun, now)
        raise Obstacle("changed", str(error), diff(position, begun, now))

    def _cancelled(self) -> Settled | None:
        message = first_message(self.holding, CANCEL)
        if message is None:
            return None
        return Settled(StepOutcome.CANCELLED, _NULL, consumed=(message.id,))

    def _other(
        self, step: Step[Any] | None, found: Open | None, started: float
    ) -> Requests[Settled | Waiting]:
        if isinstance(step, SignalStep):
            return (yield from self._signal(step, found, started))
        if isinstance(step, SleepStep):
            return self._sleep(step, found, started)
        return Settled(StepOutcome.VALUE, _NULL)

    def _signal(
        self, step: SignalStep[Any], found: Open | None, started: float
    ) -> Requests[Settled | Waiting]:
        taken: tuple[str, ...] = ()
        for message in self.holding.run.inbox:
            if message.name != step.name:
                continue
            taken = (*taken, message.id)
            data = yield from read_message(self.holding, message)
            if self.player.fits(data):
                return Settled(StepOutcome.VALUE, data, consumed=taken)
            position = self.player.asked.position
            yield Observe(SignalDropped(self.holding.run, position, step.name, message.id))
        due = None if step.timeout is None else started + step.timeout
        due = due if found is None else found.due
        if due is not None and due <= self.holding.world.now():
            return Settled(StepOutcome.TIMEOUT, _NULL, consumed=taken)
        opened = Open(StepKind.SIGNAL, name=step.name, due=due, started=started)
        return Waiting(opened, "signal", taken)

    def _sleep(self, step: SleepStep, found: Open | None, started: float) -> Settled | Waiting:
        due = step.until if step.until is not None else started + (step.seconds or 0.0)
        # The deadline that was stored first counts: an early wake must not prolong the sleep.
        due = due if found is None or found.due is None else found.due
        if due <= self.holding.world.now():
            return Settled(StepOutcome.VALUE, _NULL)
        return Waiting(Open(StepKind.SLEEP, due=due, started=started), "sleep")

    def _has_time(self, timeout: float | None) -> bool:
        """Tell whether this invocation may start a tool call that can take *timeout* seconds."""
        world = self.holding.world
        left = world.left()
        enough = left > 0 and (timeout is None or timeout <= left or not self.gained)
        return enough and not world.stopping()

    def _rather_pause(self) -> Requests[Paused]:
        holding = self.holding
        stopping, terms = holding.world.stopping(), holding.engine.terms
        # With something done the pause is no stall; without, it is counted, or a run whose replay
        # alone is longer than its budget would be tried for ever.
        if self.gained or stopping:
            yield from holding.commit(release)
        else:
            yield from holding.commit(lambda run: give_up(run, terms))
        return (yield from self._paused("shutdown" if stopping else "budget"))

    # -- committing --------------------------------------------------------------------------

    def _record(self, settled: Settled, started: float) -> Requests[Paused | None]:
        holding, asked = self.holding, self.player.asked
        value = holding.engine.payloads.wrap_part(
            settled.data, holding.run, f"{asked.position}:value"
        )
        if len(value.data) > INLINE_LIMIT:
            value = yield from self._cut(value)
        run, op_id, now = holding.run, holding.world.token(), holding.world.now()
        record = StepRecord(
            run.generation,
            run.cursor,
            asked.position,
            asked.kind,
            asked.tool,
            asked.fingerprint,
            settled.outcome,
            value,
            self._shown_input(),
            settled.attempts,
            started,
            now,
            run.fence,
            op_id,
        )
        gain = Gain(1, None, settled.consumed)
        self.gained += 1
        reason = self._pause_reason()
        terms, known = holding.engine.terms, holding.known

        def recorded(run: Run) -> Run:
            return park(run, gain, NOW, known) if reason else keep(run, gain, now, terms)

        yield from holding.commit(recorded, op_id, (record,))
        self.player.ready.append(record)
        if holding.engine.observed:
            yield Observe(StepRecorded(holding.run, record))
        return None if reason is None else (yield from self._paused(reason))

    def _shown_input(self) -> Payload | None:
        data = self.player.asked.input
        if data is None or len(data) > INLINE_LIMIT:
            return None
        part = f"{self.player.asked.position}:input"
        return self.holding.engine.payloads.wrap_part(data, self.holding.run, part)

    def _pause_reason(self) -> str | None:
        policy, world, kind = self.holding.engine.policy, self.holding.world, self.player.asked.kind
        if kind is StepKind.SAVE:
            return "save"
        if policy.every_step and kind is StepKind.TOOL:
            return "step"
        if world.stopping():
            return "shutdown"
        if self.gained >= policy.steps or world.left() <= 0:
            return "budget"
        return None

    def _wait(self, waiting: Waiting) -> Requests[Paused]:
        due = waiting.open.due
        wake = None if due is None else At(due)
        gain = Gain(open={self.player.asked.position: waiting.open}, consumed=waiting.consumed)
        known = self.holding.known
        yield from self.holding.commit(lambda run: park(run, gain, wake, known))
        return (yield from self._paused(waiting.reason))

    def _paused(self, reason: str) -> Requests[Paused]:
        run = self.holding.run
        wake = run.wake if isinstance(run.wake, At) else None
        if wake is not None:
            yield Send(run, max(0.0, wake.time - self.holding.world.now()))
        return Paused(run.run_id, self.player.asked.position, wake, reason)

    def _continue(self, step: ContinueStep) -> Requests[Paused]:
        try:
            data = _codec.encode(step.input)
            self.player.flow.binding.arguments_of(_codec.decode(data))
        except (ValuesError, InputMismatch) as error:
            raise Obstacle("input", f"continue_as_new: {error}") from error
        place = input_place(self.holding.run.run_id)
        payload = yield from self._stored(data, place, RECORD_LIMIT)
        now = self.holding.world.now()
        yield from self.holding.commit(lambda run: continue_as_new(run, payload, now))
        return (yield from self._paused("continued"))

    def _finish(self, over: Over) -> Requests[None]:
        holding = self.holding
        for position, found in holding.run.open.items():
            self._refuse(position, found, None)
        status, result, failure = yield from self._outcome(over)
        now, terms = holding.world.now(), holding.engine.terms

        def ended(run: Run) -> Run:
            return end(run, status, now, terms, result=result, error=failure)

        yield from holding.commit(ended)
        if holding.engine.observed:
            yield Observe(RunEnded(holding.run, now, self.player.spent))

    def _outcome(self, over: Over) -> Requests[tuple[Status, Payload | None, ErrorValue | None]]:
        error = over.error
        if error is None:
            try:
                data = _codec.encode(over.result)
                place = result_place(self.holding.run)
                return Status.COMPLETED, (yield from self._stored(data, place, INLINE_LIMIT)), None
            except NotEncodable as refused:
                error = refused
        if isinstance(error, RunCancelled):
            return Status.CANCELLED, None, None
        failure, holding = error_value(error)._replace(position=over.position), self.holding
        return Status.FAILED, None, holding.engine.payloads.seal_error(failure, holding.run)

    def _stored(self, data: bytes, place: Place, limit: int) -> Requests[Payload]:
        payload = self.holding.engine.payloads.wrap(data, place)
        return payload if len(payload.data) <= limit else (yield from self._cut(payload))

    def _cut(self, payload: Payload) -> Requests[Payload]:
        digest = yield Store(self.holding.run.run_id, payload.data)
        return payload._replace(data=b"", ref=digest)


def result_place(run: Run) -> Place:
    """Return the place of a run's result."""
    return Place(run.run_id, run.generation, "result")

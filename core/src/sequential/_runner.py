"""The turn of one invocation at a run that it has claimed, as a generator of requests; no I/O.

Plays the flow over its records, carries out what is new, commits each result before the flow sees
it, pauses or finishes. Claiming stands in `_invoke`, the flow's side in `_player`, several strands
at once in `_side_by_side`, transitions of the record in `_protocol`, the attempts of a tool call in
`_attempts`. Threads, clocks, storages and transports are the driver's: the simulator drives these
very lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import _codec
from ._attempts import Settled, Waiting
from ._cancelling import cancelled, is_cancelled
from ._events import RunEnded, StepRecorded
from ._holding import Holding
from ._model import At, Run, StepKind, StepRecord, evolve
from ._obstacle import Obstacle
from ._outcomes import Paused
from ._payload import RECORD_LIMIT, input_place
from ._player import Over, Player
from ._protocol import NOW, continue_as_new, end, give_up, keep, park, release
from ._requests import Observe, Requests, Send
from ._settling import OutOfTime, Settling
from ._side_by_side import SideBySide
from ._steps import ContinueStep
from ._strands import Strand
from ._written import Written
from .errors import InputMismatch, ValuesError


class Turn:
    """One run under way. Kept between invocations of a warm process, under run and cursor.

    Attributes:
        holding: The record, and how it is committed to.
        player: The flow, and the records it is still to be given.
    """

    def __init__(self, holding: Holding, player: Player) -> None:
        self.holding = holding
        self.player = player
        holding.beside, holding.way = player.told, player.went
        self._settling = Settling(holding, player)
        self._written = Written(holding)
        self._several: SideBySide | None = None  # where the flow goes alone

    def carry(self) -> Requests[Paused | None]:
        """Go on from wherever the flow stands; return a pause, or None when the run has ended.

        Raises:
            Obstacle: The run must be blocked.
            LeaseLost: Another invocation has the run.
        """
        while True:
            try:
                over = yield from self.player.play(self.holding.run)
            except Obstacle as obstacle:
                yield from self._record_flying(obstacle)
                raise
            if over is not None:
                yield from self._finish(over)
                return None
            pause = yield from self._carry_out()
            if pause is not None:
                return pause

    # -- carrying out what is new ------------------------------------------------------------

    def _carry_out(self) -> Requests[Paused | None]:
        """Settle the step and record it, or park; None means that a record is ready."""
        strand = self.player.alone
        if strand is None or (self._several is not None and self._several.closing):
            return (yield from self._side_by_side())
        if self._several is not None or self.player.unneeded:
            yield from self._alone()
        holding, asked = self.holding, strand.asked
        assert asked is not None
        holding.look()
        if holding.run.open:
            self._settling.refuse_left()
        if isinstance(strand.step, ContinueStep):
            return (yield from self._continue(strand.step))
        if (holding.run.inbox or holding.run.deadline) and is_cancelled(holding, self.player):
            return (yield from self._cancel())
        settled = yield from self._settling.settle(strand)
        if isinstance(settled, OutOfTime):
            return (yield from self._rather_pause(settled.reason))
        if isinstance(settled, Waiting):
            return (yield from self._wait({asked.position: settled}))
        return (yield from self._record_all(((strand, settled),)))

    def _side_by_side(self) -> Requests[Paused | None]:
        """Go on with several strands until steps of them are recorded, or all wait."""
        if self._several is None:
            self._several = SideBySide(self.holding, self.player, self._settling)
        several = self._several
        settled = yield from several.settled()
        if settled:
            return (yield from self._record_all(settled))
        if is_cancelled(self.holding, self.player):
            return (yield from self._cancel())
        if several.trouble is not None:
            raise several.trouble
        if several.closing:
            return (yield from self._rather_pause(several.closing))
        return (yield from self._wait(several.waits()))

    def _record_flying(self, obstacle: Obstacle) -> Requests[None]:
        """Record what is in flight although the flow cannot go on: it would be done again."""
        while self._several is not None:
            landed = yield from self._several.landed(obstacle)
            if not landed:
                break
            yield from self._record_all(landed)

    def _alone(self) -> Requests[None]:
        """Let go of what went on side by side, and of children that are needed no more."""
        if self._several is not None:
            yield from self._several.forget()
            self._several = None
        yield from self._settling.children.tell_unneeded()

    def _cancel(self) -> Requests[Paused | None]:
        """Record the cancel at every step that the flow waits for, but for those of cleanup."""
        settled = yield from cancelled(self.holding, self.player)
        self._settling.refuse_full()
        if self._several is not None:
            self._several.drop()
        return (yield from self._record_all(settled))

    def _rather_pause(self, reason: str) -> Requests[Paused]:
        holding, terms = self.holding, self.holding.engine.terms
        # With something done the pause is no stall; without, it is counted, or a run whose replay
        # alone is longer than its budget would be tried for ever.
        if holding.gained or reason == "shutdown":
            yield from holding.commit(lambda run: release(self._opened(run)))
        else:
            yield from holding.commit(lambda run: give_up(self._opened(run), terms))
        return (yield from self._paused(reason))

    def _opened(self, run: Run) -> Run:
        gain, waiting = self._settling.children.gain(), self.player.waiting
        left = {position: each for position, each in run.open.items() if position in waiting}
        if self._several is not None:
            left |= self._several.open(run)
        begun, unneeded = max(run.children, gain.children), max(run.unneeded, gain.unneeded)
        return evolve(run, open=left, children=begun, unneeded=unneeded)

    # -- committing --------------------------------------------------------------------------

    def _record_all(self, settled: Sequence[tuple[Strand, Settled]]) -> Requests[Paused | None]:
        """Record what steps came to, in one commit, and park with it where the policy says so."""
        holding, op_id = self.holding, self.holding.world.token()
        records: list[StepRecord] = []
        done: list[str] = []
        consumed = settled[0][1].consumed
        if len(settled) > 1:
            consumed = tuple(dict.fromkeys(each for _, ended in settled for each in ended.consumed))
        for strand, ended in settled:
            record = yield from self._written.record(strand, ended, op_id, len(records))
            records.append(record)
            done.append(record.position)
        several = self._several
        reason = self._pause_reason(records)
        if several is not None:
            reason = several.pauses(reason)
        terms, known, now = holding.engine.terms, holding.known, records[-1].ended
        count, children = len(records), self._settling.children

        def recorded(run: Run) -> Run:
            left = {} if several is None else several.open(run, done)
            gain = children.gain(left, count, consumed)
            return park(run, gain, NOW, known) if reason else keep(run, gain, now, terms)

        yield from holding.commit(recorded, op_id, records)
        self.player.recorded(records)
        if holding.engine.observed:
            for record in records:
                yield Observe(StepRecorded(holding.run, record))
        return (yield from self._paused(reason, done[-1])) if reason else None

    def _pause_reason(self, records: Sequence[StepRecord]) -> str:
        policy, world = self.holding.engine.policy, self.holding.world
        for record in records:
            if record.kind is StepKind.SAVE:
                return "save"
            if policy.every_step and record.kind is StepKind.TOOL:
                return "step"
        if world.stopping():
            return "shutdown"
        if self.holding.gained + len(records) >= policy.steps or world.left() <= 0:
            return "budget"
        return ""

    def _wait(self, waits: Mapping[str, Waiting]) -> Requests[Paused]:
        """Park until the first of *waits* is over."""
        dues = [wait.open.due for wait in waits.values() if wait.open.due is not None]
        wake = At(min(dues)) if dues else None
        children, known = self._settling.children, self.holding.known
        taken = dict.fromkeys(each for wait in waits.values() for each in wait.consumed)
        consumed = (*taken, *children.surplus())
        opened = {key: wait.open for key, wait in waits.items()}

        def parked(run: Run) -> Run:
            return park(run, children.gain(opened, consumed=consumed), wake, known)

        yield from self.holding.commit(parked)
        if self._several is not None:
            self._several.parked()
        position, first = next(iter(waits.items()))
        return (yield from self._paused(first.reason, position))

    def _paused(self, reason: str, position: str = "") -> Requests[Paused]:
        self._several, run = None, self.holding.run
        wake = run.wake if isinstance(run.wake, At) else None
        if wake is not None:
            yield Send(run, max(0.0, wake.time - self.holding.world.now()))
        position = position or next(iter(self.player.waiting), "")
        return Paused(run.run_id, position, wake, reason)

    def _continue(self, step: ContinueStep) -> Requests[Paused]:
        try:
            data = _codec.encode(step.input)
            self.player.flow.binding.arguments_of(_codec.decode(data))
        except (ValuesError, InputMismatch) as error:
            raise Obstacle("input", f"continue_as_new: {error}") from error
        place = input_place(self.holding.run.run_id)
        payload = yield from self._written.stored(data, place, RECORD_LIMIT)
        now = self.holding.world.now()
        yield from self.holding.commit(lambda run: continue_as_new(run, payload, now))
        return (yield from self._paused("continued"))

    def _finish(self, over: Over) -> Requests[None]:
        holding = self.holding
        yield from self._alone()
        self._settling.refuse_left()
        status, result, failure = yield from self._written.outcome(over)
        now, terms = holding.world.now(), holding.engine.terms

        def ended(run: Run) -> Run:
            return end(run, status, now, terms, result=result, error=failure)

        yield from holding.commit(ended)
        if holding.engine.observed:
            yield Observe(RunEnded(holding.run, now, self.player.spent))

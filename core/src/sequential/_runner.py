"""The turn of one invocation at a run that it has claimed, as a generator of requests; no I/O.

Plays the flow over its records, carries out what is new, commits each result before the flow sees
it, pauses or finishes. Claiming stands in `_invoke`, the flow's side in `_player`, transitions of
the record in `_protocol`, the attempts of a tool call in `_attempts`. Threads, clocks, storages and
transports are the driver's: the simulator drives these very lines.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from . import _codec
from ._abreast import Abreast
from ._attempts import Settled, Waiting, first_message, read_message
from ._events import RunEnded, StepRecorded
from ._holding import Holding
from ._model import At, Open, Run, StepKind, StepOutcome, StepRecord, evolve
from ._outcomes import Paused
from ._payload import RECORD_LIMIT, input_place
from ._player import Obstacle, Over, Player
from ._protocol import (
    CANCEL,
    NOW,
    cancel_id,
    continue_as_new,
    end,
    give_up,
    is_overdue,
    keep,
    park,
    release,
)
from ._requests import Observe, Requests, Send
from ._settling import OutOfTime, Settling
from ._steps import ContinueStep
from ._strands import Strand
from ._written import Written
from .errors import InputMismatch, ValuesError

_EVERYWHERE = ""
"""Where trouble stands that is not of one step."""

_DEADLINE = b'{"reason":"deadline"}'
"""What is recorded where a run is cancelled because its time is over."""


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
        self._abreast: Abreast | None = None
        # Why nothing more is begun, while what is in flight is still recorded.
        self._closing = ""
        self._troubles: dict[str, Exception] = {}
        # Whether ends of children were recorded, so that the next wait a moment for others.
        self._gathers = False

    def carry(self) -> Requests[Paused | None]:
        """Go on from wherever the flow stands; return a pause, or None when the run has ended.

        Raises:
            Obstacle: The run must be blocked.
            LeaseLost: Another invocation has the run.
        """
        self._closing, self._troubles, self._gathers = "", {}, False
        while True:
            try:
                over = yield from self.player.play(self.holding.run)
            except Obstacle as obstacle:
                self._troubles[_EVERYWHERE] = obstacle
                yield from self._record_flying()
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
        if strand is None or self._closing:
            return (yield from self._side_by_side())
        if self._abreast is not None or self.player.unneeded:
            yield from self._forget()
        holding, asked = self.holding, strand.asked
        assert asked is not None
        holding.look()
        if holding.run.open:
            self._refuse_left()
            self._settling.check(strand)
        if isinstance(strand.step, ContinueStep):
            return (yield from self._continue(strand.step))
        if (holding.run.inbox or holding.run.deadline) and self._is_cancelled():
            return (yield from self._cancel())
        settled = yield from self._settling.settle(strand)
        if isinstance(settled, OutOfTime):
            return (yield from self._rather_pause())
        if isinstance(settled, Waiting):
            return (yield from self._wait({asked.position: settled}))
        return (yield from self._record_all(((strand, settled),)))

    def _side_by_side(self) -> Requests[Paused | None]:
        """Go on with the steps of several strands until one is settled, or all wait."""
        abreast = yield from self._followed()
        yield from self._settling.children.tell_unneeded()
        while True:
            yield from self._look_again(abreast)
            # What is in flight is recorded first, whatever it is: it would be done again.
            closing = bool(self._closing or self._trouble()) or self._is_cancelled()
            came = yield from abreast.next(closing=closing)
            if came is None and not closing and (yield from self._has_news(abreast)):
                continue
            if came is None and abreast.flying:
                yield from self._meanwhile(abreast)
            elif came is None:
                return (yield from self._let_go(abreast))
            elif isinstance(came.how, Settled):
                self._gathers = bool(came.how.consumed)
                others = () if closing else (yield from abreast.at_hand())
                return (yield from self._record_all([(came.strand, came.how), *others]))
            elif isinstance(came.how, OutOfTime):
                self._closing = self._why_closing()
            else:
                self._troubles[came.position] = came.how

    def _meanwhile(self, abreast: Abreast) -> Requests[None]:
        """Save what a crash must not make anew, and look for messages, while others go on."""
        holding = self.holding
        if abreast.unsaved:
            terms, now = holding.engine.terms, holding.world.now()
            children = self._settling.children

            def saved(run: Run) -> Run:
                return keep(run, children.gain(run, self._open(run)), now, terms)

            yield from holding.commit(saved)
            abreast.unsaved = False
        elif abreast.listens:
            yield from holding.refresh()

    def _trouble(self) -> Exception | None:
        """Return what keeps a step that is still needed from going on, if anything does."""
        waiting = self.player.waiting
        return next(
            (each for at, each in self._troubles.items() if at == _EVERYWHERE or at in waiting),
            None,
        )

    def _let_go(self, abreast: Abreast) -> Requests[Paused | None]:
        """Do what is to be done when nothing is in flight and nothing can go on."""
        if self._is_cancelled():
            return (yield from self._cancel())
        trouble = self._trouble()
        if trouble is not None:
            raise trouble
        if self._closing:
            return (yield from self._rather_pause())
        return (yield from self._wait(abreast.waits()))

    def _followed(self) -> Requests[Abreast]:
        """Return who goes on side by side, in step with the flow."""
        strands = self.player.strands
        assert strands is not None
        if self._abreast is None:
            settling = self._settling
            self._abreast = Abreast(settling.settle, settling.children.is_told, self.holding)
            self._refuse_left()
            self._abreast.rest(strands.waiting, settling.resting(strands.waiting))
            strands.fresh = list(strands.waiting.values())
        for position in strands.lately_dropped():
            yield from self._abreast.forget(position)
        self._abreast.admit(strands.fresh)
        strands.fresh = []
        return self._abreast

    def _forget(self) -> Requests[None]:
        """Let go of what went on side by side, and of children that are needed no more.

        The flow goes on alone, or is over.
        """
        if self._abreast is not None:
            abreast = yield from self._followed()
            assert not abreast.flying
            self._abreast = None
        yield from self._settling.children.tell_unneeded()

    def _has_news(self, abreast: Abreast) -> Requests[bool]:
        """Tell whether messages came; where children end one after another, in a moment."""
        holding = self.holding
        if self._gathers and abreast.awaits_children and not holding.has_news():
            self._gathers = False
            yield from holding.gather()
        return holding.has_news()

    def _look_again(self, abreast: Abreast) -> Requests[None]:
        holding = self.holding
        if self._gathers and abreast.awaits_children and holding.has_news():
            self._gathers = False
            yield from holding.gather()
        abreast.look_again([m.name for m in holding.run.inbox if m.id not in holding.known])
        holding.look()

    def _refuse_left(self) -> None:
        """Refuse to go on where something is open that the flow does not ask for."""
        strands = self.player.strands
        assert strands is not None
        for position, found in self.holding.run.open.items():
            if position not in strands.waiting and position not in strands.dropped:
                self._settling.refuse(position, found, None)

    def _record_flying(self) -> Requests[None]:
        """Record what is in flight although the flow cannot go on: it would be done again."""
        while self._abreast is not None:
            abreast = yield from self._followed()
            came = yield from abreast.next(closing=True)
            if came is None:
                return
            if isinstance(came.how, Settled):
                yield from self._record_all([(came.strand, came.how)])

    def _is_cancelled(self) -> bool:
        """Tell whether a cancel is there, or the deadline over, and somebody is to be told.

        Branches that were told to stop are left to clean up.
        """
        run = self.holding.run
        sent = bool(run.inbox) and first_message(self.holding, CANCEL) is not None
        late = run.deadline is not None and is_overdue(run, self.holding.world.now())
        if not (sent or late):
            return False
        return any(not strand.told for strand in self.player.waiting.values())

    def _cancel(self) -> Requests[Paused | None]:
        """Record the cancel, with its reason, at every step that the flow waits for.

        But for those of cleanup.
        """
        run, message = self.holding.run, first_message(self.holding, CANCEL)
        data = _DEADLINE if message is None else (yield from read_message(self.holding, message))
        # Also what was sent to the generation before, once: what comes from now on is cleanup.
        sent = (each.id for each in run.inbox if each.name == CANCEL)
        told = tuple(dict.fromkeys((cancel_id(run), *sent)))
        self._settling.refuse_full()
        now, settled = self.holding.world.now(), []
        for position, strand in self.player.waiting.items():
            if strand.told:
                continue
            found = self.holding.run.open.get(position)
            started = now if found is None else found.started
            ended = Settled(StepOutcome.CANCELLED, data, 1, told, started)
            settled.append((strand, ended))
        self._abreast = None
        return (yield from self._record_all(settled))

    def _why_closing(self) -> str:
        return "shutdown" if self.holding.world.stopping() else "budget"

    def _rather_pause(self) -> Requests[Paused]:
        holding = self.holding
        reason, terms = self._closing or self._why_closing(), holding.engine.terms
        # With something done the pause is no stall; without, it is counted, or a run whose replay
        # alone is longer than its budget would be tried for ever.
        if holding.gained or reason == "shutdown":
            yield from holding.commit(lambda run: release(self._opened(run)))
        else:
            yield from holding.commit(lambda run: give_up(self._opened(run), terms))
        self._abreast = None
        return (yield from self._paused(reason))

    def _opened(self, run: Run) -> Run:
        gain = self._settling.children.gain(run)
        return evolve(run, open=self._open(run), children=gain.children, unneeded=gain.unneeded)

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
        stuck = self._troubles and self._trouble()
        reason = "" if stuck else self._closing or self._pause_reason(records)
        parks = bool(reason) and (self._abreast is None or not self._abreast.busy)
        terms, known, now = holding.engine.terms, holding.known, records[-1].ended
        count, children = len(records), self._settling.children

        def recorded(run: Run) -> Run:
            gain = children.gain(run, self._open(run, done), count, consumed)
            return park(run, gain, NOW, known) if parks else keep(run, gain, now, terms)

        yield from holding.commit(recorded, op_id, records)
        if self._abreast is not None:
            self._abreast.unsaved = False
        self.player.recorded(records)
        if holding.engine.observed:
            for record in records:
                yield Observe(StepRecorded(holding.run, record))
        if not parks:
            self._closing = reason
            return None
        self._abreast = None
        return (yield from self._paused(reason, done[-1]))

    def _open(self, run: Run, done: Collection[str] = ()) -> Mapping[str, Open]:
        """Return what is open in *run* besides the steps at the positions *done*."""
        left = {} if self._abreast is None else self._abreast.open()
        if not run.open and not left:
            return {}
        waiting = self.player.waiting
        found = {key: each for key, each in run.open.items() if key in waiting}
        found |= left
        return {key: each for key, each in found.items() if key not in done}

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
            return park(run, children.gain(run, opened, consumed=consumed), wake, known)

        yield from self.holding.commit(parked)
        if self._abreast is not None:
            children.rest(self._abreast.children)
        self._abreast = None
        position, first = next(iter(waits.items()))
        return (yield from self._paused(first.reason, position))

    def _paused(self, reason: str, position: str = "") -> Requests[Paused]:
        run = self.holding.run
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
        yield from self._forget()
        self._refuse_left()
        status, result, failure = yield from self._written.outcome(over)
        now, terms = holding.world.now(), holding.engine.terms

        def ended(run: Run) -> Run:
            return end(run, status, now, terms, result=result, error=failure)

        yield from holding.commit(ended)
        if holding.engine.observed:
            yield Observe(RunEnded(holding.run, now, self.player.spent))

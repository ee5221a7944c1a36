"""Child runs of a run: begun, waited for, told to stop when they are needed no more.

A generator of requests like the settling that it belongs to. How many were begun is one number in
the record, for they begin in the order in which the flow asks for them; so a run with thousands of
children asks the storage for none of them again.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from itertools import islice
from typing import Any

from . import _codec
from ._attempts import Settled, Waiting, read_message
from ._failure import error_json, error_value
from ._flow import Flow
from ._holding import Holding
from ._model import (
    ENDED_STATUSES,
    At,
    ErrorValue,
    Message,
    Open,
    Parent,
    Run,
    Status,
    StepKind,
    StepOutcome,
)
from ._obstacle import Obstacle
from ._payload import RECORD_LIMIT, input_place
from ._player import Player
from ._protocol import CHILD, NOW, Gain, keep
from ._replay import Asked, describe_asked, diff, without_input
from ._requests import Requests, Send, Store
from ._run_id import child_run_id
from ._steps import ChildStep
from ._strands import Strand
from ._telling import Notice, create, create_all, notice_of, read_notice, tell_to_stop
from .errors import FlowChanged, FlowNotFound, InputMismatch, RunTaken

_CHUNK = 256
"""Children begun between two commits that say so: begun again, at most, after a crash."""

_AT_ONCE = 64
"""Children created in one request at most."""

CHILDREN_NAMED = 16
"""Children waited for that the record names; of thousands it has the number."""


class ChildRuns:
    """The children of the run that *holding* holds."""

    def __init__(self, holding: Holding, player: Player) -> None:
        self._holding = holding
        self._player = player
        self._begun = 0
        self._lately: dict[str, Open] = {}
        self._unneeded = 0
        # Positions by the name of the message that is waited for there.
        self._places: dict[str, str] = {}
        self._resting: Mapping[str, Waiting] = {}

    def gain(
        self,
        opened: Mapping[str, Open] | None = None,
        records: int = 0,
        consumed: tuple[str, ...] = (),
    ) -> Gain:
        """Return what a commit adds, with what became of the children in this turn."""
        return Gain(records, opened, consumed, self._begun, self._unneeded)

    # -- waiting -----------------------------------------------------------------------------

    def is_told(self, strand: Strand) -> bool:
        """Tell whether *strand* waits for a child whose end is in the inbox."""
        step, asked = strand.step, strand.asked
        if not isinstance(step, ChildStep) or not step.waits or asked is None:
            return False
        return self._told(step, asked) is not None

    def rest(self, waits: Mapping[str, Waiting]) -> None:
        """Remember *waits* for children, by position, with which the run has just been parked."""
        self._resting = waits

    def resting(self, waiting: Container[str]) -> Mapping[str, Waiting]:
        """Return what was remembered, once, if it is *waiting* and nothing has come for it.

        There may be thousands, and the run is looked at for the sake of a few. What comes from now
        on `Abreast.look_again` is told.
        """
        waits, self._resting = self._resting, {}
        news = {message.name for message in self._holding.run.inbox}
        return {
            position: wait
            for position, wait in waits.items()
            if position in waiting and wait.open.name not in news
        }

    def needs_time(self, step: ChildStep[Any], asked: Asked) -> bool:
        """Tell whether the child has still to be begun."""
        begun = self._has_begun(asked) or self._told(step, asked) is not None
        return not (step.waits and begun)

    def _has_begun(self, asked: Asked) -> bool:
        if asked.number < self._begun:
            return True
        run = self._holding.run
        if asked.number >= run.children:
            return False
        # Other code may have begun others in a branch that left no record. Where all that is open
        # is named, who is not there is begun once more: that finds it, if it is there.
        return asked.position in run.open or len(run.open) >= CHILDREN_NAMED

    def settle(
        self, step: ChildStep[Any], asked: Asked, started: float
    ) -> Requests[Settled | Waiting]:
        """Begin the child, or take its end, or wait for it.

        Raises:
            Obstacle: Its flow is not known here, or it was begun as something else.
        """
        if not step.waits:
            settled = yield from self._started(step, asked)
            return settled._replace(started=started)
        told = self._told(step, asked)
        if told is not None:
            notice = read_notice((yield from read_message(self._holding, told)))
            return self._ended(asked, notice, (told.id,))
        if self.needs_time(step, asked):
            yield from self._begin_row(asked.number, started)
        opened = self._opened(step, asked, started)
        if self.needs_time(step, asked):
            ended = yield from self._begin(step, asked)
            if ended is not None:
                return ended if ended.started else ended._replace(started=started)
            self._lately[asked.position] = opened
            yield from self._note()
        self._places[opened.name] = asked.position
        return Waiting(opened, "child")

    def _opened(self, step: ChildStep[Any], asked: Asked, started: float) -> Open:
        return Open(
            StepKind.CHILD, asked.tool, name=self._name(step, asked), started=started,
            fingerprint=asked.fingerprint,
        )  # fmt: skip

    def surplus(self) -> tuple[str, ...]:
        """Return the ids of ends that nobody waits for, once all that waits was looked at."""
        places, waiting = self._places, self._player.waiting
        return tuple(
            message.id
            for message in self._holding.run.inbox
            if message.name.startswith(CHILD) and places.get(message.name) not in waiting
        )

    def _told(self, step: ChildStep[Any], asked: Asked) -> Message | None:
        if step.run_id is not None and not self._has_begun(asked):
            # An id that is chosen may have been chosen before: then this is that child's end.
            return None
        return self._holding.first(self._name(step, asked))

    def _name(self, step: ChildStep[Any], asked: Asked) -> str:
        return CHILD + child_run_id(self._holding.run, asked.position, step.run_id)

    def _ended(self, asked: Asked, notice: Notice, consumed: tuple[str, ...] = ()) -> Settled:
        self._refuse_other(asked, notice.flow, notice.asked)
        outcome = StepOutcome.VALUE if notice.end == "completed" else StepOutcome.ERROR
        return Settled(outcome, notice.value, 1, consumed, notice.created)

    def _refuse_other(self, asked: Asked, flow: str, digest: str) -> None:
        """Refuse the end of a child that was begun with another flow or input."""
        check, payloads = self._holding.engine.check, self._holding.engine.payloads
        same = check == "off" or flow == asked.tool
        if check == "inputs" and same:
            same = payloads.fingerprint(asked.input or b"", digest) == digest
        if same:
            return
        begun = describe_asked(Asked("", asked.kind, flow)) + " (begun)"
        now = describe_asked(without_input(asked) if payloads.applied else asked)
        error = FlowChanged(self._holding.run.run_id, asked.position, begun, now)
        raise Obstacle("changed", str(error), diff(asked.position, begun, now))

    # -- beginning ---------------------------------------------------------------------------

    def _started(self, step: ChildStep[Any], asked: Asked) -> Requests[Settled]:
        settled = yield from self._begin(step, asked)
        if settled is not None:
            return settled
        run_id = child_run_id(self._holding.run, asked.position, step.run_id)
        return Settled(StepOutcome.VALUE, _codec.encode(run_id))

    def _begin(self, step: ChildStep[Any], asked: Asked) -> Requests[Settled | None]:
        """Create the child if it is not there; return how the step ended, if that ends it."""
        holding = self._holding
        try:
            flow = self._flow(step)
            flow.binding.arguments_of(_codec.decode(asked.input or b"null"))
        except InputMismatch as error:
            return _failed(error_value(error))
        child = yield from self._new(step, asked, flow)
        stored = yield from create(child)
        why = self._why_other(step, asked, stored, child)
        if why:
            if step.run_id is None:
                self._refuse_other(asked, stored.flow, stored.asked)
            return _failed(error_value(RunTaken(child.run_id, why)))
        holding.gained += 1
        if stored.status is Status.PAUSED and stored.op_id == child.op_id:
            yield Send(stored, 0.0)
        if not step.waits:
            return None
        self._begun = max(self._begun, asked.number + 1)
        if stored.status in ENDED_STATUSES:
            return self._ended(asked, (yield from notice_of(holding.engine, stored)))
        return None

    def _begin_row(self, first: int, started: float) -> Requests[None]:
        """Begin child number *first* and those after it at once, as far as all is plain.

        What is not is left to `_begin`: a flow that is not known, an id that is taken.
        """
        holding, row, opened = self._holding, list[Run](), dict[str, Open]()
        for step, asked in self._row(first, min(_AT_ONCE, holding.run.children + _CHUNK - first)):
            try:
                flow = self._flow(step)
                flow.binding.arguments_of(_codec.decode(asked.input or b"null"))
            except (InputMismatch, Obstacle):
                break
            row.append((yield from self._new(step, asked, flow)))
            opened[asked.position] = self._opened(step, asked, started)
        if len(row) < 2:
            return
        stored = yield from create_all(row)
        for child, found in zip(row, stored, strict=True):
            if found.op_id != child.op_id or found.status is not Status.PAUSED:
                return
            assert child.parent is not None
            self._lately[child.parent.position] = opened[child.parent.position]
            holding.gained += 1
            yield Send(found, 0.0)
            first += 1
            self._begun = first
        yield from self._note()

    def _row(self, first: int, most: int) -> list[tuple[ChildStep[Any], Asked]]:
        """Return what is asked for as child number *first*, and those after it, *most* of them."""
        row: list[tuple[ChildStep[Any], Asked]] = []
        for strand in self._player.waiting.values():
            step, asked = strand.step, strand.asked
            if len(row) >= most:
                break
            if not isinstance(step, ChildStep) or asked is None or not step.waits:
                continue
            if asked.number == first + len(row):
                row.append((step, asked))
        return row

    def _flow(self, step: ChildStep[Any]) -> Flow[..., Any]:
        registry = self._holding.engine.registry
        known = registry.flows.get(step.flow)
        if known is None and isinstance(step.known, Flow):
            known = step.known
            registry.add_flow(known)
        if known is None:
            missing = FlowNotFound(step.flow, registry.flows)
            raise Obstacle("flow-not-found", str(missing))
        return known

    def _new(self, step: ChildStep[Any], asked: Asked, flow: Flow[..., Any]) -> Requests[Run]:
        holding, run, data = self._holding, self._holding.run, asked.input or b"null"
        run_id = child_run_id(run, asked.position, step.run_id)
        payloads = holding.engine.payloads
        payload = payloads.wrap(data, input_place(run_id))
        if len(payload.data) > RECORD_LIMIT:
            digest = yield Store(run_id, payload.data)
            payload = payload._replace(data=b"", ref=digest)
        return Run(
            run_id, flow.name, payload, flow.version, wake=NOW, tags=step.tags,
            asked=payloads.fingerprint(data), trace=run.trace,
            parent=Parent(run.run_id, asked.position, step.waits), op_id=holding.world.token(),
        )  # fmt: skip

    def _why_other(self, step: ChildStep[Any], asked: Asked, stored: Run, child: Run) -> str:
        """Return why *stored* cannot be the child that is asked for; empty if it can."""
        digest = self._holding.engine.payloads.fingerprint(asked.input or b"null", stored.asked)
        if stored.flow != child.flow:
            return f"flow {stored.flow!r}"
        if digest != stored.asked:
            return "another input"
        if step.waits and stored.status is Status.PURGED:
            return "no result any more, it was purged"
        return "another parent" if step.waits and stored.parent != child.parent else ""

    def _note(self) -> Requests[None]:
        """Commit what became of the children, now and then: a long row of them is no crash."""
        holding = self._holding
        run, terms, now = holding.run, holding.engine.terms, holding.world.now()
        many = max(self._begun - run.children, self._unneeded - run.unneeded) >= _CHUNK
        old = isinstance(run.wake, At) and run.wake.time - now < terms.lease * 2 / 3
        if many or old:
            # Of a number alone, other code that comes next would count some for steps of its own.
            waiting = self._player.waiting
            lately = (each for each in self._lately.items() if each[0] in waiting)
            named = dict(islice(lately, CHILDREN_NAMED))
            self._lately = {}
            yield from holding.commit(
                lambda run: keep(run, self.gain({**run.open, **named}), now, terms)
            )

    # -- telling to stop ---------------------------------------------------------------------

    def tell_unneeded(self) -> Requests[None]:
        """Tell the children whose steps the flow needs no more to stop; once, but for crashes."""
        strands = self._player.strands
        if strands is None:
            return
        done = max(self._unneeded, self._holding.run.unneeded)
        for step, asked in strands.unneeded[done:]:
            if isinstance(step, ChildStep) and step.waits and step.on_cancel == "cancel":
                yield from self._stop(step, asked)
                done += 1
                self._unneeded = done
                yield from self._note()
            else:
                done += 1
        self._unneeded = done

    def _stop(self, step: ChildStep[Any], asked: Asked) -> Requests[None]:
        holding, run = self._holding, self._holding.run
        # Those after it cannot have begun, whatever became of the commits that would say so.
        if asked.number >= max(self._begun, run.children) + _CHUNK:
            return
        parent = Parent(run.run_id, asked.position)
        run_id = child_run_id(run, asked.position, step.run_id)
        reason = f"run {run.run_id!r} needs it no more"
        yield from tell_to_stop(
            holding.engine, holding.world, run_id, lambda child: child.parent == parent, reason
        )


def _failed(error: ErrorValue) -> Settled:
    return Settled(StepOutcome.ERROR, error_json(error))

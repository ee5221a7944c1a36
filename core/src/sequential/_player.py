"""The flow's side of an invocation: the flow is called, asks for steps, and is given records.

Each step asked for is put in terms of records and, while records are left, held against the next
one. What is new is not carried out here, and nothing is committed: that is `_runner`. A generator
of requests only because a large value may have to be fetched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _codec
from ._attempts import compared_input
from ._events import Spent
from ._flow import Flow
from ._frame import Frame
from ._kept import seeds_of
from ._model import Payload, Run, StepKind, StepRecord, evolve
from ._obstacle import Obstacle
from ._payload import Place, input_place, progress_place, value_place
from ._replay import Asked, agrees, describe_asked, describe_record, diff, without_input
from ._replies import reply
from ._requests import Engine, Fetch, Requests
from ._scope import Scope, went_old_way
from ._steps import ChildStep, ContinueStep, SignalStep, SleepStep, Step, ToolStep
from ._strands import Ended, Strand, Strands
from ._tools import DEFAULT_OPTIONS
from .errors import FlowChanged, InputMismatch, NotAStep, RunCancelled, ValuesError


@dataclass(frozen=True, slots=True)
class Over:
    """The flow returned *result*, or raised *error*, which came from the step at *position*."""

    result: object = None
    error: BaseException | None = None
    position: str = ""


class Player:
    """One flow under way, and the records that it is still to be given.

    Attributes:
        ready: Records that the flow has not been given yet.
        strands: The flow and its branches, once it was called.
        spent: What the records that the flow was given took together; only if that is observed.
    """

    def __init__(
        self,
        engine: Engine,
        flow: Flow[..., Any],
        records: Iterable[StepRecord],
        *,
        quiet: bool = False,
    ) -> None:
        """Take *records* as the history; *quiet* keeps the flow's loggers silent to the end."""
        self.engine = engine
        self.flow = flow
        self.ready = deque(records)
        self.strands: Strands | None = None
        self.spent = Spent()
        self._quiet = quiet
        self._children = 0
        self._later: dict[str, StepRecord] | None = None
        self._said: tuple[bytes, Payload] | None = None
        self._thrown: list[tuple[BaseException, str]] = []

    @property
    def waiting(self) -> Mapping[str, Strand]:
        """What the flow waits for, by position, in the order in which it was asked for."""
        return {} if self.strands is None else self.strands.waiting

    @property
    def unneeded(self) -> bool:
        """Whether any step was asked for that the flow needs no more."""
        return self.strands is not None and bool(self.strands.unneeded)

    @property
    def alone(self) -> Strand | None:
        """The flow itself where it waits for one step; None where it waits for branches."""
        assert self.strands is not None
        root = self.strands.root
        return None if root.asked is None else root

    def play(self, run: Run) -> Requests[Over | None]:
        """Give the flow all the records that are ready; return how it ended, or None if it waits.

        Raises:
            Obstacle: History and code disagree, or the flow cannot be called or go on.
        """
        over = None if self.strands is not None else (yield from self._call(run))
        assert self.strands is not None
        dropped, strict = self.strands.dropped, self.engine.payloads.strict
        while self.ready:
            record = self.ready[0]
            if dropped and record.position in dropped:
                # Recorded together with what made it needless, or under code that needed it.
                self.ready.popleft()
                continue
            if over is not None:
                raise self._changed(run, record, None)
            strand = self._matching(run, record)
            self.ready.popleft()
            data = record.value.data
            if record.value.ref is not None or record.value.codecs or strict:
                place = value_place(run, record.position)
                data = yield from self._unwrapped(record.value, place)
            over = self._feed(run, strand, record, data)
        return over

    def catch_up(self, run: Run, records: Sequence[StepRecord]) -> bool:
        """Have *records* ready too, which were added to *run* elsewhere; False if it cannot be."""
        if self.strands is not None:
            scope = self.strands.scope
            if any(new != (each in run.patches) for each, new in scope.patches.items()):
                return False  # elsewhere it may have gone the other way of a patch
            scope.patches.update(dict.fromkeys(run.patches, True))
            # Stored with the pause, and by now perhaps older than what is stored.
            scope.said = self._said = None
        self.ready.extend(records)
        self._later = None
        return True

    def recorded(self, records: Iterable[StepRecord]) -> None:
        """Have *records* ready, which were recorded just now."""
        self.ready.extend(records)

    def _call(self, run: Run) -> Requests[Over | None]:
        seeds = [(number, self.engine.deployment, seed) for number, seed in seeds_of(run)]
        begun = run.begun or run.created
        behind = bool(self.ready) or bool(run.open)
        replaying = self._quiet or behind
        scope = Scope(seeds, begun, replaying=replaying, run=(run.run_id, run.created))
        scope.behind = behind
        scope.patches.update(dict.fromkeys(run.patches, True))
        try:
            data = yield from self._unwrapped(run.input, input_place(run.run_id))
            frame = Frame(self.flow, _codec.decode(data), scope)
        except (ValuesError, InputMismatch) as error:
            raise Obstacle("input", str(error)) from error
        self.strands = Strands(frame, self._ask)
        return self._went_on(self.strands.root, Ended())

    def _went_on(self, strand: Strand, given: Ended) -> Over | None:
        """Give *strand* what its step came to; return how the flow ended, if that ended it."""
        assert self.strands is not None
        try:
            self.strands.advance(strand, given)
        except NotAStep as raised:
            raise Obstacle("not-a-step", str(raised)) from raised
        gone = self.strands.scope.gone
        if gone:
            # Whatever the flow made of what was raised in it.
            raise Obstacle("changed", went_old_way(gone))
        ended = self.strands.ended
        if ended is None:
            return None
        error = ended.error
        return Over(ended.value, error, "" if error is None else self._origin(error))

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

    def _ask(self, strand: Strand, step: Step[Any]) -> Asked:
        """Say what *step* is in terms of records."""
        position = strand.position
        if isinstance(step, ToolStep):
            return self._asked_tool(step, position)
        if isinstance(step, SleepStep):
            return Asked(position, StepKind.SLEEP)
        if isinstance(step, SignalStep):
            return Asked(position, StepKind.SIGNAL, step.name)
        if isinstance(step, ChildStep):
            return self._asked_child(step, position)
        if isinstance(step, ContinueStep) and strand.above is not None:
            message = "continue_as_new in a branch; let the branch end, and the flow itself do it"
            raise Obstacle("not-a-step", f"step {position} is {message}")
        return Asked(position, StepKind.SAVE)

    def _asked_tool(self, step: ToolStep[Any], position: str) -> Asked:
        tool = f"{step.category}.{step.name}"
        known = self.engine.registry.tools.get((step.category, step.name))
        options = DEFAULT_OPTIONS if known is None else known.options
        # Also where it is not compared: what is refused on the first run is refused on replay.
        data = _codec.encode_canonical(compared_input(step, options))
        if options.ignore:
            _codec.encode(step.input)
        return Asked(position, StepKind.TOOL, tool, self._fingerprint(position, data), data)

    def _asked_child(self, step: ChildStep[Any], position: str) -> Asked:
        data = _codec.encode_canonical(step.input)
        kind = StepKind.CHILD if step.waits else StepKind.START
        number, digest = self._children, self._fingerprint(position, data)
        self._children += step.waits
        return Asked(position, kind, step.flow, digest, data, number)

    def _fingerprint(self, position: str, data: bytes) -> str:
        """Return the digest of what is asked for at *position* with the input *data*."""
        record = self._record_at(position) if self.ready else None
        if record is not None and self.engine.check != "inputs":
            return record.fingerprint
        if record is not None and record.input is not None and record.input.data == data:
            # The same bytes have the same digest; hashing them again is half of a replay.
            return record.fingerprint
        like = "" if record is None else record.fingerprint
        return self.engine.payloads.fingerprint(data, like)

    def _record_at(self, position: str) -> StepRecord | None:
        """Return the record that the step at *position* is to be given, if there is one."""
        if self.ready[0].position == position:
            return self.ready[0]
        if self._later is None:
            # Branches ask before the records of others are used up.
            self._later = {record.position: record for record in self.ready}
        return self._later.get(position)

    def _matching(self, run: Run, record: StepRecord) -> Strand:
        """Return the strand that waits for what *record* is of."""
        assert self.strands is not None
        strand = self.strands.waiting.get(record.position)
        asked = None if strand is None else strand.asked
        if strand is None or asked is None:
            other = next(iter(self.waiting.values()), None)
            raise self._changed(run, record, None if other is None else other.asked)
        if isinstance(strand.step, ContinueStep) or not agrees(record, asked, self.engine.check):
            raise self._changed(run, record, asked)
        return strand

    def _changed(self, run: Run, record: StepRecord, asked: Asked | None) -> Obstacle:
        recorded = describe_record(record)
        # The record keeps its diff in plain: what is sealed elsewhere must not stand there.
        sealed = self.engine.payloads.applied or bool(record.value.codecs)
        now = describe_asked(without_input(asked) if sealed else asked)
        error = FlowChanged(run.run_id, record.position, recorded, now)
        return Obstacle("changed", str(error), diff(record.position, recorded, now))

    # -- giving the flow what was recorded ---------------------------------------------------

    def _feed(self, run: Run, strand: Strand, record: StepRecord, data: bytes) -> Over | None:
        try:
            given = reply(self.engine.registry, run, strand.step, record, data)
        except ValuesError as unfit:
            raise Obstacle("result", f"step {record.position}: {unfit}") from unfit
        assert self.strands is not None
        if given.error is not None:
            self._thrown.append((given.error, record.position))
            if isinstance(given.error, RunCancelled):
                self.strands.revoke(given.error)
                self.strands.forgo(strand)
        if self.engine.observed:
            self.spent = self.spent.plus(record)
        scope = self.strands.scope
        scope.records = record.number + 1
        scope.draws = 0
        scope.now = record.ended
        # Code before a step that was waited for in an earlier invocation ran there already.
        left = bool(self.ready) and not self._are_of_one_commit(record)
        scope.behind = left or (bool(run.open) and self._is_before(run.open))
        scope.replaying = self._quiet or scope.behind
        return self._went_on(strand, given)

    def _are_of_one_commit(self, record: StepRecord) -> bool:
        """Tell whether all that is left was recorded with *record*: what follows it is no replay.

        No code had been given any of it then. What a retry or a fork copies keeps its commit.
        """
        return self.ready[-1].op_id == record.op_id

    def _is_before(self, positions: Iterable[str]) -> bool:
        """Tell whether the flow has not come to all of *positions* yet."""
        assert self.strands is not None
        asked, dropped = self.strands.waiting, self.strands.dropped
        return any(each not in asked and each not in dropped for each in positions)

    def _unwrapped(self, payload: Payload, place: Place) -> Requests[bytes]:
        try:
            if payload.ref is not None:
                payload = payload._replace(data=(yield Fetch(place.run_id, payload.ref)))
            return self.engine.payloads.unwrap(payload, place)
        except ValuesError as error:
            raise Obstacle("corrupt", str(error)) from error

    def told(self, run: Run) -> Run:
        """Return *run* with what the flow has said of its progress, for its next commit."""
        scope = None if self.strands is None else self.strands.scope
        if scope is None or scope.said is None:
            return run
        if self._said is None or self._said[0] is not scope.said:
            # Once: sealed again, the same would be other bytes.
            place = progress_place(run.run_id)
            self._said = scope.said, self.engine.payloads.wrap(scope.said, place)
        payload = self._said[1]
        return run if payload == run.progress else evolve(run, progress=payload)

    def went(self, run: Run) -> Run:
        """Return *run* with the patches whose way the flow goes, for a commit with steps of it."""
        asked = None if self.strands is None else self.strands.scope.patches
        if not asked:
            return run
        fresh = [each for each, given in asked.items() if given and each not in run.patches]
        return evolve(run, patches=(*run.patches, *fresh)) if fresh else run

    def discard(self) -> None:
        """Unwind the flow, if it was called."""
        if self.strands is not None:
            self.strands.discard()

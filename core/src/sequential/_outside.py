"""What is done to a run from outside an invocation: started, told, ended, repaired.

Each is a pure transition of `_protocol`, committed here by compare-and-set, and committed once even
when an answer is lost. Sending the resume message afterwards is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import _codec
from ._clock import Clock
from ._expected import misfit
from ._kept import kept_by_retry
from ._model import Message, Open, Payload, Run, Status, StepKind, StepOutcome, StepRecord, evolve
from ._payload import INLINE_LIMIT, RECORD_LIMIT, Place, input_place, value_place
from ._protocol import message, over_copies, redrive, retry, terminate
from ._requests import Engine
from ._storage import Loaded, Storage
from .errors import (
    OutcomeUnknown,
    RunMissing,
    RunStatusWrong,
    RunTaken,
    SignalMismatch,
    StorageRefused,
    StorageUnavailable,
    ValueMismatch,
)

_TRIES = 8
_PAUSE = 0.05
_SHOWN = 300
"""Characters of a schema that an error shows."""

Change = Callable[[Loaded], tuple[Run, Sequence[StepRecord]] | None]
Done = Callable[[Run, Run], bool]


def _never(before: Run, now: Run) -> bool:  # noqa: ARG001  (a `Done`)
    return False


class Outside:
    """Changes runs that nobody here holds."""

    def __init__(
        self, engine: Engine, storage: Storage, clock: Clock, token: Callable[[], str]
    ) -> None:
        self._engine = engine
        self._storage = storage
        self._clock = clock
        self._token = token

    # -- starting ----------------------------------------------------------------------------

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> tuple[Run, bool]:
        """Create *run*; return what is stored under its id, and whether that is this one.

        Raises:
            RunTaken: The id belongs to a run of another flow, or with another input.
        """
        run = evolve(run, op_id=self._token())
        stored = self._created(run, steps)
        if stored.flow != run.flow:
            raise RunTaken(run.run_id, f"flow {stored.flow!r}")
        if stored.asked != run.asked:
            # The same input under another key has another digest.
            data = self.data_of(run.input, input_place(run.run_id))
            if not stored.asked or self._digest(data, stored.asked) != stored.asked:
                raise RunTaken(run.run_id, "another input")
        return stored, stored.op_id == run.op_id

    def _created(self, run: Run, steps: Sequence[StepRecord]) -> Run:
        # Creating again after a lost answer is safe: it finds what was created.
        lost: OutcomeUnknown | None = None
        for _ in range(_TRIES):
            try:
                return self._storage.create(run, steps)
            except OutcomeUnknown as error:
                lost = error
            except (StorageUnavailable, StorageRefused):
                if lost is None:
                    raise
            self._clock.wait(_PAUSE)
        assert lost is not None
        raise lost

    def input_payload(self, run_id: str, data: bytes) -> tuple[Payload, str]:
        """Return the stored form of an encoded input, and its digest."""
        return self._kept(data, input_place(run_id), RECORD_LIMIT), self._digest(data)

    def _digest(self, data: bytes, like: str = "") -> str:
        canonical = _codec.encode_canonical(_codec.decode(data))
        return self._engine.payloads.fingerprint(canonical, like)

    # -- telling -----------------------------------------------------------------------------

    def send(
        self, run_id: str, sent_id: str, name: str, value: object, *, checked: bool = False
    ) -> bool:
        """Put a message into the inbox of the run; False if its id was accepted before.

        *checked* holds it against the types of the waits that the record has for it.

        Raises:
            RunMissing: There is no such run.
            RunStatusWrong: The run has ended.
            SignalMismatch: It fits none of the waits for it; nothing was written.
            NotEncodable: The value cannot be stored.
        """
        data = _codec.encode(value)
        place = Place(run_id, 0, f"message:{sent_id}")
        wrapped = self._engine.payloads.wrap(data, place)

        def change(found: Loaded) -> tuple[Run, Sequence[StepRecord]] | None:
            sent = Message(sent_id, name, payload, found.now)
            told = message(found.run, sent)
            if told is not None and checked:
                self._refuse_misfit(found.run, name, data)
            if told is None and sent_id not in _ids(found.run):
                allowed = "a run that has not ended"
                raise RunStatusWrong(run_id, found.run.status, f"send {name!r} to", allowed)
            return None if told is None else (told, ())

        payload = self._cut(wrapped, place, RECORD_LIMIT)
        return self._change(run_id, change) is not None

    def _refuse_misfit(self, run: Run, name: str, data: bytes) -> None:
        """Refuse a signal that every wait for it would drop; without a wait it is early, and kept.

        Which of several waits will get it depends on what else is under way: one that it fits is
        enough.
        """
        waits = [each for each in run.open.values() if each.name == name and not each.intent]
        refusals = [self._misfit(each, data) for each in waits]
        if refusals and all(refusals):
            path, reason = next(each for each in refusals if each is not None)
            expected = waits[0].schema or f"what {waits[0].tool} returns"
            shown = expected if len(expected) <= _SHOWN else f"{expected[:_SHOWN]}…"
            raise SignalMismatch(run.run_id, name, path, reason, shown)

    def _misfit(self, wait: Open, data: bytes) -> tuple[str, str] | None:
        """Return where and why *data* does not fit *wait*; None if it does, as far as is known."""
        value = _codec.decode(data)
        if wait.kind is StepKind.TOOL:
            category, _, name = wait.tool.partition(".")
            tool = self._engine.registry.tools.get((category, name))
            if tool is not None and tool.result is not None:
                try:
                    tool.result.read(value)
                except ValueMismatch as error:
                    return error.path, error.reason
                return None
        return misfit(wait.schema, value)

    # -- ending and repairing ----------------------------------------------------------------

    def terminate(self, run_id: str) -> Run:
        """End the run as cancelled, running none of its code."""
        terms = self._engine.terms
        return self._must(
            run_id, "terminate", "a run that has not ended",
            lambda found: terminate(found.run, found.now, terms),
            lambda _, now: now.status is Status.CANCELLED,
        )  # fmt: skip

    def redrive(self, run_id: str) -> Run:
        """Give a quarantined run another chance, or a blocked one a look at once."""
        allowed = "a quarantined or blocked run"
        return self._must(
            run_id, "redrive", allowed, lambda found: redrive(found.run),
            # A blocked run that was claimed since has had its look.
            lambda before, now: now.fence > before.fence,
        )  # fmt: skip

    def retry(self, run_id: str) -> Run:
        """Start a new generation of a run that ended badly, from the step that failed."""

        def change(found: Loaded) -> tuple[Run, Sequence[StepRecord]] | None:
            copied = kept_by_retry(found.run, found.steps)
            again = retry(found.run, copied, found.now)
            if again is None:
                allowed = "a failed, cancelled or quarantined run"
                raise RunStatusWrong(run_id, found.run.status, "retry", allowed)
            kept = found.steps[:copied]
            return over_copies(again, kept), self._copies(found.run, again, kept)

        retried = self._change(
            run_id, change, lambda before, now: now.generation > before.generation
        )
        assert retried is not None
        return retried

    def fork(self, source: Run, steps: Sequence[StepRecord], run: Run, edit: object) -> Run:
        """Create *run* over the records of *source* before the last of *steps*.

        The last record is the one forked at: left out, or replaced by *edit* when that is given
        as a one-element tuple.
        """
        if isinstance(edit, tuple):
            self._refuse_unfit(steps[-1], edit[0])
        kept = list(steps[:-1])
        copies = self._copies(source, run, kept)
        if isinstance(edit, tuple):
            copies.append(self._edited(source, run, steps[-1], edit[0]))
        stored, own = self.create(over_copies(evolve(run, cursor=len(copies)), copies), copies)
        if not own:
            raise RunTaken(run.run_id, "a history of its own")
        return stored

    def _refuse_unfit(self, record: StepRecord, value: object) -> None:
        """Refuse an edit that the code here could not read: the fork would be blocked for ever."""
        registry, shape = self._engine.registry, None
        if record.kind is StepKind.TOOL:
            category, _, name = record.tool.partition(".")
            tool = registry.tools.get((category, name))
            shape = None if tool is None else tool.result
        elif record.kind is StepKind.CHILD:
            flow = registry.flows.get(record.tool)
            shape = None if flow is None else flow.result
        data = _codec.encode(value)
        if shape is not None:
            try:
                shape.read(_codec.decode(data))
            except ValueMismatch as error:
                where = f"the edit of step {record.position} is no {error.where}"
                raise ValueMismatch(where, error.path, error.reason) from error

    def _edited(self, source: Run, run: Run, record: StepRecord, value: object) -> StepRecord:
        payload = self._kept(_codec.encode(value), value_place(run, record.position), INLINE_LIMIT)
        return record._replace(
            generation=run.generation, outcome=StepOutcome.VALUE, value=payload, fence=run.fence,
            input=self._input_moved(source, run, record),
        )  # fmt: skip

    def _copies(self, source: Run, target: Run, steps: Sequence[StepRecord]) -> list[StepRecord]:
        """Return *steps* for another generation or run: sealed values are bound to their place."""
        return [
            record._replace(
                generation=target.generation,
                # A fork counts its own claims.
                fence=min(record.fence, target.fence),
                value=self._moved(source, target, record),
                input=self._input_moved(source, target, record),
            )
            if record.value.codecs or record.value.ref
            else record._replace(
                generation=target.generation, fence=min(record.fence, target.fence)
            )
            for record in steps
        ]

    def _moved(self, source: Run, target: Run, record: StepRecord) -> Payload:
        data = self.data_of(record.value, value_place(source, record.position))
        return self._kept(data, value_place(target, record.position), INLINE_LIMIT)

    # A sealed input is bound to the run that it came from.
    def _input_moved(self, source: Run, target: Run, record: StepRecord) -> Payload | None:
        if record.input is None or not record.input.codecs:
            return record.input
        payloads, part = self._engine.payloads, f"{record.position}:input"
        data = payloads.unwrap(record.input, Place(source.run_id, source.generation, part))
        return payloads.wrap_part(data, target, part)

    # -- values ------------------------------------------------------------------------------

    def data_of(self, payload: Payload, place: Place) -> bytes:
        """Return the encoded value of *payload*, wherever it is kept."""
        if payload.ref is not None:
            payload = payload._replace(data=self._storage.get_value(place.run_id, payload.ref))
        return self._engine.payloads.unwrap(payload, place)

    def _kept(self, data: bytes, place: Place, limit: int) -> Payload:
        return self._cut(self._engine.payloads.wrap(data, place), place, limit)

    def _cut(self, payload: Payload, place: Place, limit: int) -> Payload:
        if len(payload.data) <= limit:
            return payload
        digest = self._storage.put_value(place.run_id, payload.data)
        return payload._replace(data=b"", ref=digest)

    # -- committing --------------------------------------------------------------------------

    def _must(
        self,
        run_id: str,
        asked: str,
        allowed: str,
        change: Callable[[Loaded], Run | None],
        done: Done,
    ) -> Run:
        def wanted(found: Loaded) -> tuple[Run, Sequence[StepRecord]]:
            changed = change(found)
            if changed is None:
                raise RunStatusWrong(run_id, found.run.status, asked, allowed)
            return changed, ()

        changed = self._change(run_id, wanted, done)
        assert changed is not None
        return changed

    def _change(  # noqa: C901  (one try, and all that may become of it)
        self, run_id: str, change: Change, done: Done = _never
    ) -> Run | None:
        """Commit what *change* makes of the record; None if it wants nothing changed.

        *done* tells, from the record before and the record now, whether a change whose answer
        was lost must have been applied although somebody else has written since.
        """
        op_id, tries = self._token(), 0
        lost: OutcomeUnknown | None = None
        before: Run | None = None
        while True:
            try:
                found = self._storage.load(run_id)
                if found is None:
                    raise RunMissing(run_id)
                if lost is None:
                    before = found.run
                elif found.run.op_id == op_id or (before and done(before, found.run)):
                    return found.run
                wanted = change(found)
                if wanted is None:
                    # After a lost answer, finding it done means that it was done here.
                    return found.run if lost else None
                run, steps = wanted
                answer = self._storage.commit(evolve(run, op_id=op_id), found.run, steps)
                if isinstance(answer, Run):
                    return answer
                continue
            except OutcomeUnknown as error:
                lost = error
            except (StorageUnavailable, StorageRefused):
                # They say that nothing was written, which is no longer known.
                if lost is None:
                    raise
            tries += 1
            if tries > _TRIES:
                raise lost
            self._clock.wait(_PAUSE)


def _ids(run: Run) -> set[str]:
    return {*run.seen, *(sent.id for sent in run.inbox)}

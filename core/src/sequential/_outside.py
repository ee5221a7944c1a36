"""What is done to a run from outside an invocation: started, told, ended, repaired.

Each is a pure transition of `_protocol`, committed here by compare-and-set, and committed once even
when an answer is lost. Sending the resume message afterwards is the caller's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from . import _codec
from ._clock import Clock
from ._model import Message, Payload, Run, StepOutcome, StepRecord, evolve
from ._payload import INLINE_LIMIT, RECORD_LIMIT, Place
from ._player import input_place, value_place
from ._protocol import before_failure, message, redrive, retry, terminate
from ._requests import Engine
from ._storage import Loaded, Storage
from .errors import OutcomeUnknown, RunMissing, RunStatusWrong, RunTaken

_TRIES = 8
_PAUSE = 0.05

Change = Callable[[Loaded], tuple[Run, Sequence[StepRecord]] | None]


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
            raise RunTaken(run.run_id, "another input")
        return stored, stored.op_id == run.op_id

    def _created(self, run: Run, steps: Sequence[StepRecord]) -> Run:
        # Creating again after a lost answer is safe: it finds what was created.
        for _ in range(_TRIES):
            try:
                return self._storage.create(run, steps)
            except OutcomeUnknown:
                self._clock.wait(_PAUSE)
        return self._storage.create(run, steps)

    def input_payload(self, run_id: str, data: bytes) -> tuple[Payload, str]:
        """Return the stored form of an encoded input, and its digest."""
        digest = hashlib.sha256(_codec.encode_canonical(_codec.decode(data))).hexdigest()
        return self._kept(data, input_place(run_id), RECORD_LIMIT), digest

    # -- telling -----------------------------------------------------------------------------

    def send(self, run_id: str, sent_id: str, name: str, value: object) -> bool:
        """Put a message into the inbox of the run; False if its id was accepted before.

        Raises:
            RunMissing: There is no such run.
            RunStatusWrong: The run has ended.
            NotEncodable: The value cannot be stored.
        """
        data = _codec.encode(value)
        place = Place(run_id, 0, f"message:{sent_id}")
        wrapped = self._engine.payloads.wrap(data, place)

        def change(found: Loaded) -> tuple[Run, Sequence[StepRecord]] | None:
            sent = Message(sent_id, name, payload, found.now)
            told = message(found.run, sent)
            if told is None and sent_id not in _ids(found.run):
                allowed = "a run that has not ended"
                raise RunStatusWrong(run_id, found.run.status, f"send {name!r} to", allowed)
            return None if told is None else (told, ())

        payload = self._cut(wrapped, place, RECORD_LIMIT)
        return self._change(run_id, change) is not None

    # -- ending and repairing ----------------------------------------------------------------

    def terminate(self, run_id: str) -> Run:
        """End the run as cancelled, running none of its code."""
        terms = self._engine.terms
        return self._must(
            run_id, "terminate", "a run that has not ended",
            lambda found: terminate(found.run, found.now, terms),
        )  # fmt: skip

    def redrive(self, run_id: str) -> Run:
        """Give a quarantined run another chance, or a blocked one a look at once."""
        allowed = "a quarantined or blocked run"
        return self._must(run_id, "redrive", allowed, lambda found: redrive(found.run))

    def retry(self, run_id: str) -> Run:
        """Start a new generation of a run that ended badly, from the step that failed."""

        def change(found: Loaded) -> tuple[Run, Sequence[StepRecord]] | None:
            copied = before_failure(found.steps)
            again = retry(found.run, copied)
            if again is None:
                allowed = "a failed, cancelled or quarantined run"
                raise RunStatusWrong(run_id, found.run.status, "retry", allowed)
            return again, self._copies(found.run, again, found.steps[:copied])

        retried = self._change(run_id, change)
        assert retried is not None
        return retried

    def fork(self, source: Run, steps: Sequence[StepRecord], run: Run, edit: object) -> Run:
        """Create *run* over the records of *source* before the last of *steps*.

        The last record is the one forked at: left out, or replaced by *edit* when that is given
        as a one-element tuple.
        """
        kept = list(steps[:-1])
        copies = self._copies(source, run, kept)
        if isinstance(edit, tuple):
            copies.append(self._edited(run, steps[-1], edit[0]))
        return self.create(evolve(run, cursor=len(copies)), copies)[0]

    def _edited(self, run: Run, record: StepRecord, value: object) -> StepRecord:
        payload = self._kept(_codec.encode(value), value_place(run, record.position), INLINE_LIMIT)
        return record._replace(
            generation=run.generation, outcome=StepOutcome.VALUE, value=payload, fence=run.fence
        )

    def _copies(self, source: Run, target: Run, steps: Sequence[StepRecord]) -> list[StepRecord]:
        """Return *steps* for another generation or run: sealed values are bound to their place."""
        return [
            record._replace(
                generation=target.generation, value=self._moved(source, target, record), input=None
            )
            if record.value.codecs or record.value.ref
            else record._replace(generation=target.generation)
            for record in steps
        ]

    def _moved(self, source: Run, target: Run, record: StepRecord) -> Payload:
        data = self.data_of(record.value, value_place(source, record.position))
        return self._kept(data, value_place(target, record.position), INLINE_LIMIT)

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
        self, run_id: str, asked: str, allowed: str, change: Callable[[Loaded], Run | None]
    ) -> Run:
        def wanted(found: Loaded) -> tuple[Run, Sequence[StepRecord]]:
            changed = change(found)
            if changed is None:
                raise RunStatusWrong(run_id, found.run.status, asked, allowed)
            return changed, ()

        changed = self._change(run_id, wanted)
        assert changed is not None
        return changed

    def _change(self, run_id: str, change: Change) -> Run | None:
        """Commit what *change* makes of the record; None if it wants nothing changed."""
        op_id, unknown = self._token(), 0
        while True:
            found = self._storage.load(run_id)
            if found is None:
                raise RunMissing(run_id)
            if unknown and found.run.op_id == op_id:
                return found.run
            wanted = change(found)
            if wanted is None:
                # After a lost answer, finding it done means that it was done here.
                return found.run if unknown else None
            run, steps = wanted
            own = [record._replace(op_id=op_id) for record in steps]
            try:
                answer = self._storage.commit(evolve(run, op_id=op_id), found.run.version, own)
            except OutcomeUnknown:
                unknown += 1
                if unknown > _TRIES:
                    raise
                self._clock.wait(_PAUSE)
                continue
            if isinstance(answer, Run):
                return answer


def _ids(run: Run) -> set[str]:
    return {*run.seen, *(sent.id for sent in run.inbox)}

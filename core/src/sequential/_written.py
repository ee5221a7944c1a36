"""What is written of a step, and of the end of a run: encoded, through the codecs, cut if large.

A generator of requests only because a large value is stored on the way. When it is committed, and
with what, is `_runner`'s.
"""

from __future__ import annotations

from typing import NamedTuple

from . import _codec
from ._attempts import Settled
from ._failure import error_value
from ._holding import Holding
from ._model import ErrorValue, Payload, Status, StepOutcome, StepRecord
from ._payload import INLINE_LIMIT, RECORD_LIMIT, Place, result_place
from ._player import Over
from ._referring import apart
from ._replay import Asked
from ._requests import Requests, Store
from ._strands import Strand
from .errors import NotEncodable, RunCancelled


class End(NamedTuple):
    """How a run ended."""

    status: Status
    result: Payload | None = None
    error: ErrorValue | None = None


class Written:
    """Makes what the invocation *holding* writes."""

    def __init__(self, holding: Holding) -> None:
        self._holding = holding

    def record(
        self, strand: Strand, settled: Settled, op_id: str, before: int
    ) -> Requests[StepRecord]:
        """Return the record of a step; *before* records go with it in front."""
        run, asked, payloads = self._holding.run, strand.asked, self._holding.engine.payloads
        assert asked is not None
        data, part = settled.data, f"{asked.position}:value"
        if len(data) > RECORD_LIMIT and settled.outcome is StepOutcome.VALUE:
            data = yield from apart(self._holding.engine, run, f"{part}:ref", data)
        value = payloads.wrap_part(data, run, part)
        if len(value.data) > INLINE_LIMIT:
            value = yield from self._cut(value)
        return StepRecord(
            run.generation,
            run.cursor + before,
            asked.position,
            asked.kind,
            asked.tool,
            asked.fingerprint,
            settled.outcome,
            value,
            self._shown_input(asked),
            settled.attempts,
            settled.started,
            self._holding.world.now(),
            run.fence,
            op_id,
        )

    def outcome(self, over: Over) -> Requests[End]:
        """Return how the run ended whose flow is *over*."""
        error = over.error
        if error is None:
            try:
                run, engine = self._holding.run, self._holding.engine
                data = _codec.encode(over.result)
                data = yield from apart(engine, run, "result:ref", data)
                place = result_place(run)
                return End(Status.COMPLETED, (yield from self.stored(data, place, INLINE_LIMIT)))
            except NotEncodable as refused:
                error = refused
        if isinstance(error, RunCancelled):
            return End(Status.CANCELLED)
        failure, holding = error_value(error)._replace(position=over.position), self._holding
        sealed = holding.engine.payloads.seal_error(failure, holding.run)
        return End(Status.FAILED, error=sealed)

    def stored(self, data: bytes, place: Place, limit: int) -> Requests[Payload]:
        """Return *data* as it is stored at *place*, with at most *limit* bytes in the record."""
        payload = self._holding.engine.payloads.wrap(data, place)
        return payload if len(payload.data) <= limit else (yield from self._cut(payload))

    def _cut(self, payload: Payload) -> Requests[Payload]:
        digest = yield Store(self._holding.run.run_id, payload.data)
        return payload._replace(data=b"", ref=digest)

    def _shown_input(self, asked: Asked) -> Payload | None:
        data = asked.input
        if data is None or len(data) > INLINE_LIMIT:
            return None
        part = f"{asked.position}:input"
        return self._holding.engine.payloads.wrap_part(data, self._holding.run, part)

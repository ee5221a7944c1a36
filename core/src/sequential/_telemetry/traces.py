"""Spans of runs in a tracer provider: their ids laid ready, their parents made of ids."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from .._model import Run
from .._span_ids import run_span_id, trace_id_of
from .._spans import Told
from .contexts import PreparedIds, below, beside
from .providers import version

_KINDS = {"server": SpanKind.SERVER, "consumer": SpanKind.CONSUMER}


class Traces:
    """One trace for each run, in *provider*.

    Attributes:
        tracer: None makes no spans: where the SDK is switched off, or they are only stored.
    """

    def __init__(self, provider: TracerProvider) -> None:
        tracer = provider.get_tracer("sequential", version())
        self.tracer = tracer if isinstance(tracer, Tracer) else None
        if self.tracer is not None:
            self.tracer.id_generator = PreparedIds()
        self._decided = lru_cache(1024)(self._decide)

    def root(self, run: Run) -> SpanContext:
        """Return the context of a run's own span, with what the sampler says of its trace."""
        return self._decided(run.run_id, run.created, run.flow)

    def root_of(self, run_id: str, created: float, flow: str) -> SpanContext:
        """Return the same for the run of those."""
        return self._decided(run_id, created, flow)

    def tell(self, root: SpanContext, told: Told, links: Sequence[Link]) -> None:
        """Make the span of *told*, and end it."""
        if self.tracer is None:
            return
        context, (started, ended) = Context(), told.times
        if told.parent is not None:
            context = below(beside(root, told.parent), context)
        PreparedIds.ready.trace, PreparedIds.ready.span = root.trace_id, told.span
        span = self.tracer.start_span(
            told.name, context, _KINDS.get(told.kind, SpanKind.INTERNAL), told.attributes, links,
            int(started * 1e9),
        )  # fmt: skip
        over = int(max(started, ended) * 1e9)
        if told.error is not None:
            named = told.error[:256]
            span.set_attribute("error.type", named)
            # Its class only: the message and the traceback quote what a tool was given.
            span.add_event("exception", {"exception.type": named}, over)
            span.set_status(Status(StatusCode.ERROR))
        span.end(over)

    def _decide(self, run_id: str, created: float, flow: str) -> SpanContext:
        number, flags = trace_id_of(run_id, created), TraceFlags.DEFAULT
        sampler = self._sampler()
        if sampler is not None:
            answer = sampler.should_sample(Context(), number, f"run {flow}")
            flags = TraceFlags.SAMPLED if answer.decision is Decision.RECORD_AND_SAMPLE else flags
        span = run_span_id(run_id)
        return SpanContext(number, span, is_remote=False, trace_flags=TraceFlags(flags))

    def _sampler(self) -> Sampler | None:
        """Return who decides: where no spans are made here, those of tools still may be."""
        if self.tracer is not None:
            return self.tracer.sampler
        set_for_process = trace.get_tracer_provider()
        return set_for_process.sampler if isinstance(set_for_process, TracerProvider) else None

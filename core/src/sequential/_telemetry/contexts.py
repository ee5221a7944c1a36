"""Contexts of spans that no process holds: made from ids, read from W3C texts, laid ready."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_W3C = TraceContextTextMapPropagator()


class PreparedIds(IdGenerator):
    """Hands out the ids laid ready on this thread."""

    ready = threading.local()

    def generate_trace_id(self) -> int:
        """Return the id of the trace that the next span belongs to."""
        return int(self.ready.trace)

    def generate_span_id(self) -> int:
        """Return the id of the next span."""
        return int(self.ready.span)


def carrier(context: Context | None = None) -> dict[str, str]:
    """Return the W3C context of the current span, to be stored with a run; empty without one.

    Holds ``traceparent`` and at most 512 characters of ``tracestate``; never baggage.
    """
    found: dict[str, str] = {}
    _W3C.inject(found, context)
    if len(found.get("tracestate", "")) > 512:  # as many as W3C asks everybody to carry
        del found["tracestate"]
    return found


def caller(stored: Mapping[str, str]) -> SpanContext:
    """Return the span that W3C texts name. Only linked to: whether to sample is decided here."""
    return trace.get_current_span(_W3C.extract(stored, Context())).get_span_context()


def links_to(*targets: SpanContext | None) -> list[Link]:
    """Return a link to each of *targets* that is a span, once."""
    found = {each.span_id: each for each in targets if each is not None and each.is_valid}
    return [Link(each) for each in found.values()]


def beside(root: SpanContext, span: int) -> SpanContext:
    """Return the context of another span of the same trace."""
    return SpanContext(root.trace_id, span, is_remote=False, trace_flags=root.trace_flags)


def below(span: SpanContext, context: Context | None = None) -> Context:
    """Return a context in which *span* is the current one."""
    return trace.set_span_in_context(NonRecordingSpan(span), context)

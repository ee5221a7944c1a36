"""Spans as rows of a span store: our own, and those that other instrumentations make below them.

A foreign span is kept when it is of a trace that the keeper sees: an HTTP or LLM client's, made by
a tool. What it says is somebody else's choice, so it is redacted and cut.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from weakref import WeakKeyDictionary, WeakSet

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import Link, StatusCode

from .._keeper import Keeper
from .._redaction import MASK, is_secret_name, redacted_text
from .._span_store import SpanRow
from .._spans import Told

_TEXT = 1_000
"""Characters of a text that are kept."""

_ATTRIBUTES, _LINKS = 64, 16

_OURS = "sequential"


class _Collector(SpanProcessor):
    """Hands what ends in one provider to the keepers of all applications here."""

    def __init__(self) -> None:
        self.keepers: WeakSet[Keeper] = WeakSet()

    def on_end(self, span: ReadableSpan) -> None:
        """Leave *span* to those who see its trace. Never raises."""
        scope, context = span.instrumentation_scope, span.context
        if context is None or (scope is not None and scope.name == _OURS):
            return
        takers = [each for each in tuple(self.keepers) if each.sees(context.trace_id)]
        if takers:
            row = row_of(span)
            for keeper in takers:
                keeper.put(row)


_COLLECTORS: WeakKeyDictionary[TracerProvider, _Collector] = WeakKeyDictionary()
_CHANGING = threading.Lock()


def collect_for(provider: trace.TracerProvider, keeper: Keeper) -> None:
    """Leave foreign spans that end in *provider* to *keeper*; again for the same does nothing."""
    if not isinstance(provider, TracerProvider):
        return
    # A provider cannot let go of a processor: it gets one, however many applications come and go.
    found = _COLLECTORS.get(provider)
    if found is not None and keeper in found.keepers:
        return
    with _CHANGING:
        if provider not in _COLLECTORS:
            _COLLECTORS[provider] = _Collector()
            provider.add_span_processor(_COLLECTORS[provider])
        _COLLECTORS[provider].keepers.add(keeper)


def row_of_ours(told: Told, number: int, links: Sequence[Link], resource: Resource) -> SpanRow:
    """Return the row of a span of ours. Its attributes are an allow-list already."""
    started, ended = told.times
    return SpanRow(
        trace=f"{number:032x}",
        span=f"{told.span:016x}",
        parent="" if told.parent is None else f"{told.parent:016x}",
        name=told.name[:256],
        kind=told.kind,
        started=started,
        ended=max(started, ended),
        error=(told.error or "")[:256],
        attributes=told.attributes,
        links=_linked(links),
        service=_service(resource),
    )


def row_of(span: ReadableSpan) -> SpanRow:
    """Return the row of a foreign span that has ended."""
    assert span.context is not None
    started = (span.start_time or 0) / 1e9
    return SpanRow(
        trace=f"{span.context.trace_id:032x}",
        span=f"{span.context.span_id:016x}",
        parent="" if span.parent is None else f"{span.parent.span_id:016x}",
        name=redacted_text(span.name, 256),
        kind=span.kind.name.lower(),
        started=started,
        ended=max(started, (span.end_time or 0) / 1e9),
        error=_error(span),
        attributes=_attributes(span),
        links=_linked(span.links),
        service=_service(span.resource),
    )


def _attributes(span: ReadableSpan) -> dict[str, str | int | float | bool]:
    found: dict[str, str | int | float | bool] = {}
    for name, value in (span.attributes or {}).items():
        if len(found) >= _ATTRIBUTES:
            break
        if isinstance(value, str):
            found[name[:256]] = MASK if is_secret_name(name) else redacted_text(value, _TEXT)
        elif isinstance(value, bool | int | float):
            found[name[:256]] = value
    return found


def _error(span: ReadableSpan) -> str:
    """Return the class of a failed span's error. Never its description, which quotes anything."""
    if span.status.status_code is not StatusCode.ERROR:
        return ""
    named = (span.attributes or {}).get("error.type")
    for event in span.events:
        named = named or (event.attributes or {}).get("exception.type")
    return redacted_text(str(named or "_OTHER"), 256)


def _linked(links: Sequence[Link]) -> list[tuple[str, str]]:
    found = [each.context for each in links[:_LINKS]]
    return [(f"{each.trace_id:032x}", f"{each.span_id:016x}") for each in found]


def _service(resource: Resource) -> str:
    return str(resource.attributes.get("service.name", ""))[:256]

"""One run as OTLP: its record, its steps and what is in flight, with the ids of live telemetry.

What Jaeger, Tempo or Phoenix take from a file: ``ExportTraceServiceRequest`` in OTLP's JSON (ids in
hex, nanoseconds as text). Sent twice, or beside what the processes told, it is the same spans. No
input, result or message of an error is in it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sequential.spans import SpanRow, Told, run_span_id, step_span_id, told_record, told_step
from sequential.storage import Loaded, Run

from .timeline.enriching import only_attempts
from .words import trace_of

_KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}

_ERROR = 2
"""OTLP's status code of a span that failed."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")

SERVICE = "sequential"
"""``service.name`` of what was made of records: which process it was is not in them."""


def otlp_json(
    loaded: Loaded, rows: Sequence[SpanRow] = (), shown: Callable[[str], str] = str
) -> str:
    """Return the run as the text of an OTLP trace file.

    What goes on ends now, with the attribute ``sequential.open``; sent again later, the same span
    ends when it did.

    Args:
        loaded: The run with its steps.
        rows: What the span store has of its trace. A span that the records tell is theirs.
        shown: What a viewer sees of a text that a tool wrote.
    """
    trace = trace_of(loaded.run)
    spans = [_span(trace, told) for told in told_of(loaded)]
    spans[0]["links"] = _links(_callers(loaded.run))
    told, stand_ins = {span["spanId"] for span in spans}, only_attempts(loaded, rows)
    services: dict[str, list[dict[str, Any]]] = {SERVICE: spans}
    for row in rows:
        if row.span not in told:
            services.setdefault(row.service or SERVICE, []).append(
                _row(row._replace(parent=stand_ins.get(row.parent, row.parent)), shown)
            )
    found = [
        {
            "resource": {"attributes": _attributes({"service.name": service})},
            "scopeSpans": [{"scope": {"name": "sequential"}, "spans": some}],
        }
        for service, some in services.items()
    ]
    return json.dumps({"resourceSpans": found}, ensure_ascii=False, indent=1)


def told_of(loaded: Loaded) -> Iterator[Told]:
    """Yield the spans that the records of a run tell: its own first."""
    run, now = loaded.run, loaded.now
    whole = told_record(run, loaded.steps, now if run.ended is None else run.ended)
    yield whole if run.ended is not None else _still(whole)
    recorded = set()
    for step in loaded.steps:
        recorded.add(step.position)
        yield told_step(run, step)
    if run.ended is None:
        for position, found in run.open.items():
            if position not in recorded:
                own = step_span_id(run.run_id, run.generation, position)
                name = f"{found.kind} {found.name or found.tool}".strip()
                if found.kind == "tool":
                    name = f"execute_tool {found.tool}"
                attributes: dict[str, str | int | float | bool] = {
                    "sequential.run.id": run.run_id,
                    "sequential.step.position": position,
                    "sequential.step.kind": str(found.kind),
                    "sequential.attempt": found.attempt,
                }
                times = found.started or run.created, now
                yield _still(Told(name, own, run_span_id(run.run_id), times, attributes))


def _still(told: Told) -> Told:
    return told._replace(attributes={**told.attributes, "sequential.open": True})


def _span(trace: str, told: Told) -> dict[str, Any]:
    # As the SDK was told: rounded the same way, so that both are one moment.
    started, ended = told.times
    attributes = dict(told.attributes)
    if told.error is not None:
        attributes["error.type"] = told.error[:256]
    span = {
        "traceId": trace,
        "spanId": f"{told.span:016x}",
        "name": told.name,
        "kind": _KINDS["internal"],
        "startTimeUnixNano": _nanos(started),
        "endTimeUnixNano": _nanos(max(started, ended)),
        "attributes": _attributes(attributes),
        "status": {} if told.error is None else {"code": _ERROR},
    }
    return span if told.parent is None else {**span, "parentSpanId": f"{told.parent:016x}"}


def _row(row: SpanRow, shown: Callable[[str], str]) -> dict[str, Any]:
    attributes = {
        name: shown(value) if isinstance(value, str) else value
        for name, value in row.attributes.items()
    }
    if row.error:
        attributes["error.type"] = row.error
    span = {
        "traceId": row.trace,
        "spanId": row.span,
        "name": shown(row.name),
        "kind": _KINDS.get(row.kind, _KINDS["internal"]),
        "startTimeUnixNano": _nanos(row.started),
        "endTimeUnixNano": _nanos(max(row.started, row.ended)),
        "attributes": _attributes(attributes),
        "links": _links(row.links),
        "status": {"code": _ERROR} if row.error else {},
    }
    return {**span, "parentSpanId": row.parent} if row.parent else span


def _callers(run: Run) -> Sequence[tuple[str, str]]:
    """Return the span that started the run, if it was stored: it is linked to."""
    found = _TRACEPARENT.fullmatch(run.trace.get("traceparent", ""))
    ids = [] if found is None else [(found[1], found[2])]
    return [each for each in ids if int(each[0], 16) and int(each[1], 16)]


def _links(links: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"traceId": trace, "spanId": span} for trace, span in links]


def _nanos(seconds: float) -> str:
    return str(int(seconds * 1e9))


def _attributes(values: Mapping[str, str | int | float | bool]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in values.items()]


def _value(value: str | float | bool) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        # JSON has no number for these.
        return {"doubleValue": value if math.isfinite(value) else _named(value)}
    return {"stringValue": value}


def _named(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"

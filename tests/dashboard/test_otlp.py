"""A run as an OTLP file: what the protocol asks for, and the same spans that telemetry told."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sequential import Registry, RetryPolicy, Sequential, Steps, flow, sleep, tool, wait_for_signal
from sequential.outcomes import Completed
from sequential.spans import SpanRow, attempt_span_id, step_span_id
from sequential.storage import Loaded
from sequential.telemetry import Telemetry
from sequential.testing import FakeClock
from sequential_dashboard.otlp import otlp_json
from sequential_dashboard.words import trace_of
from tests.dashboard.records import loaded, run_of, step
from tests.fix_dashboard import Opened

SECRET = "canary-77aa01"
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

IDS = {"traceId", "spanId", "parentSpanId"}


def parsed(text: str) -> Any:
    """Return *text* as the protocol's message; unknown names and wrong types fail."""

    def as_bytes(found: Any) -> Any:
        # OTLP writes ids in hex, where the general mapping of protobuf has base64.
        if isinstance(found, list):
            return [as_bytes(each) for each in found]
        if not isinstance(found, dict):
            return found
        return {
            name: base64.b64encode(bytes.fromhex(each)).decode() if name in IDS else as_bytes(each)
            for name, each in found.items()
        }

    # Protobuf brings no types of its own.
    read = import_module("google.protobuf.json_format").ParseDict
    return read(as_bytes(json.loads(text)), ExportTraceServiceRequest())


def spans_in(message: Any) -> list[Any]:
    return [
        span for some in message.resource_spans for each in some.scope_spans for span in each.spans
    ]


def values_of(span: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes
    }


class Told:
    """A run carried on with telemetry, and what that told."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.plugin = Telemetry(self.provider)
        self.clock = FakeClock(1_800_000_000.123456)
        self.registry = Registry()
        self.app = Sequential(
            "memory:", plugins=[self.plugin], registry=self.registry, clock=self.clock
        )

    def spans(self) -> Mapping[int, ReadableSpan]:
        assert self.plugin.flush(10.0)
        found = self.exporter.get_finished_spans()
        return {each.context.span_id: each for each in found if each.context is not None}

    def loaded(self, run_id: str) -> Loaded:
        found = self.app.storage.load(run_id)
        assert found is not None
        return found


@pytest.fixture
def told() -> Iterator[Told]:
    made = Told()
    yield made
    made.app.close()
    made.provider.shutdown()


def journey(told: Told) -> None:
    """Carry a run on until it waits for a signal; its first attempt fails."""
    calls: list[str] = []

    @tool("shop", "pack", registry=told.registry, retry=RetryPolicy(first=0.5, max_attempts=3))
    def pack(item: str) -> str:
        told.clock.advance(0.123457)
        if not calls:
            calls.append(item)
            raise ConnectionError(SECRET)
        return SECRET

    @flow(name="order", registry=told.registry)
    def order(item: str) -> Steps[str]:
        yield from pack(item)
        yield sleep(20.0)
        yield from wait_for_signal("paid", str)
        return (yield from pack(item))

    told.app.start(order, {"item": SECRET}, run_id="r")
    for _ in range(8):
        told.app.execute("r")
        told.clock.advance(7.7)


def test_an_ended_run_is_told_as_telemetry_told_it(told: Told) -> None:
    journey(told)
    told.app.signal("r", "paid", "yes")
    told.clock.advance(1.0)
    assert isinstance(told.app.execute("r"), Completed)
    live, text = told.spans(), otlp_json(told.loaded("r"))
    found = spans_in(parsed(text))
    assert [span.name for span in found] == [
        "run order", "execute_tool shop.pack", "sleep", "signal paid", "execute_tool shop.pack",
    ]  # fmt: skip
    for span in found:
        same = live[int.from_bytes(span.span_id, "big")]
        assert same.context is not None
        assert int.from_bytes(span.trace_id, "big") == same.context.trace_id
        above = 0 if same.parent is None else same.parent.span_id
        assert int.from_bytes(span.parent_span_id, "big") == above
        times = span.start_time_unix_nano, span.end_time_unix_nano
        assert (span.name, *times) == (same.name, same.start_time, same.end_time)
        assert values_of(span) == dict(same.attributes or {})
    assert SECRET not in text


def test_what_goes_on_ends_now_and_says_so(told: Told) -> None:
    journey(told)
    open_run = told.loaded("r")
    found = spans_in(parsed(otlp_json(open_run)))
    still = {span.name for span in found if values_of(span).get("sequential.open")}
    assert still == {"run order", "signal paid"}
    assert all(span.end_time_unix_nano >= span.start_time_unix_nano for span in found)
    signal = next(span for span in found if span.name == "signal paid")
    assert int.from_bytes(signal.span_id, "big") == step_span_id("r", 0, "2")
    assert signal.end_time_unix_nano == int(open_run.now * 1e9)


def test_what_the_span_store_has_joins_below_its_step_and_repeats_nothing() -> None:
    found = loaded(step(0, 1, 2))
    trace, own = trace_of(found.run), step_span_id("r", 0, "0")
    attempt = f"{attempt_span_id(own, 1, 1):016x}"
    rows = [
        SpanRow(trace, f"{own:016x}", "", "the step again", "internal", 1, 2),
        SpanRow(trace, attempt, f"{own:016x}", "attempt shop.pack", "internal", 1, 2, "OSError"),
        SpanRow(
            trace, "00f067aa0ba902b7", attempt, "GET", "client", 1.5, 1.4,
            attributes={"http.url": "https://ada:hunter2@x", "n": 7, "f": float("inf"), "ok": True},
            links=[(trace, attempt)], service="shop",
        ),
    ]  # fmt: skip
    message = parsed(otlp_json(found, rows, lambda text: text.replace("hunter2", "•••")))
    names = [each.resource.attributes[0].value.string_value for each in message.resource_spans]
    assert names == ["sequential", "shop"]
    root, first, tried, foreign = spans_in(message)
    assert first.name == "execute_tool shop.pack"
    assert tried.parent_span_id == first.span_id
    assert (tried.status.code, values_of(tried)["error.type"]) == (2, "OSError")
    assert foreign.parent_span_id == tried.span_id
    assert foreign.kind == 3
    assert foreign.end_time_unix_nano == foreign.start_time_unix_nano
    assert values_of(foreign) == {
        "http.url": "https://ada:•••@x", "n": 7, "f": float("inf"), "ok": True,
    }  # fmt: skip
    assert [link.span_id for link in foreign.links] == [tried.span_id]
    assert not root.parent_span_id


@pytest.mark.parametrize(
    ("stored", "links"),
    [(CALLER, 1), ("", 0), ("garbage", 0), ("00-" + "0" * 32 + "-b7ad6b7169203331-01", 0)],
)
def test_a_run_is_linked_to_the_span_that_started_it(stored: str, links: int) -> None:
    run = run_of(trace={"traceparent": stored})
    (root,) = spans_in(parsed(otlp_json(Loaded(run, [], 100.0))))
    assert len(root.links) == links


def test_the_page_of_a_run_offers_it_to_those_without_the_right_to_payloads(demo: Opened) -> None:
    from tests.dashboard.pages import errors, visit

    demo.settle(payloads=False)
    test = visit("run", id=demo.runs("failed")[0])
    assert errors(test) == []
    assert any(each.key == "run_otlp" for each in test.get("download_button"))

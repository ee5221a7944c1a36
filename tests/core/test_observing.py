"""What is kept of runs beside their records, and that keeping it harms none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from sequential import Registry, RetryPolicy, Sequential, Steps, ToolContext, flow, sleep, tool
from sequential.errors import ConfigError, StorageUnavailable
from sequential.hookspecs import hookimpl
from sequential.spans import (
    SpanRow,
    attempt_span_id,
    invocation_span_id,
    run_span_id,
    step_span_id,
)
from sequential.telemetry import Telemetry
from sequential.testing import FakeClock
from tests.core.kept import Brings, Shelf, keeping


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    made = TracerProvider(shutdown_on_exit=False)
    yield made
    made.shutdown()


def named(shelf: Shelf, start: str) -> list[SpanRow]:
    return [row for row in shelf.spans.values() if row.name.startswith(start)]


def shaky(registry: Registry) -> Any:
    @tool("t", "shaky", registry=registry, retry=RetryPolicy(max_attempts=3))
    def shaky(context: ToolContext) -> int:
        if context.attempt < 3:
            raise ValueError("canary-31")
        return 1

    @tool("t", "sound", registry=registry)
    def sound() -> int:
        return 1

    @flow(name="f", registry=registry)
    def f() -> Steps[int]:
        yield from sound()
        yield from sleep(1)
        return (yield from shaky())

    return f


def test_kept_is_what_records_do_not_say(shelf: Shelf, registry: Registry) -> None:
    with keeping(shelf, registry, clock=FakeClock()) as app:
        app.run(shaky(registry), run_id="r")
        fence = app.get("r").fence
        assert app.span_store is shelf
    assert shelf.closed
    assert named(shelf, "run") == named(shelf, "execute_tool") == named(shelf, "sleep") == []
    assert named(shelf, "attempt t.sound") == []
    attempts, step = named(shelf, "attempt t.shaky"), step_span_id("r", 0, "2")
    assert [(row.attributes["sequential.attempt"], row.error) for row in attempts] == [
        (1, "ValueError"), (2, "ValueError"), (3, ""),
    ]  # fmt: skip
    assert {row.parent for row in attempts} == {f"{step:016x}"}
    assert attempts[2].span == f"{attempt_span_id(step, 3, fence):016x}"
    invocations = named(shelf, "invocation")
    assert {row.span for row in invocations} >= {f"{invocation_span_id('r', fence):016x}"}
    assert {row.parent for row in invocations} == {f"{run_span_id('r'):016x}"}
    assert "canary" not in repr(shelf.spans)


def calling(registry: Registry, tracer: trace.Tracer) -> Any:
    @tool("t", "calls", registry=registry)
    def calls() -> None:
        with tracer.start_as_current_span("POST /pay", kind=trace.SpanKind.CLIENT) as span:
            span.set_attribute("url.full", "https://ann:hunter2@pay.example/x?token=abc")
            span.set_attribute("http.request.header.authorization", "Bearer abcdef0123")
            span.set_attribute("gen_ai.usage.input_tokens", 12)
            span.set_attribute("long", "x" * 5000)
            span.set_attribute("list", ["a", "b"])
            for number in range(100):
                span.set_attribute(f"n{number}", number)
            span.record_exception(KeyError("canary-31"))
            span.set_status(trace.StatusCode.ERROR, "canary-31")

    @flow(name="f", registry=registry)
    def f() -> Steps[None]:
        yield from calls()

    return f


def test_a_span_that_a_tool_makes_is_kept_redacted_and_cut(
    shelf: Shelf, registry: Registry, provider: TracerProvider
) -> None:
    tracer = provider.get_tracer("http client")
    with keeping(shelf, registry, Telemetry(provider)) as app:
        app.run(calling(registry, tracer), run_id="r")
        fence = app.get("r").fence
        with tracer.start_as_current_span("of no run"):
            pass
    (row,) = named(shelf, "POST")
    assert named(shelf, "of no run") == []
    assert row.parent == f"{attempt_span_id(step_span_id('r', 0, '0'), 1, fence):016x}"
    assert (row.kind, row.error) == ("client", "KeyError")
    assert row.attributes["url.full"] == "https://•••@pay.example/x?token=•••"
    assert row.attributes["http.request.header.authorization"] == "•••"
    assert row.attributes["gen_ai.usage.input_tokens"] == 12
    assert len(str(row.attributes["long"])) == 1000
    assert "list" not in row.attributes
    assert len(row.attributes) == 64
    assert "canary" not in repr(row)


def test_spans_of_the_provider_of_the_process_are_kept_too(
    shelf: Shelf, registry: Registry, provider: TracerProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    for _ in range(3):
        with keeping(shelf, registry := Registry()) as app:
            app.run(calling(registry, provider.get_tracer("http client")))
    assert len(named(shelf, "POST")) == 3
    assert len(provider._active_span_processor._span_processors) == 1


def test_the_store_takes_runs_that_sampling_leaves_out(shelf: Shelf, registry: Registry) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(ParentBased(TraceIdRatioBased(0.0)), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with keeping(shelf, registry, Telemetry(provider), clock=FakeClock()) as app:
        app.run(shaky(registry))
    assert exporter.get_finished_spans() == ()
    assert len(named(shelf, "attempt")) == 3
    provider.shutdown()


def test_a_store_that_fails_harms_no_run(shelf: Shelf, registry: Registry) -> None:
    shelf.broken = OSError()
    with keeping(shelf, registry, clock=FakeClock()) as app:
        assert app.run(shaky(registry)) == 1
        assert app.flush(10.0)
    assert shelf.spans == {}


class Unreachable:
    @hookimpl
    def sequential_span_stores(self) -> Any:
        def fails(*_: object) -> Any:
            raise StorageUnavailable("far", "password=hunter2 was refused")

        return {"far": fails}


def test_a_store_that_cannot_be_reached_at_the_start_is_left_out(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    plugins, settings = [Unreachable()], {"telemetry": "stored", "spans": "far:"}
    chosen: Any = settings
    with Sequential(
        "memory:", plugins=plugins, registry=registry, clock=FakeClock(), **chosen
    ) as app:
        assert app.run(shaky(registry)) == 1
        assert app.span_store is None
    assert "spans are not kept, runs go on without" in caplog.text
    assert "hunter2" not in caplog.text


def test_by_default_spans_are_with_the_runs(shelf: Shelf, registry: Registry) -> None:
    with keeping(shelf, registry, spans="") as app:
        assert app.span_store is shelf


def test_with_telemetry_off_what_others_keep_can_be_read(shelf: Shelf, registry: Registry) -> None:
    with keeping(shelf, registry, telemetry="off") as app:
        app.run(shaky(registry))
        assert app.span_store is shelf
    assert shelf.spans == {}
    assert shelf.closed


def test_a_scheme_without_span_store_says_what_to_set(registry: Registry) -> None:
    for settings in ({"spans": "s3://bucket"}, {"spans": "http://ann:hunter2@x"}):
        chosen: Any = {"telemetry": "stored", **settings}
        with pytest.raises(ConfigError, match="set `spans` to a sqlite:/// or") as error:
            Sequential("memory:", plugins=[Brings(Shelf())], registry=registry, **chosen)
        assert "hunter2" not in str(error.value)


def test_an_unknown_word_is_refused(registry: Registry) -> None:
    wrong: Any = "kept"
    with pytest.raises(ConfigError, match="use off, otlp, stored, otlp\\+stored"):
        Sequential("memory:", telemetry=wrong, registry=registry)

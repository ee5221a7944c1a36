"""What telemetry adds to an inline step on a database: exported, and kept in a span store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from sequential import Registry, Sequential
from sequential.errors import ConfigError

from .grounds import Ground
from .measure import Between, Row, Size, Subject, subject

_STEPS = 25


def measure(ground: Ground, size: Size) -> Iterator[Row]:
    """Measure steps without, exported and stored, in short runs that take turns."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from sequential.telemetry import Telemetry

    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    with ExitStack() as opened:
        subjects = {
            name: (between, made, opened.enter_context(app))
            for name in ("off", "otlp", "stored")
            for between in (Between(),)
            for made in (subject(between),)
            if (app := _opened(name, ground.url(), made.registry, Telemetry(provider)))
        }
        for _ in range(size.operations // _STEPS + 4):
            for between, made, app in subjects.values():
                _run(app, made, between)
            exporter.clear()
    provider.shutdown()
    floor = subjects["off"][0].step()
    for name, (between, _, _) in subjects.items():
        if name != "off":
            what = f"telemetry {name} / off, inline step, {ground.name}"
            yield Row(what, floor, between.step(), between.step() / floor, 1.15)


def _opened(name: str, url: str, registry: Registry, telemetry: object) -> Sequential | None:
    if name != "stored":
        plugins = ["postgres", *([telemetry] if name == "otlp" else [])]
        return Sequential(url, plugins=plugins, registry=registry)
    try:
        return Sequential(url, plugins=["postgres"], registry=registry, telemetry="stored")
    except ConfigError as error:
        print(f"left out: {error}")
        return None


def _run(app: Sequential, made: Subject, between: Between) -> None:
    between.rest()
    app.run(made.flow, {"count": _STEPS})

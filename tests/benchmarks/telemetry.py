"""What telemetry adds to an inline step on a database, spans kept by a batch processor."""

from __future__ import annotations

from collections.abc import Iterator

from sequential import Sequential

from .grounds import Ground
from .measure import Between, Row, Size, Subject, subject

_STEPS = 25


def measure(ground: Ground, size: Size) -> Iterator[Row]:
    """Measure steps with and without, in short runs that take turns."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from sequential._telemetry import Telemetry

    provider = TracerProvider()
    exporter = InMemorySpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    off, on = Between(), Between()
    without, with_it = subject(off), subject(on)
    plain = Sequential(ground.url(), registry=without.registry)
    plugins = ["postgres", Telemetry(provider)]
    told = Sequential(ground.url(), plugins=plugins, registry=with_it.registry)
    with plain, told:
        for _ in range(size.operations // _STEPS + 4):
            _run(plain, without, off)
            _run(told, with_it, on)
            exporter.clear()
    provider.shutdown()
    floor, step = off.step(), on.step()
    yield Row(f"telemetry on / off, inline step, {ground.name}", floor, step, step / floor, 1.15)


def _run(app: Sequential, made: Subject, between: Between) -> None:
    between.rest()
    app.run(made.flow, {"count": _STEPS})

"""Providers and exporters by the standard ``OTEL_*`` variables."""

from __future__ import annotations

import os
from importlib.metadata import distributions, entry_points

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from ..errors import ConfigError

_EXPORTERS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


def version() -> str:
    """Return the version of the core that is installed."""
    return next((each.version for each in distributions(name="sequential-core")), "0")


def otlp_tracer_provider() -> TracerProvider:
    """Return a provider whose spans are exported by OTLP.

    Raises:
        ConfigError: The exporter is not installed; the message says what to install.
    """
    provider = TracerProvider(resource=Resource.create({"sequential.version": version()}))
    provider.add_span_processor(BatchSpanProcessor(_exporter()))
    return provider


def _exporter() -> SpanExporter:
    chosen = [os.environ.get(f"OTEL_EXPORTER_OTLP_{each}PROTOCOL") for each in ("TRACES_", "")]
    protocol = chosen[0] or chosen[1] or "http/protobuf"
    if protocol not in _EXPORTERS:
        raise ConfigError("OTEL_EXPORTER_OTLP_PROTOCOL", protocol, "use http/protobuf or grpc")
    entry = _EXPORTERS[protocol]
    for found in entry_points(group="opentelemetry_traces_exporter", name=entry):
        made: SpanExporter = found.load()()
        return made
    package = f"opentelemetry-exporter-{entry.replace('_', '-')}"
    remedy = f"its exporter is not installed; it needs: pip install {package}"
    raise ConfigError("telemetry", "otlp", remedy)

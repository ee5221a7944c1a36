"""Providers and exporters by the standard ``OTEL_*`` variables."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from importlib.metadata import distributions, entry_points
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from ..errors import ConfigError

_EXPORTERS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}

_LAMBDA = {
    "faas.name": "AWS_LAMBDA_FUNCTION_NAME",
    "faas.version": "AWS_LAMBDA_FUNCTION_VERSION",
    "faas.instance": "AWS_LAMBDA_LOG_STREAM_NAME",
    "cloud.region": "AWS_REGION",
}


def version() -> str:
    """Return the version of the core that is installed."""
    return next((each.version for each in distributions(name="sequential-core")), "0")


def resource() -> Resource:
    """Return what this process is, as far as its environment says; ``OTEL_*`` variables win."""
    environ = os.environ
    found = {"sequential.version": version(), "service.instance.id": str(uuid.uuid4())}
    if on_lambda(environ):
        found |= {"cloud.provider": "aws", "cloud.platform": "aws_lambda"}
        found |= {name: environ[key] for name, key in _LAMBDA.items() if environ.get(key)}
        found["service.name"] = environ["AWS_LAMBDA_FUNCTION_NAME"]
    # Merged last, a resource counts more; what nobody set is called unknown_service.
    said = Resource.create()
    known = {name: value for name, value in said.attributes.items() if name not in found}
    if environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    ):
        known["service.name"] = said.attributes["service.name"]
    return Resource({**found, **known}, said.schema_url)


def on_lambda(environ: Mapping[str, str]) -> bool:
    """Tell whether this process is a function on AWS Lambda, frozen between two invocations."""
    return bool(environ.get("AWS_LAMBDA_FUNCTION_NAME"))


def otlp_tracer_provider() -> TracerProvider:
    """Return a provider whose spans are exported by OTLP.

    Raises:
        ConfigError: The exporter is not installed; the message says what to install.
    """
    provider = TracerProvider(resource=resource())
    provider.add_span_processor(BatchSpanProcessor(_exporter("traces")))
    return provider


def otlp_meter_provider(resource: Resource) -> Any:
    """Return a provider whose metrics are exported by OTLP; raises like `otlp_tracer_provider`.

    ``OTEL_METRICS_EXPORTER=none`` switches them off: then None is returned.
    """
    if os.environ.get("OTEL_METRICS_EXPORTER", "otlp") == "none":
        return None
    # It brings more than spans need.
    from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
    from opentelemetry.sdk.metrics.export import AggregationTemporality as Temporality
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    named = os.environ.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE")
    given: dict[str, Any] = {}
    if on_lambda(os.environ) and not named:
        # Sums over the life of a process say nothing where processes come and go by themselves.
        given["preferred_temporality"] = dict.fromkeys((Counter, Histogram), Temporality.DELTA)
    reader = PeriodicExportingMetricReader(_exporter("metrics", **given))
    return MeterProvider([reader], resource)


def _exporter(signal: str, **given: Any) -> Any:
    """Return the exporter of *signal*, ``traces`` or ``metrics``, that is installed."""
    names = (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next(filter(None, map(os.environ.get, names)), "http/protobuf")
    if protocol not in _EXPORTERS:
        raise ConfigError("OTEL_EXPORTER_OTLP_PROTOCOL", protocol, "use http/protobuf or grpc")
    entry = _EXPORTERS[protocol]
    for found in entry_points(group=f"opentelemetry_{signal}_exporter", name=entry):
        return found.load()(**given)
    package = f"opentelemetry-exporter-{entry.replace('_', '-')}"
    remedy = f"its exporter is not installed; it needs: pip install {package}"
    raise ConfigError("telemetry", "otlp", remedy)

"""A server that takes OTLP over HTTP on this machine's loopback, and keeps what it was sent."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_KINDS: dict[str, type[Any]] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
}


class Capture:
    """What arrived.

    Attributes:
        url: For ``OTEL_EXPORTER_OTLP_ENDPOINT``.
        bodies: As they were sent, decompressed.
        requests: The same, decoded, by path.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: list[bytes] = []
        self.requests: dict[str, list[Any]] = {path: [] for path in _KINDS}

    @property
    def resources(self) -> list[dict[str, Any]]:
        """The resources that told of spans, in order of arrival."""
        return [
            _attributes(each.resource.attributes)
            for request in self.requests["/v1/traces"]
            for each in request.resource_spans
        ]

    @property
    def told(self) -> list[Any]:
        """The spans of ours, as often as they arrived."""
        return [
            span
            for request in self.requests["/v1/traces"]
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def spans(self) -> dict[bytes, Any]:
        """The spans by their id, as a backend keeps them."""
        return {span.span_id: span for span in self.told}

    @property
    def metrics(self) -> set[str]:
        """The names of the metrics that arrived."""
        return {
            metric.name
            for request in self.requests["/v1/metrics"]
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@contextmanager
def capture() -> Iterator[Capture]:
    """Serve for the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            found.bodies.append(body)
            found.requests[self.path].append(_KINDS[self.path].FromString(body))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Capture(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _attributes(pairs: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in pairs}


def attributes(span: Any) -> dict[str, Any]:
    """Return the attributes of a span that arrived."""
    return _attributes(span.attributes)

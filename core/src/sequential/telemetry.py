"""Telemetry with a tracer provider of your own: ``Sequential(plugins=[Telemetry(provider)])``.

Importing this imports OpenTelemetry; `sequential` itself does not.
"""

from __future__ import annotations

from ._telemetry import Telemetry

__all__ = ["Telemetry"]

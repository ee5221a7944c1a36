"""Tells OpenTelemetry of runs; the only package that knows it, imported when telemetry is on."""

from __future__ import annotations

from .contexts import carrier
from .plugin import Telemetry

__all__ = ["Telemetry", "carrier"]

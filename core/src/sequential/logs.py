"""Log records that say which run and step they come from. Imports no OpenTelemetry."""

from __future__ import annotations

from ._log_lines import Stamps

__all__ = ["Stamps"]

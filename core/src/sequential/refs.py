"""Large values as handles: `Ref`."""

from __future__ import annotations

from ._ref import Ref

__all__ = ["Ref"]

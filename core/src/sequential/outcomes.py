"""What `Sequential.execute` and `Sequential.wait` answer: one class per outcome, to match on."""

from __future__ import annotations

from ._outcomes import (
    Blocked,
    Busy,
    Cancelled,
    Completed,
    Failed,
    Lost,
    Missing,
    NotMine,
    Outcome,
    Paused,
    Purged,
    Quarantined,
)

__all__ = [
    "Blocked",
    "Busy",
    "Cancelled",
    "Completed",
    "Failed",
    "Lost",
    "Missing",
    "NotMine",
    "Outcome",
    "Paused",
    "Purged",
    "Quarantined",
]

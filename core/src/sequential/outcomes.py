"""What `Sequential` says of runs: one class per outcome, to match on, and `Progress`."""

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
from ._progress import Progress

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
    "Progress",
    "Purged",
    "Quarantined",
]

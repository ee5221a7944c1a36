"""What rollups say of tools: how often, how long, how many failed, and how it changed over time.

Adds up what the storage has counted by the hour. Reads no step and knows no Streamlit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sequential.spans import BUCKETS, HOUR, Rollup, percentile

FAILED = frozenset({"error", "timeout"})
"""Outcomes that count as failed; a call that was cancelled is none of them."""

LEAST, MOST = 0, 31
"""Rows of a heatmap: doublings of a millisecond. What is shorter or longer counts to the last."""


class Window(NamedTuple):
    """How far back is looked, and how much time one column of a chart stands for, in seconds."""

    seconds: float
    column: float


WINDOWS: Mapping[str, Window] = {
    "24 h": Window(24 * HOUR, HOUR),
    "7 d": Window(7 * 24 * HOUR, 4 * HOUR),
    "30 d": Window(30 * 24 * HOUR, 12 * HOUR),
}
"""By the word in the address. A chart has 60 columns at most."""


@dataclass(slots=True)
class Tool:
    """The calls of one tool, added up.

    Attributes:
        name: ``category.name``.
        calls: How many steps were recorded.
        failed: How many of them came to an error or ran out of time.
        attempts: How many attempts they took together.
        longest: How long the longest took, in seconds.
        histogram: How many fell in each bucket of `sequential.spans.bucket_of`.
    """

    name: str
    calls: int = 0
    failed: int = 0
    attempts: int = 0
    longest: float = 0.0
    histogram: dict[int, int] = field(default_factory=dict)

    @property
    def error_rate(self) -> float:
        """The share of the calls that failed, 0 to 1."""
        return self.failed / self.calls if self.calls else 0.0

    @property
    def attempts_per_call(self) -> float:
        """How many attempts a call took on average."""
        return self.attempts / self.calls if self.calls else 0.0

    def percentile(self, share: float) -> float | None:
        """Return the seconds that *share* of the calls did not exceed, right to about 9 %."""
        found = percentile(self.histogram, share)
        # The middle of the last bucket may lie beyond the longest call there was.
        return None if found is None else min(found, self.longest)

    def add(self, row: Rollup) -> None:
        """Count *row* in."""
        self.calls += row.calls
        self.failed += row.calls if row.outcome in FAILED else 0
        self.attempts += row.attempts
        self.longest = max(self.longest, row.longest)
        for bucket, count in row.histogram.items():
            self.histogram[bucket] = self.histogram.get(bucket, 0) + count


class Column(NamedTuple):
    """The calls of one stretch of time, which begins at *start*, in seconds since the epoch."""

    start: float
    calls: int
    failed: int


class Cell(NamedTuple):
    """How many calls of one stretch of time took from *low* to *high* seconds."""

    start: float
    low: float
    high: float
    calls: int


def by_tool(rows: Iterable[Rollup]) -> list[Tool]:
    """Return each tool of *rows*, the one with most calls first."""
    found: dict[str, Tool] = {}
    for row in rows:
        found.setdefault(row.tool, Tool(row.tool)).add(row)
    return sorted(found.values(), key=lambda each: (-each.calls, each.name))


def over_time(rows: Iterable[Rollup], width: float, tool: str = "") -> list[Column]:
    """Return how many calls of *tool*, by default of all, there were and failed, in order of time.

    Args:
        rows: By the hour.
        width: Seconds of one column, a multiple of an hour.
        tool: ``category.name``.
    """
    found: dict[float, Column] = {}
    for row in _chosen(rows, tool):
        start = row.hour // width * width
        known = found.get(start, Column(start, 0, 0))
        failed = row.calls if row.outcome in FAILED else 0
        found[start] = Column(start, known.calls + row.calls, known.failed + failed)
    return [found[start] for start in sorted(found)]


def heat(rows: Iterable[Rollup], width: float, tool: str = "") -> list[Cell]:
    """Return how long calls took, by time and by doublings of a millisecond; arguments as above."""
    found: dict[tuple[float, int], int] = {}
    for row in _chosen(rows, tool):
        start = row.hour // width * width
        for bucket, count in row.histogram.items():
            key = start, min(MOST, max(LEAST, bucket // BUCKETS))
            found[key] = found.get(key, 0) + count
    return [
        Cell(start, math.ldexp(1e-3, row), math.ldexp(1e-3, row + 1), calls)
        for (start, row), calls in sorted(found.items())
    ]


def _chosen(rows: Iterable[Rollup], tool: str) -> Sequence[Rollup]:
    return [row for row in rows if tool in ("", row.tool)]

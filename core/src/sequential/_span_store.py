"""The contract of a span store, and of rollups: what is seen of runs beyond their records.

The record of a step is its span; here is the rest: further attempts, waits, invocations, spans that
tools made, and lines of their logs. Losing all of it harms no run. Knows no database and no
OpenTelemetry.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

BUCKETS = 4
"""Buckets of a histogram for each doubling of a duration: a percentile is right to about 9 %."""

HOUR = 3600.0
"""Seconds that one rollup covers."""


class SpanRow(NamedTuple):
    """One span as it is kept.

    Attributes:
        trace: Id of its trace, 32 hex digits; `trace_id_of` derives it from a run.
        span: Its id, 16 hex digits. One of the same trace and id replaces it.
        parent: Id of the span above it; empty for none.
        name: At most 256 characters.
        kind: ``internal``, ``client``, ``server``, ``producer`` or ``consumer``.
        started: Seconds since the epoch.
        ended: The same; never before *started*.
        error: Class of the error that it came to; empty for none.
        attributes: Redacted; texts, numbers and truth values only.
        links: Pairs of trace and span id.
        service: ``service.name`` of the process that made it.
    """

    trace: str
    span: str
    parent: str
    name: str
    kind: str
    started: float
    ended: float
    error: str = ""
    attributes: Mapping[str, str | int | float | bool] = {}
    links: Sequence[tuple[str, str]] = ()
    service: str = ""


class LogRow(NamedTuple):
    """One line that the code of a run logged.

    Attributes:
        trace: Id of the run's trace, 32 hex digits.
        position: Of the step whose tool logged it; empty for the flow's own code.
        time: Seconds since the epoch.
        level: ``DEBUG``, ``INFO``, ``WARNING``, ``ERROR`` or ``CRITICAL``.
        logger: Name of the logger.
        message: Redacted, at most 2,000 characters.
        span: Id of the attempt's span, 16 hex digits; empty for none.
    """

    trace: str
    position: str
    time: float
    level: str
    logger: str
    message: str
    span: str = ""


class SpanStore(Protocol):
    """Where spans and log lines are kept. Safe for use by several threads.

    Has a connection of its own: nothing here waits for a run, and no run waits for it. Operations
    raise `StorageError` as those of a storage do.
    """

    def add(self, spans: Sequence[SpanRow], logs: Sequence[LogRow] = ()) -> None:
        """Keep *spans*, each in place of one with its ids, and *logs*; all or nothing."""

    def spans_of(self, trace: str, limit: int = 5000) -> Sequence[SpanRow]:
        """Return the spans of one trace, in order of their start, at most *limit*."""

    def logs_of(
        self, trace: str, position: str | None = None, limit: int = 200
    ) -> Sequence[LogRow]:
        """Return the last *limit* lines of one trace in order of time; None for all positions."""

    def drop(self, before: float, limit: int = 10_000) -> int:
        """Remove at most *limit* spans and lines that ended before; return how many were."""

    def close(self) -> None:
        """Give connections back. The store may not be used afterwards."""


class Rollup(NamedTuple):
    """The recorded calls of one tool in one hour that came to one outcome.

    Attributes:
        hour: When the hour began, in seconds since the epoch; a multiple of `HOUR`.
        tool: ``category.name``.
        outcome: Word of `StepOutcome`.
        calls: How many steps were recorded.
        attempts: How many attempts they took together.
        seconds: How long they took together.
        longest: How long the longest took, in seconds.
        histogram: How many fell in each bucket, by number of the bucket (`bucket_of`).
    """

    hour: int
    tool: str
    outcome: str
    calls: int
    attempts: int
    seconds: float
    longest: float
    histogram: Mapping[int, int]


class Rolled(NamedTuple):
    """Rollups, and until when steps were looked at for them, in seconds since the epoch."""

    rows: Sequence[Rollup]
    until: float


class RollsUp(Protocol):
    """What a storage may offer beyond its contract: statistics of recorded steps by the hour."""

    def roll_up(self) -> float:
        """Fold what was recorded since the last call into rollups; return until when it is done.

        Hours that are not over, or were not five minutes ago, are made again by the next call. Only
        one of several callers does it at a time; the others return at once.
        """

    def rollups(self, since: float, until: float) -> Rolled:
        """Return the rollups of the hours that begin from *since* on, and before *until*."""


def bucket_of(seconds: float) -> int:
    """Return the number of the bucket that a duration falls in: it grows with the duration.

    Bucket *n* reaches from ``2 ** (n / BUCKETS)`` milliseconds up to the next; what is shorter than
    a microsecond counts as one.
    """
    return math.floor(math.log2(max(seconds, 1e-6) * 1000.0) * BUCKETS)


def bucket_seconds(number: int) -> tuple[float, float]:
    """Return where the bucket *number* begins and ends, in seconds."""
    return 2.0 ** (number / BUCKETS) / 1000.0, 2.0 ** ((number + 1) / BUCKETS) / 1000.0


def percentile(histogram: Mapping[int, int], share: float) -> float | None:
    """Return the duration that *share* (0 to 1) of the counted ones do not exceed, in seconds.

    The geometric middle of the bucket that it falls in; None if nothing was counted.
    """
    wanted = share * sum(histogram.values())
    for number in sorted(histogram):
        wanted -= histogram[number]
        if wanted <= 0:
            return math.sqrt(math.prod(bucket_seconds(number)))
    return None

"""How rollups are made, whatever the storage: which hours, which records, which bucket.

A pass makes whole hours anew, from the first that may have changed since the pass before, so that
making them twice is making them once. Knows no storage.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from ._model import StepKind, StepRecord
from ._span_store import HOUR, Rollup, bucket_of, bucket_seconds

ROLLUPS_KEPT = 400 * 86_400.0
"""Seconds for which rollups are kept."""

_LATE = 300.0
"""Seconds that a record may be committed after the time that it says."""

_LOOK_BACK = 31 * 86_400.0
"""Seconds that the first pass of all looks back."""

_PAUSE = 60.0
_SHARE = 50

_LOWEST, _HIGHEST = bucket_of(0.0), 200


class Part(NamedTuple):
    """What a `Rollup` is made of: the calls of one bucket."""

    hour: int
    tool: str
    outcome: str
    bucket: int
    calls: int
    attempts: int
    seconds: float
    longest: float


def first_hour(until: float, now: float) -> int:
    """Return the first hour that a pass makes, when the one before looked at steps *until* then.

    It had ended less than five minutes before, or not at all: all earlier ones are final.
    """
    since = until - _LATE if until else now - _LOOK_BACK
    return int(since // HOUR * HOUR)


def looked_until(hour: float) -> float:
    """Return until when steps were looked at if *hour* is the next that `first_hour` gives."""
    return hour + _LATE


def pause_after(seconds: float) -> float:
    """Return how long nobody makes a pass after one that took *seconds*: passes are 2 % at most."""
    return max(_PAUSE, _SHARE * seconds)


@cache
def bucket_edges() -> tuple[tuple[float, int], ...]:
    """Return from which duration on each bucket counts, in order: exactly as `bucket_of` says.

    So a database that knows no such logarithm counts alike, by looking up.
    """
    return ((0.0, _LOWEST), *((_edge(n), n) for n in range(_LOWEST + 1, _HIGHEST)))


def _edge(number: int) -> float:
    """Return the shortest duration in the bucket *number*: the formula is right to some ulp."""
    seconds, _ = bucket_seconds(number)
    while bucket_of(seconds) >= number:
        seconds = math.nextafter(seconds, 0.0)
    while bucket_of(seconds) < number:
        seconds = math.nextafter(seconds, math.inf)
    return seconds


def part_of(step: StepRecord, before: StepRecord | None) -> Part | None:
    """Return *step* as it is counted; None for what is no call, or a copy of one.

    A fork copies records under the fence 0, which no claim has. A retry copies the first ones of
    the generation before under their numbers and times, whose record *before* is.
    """
    if step.kind is not StepKind.TOOL or step.fence <= 0:
        return None
    if before is not None and (before.started, before.ended) == (step.started, step.ended):
        return None
    seconds = max(step.ended - step.started, 0.0)
    hour, outcome = int(step.ended // HOUR * HOUR), str(step.outcome)
    return Part(hour, step.tool, outcome, bucket_of(seconds), 1, step.attempts, seconds, seconds)


def fold(parts: Iterable[Part]) -> list[Rollup]:
    """Return the rollups that *parts* make, in order of hour, tool and outcome."""
    rows: dict[tuple[int, str, str], Rollup] = {}
    for part in parts:
        key = part[:3]
        old = rows.get(key) or Rollup(*key, 0, 0, 0.0, 0.0, {})
        counted = old.histogram.get(part.bucket, 0) + part.calls
        rows[key] = Rollup(
            *key,
            old.calls + part.calls,
            old.attempts + part.attempts,
            old.seconds + part.seconds,
            max(old.longest, part.longest),
            {**old.histogram, part.bucket: counted},
        )
    return [rows[key] for key in sorted(rows)]


def pack_rollup(row: Rollup) -> tuple[object, ...]:
    """Return *row* as values for columns; its histogram is a JSON text."""
    counts = {str(number): row.histogram[number] for number in sorted(row.histogram)}
    return (*row[:-1], json.dumps(counts))


def unpack_rollup(columns: Sequence[Any]) -> Rollup:
    """Return the rollup that `pack_rollup` made *columns* of."""
    *rest, text = columns
    histogram = {int(number): count for number, count in json.loads(text).items()}
    return Rollup._make((*rest, histogram))

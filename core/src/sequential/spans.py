"""What keeps or shows spans is written against: a store's contract, rollups, what spans say."""

from ._span_ids import (
    attempt_span_id,
    invocation_span_id,
    run_span_id,
    step_span_id,
    trace_id_of,
)
from ._span_store import (
    BUCKETS,
    HOUR,
    LogRow,
    Rolled,
    RollsUp,
    Rollup,
    SpanRow,
    SpanStore,
    bucket_of,
    bucket_seconds,
    percentile,
)
from ._spans import Told, told_run, told_step

__all__ = [
    "BUCKETS",
    "HOUR",
    "LogRow",
    "RollsUp",
    "Rolled",
    "Rollup",
    "SpanRow",
    "SpanStore",
    "Told",
    "attempt_span_id",
    "bucket_of",
    "bucket_seconds",
    "invocation_span_id",
    "percentile",
    "run_span_id",
    "step_span_id",
    "told_run",
    "told_step",
    "trace_id_of",
]

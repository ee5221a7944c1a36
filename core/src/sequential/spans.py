"""What a plugin that keeps spans is written against: the contract, its rows, and rollups."""

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

__all__ = [
    "BUCKETS",
    "HOUR",
    "LogRow",
    "RollsUp",
    "Rolled",
    "Rollup",
    "SpanRow",
    "SpanStore",
    "attempt_span_id",
    "bucket_of",
    "bucket_seconds",
    "invocation_span_id",
    "percentile",
    "run_span_id",
    "step_span_id",
    "trace_id_of",
]

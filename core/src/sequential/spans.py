"""What plugins that keep spans, or wake runs, are written against: the contract, its rows, ids."""

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
from ._woken import W3C, Woken, on_lambda, woken_by

__all__ = [
    "BUCKETS",
    "HOUR",
    "W3C",
    "LogRow",
    "RollsUp",
    "Rolled",
    "Rollup",
    "SpanRow",
    "SpanStore",
    "Woken",
    "attempt_span_id",
    "bucket_of",
    "bucket_seconds",
    "invocation_span_id",
    "on_lambda",
    "percentile",
    "run_span_id",
    "step_span_id",
    "trace_id_of",
    "woken_by",
]

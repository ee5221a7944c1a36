"""What a plugin that keeps spans is written against: the contract, its rows, and rollups."""

from ._rollups import (
    ROLLUPS_KEPT,
    Part,
    bucket_edges,
    first_hour,
    fold,
    pack_rollup,
    part_of,
    pause_after,
    unpack_rollup,
)
from ._span_ids import attempt_span_id, step_span_id, trace_id_of
from ._span_rows import pack_log, pack_span, unpack_logs, unpack_spans
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
from ._spans import run_span_id

__all__ = [
    "BUCKETS",
    "HOUR",
    "ROLLUPS_KEPT",
    "LogRow",
    "Part",
    "RollsUp",
    "Rolled",
    "Rollup",
    "SpanRow",
    "SpanStore",
    "attempt_span_id",
    "bucket_edges",
    "bucket_of",
    "bucket_seconds",
    "first_hour",
    "fold",
    "pack_log",
    "pack_rollup",
    "pack_span",
    "part_of",
    "pause_after",
    "percentile",
    "run_span_id",
    "step_span_id",
    "trace_id_of",
    "unpack_logs",
    "unpack_rollup",
    "unpack_spans",
]

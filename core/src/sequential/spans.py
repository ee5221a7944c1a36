"""What keeps, shows or starts spans is written against: stores, rollups, ids, who woke a run."""

from ._events import RunEnded, Spent
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
from ._span_ids import (
    attempt_span_id,
    invocation_span_id,
    run_span_id,
    step_span_id,
    trace_id_of,
)
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
from ._spans import Told, told_run, told_step
from ._woken import W3C, Woken, on_lambda, woken_by

__all__ = [
    "BUCKETS",
    "HOUR",
    "ROLLUPS_KEPT",
    "W3C",
    "LogRow",
    "Part",
    "Rolled",
    "RollsUp",
    "Rollup",
    "RunEnded",
    "SpanRow",
    "SpanStore",
    "Spent",
    "Told",
    "Woken",
    "attempt_span_id",
    "bucket_edges",
    "bucket_of",
    "bucket_seconds",
    "first_hour",
    "fold",
    "invocation_span_id",
    "on_lambda",
    "pack_log",
    "pack_rollup",
    "pack_span",
    "part_of",
    "pause_after",
    "percentile",
    "run_span_id",
    "step_span_id",
    "told_run",
    "told_step",
    "trace_id_of",
    "unpack_logs",
    "unpack_rollup",
    "unpack_spans",
    "woken_by",
]

"""The statements of a projection: constant texts, every value bound. Runs nothing."""

from __future__ import annotations

from .._record_shapes import RUN_COLUMNS, STEP_COLUMNS

_RUN = ", ".join(RUN_COLUMNS)
_STEP = ", ".join(STEP_COLUMNS)
_MARKS = ", ".join("?" * len(RUN_COLUMNS))
_SET = ", ".join(f"{column} = excluded.{column}" for column in RUN_COLUMNS[1:])

READ_MARKS = "SELECT source, upto, compared FROM projection"
BEGIN = "INSERT INTO projection (one, source) VALUES (1, ?)"
NAME_DEPLOYMENT = "UPDATE meta SET deployment = ?"
NAME_SOURCE = "UPDATE projection SET source = ?"
MARK_UPTO = "UPDATE projection SET upto = ?"
MARK_COMPARED = "UPDATE projection SET upto = ?, compared = ?"

PUT_RUN = (
    f"INSERT INTO runs ({_RUN}) VALUES ({_MARKS})"  # noqa: S608  (constants)
    f" ON CONFLICT (run_id) DO UPDATE SET {_SET}"
)
READ_KNOWN = "SELECT version, op_id, generation, tags FROM runs WHERE run_id = ?"
READ_LAST_STEP = (
    f"SELECT {_STEP} FROM steps WHERE run_id = ? AND generation = ?"  # noqa: S608
    " ORDER BY number DESC LIMIT 1"
)

DROP_REST = "DELETE FROM steps WHERE run_id = ? AND (generation <> ? OR number >= ?)"

NEWEST = "SELECT run_id FROM runs ORDER BY created DESC, run_id LIMIT 1"
OPEN = "SELECT run_id FROM runs WHERE status IN ('paused', 'running', 'quarantined')"
OVER = (
    "SELECT run_id FROM runs WHERE wake <= ?"
    " AND status IN ('completed', 'failed', 'cancelled', 'purged') ORDER BY wake LIMIT ?"
)
WENT_WRONG = (
    "SELECT run_id FROM runs WHERE status IN ('failed', 'cancelled')"
    " ORDER BY created DESC, run_id LIMIT ?"
)
# From the place after which a page begins up to that of its last run, newest first.
BETWEEN = (
    "SELECT run_id FROM runs WHERE (created < ? OR (created = ? AND run_id > ?))"
    " AND (created > ? OR (created = ? AND run_id <= ?))"
)

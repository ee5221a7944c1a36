"""What is stored, read from the storage's tables: plain SQL and plain JSON, no engine.

The layout is said here a second time on purpose. A checker that read runs through the storage's own
code would share its mistakes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, NamedTuple

from tests.acceptance.book import Rows, Where, read_book

_STEPS = (
    "SELECT number, generation, position, kind, tool, outcome, attempts, fence, value FROM steps"
    " WHERE run_id = ? AND generation = ? ORDER BY number"
)


class StoredStep(NamedTuple):
    """One row of ``steps``; *value* is decoded."""

    number: int
    generation: int
    position: str
    kind: str
    tool: str
    outcome: str
    attempts: int
    fence: int
    value: Any


class StoredRun(NamedTuple):
    """One row of ``runs``; *input* and *result* are decoded, *state* is all that has no column."""

    run_id: str
    generation: int
    status: str
    wake: float | None
    state: dict[str, Any]
    input: Any
    result: Any
    steps: list[StoredStep]


class Stored:
    """What is stored *where*, in one snapshot."""

    def __init__(self, where: Where) -> None:
        self._where = where

    def runs(self) -> list[StoredRun]:
        """Read every run with the steps of its generation."""
        return read_book(self._where, _runs)

    def left_over(self) -> list[str]:
        """Say what is stored for runs that are purged or not there at all."""
        return read_book(self._where, _left_over)


def _runs(rows: Rows) -> list[StoredRun]:
    found = []
    for run_id, generation, status, wake, text in rows(
        "SELECT run_id, generation, status, wake, state FROM runs"
    ):
        state = json.loads(text)
        steps = [
            StoredStep._make((*rest, _column(rows, run_id, value)))
            for *rest, value in rows(_STEPS, run_id, generation)
        ]
        given, result = (_inside(rows, run_id, state.get(name)) for name in ("input", "result"))
        found.append(StoredRun(run_id, generation, status, wake, state, given, result, steps))
    return found


def _left_over(rows: Rows) -> list[str]:
    return [
        f"{count} rows of {table} belong to {run_id}, which is {status or 'not stored'}"
        for table in ("steps", "stored_values")
        for run_id, status, count in rows(
            f"SELECT part.run_id, runs.status, count(*) FROM {table} AS part"
            " LEFT JOIN runs ON runs.run_id = part.run_id"
            " WHERE runs.run_id IS NULL OR runs.status = 'purged'"
            " GROUP BY part.run_id, runs.status"
        )
    ]


def _inside(rows: Rows, run_id: str, packed: list[Any] | None) -> Any:
    """Decode a payload inside a state: ``[value]``, or ``[null, header]``."""
    if not packed:
        return None
    if len(packed) == 1:
        return packed[0]
    header = packed[1]
    return _whole(rows, run_id, header, base64.b64decode(header.get("data", "")))


def _column(rows: Rows, run_id: str, stored: bytes) -> Any:
    """Decode a payload in a column: JSON, or the byte 1, a header, a newline and the data."""
    if stored[:1] != b"\x01":
        return json.loads(stored)
    header, _, data = stored[1:].partition(b"\n")
    return _whole(rows, run_id, json.loads(header), data)


def _whole(rows: Rows, run_id: str, header: dict[str, Any], data: bytes) -> Any:
    digest = header.get("ref")
    if digest is not None:
        kept = rows(
            "SELECT data FROM stored_values WHERE run_id = ? AND digest = ?", run_id, digest
        )
        data = kept[0][0] if kept else b'"missing"'
        if hashlib.sha256(data).hexdigest() != digest:
            return "damaged"
    # The only codec of these tests changes nothing.
    return json.loads(data)

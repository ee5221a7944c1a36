"""What is stored, read from the SQLite file itself: plain SQL and plain JSON, no engine.

The layout is said here a second time on purpose. A checker that read runs through the storage's own
code would share its mistakes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

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
    """The file *database*, in one snapshot."""

    def __init__(self, database: Path) -> None:
        self._database = database

    def runs(self) -> Iterator[StoredRun]:
        """Read every run with the steps of its generation."""
        with closing(sqlite3.connect(self._database, timeout=30)) as connection:
            connection.execute("BEGIN")
            rows = connection.execute("SELECT run_id, generation, status, wake, state FROM runs")
            for run_id, generation, status, wake, text in rows:
                state = json.loads(text)
                yield StoredRun(
                    run_id, generation, status, wake, state,
                    _inside(connection, run_id, state.get("input")),
                    _inside(connection, run_id, state.get("result")),
                    [
                        StoredStep._make((*rest, _column(connection, run_id, value)))
                        for *rest, value in connection.execute(_STEPS, (run_id, generation))
                    ],
                )  # fmt: skip

    def left_over(self) -> list[str]:
        """Say what stands in the file for runs that are purged or not there at all."""
        with closing(sqlite3.connect(self._database, timeout=30)) as connection:
            return [
                f"{count} rows of {table} belong to {run_id}, which is {status or 'not stored'}"
                for table in ("steps", "stored_values")
                for run_id, status, count in connection.execute(
                    f"SELECT part.run_id, runs.status, count(*) FROM {table} AS part"
                    " LEFT JOIN runs USING (run_id)"
                    " WHERE runs.run_id IS NULL OR runs.status = 'purged' GROUP BY part.run_id"
                )
            ]


def _inside(connection: sqlite3.Connection, run_id: str, packed: list[Any] | None) -> Any:
    """Decode a payload inside a state: ``[value]``, or ``[null, header]``."""
    if not packed:
        return None
    if len(packed) == 1:
        return packed[0]
    header = packed[1]
    return _whole(connection, run_id, header, base64.b64decode(header.get("data", "")))


def _column(connection: sqlite3.Connection, run_id: str, stored: bytes) -> Any:
    """Decode a payload in a column: JSON, or the byte 1, a header, a newline and the data."""
    if stored[:1] != b"\x01":
        return json.loads(stored)
    header, _, data = stored[1:].partition(b"\n")
    return _whole(connection, run_id, json.loads(header), data)


def _whole(connection: sqlite3.Connection, run_id: str, header: dict[str, Any], data: bytes) -> Any:
    digest = header.get("ref")
    if digest is not None:
        (data,) = connection.execute(
            "SELECT data FROM stored_values WHERE run_id = ? AND digest = ?", (run_id, digest)
        ).fetchone() or (b'"missing"',)
        if hashlib.sha256(data).hexdigest() != digest:
            return "damaged"
    # The only codec of these tests changes nothing.
    return json.loads(data)

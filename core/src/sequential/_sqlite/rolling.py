"""Rollups in a SQLite file: one pass over the steps of runs that may have new ones.

The steps have no index by time, which every step would pay for with 7 to 10 %. A pass reads on a
snapshot, which blocks nobody, and counts in SQL, which holds up no other thread; it rests fifty
times as long as it took, as the file says to all processes.
"""

from __future__ import annotations

import sqlite3
import time
from typing import NamedTuple

from .._rollups import (
    ROLLUPS_KEPT,
    Part,
    bucket_edges,
    first_hour,
    fold,
    pack_rollup,
    pause_after,
    unpack_rollup,
)
from .._span_store import HOUR, Rolled, Rollup
from .connection import Connections

_CLAIM = 600.0
"""Seconds for which one process has a pass to itself; if it died, another makes one then."""

_READ = "SELECT until, again FROM rolled"
_TAKE = "UPDATE rolled SET again = ? WHERE until = ? AND again = ?"
_EDGES = "CREATE TEMP TABLE edges (low REAL PRIMARY KEY, bucket INTEGER NOT NULL) WITHOUT ROWID"
_EDGE = "INSERT INTO temp.edges (low, bucket) VALUES (?, ?)"
# Runs first: one that has ended before the hour, as most have, has no step in it. Left out are
# copies (see `part_of`): those of forks by their fence, those of retries by the record of the
# generation before. Words that there are not are damage, which `load` tells of.
_COUNT = """
SELECT hour, tool, outcome,
    (SELECT bucket FROM temp.edges WHERE low <= seconds ORDER BY low DESC LIMIT 1) AS bucket,
    count(*), sum(attempts), sum(seconds), max(seconds)
FROM (
    SELECT CAST(s.ended / :hour AS INTEGER) * :hour AS hour, s.tool, s.outcome, s.attempts,
        max(s.ended - s.started, 0.0) AS seconds
    FROM runs AS r CROSS JOIN steps AS s ON s.run_id = r.run_id
    WHERE (r.ended IS NULL OR r.ended >= :since - :hour)
        AND s.ended >= :since AND s.ended < :until AND s.kind = 'tool' AND s.fence > 0
        AND s.outcome IN ('value', 'error', 'timeout', 'cancelled')
        AND NOT (s.generation > 0 AND EXISTS (
            SELECT 1 FROM steps AS b
            WHERE b.run_id = s.run_id AND b.generation = s.generation - 1 AND b.number = s.number
                AND b.started = s.started AND b.ended = s.ended
        ))
)
GROUP BY hour, tool, outcome, bucket"""
_FORGET = "DELETE FROM rollups WHERE hour >= ? OR hour < ?"
_KEEP = "INSERT INTO rollups VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_DONE = "UPDATE rolled SET until = ?, again = ? WHERE until = ?"
_FIND = "SELECT * FROM rollups WHERE hour >= ? AND hour < ? ORDER BY hour, tool, outcome"


class _State(NamedTuple):
    until: float
    again: float


def roll_up(connections: Connections, now: float) -> float:
    """Make a pass, if it is time for one and nobody else makes it; return until when it is done."""
    with connections.reading() as connection:
        state = _read(connection)
    if state.again > now or not _take(connections, state, now):
        return state.until
    began = time.monotonic()
    first = first_hour(state.until, now)
    with connections.reading() as connection:
        rows = _count(connection, first, now)
    again = now + pause_after(time.monotonic() - began)
    with connections.writing() as connection:
        # Somebody who took this one for dead has made it meanwhile, and may know more.
        if not connection.execute(_DONE, (now, again, state.until)).rowcount:
            return _read(connection).until
        connection.execute(_FORGET, (first, now - ROLLUPS_KEPT))
        connection.executemany(_KEEP, map(pack_rollup, rows))
    return now


def rollups(connections: Connections, since: float, until: float) -> Rolled:
    """Return the rollups of the hours that begin from *since* on, and before *until*."""
    with connections.reading() as connection:
        state = _read(connection)
        rows = connection.execute(_FIND, (since, until)).fetchall()
    return Rolled([unpack_rollup(row) for row in rows], state.until)


def _read(connection: sqlite3.Connection) -> _State:
    return _State(*connection.execute(_READ).fetchone())


def _take(connections: Connections, state: _State, now: float) -> bool:
    with connections.writing() as connection:
        return connection.execute(_TAKE, (now + _CLAIM, *state)).rowcount == 1


def _count(connection: sqlite3.Connection, first: int, now: float) -> list[Rollup]:
    # Gone with the transaction, which is rolled back.
    connection.execute(_EDGES)
    connection.executemany(_EDGE, bucket_edges())
    values = {"hour": int(HOUR), "since": first, "until": now + HOUR}
    return fold(Part(*row) for row in connection.execute(_COUNT, values))

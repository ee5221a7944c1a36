"""Rollups in Postgres: a pass reads the hours that may have changed, and replaces them.

A day at a time, each in one transaction that holds the row of the watermark locked: another sweeper
skips it, and nothing is set in a session, so that it works behind a pooler of transactions.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psycopg

from sequential.spans import (
    HOUR,
    ROLLUPS_KEPT,
    Part,
    Rolled,
    bucket_edges,
    first_hour,
    fold,
    looked_until,
    pack_rollup,
    pause_after,
    unpack_rollup,
)

from .connections import Connections, Row
from .queries import NOW
from .texts import from_column

_DAY = 24 * HOUR
_ENOUGH = 20.0
"""Seconds after which a call stops at the end of a day; the next one goes on from there."""

_TIMEOUT = 300
"""Seconds that one statement of a pass may take: it reads a day of steps."""

_TAKE = """
SELECT until FROM {schema}.rolled WHERE one = 1 AND again <= %s FOR UPDATE SKIP LOCKED"""
# Left out are copies: those of forks by their fence, those of retries by the record of the
# generation before, with its number and times.
_COUNT = """
SELECT hour, tool, outcome, width_bucket(seconds, %s::float8[]) - 1 AS edge,
    count(*), sum(attempts)::bigint, sum(seconds), max(seconds)
FROM (
    SELECT (floor(s.ended / 3600) * 3600)::bigint AS hour, s.tool, s.outcome, s.attempts,
        greatest(s.ended - s.started, 0) AS seconds
    FROM {schema}.steps AS s
    WHERE s.ended >= %s AND s.ended < %s AND s.kind = 'tool' AND s.fence > 0
        AND NOT (s.generation > 0 AND EXISTS (
            SELECT FROM {schema}.steps AS b
            WHERE b.run_id = s.run_id AND b.generation = s.generation - 1 AND b.number = s.number
                AND b.started = s.started AND b.ended = s.ended
        ))
) AS counted
GROUP BY hour, tool, outcome, edge"""
_FORGET = "DELETE FROM {schema}.rollups WHERE (hour >= %s AND hour < %s) OR hour < %s"
_KEEP = "INSERT INTO {schema}.rollups VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
_DONE = "UPDATE {schema}.rolled SET until = %s, again = %s WHERE one = 1"
_READ = f"SELECT until, again, {NOW} FROM {{schema}}.rolled"  # noqa: S608  (constants)
_FIND = """
SELECT * FROM {schema}.rollups WHERE hour >= %s AND hour < %s ORDER BY hour, tool, outcome"""

_Connection = psycopg.Connection[Row]


class Rolling:
    """The rollups of one schema, whose quoted name is *schema*."""

    def __init__(self, connections: Connections, schema: str) -> None:
        self._connections = connections
        texts = (_TAKE, _COUNT, _FORGET, _KEEP, _DONE, _READ, _FIND)
        self._take, self._count, self._forget, self._keep, self._done, self._read, self._find = [
            text.format(schema=schema).encode() for text in texts
        ]

    def roll_up(self, bound: tuple[float, float]) -> float:
        """Make a pass, if it is time for one and nobody else makes it; return until when it is."""
        until, again, now = self._state(bound)
        if again > now:
            return until
        began = time.monotonic()
        # One of its own: the pool's are for steps, and wait no longer than a step may.
        with self._connections.alone() as connection:
            connection.patience = _TIMEOUT * 1.25
            while (done := self._pass(connection, now)) is not None:
                until = done
                if until >= now or time.monotonic() - began > _ENOUGH:
                    break
        return until

    def rollups(self, since: float, until: float) -> Rolled:
        """Return the rollups of the hours that begin from *since* on, and before *until*."""
        looked, _, _ = self._state((0.0, 0.0))
        rows = self._connections.repeat(self._find, (since, until))
        return Rolled([_read_row(row) for row in rows], looked)

    def _state(self, bound: tuple[float, float]) -> tuple[float, float, float]:
        """Return until when steps were looked at, when they may be again, and what time it is."""
        until, again, now = self._connections.repeat(self._read, bound)[0]
        return until, again, now

    def _pass(self, connection: _Connection, now: float) -> float | None:
        """Make the hours of a day at most; None if it is not time, or somebody else is at it."""
        began = time.monotonic()
        with connection.transaction():
            connection.execute(f"SET LOCAL statement_timeout = '{_TIMEOUT}s'".encode())
            taken = connection.execute(self._take, (now,)).fetchone()
            if taken is None:
                return None
            first = first_hour(taken[0], now)
            # A day whose last hour is not final yet is the last one, with all that follows it.
            whole = looked_until(first + _DAY) <= now
            end, until = (first + _DAY, looked_until(first + _DAY)) if whole else (now + HOUR, now)
            rows = connection.execute(self._count, _bound(first, end)).fetchall()
            connection.execute(self._forget, (first, end, now - ROLLUPS_KEPT))
            with connection.cursor() as cursor:
                cursor.executemany(self._keep, [pack_rollup(row) for row in fold(_parts(rows))])
            # More days to do are done at once.
            pause = pause_after(time.monotonic() - began) if until == now else 0.0
            connection.execute(self._done, (until, now + pause))
        return until


def _bound(first: float, end: float) -> tuple[object, ...]:
    return [low for low, _ in bucket_edges()], first, end


def _parts(rows: Sequence[Row]) -> list[Part]:
    edges = bucket_edges()
    return [Part._make((*row[:3], edges[row[3]][1], *row[4:])) for row in rows]


def _read_row(row: Sequence[Any]) -> Any:
    found = unpack_rollup(row)
    return found._replace(tool=from_column(found.tool), outcome=from_column(found.outcome))

"""Spans and lines of logs in the schema of the runs, over connections of their own.

A batch is one statement. Statements have the timeout of the URL, so that a batch never waits long;
losing one harms no run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sequential.spans import LogRow, SpanRow, pack_log, pack_span, unpack_logs, unpack_spans

from .connections import Connections
from .schema import prepare
from .url import PostgresSettings

_ADD = """
WITH added AS (
    INSERT INTO {schema}.spans AS s (trace, span, started, ended, data)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::float8[], %s::float8[], %s::text[])
    ON CONFLICT (trace, span) DO UPDATE
        SET started = excluded.started, ended = excluded.ended, data = excluded.data
), logged AS (
    INSERT INTO {schema}.logs (trace, position, time, data)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::float8[], %s::text[])
)
SELECT 1"""
_SPANS = """
SELECT trace, span, started, ended, data FROM {schema}.spans WHERE trace = %s
ORDER BY started, span LIMIT %s"""
_LOGS = """
SELECT trace, position, time, data FROM {schema}.logs
WHERE trace = %s AND (%s::text IS NULL OR position = %s::text)
ORDER BY time DESC, id DESC LIMIT %s"""
_DROP = """
WITH old AS (
    SELECT trace, span FROM {schema}.spans WHERE ended < %s LIMIT %s FOR UPDATE SKIP LOCKED
), dropped AS (
    DELETE FROM {schema}.spans AS s USING old WHERE s.trace = old.trace AND s.span = old.span
    RETURNING 1
), lines AS (
    DELETE FROM {schema}.logs WHERE id IN (
        SELECT id FROM {schema}.logs WHERE time < %s
        LIMIT greatest(%s - (SELECT count(*) FROM old), 0)
        FOR UPDATE SKIP LOCKED
    ) RETURNING 1
)
SELECT (SELECT count(*) FROM dropped) + (SELECT count(*) FROM lines)"""

_CONNECTIONS = 2
"""One that writes, and one that reads: who waits for spans waits for each other."""


class PostgresSpans:
    """Keeps spans in one schema.

    Raises:
        StorageError: The server cannot be reached, or the schema is not ours.
    """

    def __init__(self, settings: PostgresSettings) -> None:
        self._connections = Connections(replace(settings, pool=min(settings.pool, _CONNECTIONS)))
        schema = f'"{settings.schema}"'
        self._add, self._spans, self._logs, self._drop = [
            text.format(schema=schema).encode() for text in (_ADD, _SPANS, _LOGS, _DROP)
        ]
        with self._connections.alone() as connection:
            prepare(connection, settings.place, settings.schema)

    def add(self, spans: Sequence[SpanRow], logs: Sequence[LogRow] = ()) -> None:
        """Keep *spans*, each in place of one with its ids, and *logs*; all or nothing."""
        # One statement may not write a row twice: of two in a batch the last one counts.
        last = {(row.trace, row.span): row for row in spans}
        rows = _columns([pack_span(last[key]) for key in sorted(last)], 5)
        self._connections.write(self._add, (*rows, *_columns([pack_log(row) for row in logs], 4)))

    def spans_of(self, trace: str, limit: int = 5000) -> Sequence[SpanRow]:
        """Return the spans of one trace, in order of their start, at most *limit*."""
        return unpack_spans(self._connections.repeat(self._spans, (trace, limit)))

    def logs_of(
        self, trace: str, position: str | None = None, limit: int = 200
    ) -> Sequence[LogRow]:
        """Return the last *limit* lines of one trace in order of time; None for all positions."""
        rows = self._connections.repeat(self._logs, (trace, position, position, limit))
        return unpack_logs(reversed(rows))

    def drop(self, before: float, limit: int = 10_000) -> int:
        """Remove at most *limit* spans and lines that ended before; return how many were."""
        values = (before, limit, before, limit)
        return int(self._connections.write(self._drop, values)[0][0])

    def close(self) -> None:
        """Close all connections. The store may not be used afterwards."""
        self._connections.close()


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    return [[row[number] for row in rows] for number in range(width)]

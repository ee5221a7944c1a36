"""The statements of the Postgres storage, for one schema: every value bound, one statement each.

A commit guards and writes in one statement, so that it needs no transaction around it. What `find`
and `count` ask stands in `finding`. Knows the tables and the columns, runs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sequential.storage import RUN_COLUMNS, STEP_COLUMNS

_TYPES = {
    "generation": "bigint",
    "number": "bigint",
    "value": "bytea",
    "input": "bytea",
    "attempts": "bigint",
    "started": "double precision",
    "ended": "double precision",
    "fence": "bigint",
    "v": "bigint",
}
_RUN = ", ".join(f"r.{name}" for name in RUN_COLUMNS)
_STEP = ", ".join(f"s.{name}" for name in STEP_COLUMNS)
_STEP_NAMES = ", ".join(STEP_COLUMNS)
_ONE_STEP = ", ".join(f"%s::{_TYPES.get(name, 'text')}" for name in STEP_COLUMNS)
_MANY_STEPS = ", ".join(f"%s::{_TYPES.get(name, 'text')}[]" for name in STEP_COLUMNS)

# The time: the server's, plus the skew, and no less than this process was ever told. Not now():
# that one stands still from the start of the transaction on. Binds the skew and the mark.
NOW = "greatest(extract(epoch FROM clock_timestamp())::float8 + %s::float8, %s::float8)"
# A wake, of its moment or of its seconds from now; either is NULL. Binds moment, time, seconds.
_WAKE = f"coalesce(%s::float8, {NOW} + %s::float8)"

# {schema} is filled in by `Statements.of`.
_CREATE = f"""
WITH r AS (
    INSERT INTO {{schema}}.runs ({", ".join(RUN_COLUMNS)})
    VALUES (%s, %s, 1, %s, %s, %s, %s, {_WAKE}, %s, %s, coalesce(%s::float8, {NOW}), %s, %s)
    ON CONFLICT (run_id) DO NOTHING
    RETURNING run_id, wake, created
)"""  # noqa: S608  (constants)
_COMMIT = f"""
WITH r AS (
    UPDATE {{schema}}.runs
    SET generation = %s, version = %s, op_id = %s, flow_version = %s, status = %s,
        wake = {_WAKE}, tags = %s, ended = %s, state = %s, nudged = NULL
    WHERE run_id = %s AND version = %s AND op_id = %s
    RETURNING run_id, wake, created
)"""  # noqa: S608  (constants)
_APPEND = f""", appended AS (
    INSERT INTO {{schema}}.steps (run_id, {_STEP_NAMES})
    SELECT r.run_id, {{steps}}
)"""
# What stays is neither dropped nor added: one statement may not do both to a row.
_RETAG = """, untagged AS (
    DELETE FROM {schema}.tags AS t USING r WHERE t.run_id = r.run_id AND t.tag <> ALL (%s::bytea[])
), tagged AS (
    INSERT INTO {schema}.tags (run_id, tag, created)
    SELECT r.run_id, t.tag, r.created FROM r, unnest(%s::bytea[]) AS t (tag)
    ON CONFLICT DO NOTHING
)"""
_WRITTEN = f" SELECT r.wake, r.created, {NOW} FROM r"  # noqa: S608  (constants)

# One statement, one snapshot: the record, then its steps, each with NULL for what the other has.
_LOAD = f"""
SELECT {_RUN}, {NOW}, {", ".join(f"NULL::{_TYPES.get(name, 'text')}" for name in STEP_COLUMNS)}
FROM {{schema}}.runs AS r WHERE r.run_id = %s
UNION ALL
SELECT {", ".join("NULL" for _ in RUN_COLUMNS)}, NULL, {_STEP}
FROM {{schema}}.steps AS s
WHERE s.run_id = %s AND s.number >= %s
    AND s.generation = (SELECT r.generation FROM {{schema}}.runs AS r WHERE r.run_id = %s)"""  # noqa: S608  (constants)

_DUE = f"""
WITH t AS (SELECT {NOW} AS now), d AS (
    {{candidates}}
)
UPDATE {{schema}}.runs AS r SET nudged = t.now FROM t, d WHERE r.run_id = d.run_id
RETURNING r.wake, r.run_id, t.now"""  # noqa: S608  (constants)
_CANDIDATES = """SELECT run_id, wake FROM {schema}.runs
    WHERE wake <= (SELECT now FROM t)
        AND (nudged IS NULL OR nudged <= (SELECT now FROM t) - %s::float8){flow}
    ORDER BY wake, run_id LIMIT %s
    FOR UPDATE SKIP LOCKED"""
# Each flow from its place in an index, so that what is due of others is not looked at.
_OF_FLOWS = """SELECT c.run_id
FROM unnest(%s::text[], %s::text[]) AS f (name, of_version) CROSS JOIN LATERAL (
    {candidates}
) AS c ORDER BY c.wake, c.run_id LIMIT %s"""

# Put again, a damaged value is mended.
_PUT_VALUE = """
INSERT INTO {schema}.stored_values AS v (run_id, digest, data) VALUES (%s, %s, %s)
ON CONFLICT (run_id, digest) DO UPDATE SET data = excluded.data WHERE v.data <> excluded.data
RETURNING 1"""
_GET_VALUE = "SELECT data FROM {schema}.stored_values WHERE run_id = %s AND digest = %s"

_EMPTIED = """, steps AS (
    DELETE FROM {schema}.steps AS s USING r WHERE s.run_id = r.run_id
), kept AS (
    DELETE FROM {schema}.stored_values AS v USING r WHERE v.run_id = r.run_id
), tagged AS (
    DELETE FROM {schema}.tags AS t USING r WHERE t.run_id = r.run_id
)
SELECT 1 FROM r"""
_BURY = f"""
WITH r AS (
    UPDATE {{schema}}.runs
    SET version = %s, op_id = '', status = 'purged', wake = %s, tags = '{{{{}}}}', parent = NULL,
        state = %s, nudged = NULL
    WHERE run_id = %s AND version = %s AND op_id = %s
        AND status IN ('completed', 'failed', 'cancelled')
    RETURNING run_id
){_EMPTIED}"""  # noqa: S608  (constants)
_REMOVE = f"""
WITH r AS (
    DELETE FROM {{schema}}.runs
    WHERE run_id = %s AND version = %s AND op_id = %s AND status = 'purged'
    RETURNING run_id
){_EMPTIED}"""  # noqa: S608  (constants)


class Statements(NamedTuple):
    """The statements for one schema. Tuples are of those without, with one and with many steps.

    Attributes:
        create: Binds the columns, the steps, the tags, the time.
        commit: Binds the columns, the guard, the steps, the time.
        retag: Like *commit*, with the tags between the steps and the time.
        load: Binds the time, the id, the id again, the least number and the id once more.
        due: Binds the time, the hold and the limit.
        due_of: Binds the time, the flows, their versions, the hold, the limit of each, the limit.
        put_value: Binds the id, the digest and the data.
        get_value: Binds the id and the digest.
        bury: Binds version, wake, state and the guard.
        remove: Binds the guard.
        schema: Its name, quoted.
    """

    create: Sequence[bytes]
    commit: Sequence[bytes]
    retag: Sequence[bytes]
    load: bytes
    due: bytes
    due_of: bytes
    put_value: bytes
    get_value: bytes
    bury: bytes
    remove: bytes
    schema: str

    @classmethod
    def of(cls, schema: str) -> Statements:
        """Return the statements for *schema*, a name that was checked."""
        name = f'"{schema}"'

        def text(*parts: str, **words: str) -> bytes:
            return "".join(parts).format(schema=name, **words).encode()

        appends = (
            "",
            _APPEND.replace("{steps}", f"{_ONE_STEP} FROM r"),
            _APPEND.replace(
                "{steps}", f"{_STEP} FROM r, unnest({_MANY_STEPS}) AS s ({_STEP_NAMES})"
            ),
        )
        return cls(
            [text(_CREATE, append, _RETAG, _WRITTEN) for append in appends],
            [text(_COMMIT, append, _WRITTEN) for append in appends],
            [text(_COMMIT, append, _RETAG, _WRITTEN) for append in appends],
            text(_LOAD),
            text(_DUE.replace("{candidates}", _CANDIDATES), flow=""),
            text(
                _DUE.replace("{candidates}", _OF_FLOWS).replace("{candidates}", _CANDIDATES),
                flow=" AND flow = f.name AND (f.of_version IS NULL OR flow_version = f.of_version)",
            ),
            text(_PUT_VALUE),
            text(_GET_VALUE),
            text(_BURY),
            text(_REMOVE),
            name,
        )

"""The statements of the SQLite storage: constant texts, every value bound.

Only those of `find`, `count` and `due` are put together, from fixed pieces and placeholders. Knows
the tables and the columns, runs nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from .._model import Status
from .._record_shapes import RUN_COLUMNS, STEP_COLUMNS
from .._storage import Query
from .._storage_rules import end_of_prefix, flows_and_versions

_RUN = ", ".join(RUN_COLUMNS)
_STEP = ", ".join(STEP_COLUMNS)


def _marks(count: int) -> str:
    return ", ".join("?" * count)


# flow, parent and created never change, so that their indexes are left alone. The tags are part of
# the guard: they hardly ever change, and only then their table must be written too.
COMMIT_RUN = (
    "UPDATE runs SET generation = ?, version = ?, op_id = ?, flow_version = ?, status = ?,"
    " wake = ?, ended = ?, state = ?, nudged = NULL"
    " WHERE run_id = ? AND version = ? AND op_id = ? AND tags = ?"
)
# What most steps commit: nothing that an index holds has changed, so no page of one is written.
COMMIT_STEP = (
    "UPDATE runs SET version = ?, op_id = ?, state = ?, nudged = NULL"
    " WHERE run_id = ? AND version = ? AND op_id = ? AND wake = ? AND status = ? AND generation = ?"
    " AND tags = ?"
)
READ_TAGS = "SELECT tags FROM runs WHERE run_id = ? AND version = ? AND op_id = ?"
COMMIT_TAGS = "UPDATE runs SET tags = ? WHERE run_id = ?"

CREATE_RUN = (
    f"INSERT INTO runs ({_RUN}) VALUES ({_marks(len(RUN_COLUMNS))})"  # noqa: S608  (constants)
    " ON CONFLICT (run_id) DO NOTHING"
)
APPEND_STEP = f"INSERT INTO steps (run_id, {_STEP}) VALUES ({_marks(len(STEP_COLUMNS) + 1)})"  # noqa: S608

READ_RUN = f"SELECT {_RUN} FROM runs WHERE run_id = ?"  # noqa: S608
READ_STEPS = (
    f"SELECT {_STEP} FROM steps WHERE run_id = ? AND generation = ? AND number >= ?"  # noqa: S608
    " ORDER BY number"
)

READ_META = "SELECT deployment, time FROM meta"
READ_TIME = "SELECT time FROM meta"
RAISE_TIME = "UPDATE meta SET time = ? WHERE time < ?"

ADD_TAG = "INSERT INTO tags (key, value, run_id) VALUES (?, ?, ?)"
DROP_TAG = "DELETE FROM tags WHERE key = ? AND value = ? AND run_id = ?"

# Put again, a damaged value is mended.
PUT_VALUE = (
    "INSERT INTO stored_values (run_id, digest, data) VALUES (?, ?, ?)"
    " ON CONFLICT (run_id, digest) DO UPDATE SET data = excluded.data"
    " WHERE data IS NOT excluded.data"
)
GET_VALUE = "SELECT data FROM stored_values WHERE run_id = ? AND digest = ?"

DROP_STEPS = "DELETE FROM steps WHERE run_id = ?"
DROP_VALUES = "DELETE FROM stored_values WHERE run_id = ?"
DROP_RUN = "DELETE FROM runs WHERE run_id = ?"
BURY_RUN = (
    "UPDATE runs SET version = ?, op_id = '', status = 'purged', wake = ?, tags = '{}',"
    " parent = NULL, state = ?, nudged = NULL WHERE run_id = ?"
)

# Found without the write lock first: a sweep that finds nothing writes nothing.
_DUE = (
    " FROM runs WHERE wake <= ? AND (nudged IS NULL OR nudged <= ?)"
    " {flows}ORDER BY wake, run_id LIMIT ?"
)


def due_query(flows: Collection[str] | None) -> tuple[str, str, tuple[str, ...]]:
    """Return the look, the nudge (which returns ids and wakes), and what to bind for *flows*."""
    # Not json_each: it ends a text at its first NUL.
    pairs = flows_and_versions(flows or ())
    whole = [name for name, version in pairs if version is None]
    parts = [(name, version) for name, version in pairs if version is not None]
    # The plus keeps SQLite from walking all runs of a flow, ended ones too.
    asked = [f"+flow IN ({_marks(len(whole))})", *["(+flow = ? AND flow_version = ?)"] * len(parts)]
    names = (*whole, *(each for pair in parts for each in pair))
    tail = _DUE.format(flows="" if flows is None else f"AND ({' OR '.join(asked)}) ")
    nudge = (
        "UPDATE runs SET nudged = ? WHERE run_id IN (SELECT run_id"  # noqa: S608
        f"{tail}) RETURNING wake, run_id"
    )
    return f"SELECT 1{tail}", nudge, names


# Nearly all runs of a large database have completed. SQLite walks the index of the others only
# where a statement says which rows that index has, in the same words.
_RARE = "status <> 'completed'"

# The names of all flows: one look into their index each, however many runs they have.
_FLOWS = (
    "names (name) AS (SELECT min(flow) FROM runs UNION ALL"
    " SELECT (SELECT min(flow) FROM runs WHERE flow > name) FROM names WHERE name IS NOT NULL)"
)
_ONE_FLOW = "names (name) AS (VALUES (?))"

# How many runs have a tag, or an id that begins so, as far as it matters: fewer are looked up and
# sorted, of more each run that a page walks past is asked.
MANY = 5_000
COUNT_BEGUN = "SELECT count(*) FROM (SELECT 1 FROM runs WHERE run_id >= ? AND run_id < ? LIMIT ?)"
COUNT_TAGGED = "SELECT count(*) FROM (SELECT 1 FROM tags WHERE key = ? AND value = ? LIMIT ?)"
_HAS_RARE_TAG = "run_id IN (SELECT run_id FROM tags WHERE key = ? AND value = ?)"
_HAS_COMMON_TAG = (
    "(SELECT 1 FROM tags WHERE key = ? AND value = ? AND run_id = runs.run_id) IS NOT NULL"
)

Common = Collection[str | tuple[str, str]]
"""What many runs have: tags, and the beginning of their ids."""


def find_query(
    query: Query, begin: tuple[float, str] | None, limit: int, common: Common = ()
) -> tuple[str, tuple[object, ...]]:
    """Return the statement for *query* from *begin* on, and its values."""
    after: tuple[str, Sequence[object]] | None
    if query.wakes_before is not None:
        order = "wake, run_id"
        after = begin and ("(wake, run_id) > (?, ?)", begin)
    else:
        order = "created DESC, run_id"
        # The first is where the walk begins: of an OR the planner makes no beginning.
        after = begin and ("created <= ? AND (created < ? OR run_id > ?)", (begin[0], *begin))
    select = f"SELECT {_RUN} FROM runs"  # noqa: S608  (constants)
    statement, values = _each_status(select, query, common, after)
    return f"{statement} ORDER BY {order} LIMIT ?", (*values, limit)


def count_query(query: Query, common: Common = ()) -> tuple[str, tuple[object, ...]]:
    """Return the statement that counts what *query* asks for, and its values.

    Its rows are flow, status and number. A row without a status counts all runs of a flow, whatever
    their status: those that have completed are what is left of them, and no row of one is read.
    """
    plain = not (query.tags or query.search or query.parent or query.wakes_before is not None)
    if not plain or (query.statuses and Status.COMPLETED not in query.statuses):
        grouped = " GROUP BY flow, status"
        select = "SELECT flow, status, count(*) FROM runs"
        return _each_status(select, query, common, None, grouped)
    # Named: it would rather walk all runs, since they are in the order of flows already.
    others, values = _wanted(query, common, walked=True)
    of_times, times = _wanted(replace(query, flow=None), common)
    statement = (
        f"WITH RECURSIVE {_FLOWS if query.flow is None else _ONE_FLOW}"  # noqa: S608
        f" SELECT name, NULL, (SELECT count(*) FROM runs{_where(['flow = name', *of_times])})"
        " FROM names WHERE name IS NOT NULL"
        " UNION ALL SELECT flow, status, count(*) FROM runs INDEXED BY runs_rare"
        f"{_where([_RARE, *others])} GROUP BY flow, status"
    )
    return statement, (*([] if query.flow is None else [query.flow]), *times, *values)


def _each_status(
    select: str,
    query: Query,
    common: Common,
    more: tuple[str, Sequence[object]] | None,
    tail: str = "",
) -> tuple[str, tuple[object, ...]]:
    """Return *select* of what any page of *query* has, and of *more*, with *tail*, and the values.

    Statuses are asked for one at a time: each but the common one is a stretch of the index of rare
    ones in the order of pages, which SQLite merges as it goes. What wakes is walked by its wake.
    """
    words: list[str | None] = [*dict.fromkeys(str(status) for status in query.statuses)]
    by_wake = query.wakes_before is not None
    parts: list[str] = []
    bound: list[object] = []
    for word in [None] if by_wake or not words else words:
        is_rare = word is not None and word != Status.COMPLETED
        clauses, values = _wanted(query, common, walked=by_wake or is_rare)
        if word is not None:
            clauses.insert(0, f"status = ? AND {_RARE}" if is_rare else "status = ?")
            values.insert(0, word)
        elif words:
            clauses.append(f"status IN ({_marks(len(words))})")
            values.extend(words)
        if more is not None:
            clauses.append(more[0])
            values.extend(more[1])
        parts.append(f"{select}{_where(clauses)}{tail}")
        bound.extend(values)
    return " UNION ALL ".join(parts), tuple(bound)


def _wanted(
    query: Query, common: Common, *, walked: bool = False
) -> tuple[list[str], list[object]]:
    """Return the clauses that any page of *query* has but for its statuses, and their values.

    Where an index of few runs is *walked*, a plus keeps SQLite from another one, by which it would
    look at every run of a flow.
    """
    clauses: list[str] = []
    values: list[object] = []
    plus = "+" if walked else ""
    times = "" if query.wakes_before is None else "+"
    ids = "+" if query.search in common else ""
    for clause, value in (
        ("wake < ?", query.wakes_before),
        (f"{plus}flow = ?", query.flow),
        (f"{times}created >= ?", query.since),
        (f"{times}created < ?", query.before),
        ("parent = ?", query.parent),
        (f"{ids}run_id >= ?", query.search or None),
        (f"{ids}run_id < ?", end_of_prefix(query.search or "")),
    ):
        if value is not None:
            clauses.append(clause)
            values.append(value)
    for tag in query.tags.items():
        clauses.append(_HAS_COMMON_TAG if tag in common else _HAS_RARE_TAG)
        values.extend(tag)
    return clauses, values


def _where(clauses: list[str]) -> str:
    return f" WHERE {' AND '.join(clauses)}" if clauses else ""

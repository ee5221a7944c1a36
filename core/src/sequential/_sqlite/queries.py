"""The statements of the SQLite storage: constant texts, every value bound.

Only those of `find`, `count` and `due` are put together, from fixed pieces and placeholders. Knows
the tables and the columns, runs nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .._model import Status
from .._record_shapes import RUN_COLUMNS, STEP_COLUMNS
from .._storage import Query
from .._storage_rules import end_of_prefix

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
    names = () if flows is None else tuple(flows)
    # The plus keeps SQLite from walking all runs of a flow, ended ones too.
    tail = _DUE.format(flows="" if flows is None else f"AND +flow IN ({_marks(len(names))}) ")
    nudge = (
        "UPDATE runs SET nudged = ? WHERE run_id IN (SELECT run_id"  # noqa: S608
        f"{tail}) RETURNING wake, run_id"
    )
    return f"SELECT 1{tail}", nudge, names


# As literals, which is how the planner knows that the index of rare statuses covers them. Constant
# texts by the word that was asked for: nothing that somebody hands over gets into a statement.
_RARE = {
    status.value: f"status = '{status.value}'"
    for status in (Status.FAILED, Status.CANCELLED, Status.QUARANTINED)
}


def find_query(
    query: Query, begin: tuple[float, str] | None, limit: int
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
    statement, values = _each_status(f"SELECT {_RUN} FROM runs", query, after)  # noqa: S608
    return f"{statement} ORDER BY {order} LIMIT ?", (*values, limit)


def count_query(query: Query) -> tuple[str, tuple[object, ...]]:
    """Return the statement that counts what *query* asks for, and its values."""
    grouped = " GROUP BY flow, status"
    return _each_status("SELECT flow, status, count(*) FROM runs", query, None, grouped)


def _each_status(
    select: str, query: Query, more: tuple[str, Sequence[object]] | None, tail: str = ""
) -> tuple[str, tuple[object, ...]]:
    """Return *select* of what any page of *query* has, and of *more*, with *tail*, and the values.

    Rare statuses are asked for one at a time: each is a stretch of their index in the order of
    pages, which SQLite merges as it goes.
    """
    words = list(dict.fromkeys(str(status) for status in query.statuses))
    rare = [_RARE[word] for word in words if word in _RARE]
    if query.wakes_before is not None or not rare or len(rare) < len(words):
        rare = [""]
    clauses, values = _wanted(query, rare=rare != [""])
    if more is not None:
        clauses.append(more[0])
        values.extend(more[1])
    parts = [
        f"{select}{_where([clause, *clauses] if clause else clauses)}{tail}" for clause in rare
    ]
    return " UNION ALL ".join(parts), tuple(values * len(rare))


def _wanted(query: Query, *, rare: bool) -> tuple[list[str], list[object]]:
    """Return the clauses that any page of *query* has, and their values; of *rare*, no status."""
    clauses: list[str] = []
    values: list[object] = []
    # What wakes is walked in the order of wakes, and what is rare among the rare: the plus keeps
    # SQLite from another index, by which it would look at every run of a flow.
    plus = "" if query.wakes_before is None and not rare else "+"
    times = "" if query.wakes_before is None else "+"
    for clause, value in (
        ("wake < ?", query.wakes_before),
        (f"{plus}flow = ?", query.flow),
        (f"{times}created >= ?", query.since),
        (f"{times}created < ?", query.before),
        ("parent = ?", query.parent),
        ("run_id >= ?", query.search or None),
        ("run_id < ?", end_of_prefix(query.search or "")),
    ):
        if value is not None:
            clauses.append(clause)
            values.append(value)
    if query.statuses and not rare:
        clauses.append(f"status IN ({_marks(len(query.statuses))})")
        values.extend(str(status) for status in query.statuses)
    for key, tag in query.tags.items():
        clauses.append("run_id IN (SELECT run_id FROM tags WHERE key = ? AND value = ?)")
        values.extend((key, tag))
    return clauses, values


def _where(clauses: list[str]) -> str:
    return f" WHERE {' AND '.join(clauses)}" if clauses else ""

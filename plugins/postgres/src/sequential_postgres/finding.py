"""What `find` and `count` ask, put together from fixed pieces and placeholders.

A page is what a walk along an index finds first, newest first, so that its price is that of the
page. Knows the tables, their indexes and columns; runs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sequential.storage import RUN_COLUMNS


class Filter(NamedTuple):
    """What is looked for, in the form of the columns.

    Attributes:
        flow: Its name.
        parent: The id of the parent.
        since: The least time of creation.
        before: The first that is too late.
        ids: The first id of a stretch, and the first behind it.
        statuses: Any of these.
        tags: All of these.
        begin: Where the page before ended.
        wakes_before: The first time of waking that is too late; pages are in that order then.
    """

    flow: str | None = None
    parent: str | None = None
    since: float | None = None
    before: float | None = None
    ids: tuple[str | None, str | None] = (None, None)
    statuses: Sequence[str] = ()
    tags: Sequence[bytes] = ()
    begin: tuple[float, str] | None = None
    wakes_before: float | None = None


_FEW_TAGGED = 1_000
_FEW_OF_STATUS = 5_000
# Whether a status is rare and the tag is not: then it is the runs of the status that are walked.
# Neither is counted any further than it has to be.
_RARE = """{name} AS MATERIALIZED (
    SELECT (SELECT count(*) FROM (
            SELECT FROM {schema}.tags WHERE tag = %s LIMIT %s
        ) AS f) >= %s AND (SELECT count(*) FROM (
            SELECT FROM {schema}.runs WHERE status = %s LIMIT %s
        ) AS f) < %s AS yes
)"""


def find_query(schema: str, asked: Filter, limit: int) -> tuple[bytes, list[object]]:
    """Return the statement for *asked*, and its values.

    One status at a time, because an index walks newest first only within one of them; but what
    wakes is walked through all statuses, in the order of waking.
    """
    if asked.wakes_before is not None:
        return _find_by_wake(schema, asked, limit)
    gates: list[str] = []
    counted: list[object] = []
    parts: list[str] = []
    values: list[object] = []

    def add(status: str | None, *, by_tag: bool, gate: str = "") -> None:
        part, bound = _find_one(schema, asked, status, by_tag=by_tag, gate=gate)
        parts.append(f"({part} LIMIT %s)")
        values.extend([*bound, limit])

    for number, status in enumerate(asked.statuses or (None,)):
        if status is None or not asked.tags:
            add(status, by_tag=bool(asked.tags))
            continue
        gates.append(_RARE.format(schema=schema, name=f"rare{number}"))
        counted += [asked.tags[0], _FEW_TAGGED, _FEW_TAGGED]
        counted += [status, _FEW_OF_STATUS, _FEW_OF_STATUS]
        rare = f"(TABLE rare{number})"
        add(status, by_tag=True, gate=f"NOT {rare}")
        add(status, by_tag=False, gate=rare)
    union = " UNION ALL ".join(parts)
    text = f"SELECT * FROM ({union}) AS found ORDER BY created DESC, run_id LIMIT %s"  # noqa: S608
    if gates:
        text = f"WITH {', '.join(gates)} {text}"
    return text.encode(), [*counted, *values, limit]


def count_query(schema: str, asked: Filter) -> tuple[bytes, list[object]]:
    """Return the statement that counts what is *asked* by flow and status, and its values."""
    source, clauses, values = _wanted(schema, asked, by_tag=bool(asked.tags))
    _add_statuses(asked, clauses, values)
    text = (
        f"SELECT r.flow, r.status, count(*) FROM {source}"  # noqa: S608  (constants)
        f" WHERE {' AND '.join(clauses)} GROUP BY r.flow, r.status"
    )
    return text.encode(), values


def _find_by_wake(schema: str, asked: Filter, limit: int) -> tuple[bytes, list[object]]:
    source, clauses, values = _wanted(schema, asked, by_tag=False)
    _add_statuses(asked, clauses, values)
    if asked.begin is not None:
        clauses.append("(r.wake, r.run_id) > (%s, %s)")
        values += asked.begin
    columns = ", ".join(f"r.{name}" for name in RUN_COLUMNS)
    text = (
        f"SELECT {columns} FROM {source} WHERE {' AND '.join(clauses)}"  # noqa: S608  (constants)
        " ORDER BY r.wake, r.run_id LIMIT %s"
    )
    return text.encode(), [*values, limit]


def _find_one(
    schema: str, asked: Filter, status: str | None, *, by_tag: bool, gate: str
) -> tuple[str, list[object]]:
    # The tags' index has the same order, and mostly fewer runs.
    order = "t" if by_tag else "r"
    source, clauses, values = _wanted(schema, asked, by_tag=by_tag)
    if gate:
        clauses.append(gate)
    if asked.begin is not None:
        created, run_id = asked.begin
        clauses += [f"{order}.created <= %s", f"({order}.created < %s OR {order}.run_id > %s)"]
        values += [created, created, run_id]
    if status is not None:
        clauses.append("r.status = %s")
        values.append(status)
    # Taken from the index that is walked, so that the order of the parts is that of the whole.
    columns = ", ".join(
        f"{order if name in {'run_id', 'created'} else 'r'}.{name}" for name in RUN_COLUMNS
    )
    text = (
        f"SELECT {columns} FROM {source} WHERE {' AND '.join(clauses)}"  # noqa: S608  (constants)
        f" ORDER BY {order}.created DESC, {order}.run_id"
    )
    return text, values


def _add_statuses(asked: Filter, clauses: list[str], values: list[object]) -> None:
    if asked.statuses:
        clauses.append("r.status = ANY (%s)")
        values.append(list(asked.statuses))


def _wanted(schema: str, asked: Filter, *, by_tag: bool) -> tuple[str, list[str], list[object]]:
    """Return the tables, and what holds for each run on any page and of any status."""
    order, others = ("t", asked.tags[1:]) if by_tag else ("r", asked.tags)
    source = f"{schema}.runs AS r"
    if by_tag:
        source = f"{schema}.tags AS t JOIN {source} ON r.run_id = t.run_id"
    clauses: list[str] = ["true"]
    values: list[object] = []
    for clause, value in (
        ("t.tag = %s", asked.tags[0] if by_tag else None),
        ("r.flow = %s", asked.flow),
        ("r.parent = %s", asked.parent),
        (f"{order}.created >= %s", asked.since),
        (f"{order}.created < %s", asked.before),
        (f"{order}.run_id >= %s", asked.ids[0]),
        (f"{order}.run_id < %s", asked.ids[1]),
        ("r.wake < %s", asked.wakes_before),
    ):
        if value is not None:
            clauses.append(clause)
            values.append(value)
    for tag in others:
        clauses.append(
            f"EXISTS (SELECT FROM {schema}.tags AS o WHERE o.run_id = r.run_id AND o.tag = %s)"
        )
        values.append(tag)
    return source, clauses, values

"""A month of runs, a million by default, put into a database past the engine: rows, not commits.

Ninety-nine of a hundred have completed; the others stand in every way in which runs stand. Records
are packed once for each kind, and what a column holds is told for each run.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import psycopg

from sequential._model import Attention, ErrorValue, Message, Open
from sequential.storage import (
    RUN_COLUMNS,
    STEP_COLUMNS,
    At,
    Payload,
    Run,
    Status,
    StepKind,
    evolve,
    pack_run,
    pack_step,
)
from tests.core.storage_cases import make_run, make_step

MONTH = 30 * 86_400.0
FLOWS = 12
TEAMS = 3

_TEXT = b'{"id":12345,"name":"a value of a hundred bytes or so","street":"Main 17","total":"17.50"}'
_VALUE = Payload(_TEXT, size=len(_TEXT))
_FAULTS = tuple(
    ErrorValue("ToolError", f"{tool} failed: TimeoutError: {host} is silent", position="9")
    for tool in ("bank.charge", "mail.send", "shop.pack", "shop.ship")
    for host in ("one.example", "two.example")
)  # fmt: skip


def id_of(number: int) -> str:
    """Return the id of run *number*; a later run has a greater one."""
    return f"r{number:09}"


def kind_of(number: int) -> str:
    """Return how run *number* stands: 0.5 % are open, 0.4 % have failed, 0.1 % were cancelled."""
    if number % 20_000 == 33:
        return "quarantined"
    if number % 1000 == 7:
        return "cancelled"
    if number % 250 == 11:
        return f"failed{number // 250 % len(_FAULTS)}"
    if number % 200 == 20:
        part = number // 200 % 100
        names = {3: "stalled", 6: "overdue", 9: "blocked", 10: "retrying", 20: "sleeping"}
        return next((name for limit, name in names.items() if part < limit), "waiting")
    return "completed"


def rows_of(runs: int, steps: int, now: float) -> Iterator[tuple[object, ...]]:
    """Yield the rows of *runs* runs, oldest first, in the order of `RUN_COLUMNS`."""
    packed = {kind: list(pack_run(run)) for kind, run in _samples(steps, now).items()}
    place = {name: RUN_COLUMNS.index(name) for name in RUN_COLUMNS}
    every = MONTH / runs
    tags = [json.dumps({"team": f"t{team}"}, separators=(",", ":")) for team in range(TEAMS)]
    for number in range(runs):
        row = packed[kind_of(number)].copy()
        created = now - MONTH + number * every
        row[place["run_id"]] = id_of(number)
        row[place["flow"]] = f"flow{number % FLOWS}"
        row[place["tags"]] = tags[number % TEAMS]
        row[place["created"]] = created
        if row[place["ended"]] is not None:
            row[place["ended"]] = created + 90.0
        yield tuple(row)


def _samples(steps: int, now: float) -> Mapping[str, Run]:
    """Return a run of each kind."""
    run = make_run(
        input=_VALUE, cursor=steps, created=now, started=now, version=1, tags={"team": "t"},
        wake=At(now + MONTH),
    )  # fmt: skip
    done = evolve(run, ended=now)
    later = now + 600.0
    asked = Open(StepKind.SIGNAL, name="approval", started=now - 86_400.0)
    tried = Open(StepKind.TOOL, "bank.charge", 9, due=later, error="ConnectionError: no answer")
    found = Attention("changed", "the code asks for another step", "- a\n+ b", now - 3600.0)
    early = (Message("m", "aproval", Payload(b"1", size=1), now - 3600.0),)
    kinds = {
        "completed": evolve(done, status=Status.COMPLETED, result=_VALUE),
        "cancelled": evolve(done, status=Status.CANCELLED),
        "quarantined": evolve(run, status=Status.QUARANTINED, wake=None, stalls=8),
        "stalled": evolve(run, status=Status.RUNNING, fence=2, owner="o", wake=At(now - 900.0)),
        "overdue": evolve(run, wake=At(now - 3600.0)),
        "blocked": evolve(run, wake=At(later), attention=found),
        "retrying": evolve(run, wake=At(later), open={"10": tried}),
        "sleeping": evolve(
            run, wake=At(now + 86_400.0), open={"10": Open(StepKind.SLEEP, due=now + 86_400.0)}
        ),
        "waiting": evolve(run, wake=None, open={"10": asked}, inbox=early),
    }
    failed = {
        f"failed{number}": evolve(done, status=Status.FAILED, error=error)
        for number, error in enumerate(_FAULTS)
    }
    return {**kinds, **failed}


def _step_columns() -> dict[str, object]:
    step = make_step(0, value=_VALUE, started=1.7e9, ended=1.7e9 + 1.0)
    return dict(zip(STEP_COLUMNS, pack_step(step), strict=True))


def fill_sqlite(path: str, runs: int, steps: int, now: float) -> None:
    """Fill the file at *path*, which has the schema and no runs."""
    marks = ", ".join("?" * len(RUN_COLUMNS))
    columns = _step_columns()
    named = {"number": "s", "position": "CAST(s AS TEXT)"}
    picked = ", ".join(named.get(name, f":{name}") for name in STEP_COLUMNS)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        connection.executemany(
            f"INSERT INTO runs ({', '.join(RUN_COLUMNS)}) VALUES ({marks})",
            rows_of(runs, steps, now),
        )
        connection.execute(
            "INSERT INTO tags (key, value, run_id)"
            " SELECT 'team', json_extract(tags, '$.team') AS t, run_id FROM runs ORDER BY t, run_id"
        )
        # Run by run: both trees of the table then grow at their end.
        connection.execute(
            "WITH RECURSIVE numbers (s) AS (SELECT 0 UNION ALL SELECT s + 1 FROM numbers"
            " WHERE s + 1 < :steps)"
            f" INSERT INTO steps (run_id, {', '.join(STEP_COLUMNS)})"
            f" SELECT run_id, {picked} FROM runs NOT INDEXED CROSS JOIN numbers",
            {**columns, "steps": steps},
        )
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")


def fill_postgres(url: str, runs: int, steps: int, now: float) -> None:
    """Fill the database at *url*, which has the schema and no runs."""
    columns = _step_columns()
    named = {"number": "s", "position": "s::text"}
    picked = ", ".join(named.get(name, f"%({name})s") for name in STEP_COLUMNS)
    with psycopg.connect(url, autocommit=True) as connection:
        into = f"COPY sequential.runs ({', '.join(RUN_COLUMNS)}) FROM STDIN"
        with connection.cursor() as cursor, cursor.copy(into.encode()) as copy:
            for row in rows_of(runs, steps, now):
                copy.write_row(row)
        connection.execute(
            "INSERT INTO sequential.tags (run_id, tag, created) SELECT run_id,"
            " sha256(convert_to('[\"team\", \"' || (tags::json ->> 'team') || '\"]', 'UTF8')),"
            " created FROM sequential.runs"
        )
        statement = (
            f"INSERT INTO sequential.steps (run_id, {', '.join(STEP_COLUMNS)})"
            f" SELECT run_id, {picked}"
            " FROM sequential.runs, generate_series(0, %(steps)s - 1) AS s"
        )
        given: dict[str, Any] = {**columns, "steps": steps}
        connection.execute(statement.encode(), given)
        connection.execute("VACUUM ANALYZE")

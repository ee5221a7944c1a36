"""A million runs and ten million steps in Postgres: is every page, sweep and purge still short?

    python -m tests.benchmarks.postgres_scale [runs] [steps of each]

Starts a server of its own, fills it with SQL, and prints the best, the median and the worst of some
rounds, in milliseconds. Times are of this machine, whatever else it does meanwhile.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence

import psycopg

from sequential.storage import (
    RUN_COLUMNS,
    STEP_COLUMNS,
    At,
    Payload,
    Query,
    Run,
    Status,
    evolve,
    pack_run,
    pack_step,
)
from sequential.testing import FakeClock
from sequential_postgres.plugin import open_postgres
from sequential_postgres.storage import PostgresStorage
from tests.core.storage_cases import applied, make_run, make_step
from tests.fix_postgres import own_server

ROUNDS = 30
MANY = 300
DUE_OF_OTHERS = 10_000
TEXT = b'{"id":12345,"name":"a value of a hundred bytes or so","street":"Main 17","total":"17.50"}'
VALUE = Payload(TEXT, size=len(TEXT))

# One in so many has the status; the first that fits counts, and the rest are completed.
_STATUS = """CASE WHEN mod(n, 2000) = 0 THEN 'quarantined' WHEN mod(n, 100) = 1 THEN 'failed'
    WHEN mod(n, 50) = 2 THEN 'paused' ELSE 'completed' END"""
_COLUMNS = {
    "run_id": "'r' || lpad(n::text, 9, '0')",
    "version": "1",
    "op_id": "'o' || n",
    "flow": "'flow' || mod(n, 20)",
    "status": _STATUS,
    # Open ones wait for next year, ended ones for their purge; some of flow0 are due.
    "wake": "CASE WHEN mod(n, 20) = 0 AND n <= %(due)s THEN 1.0 + n"
    " ELSE extract(epoch FROM now()) + 86400 + n END",
    "tags": "'{\"tenant\":\"t' || mod(n, 3) || '\"}'",
    "created": "1.7e9 + n",
    "ended": "1.7e9 + n + 60",
}
_TAGS = """
INSERT INTO sequential.tags (run_id, tag, created)
SELECT run_id, sha256(convert_to('["tenant", "t' || mod(right(run_id, 9)::int, 3) || '"]', 'UTF8')),
    created FROM sequential.runs
UNION ALL
SELECT run_id, sha256(convert_to('["order", "' || right(run_id, 9)::int || '"]', 'UTF8')), created
FROM sequential.runs WHERE run_id LIKE '%%7'"""


def fill(connection: psycopg.Connection[tuple[object, ...]], runs: int, steps: int) -> None:
    """Make *runs* runs of *steps* steps each."""
    run = make_run(status=Status.COMPLETED, wake=At(1.0), input=VALUE, result=VALUE)
    packed = dict(zip(RUN_COLUMNS, pack_run(run), strict=True))
    columns = [_COLUMNS.get(name, f"%({name})s") for name in RUN_COLUMNS]
    connection.execute(
        f"INSERT INTO sequential.runs ({', '.join(RUN_COLUMNS)})"
        f" SELECT {', '.join(columns)} FROM generate_series(1, %(runs)s) AS n".encode(),
        {**packed, "runs": runs, "due": DUE_OF_OTHERS * 20},
    )
    connection.execute(_TAGS.encode(), ())
    row = dict(zip(STEP_COLUMNS, pack_step(make_step(0, value=VALUE)), strict=True))
    named = {"number": "s", "position": "s::text"}
    connection.execute(
        f"INSERT INTO sequential.steps (run_id, {', '.join(STEP_COLUMNS)})"
        f" SELECT 'r' || lpad(n::text, 9, '0'),"
        f" {', '.join(named.get(name, f'%({name})s') for name in STEP_COLUMNS)}"
        " FROM generate_series(1, %(runs)s) AS n, generate_series(0, %(steps)s - 1) AS s".encode(),
        {**row, "runs": runs, "steps": steps},
    )
    connection.execute("VACUUM ANALYZE")


def measured(work: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """Return the milliseconds of each round, after two that warm up."""
    taken = []
    for _ in range(rounds + 2):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return taken[2:]


def told(name: str, taken: Sequence[float]) -> None:
    figures = (min(taken), statistics.median(taken), max(taken))
    print(f"{name:50}", *(f"{figure:8.2f}" for figure in figures), flush=True)


def look(storage: PostgresStorage, runs: int) -> None:
    """Measure pages and sweeps."""
    pages = {
        "page, newest": Query(limit=50),
        "page, of a flow": Query(flow="flow7", limit=50),
        "page, of a common status": Query(statuses=[Status.COMPLETED], limit=50),
        "page, of a rare status": Query(statuses=[Status.QUARANTINED], limit=50),
        "page, of two statuses": Query(statuses=[Status.QUARANTINED, Status.FAILED], limit=50),
        "page, of a flow and a rare status": Query(
            flow="flow0", statuses=[Status.QUARANTINED], limit=50
        ),
        "page, of a tag on a third": Query(tags={"tenant": "t1"}, limit=50),
        "page, of a tag on one": Query(tags={"order": str(runs // 20 * 10 + 7)}, limit=50),
        "page, of a tag on a third and a rare status": Query(
            tags={"tenant": "t1"}, statuses=[Status.QUARANTINED], limit=50
        ),
        "page, of a tag on a third and one on one": Query(
            tags={"tenant": "t0", "order": str(runs // 20 * 10 + 7)}, limit=50
        ),
        "page, created before the half": Query(before=1.7e9 + runs // 2, limit=50),
        "page, of a flow and a common status": Query(
            flow="flow7", statuses=[Status.COMPLETED], limit=50
        ),
        "page, of ids that all begin so": Query(search="r0", limit=50),
        "page, of the beginning of a hundred ids": Query(search=f"r{runs // 2:09}"[:-2], limit=50),
        "page, of the beginning of one id": Query(search=f"r{runs // 2:09}", limit=50),
    }
    for name, query in pages.items():
        told(name, measured(lambda query=query: storage.find(query)))  # type: ignore[misc]
    counts = {
        "count, of everything": Query(),
        "count, of a flow": Query(flow="flow7"),
        "count, of a rare status": Query(statuses=[Status.QUARANTINED]),
        "count, of the newest hundredth": Query(since=1.7e9 + runs * 99 // 100),
        "count, of the newest half": Query(since=1.7e9 + runs // 2),
        "count, of the beginning of a hundred ids": Query(search=f"r{runs // 2:09}"[:-2]),
        "count, of a tag on a third": Query(tags={"tenant": "t1"}),
    }
    for name, query in counts.items():
        told(name, measured(lambda query=query: storage.count(query), 10))  # type: ignore[misc]
    token = storage.find(Query(limit=50)).next
    told("page, the next one", measured(lambda: storage.find(Query(limit=50, after=token))))
    told("due of a flow, behind those of others", measured(lambda: storage.due(50, ["flow7"], 0)))
    told("due of nineteen such flows", measured(
        lambda: storage.due(50, [f"flow{n}" for n in range(1, 20)], 0)
    ))  # fmt: skip
    told("due of a flow, fifty of many", measured(lambda: storage.due(50, ["flow0"], 0)))
    told("due of all flows, fifty of many", measured(lambda: storage.due(50, None, 0)))
    told("load of a run and its steps", measured(lambda: storage.load(f"r{runs // 2:09}")))


def change(storage: PostgresStorage) -> None:
    """Measure writes: a run begun, a step recorded, a wake moved, a run purged."""
    numbers = iter(range(10**9))
    runs: list[Run] = []

    def create() -> None:
        name = f"new{next(numbers)}"
        runs.append(storage.create(make_run(name, flow="flow7", input=VALUE, wake=At(1e11))))

    def step() -> None:
        record = make_step(runs[0].version - 1, value=VALUE)
        runs[0] = applied(storage.commit(runs[0], runs[0], (record,)))

    def claim() -> None:
        moved = evolve(runs[1], wake=At(1e11 + next(numbers)))
        runs[1] = applied(storage.commit(moved, runs[1]))

    told("create", measured(create, MANY))
    told("commit of a step", measured(step, MANY))
    told("commit that moves the wake (claim, release)", measured(claim, MANY))
    ended = iter(storage.due(1000, ["flow0"], 0))

    def purge() -> None:
        run = next(run for run_id in ended if (run := stored(storage, run_id)).ended)
        assert run.status is Status.QUARANTINED or storage.purge(run)

    told("load and purge of an ended run", measured(purge, MANY))


def stored(storage: PostgresStorage, run_id: str) -> Run:
    """Return the run, which is there."""
    loaded = storage.load(run_id)
    assert loaded is not None
    return loaded.run


def main(runs: int = 1_000_000, steps: int = 10) -> None:
    """Fill, measure, print."""
    for server in own_server(18, shared_buffers="1GB", max_wal_size="8GB"):
        database = server.database()
        with psycopg.connect(server.url(database), autocommit=True) as connection:
            began = time.monotonic()
            fill(connection, runs, steps)
            print(f"{runs:,} runs, {runs * steps:,} steps: {time.monotonic() - began:.0f} s")
            size = connection.execute("SELECT pg_size_pretty(pg_database_size(%s))", (database,))
            print(f"size {size.fetchone()}")
        storage = open_postgres(server.url(database), FakeClock())
        assert isinstance(storage, PostgresStorage)
        print(f"{'milliseconds':50} {'best':>8} {'median':>8} {'worst':>8}")
        look(storage, runs)
        change(storage)
        storage.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))

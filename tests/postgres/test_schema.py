"""Whose schema it is, how it is brought up to date, and with how few rights workers do."""

from __future__ import annotations

import importlib.resources
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from sequential.errors import SchemaTooNew, StorageForeign, StorageRefused
from sequential.storage import At, Query, evolve
from sequential.testing import FakeClock
from sequential.testing._storage_elsewhere import elsewhere
from sequential_postgres.plugin import open_postgres
from sequential_postgres.schema import MIGRATIONS, prepare, read_migration
from sequential_postgres.storage import PostgresStorage
from tests.core.storage_cases import applied, found, make_run, make_step, numbers
from tests.fix_postgres import VERSIONS, Server, package
from tests.postgres.test_contract import OverPostgres

SCRIPTS = [read_migration(name) for name in MIGRATIONS]
NEXT = "ALTER TABLE {schema}.runs ADD COLUMN mood text; CREATE TABLE {schema}.notes (n text);"
BROKEN = "CREATE TABLE {schema}.half (n text); SELECT 1 / 0;"


def opened(server: Server, database: str, **options: str) -> PostgresStorage:
    storage = open_postgres(server.url(database, **options), FakeClock())
    assert isinstance(storage, PostgresStorage)
    return storage


def deployment_there(url: str, number: int, rounds: int) -> str:
    storage = open_postgres(url, FakeClock())
    try:
        return storage.deployment
    finally:
        storage.close()


def prepared(server: Server, database: str, *scripts: str) -> str:
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        return prepare(connection, "here", "sequential", scripts)


def tables(server: Server, database: str) -> set[str]:
    rows = server.execute(
        "SELECT nspname || '.' || relname FROM pg_class c JOIN pg_namespace n"
        " ON n.oid = relnamespace WHERE relkind = 'r' AND nspname NOT IN"
        " ('pg_catalog', 'information_schema')",
        database,
    )
    return {name for (name,) in rows}


def test_an_empty_database_is_set_up_once(postgres18: Server, empty_database: str) -> None:
    first = opened(postgres18, empty_database)
    first.close()
    second = opened(postgres18, empty_database)
    second.close()
    assert first.deployment == second.deployment
    assert (len(first.deployment), first.schema) == (32, len(MIGRATIONS))


def test_a_fleet_may_start_at_once(postgres18: Server, empty_database: str) -> None:
    url = postgres18.url(empty_database)
    there = elsewhere(4, deployment_there, url, 1)
    assert len(set(there)) == 1


def test_threads_may_start_at_once(postgres18: Server, empty_database: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: opened(postgres18, empty_database), range(8)))
    for storage in made:
        storage.close()
    assert len({storage.deployment for storage in made}) == 1


def test_two_schemas_of_one_database_know_nothing_of_each_other(
    postgres18: Server, empty_database: str
) -> None:
    one = opened(postgres18, empty_database, schema="acme")
    other = opened(postgres18, empty_database, schema="select")
    one.create(make_run())
    assert one.deployment != other.deployment
    assert other.load("r1") is None
    assert not other.find(Query()).runs
    one.close()
    other.close()
    schemas = {name.partition(".")[0] for name in tables(postgres18, empty_database)}
    assert schemas == {"acme", "select"}


def test_foreign_tables_are_left_as_they_are(postgres18: Server, empty_database: str) -> None:
    postgres18.execute("CREATE TABLE runs (mine text)", empty_database)
    with pytest.raises(StorageForeign, match="table runs that is not ours"):
        opened(postgres18, empty_database, schema="public")
    postgres18.execute("CREATE TABLE meta (mine text)", empty_database)
    with pytest.raises(StorageForeign, match="meta"):
        opened(postgres18, empty_database, schema="public")
    assert tables(postgres18, empty_database) == {"public.runs", "public.meta"}


def test_a_database_that_is_not_in_utf8_is_refused(postgres18: Server) -> None:
    postgres18.execute("CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII'")
    try:
        with pytest.raises(StorageRefused, match="UTF8"):
            opened(postgres18, "ascii")
    finally:
        postgres18.drop("ascii")


def test_a_newer_schema_is_refused_by_name(postgres18: Server, database: str) -> None:
    prepared(postgres18, database, *SCRIPTS, NEXT)
    with pytest.raises(SchemaTooNew) as caught:
        opened(postgres18, database)
    assert caught.value.found == caught.value.supported + 1 == len(MIGRATIONS) + 1


def test_a_worker_that_is_running_outlives_a_migration(postgres18: Server, database: str) -> None:
    storage = opened(postgres18, database)
    run = storage.create(make_run())
    for number in range(8):  # also in statements that are prepared by now
        run = applied(storage.commit(run, run, (make_step(number),)))
        found(storage.load("r1"))
    assert prepared(postgres18, database, *SCRIPTS, NEXT) == storage.deployment
    assert "sequential.notes" in tables(postgres18, database)
    for number in range(8, 12):
        run = applied(
            storage.commit(evolve(run, tags={"n": str(number)}), run, (make_step(number),))
        )
    assert numbers(storage.load("r1")) == list(range(12))
    storage.create(make_run("r2"))
    assert len(storage.find(Query()).runs) == 2
    storage.close()


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_every_schema_so_far_is_brought_up_to_date(
    postgres18: Server, empty_database: str, version: int
) -> None:
    deployment = prepared(postgres18, empty_database, *SCRIPTS[:version])
    there = "SELECT relname FROM pg_class WHERE relnamespace = 'sequential'::regnamespace"
    before = set(postgres18.execute(there, empty_database))
    storage = opened(postgres18, empty_database)
    assert (storage.deployment, storage.schema) == (deployment, len(MIGRATIONS))
    run = storage.create(make_run(wake=At(1.0)))
    run = applied(storage.commit(run, run, (make_step(0),)))
    assert found(storage.load("r1")).run == run
    assert list(storage.due(5, [run.flow], 30.0)) == ["r1"]
    storage.close()
    assert before < set(postgres18.execute(there, empty_database))


def test_a_migration_that_fails_leaves_nothing(postgres18: Server, database: str) -> None:
    before = tables(postgres18, database)
    with pytest.raises(psycopg.errors.DivisionByZero):
        prepared(postgres18, database, *SCRIPTS, BROKEN)
    assert tables(postgres18, database) == before
    opened(postgres18, database).close()


def test_every_published_script_is_in_the_package() -> None:
    folder = importlib.resources.files("sequential_postgres") / "sql"
    scripts = {entry.name for entry in folder.iterdir() if entry.name[0].isdigit()}
    assert scripts == set(MIGRATIONS)


# -- rights


@pytest.fixture(scope="module")
def guarded(postgres18: Server) -> Iterator[Server]:
    """A server on which the role ``flows`` has, in the emptied database, what role.sql gives."""
    database = postgres18.emptied()
    script = importlib.resources.files("sequential_postgres") / "sql/role.sql"
    psql = str(package() / VERSIONS[18] / "bin/psql")
    command = [psql, "-X", "-v", "ON_ERROR_STOP=1", "-v", "schema=sequential", "-v", "role=flows"]
    for _ in range(2):  # it may be run again
        done = subprocess.run(
            [*command, "-f", str(script), postgres18.url(database)],
            capture_output=True,
            check=False,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    yield postgres18
    postgres18.execute("DROP OWNED BY flows; DROP ROLE flows", database)


def as_flows(server: Server, database: str, **options: str) -> str:
    url = server.url(database, **options)
    return f"postgresql://flows@{url.rpartition('://')[2].rpartition('@')[2]}"


class TestPostgres18WithFewRights(OverPostgres):
    """All of the contract, by a role that owns nothing."""

    @pytest.fixture
    def server(self, guarded: Server) -> Server:
        return guarded

    @pytest.fixture
    def url(self, guarded: Server, database: str) -> str:
        return as_flows(guarded, database, pool="20")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE sequential.more (n text)",
        "DROP TABLE sequential.runs",
        "TRUNCATE sequential.runs",
        "UPDATE sequential.meta SET deployment = 'mine'",
        "CREATE SCHEMA more",
    ],
)
def test_the_role_may_change_no_table(guarded: Server, statement: str) -> None:
    url = as_flows(guarded, guarded.emptied())
    with psycopg.connect(url, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())
        assert connection.execute("SHOW statement_timeout").fetchone() == ("10s",)


def test_a_role_that_may_not_migrate_says_who_may(guarded: Server) -> None:
    database = guarded.database(empty=True)
    with pytest.raises(StorageRefused, match="sequential migrate"):
        open_postgres(as_flows(guarded, database), FakeClock())


def test_a_right_that_is_taken_away_is_named(
    guarded: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = guarded.emptied()
    storage = open_postgres(as_flows(guarded, database), FakeClock())
    run = storage.create(make_run())
    guarded.execute("REVOKE INSERT ON sequential.steps FROM flows", database)
    try:
        with pytest.raises(StorageRefused, match=r"role\.sql.*permission denied for table steps"):
            storage.commit(run, run, (make_step(0),))
        assert found(storage.load("r1")).run == run
    finally:
        guarded.execute("GRANT INSERT ON sequential.steps TO flows", database)
    applied(storage.commit(run, run, (make_step(0),)))
    storage.close()

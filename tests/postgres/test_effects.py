"""Transactional tools: an effect in the database once, whoever dies, waits or comes too late."""

from __future__ import annotations

import inspect
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

import sequential_postgres.plugin
from sequential import (
    Pending,
    Registry,
    Sequential,
    Steps,
    ToolCall,
    ToolContext,
    flow,
    hookimpl,
    tool,
)
from sequential._calls import Hold
from sequential.errors import ConfigError, LeaseLost
from sequential.outcomes import Completed
from sequential.storage import Run
from sequential.testing import FakeClock
from sequential_postgres.effects import transactional
from sequential_postgres.plugin import open_postgres
from tests.core.storage_cases import make_run
from tests.fix_postgres import OwnServer, Server

PATIENCE = 20.0
Connection = psycopg.Connection[Any]


@dataclass
class Account:
    name: str
    balance: int


@pytest.fixture
def database(postgres18: Server) -> str:
    name = postgres18.emptied()
    postgres18.execute(
        "DELETE FROM sequential.effects; DROP TABLE IF EXISTS book;"
        " CREATE TABLE book (account text, amount int)",
        name,
    )
    return name


@pytest.fixture
def url(postgres18: Server, database: str) -> str:
    return postgres18.url(database)


@pytest.fixture
def book(postgres18: Server, database: str) -> Callable[[], list[tuple[Any, ...]]]:
    return lambda: postgres18.execute("SELECT account, amount FROM book ORDER BY amount", database)


Book = Callable[[], list[tuple[Any, ...]]]


def context(position: str = "0", run: Run | None = None) -> ToolContext:
    return ToolContext(run or make_run(), position, 1, 0, "here", Hold())


def debit(context: ToolContext, connection: Connection, account: str, amount: int) -> int:
    """Take *amount* off."""
    connection.execute("INSERT INTO book VALUES (%s, %s)", (account, -amount))
    (balance,) = connection.execute("SELECT sum(amount)::int FROM book").fetchone() or (0,)
    return int(balance)


def test_what_was_done_is_not_done_again(url: str, book: Book) -> None:
    once = transactional(url)(debit)
    assert once(context(), "ann", 5) == -5
    assert once(context(), "ann", amount=5) == -5
    assert book() == [("ann", -5)]
    assert once(context("1"), "ann", 5) == -10


def test_what_raised_left_nothing_and_is_done_again(url: str, book: Book) -> None:
    fails = [True, False]

    def take(context: ToolContext, connection: Connection) -> str:
        connection.execute("INSERT INTO book VALUES ('ann', 1)")
        if fails.pop(0):
            raise ValueError("not enough")
        return "done"

    once = transactional(url)(take)
    with pytest.raises(ValueError, match="not enough"):
        once(context())
    assert book() == []
    assert (once(context()), once(context())) == ("done", "done")
    assert book() == [("ann", 1)]


def test_two_at_once_are_one(url: str, book: Book) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def take(context: ToolContext, connection: Connection) -> int:
        connection.execute("INSERT INTO book VALUES ('ann', 1)")
        inside.set()
        assert go_on.wait(PATIENCE)
        return threading.get_ident()

    once = transactional(url)(take)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(once, context())
        assert inside.wait(PATIENCE)
        others = [pool.submit(once, context()) for _ in range(3)]
        go_on.set()
        answers = {first.result(PATIENCE), *(other.result(PATIENCE) for other in others)}
    assert len(answers) == 1
    assert book() == [("ann", 1)]


def test_who_waited_does_it_if_the_first_gave_up(url: str, book: Book) -> None:
    inside, go_on = threading.Event(), threading.Event()
    fails = [True, False]

    def take(context: ToolContext, connection: Connection) -> int:
        connection.execute("INSERT INTO book VALUES ('ann', 1)")
        inside.set()
        assert go_on.wait(PATIENCE)
        if fails.pop(0):
            raise ValueError
        return 1

    once = transactional(url)(take)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(once, context())
        assert inside.wait(PATIENCE)
        second = pool.submit(once, context())
        go_on.set()
        assert second.result(PATIENCE) == 1
    assert isinstance(first.exception(), ValueError)
    assert book() == [("ann", 1)]


def test_one_that_waits_longer_than_a_statement_may_take_goes_on_waiting(
    url: str, book: Book
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def take(context: ToolContext, connection: Connection) -> int:
        connection.execute("INSERT INTO book VALUES ('ann', 1)")
        inside.set()
        assert go_on.wait(PATIENCE)
        return 1

    once = transactional(f"{url}&statement_timeout=0.4")(take)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(once, context())
        assert inside.wait(PATIENCE)
        second = pool.submit(once, context())
        threading.Timer(0.7, go_on.set).start()
        assert (first.result(PATIENCE), second.result(PATIENCE)) == (1, 1)
    assert book() == [("ann", 1)]


def test_an_error_of_the_database_that_the_tool_swallowed_is_no_success(
    url: str, book: Book
) -> None:
    def take(context: ToolContext, connection: Connection) -> int:
        connection.execute("INSERT INTO book VALUES ('ann', 1)")
        with suppress(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1 / 0")
        return 1

    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        transactional(url)(take)(context())
    assert book() == []


@pytest.mark.parametrize("how", ["COMMIT", "ROLLBACK"])
def test_a_tool_that_ends_the_transaction_itself_is_told(url: str, how: str) -> None:
    def take(context: ToolContext, connection: Connection) -> int:
        connection.execute(how.encode())
        return 1

    once = transactional(url)(take)
    with pytest.raises(RuntimeError, match="end no transaction in a tool"):
        once(context())
    if how == "COMMIT":
        with pytest.raises(RuntimeError, match="look what it did"):
            once(context())


def test_an_overtaken_execution_writes_nothing(url: str, book: Book) -> None:
    mine = context()

    def take(context: ToolContext, connection: Connection) -> int:
        connection.execute("INSERT INTO book VALUES ('ann', 1)")
        context.hold.lost = True
        return 1

    with pytest.raises(LeaseLost):
        transactional(url)(take)(mine)
    assert book() == []


def test_both_executions_return_the_same(url: str) -> None:
    def look(context: ToolContext, connection: Connection) -> tuple[Account, bytes, timedelta]:
        return Account("ann", 1), b"\x00\xff", timedelta(days=1)

    once = transactional(url)(look)
    answers: list[object] = [once(context()), once(context())]
    assert answers == 2 * [({"name": "ann", "balance": 1}, b"\x00\xff", timedelta(days=1))]


def test_a_value_that_comes_later_is_refused(url: str, book: Book) -> None:
    def take(context: ToolContext, connection: Connection) -> Pending:
        connection.execute("INSERT INTO book VALUES ('ann', 1)")
        return Pending()

    with pytest.raises(TypeError, match="Pending"):
        transactional(url)(take)(context())
    assert book() == []


def test_connections_may_be_the_users_own(url: str, book: Book) -> None:
    def plain() -> AbstractContextManager[Connection]:
        return psycopg.connect(url, row_factory=dict_row)

    def own(context: ToolContext, connection: Connection) -> int:
        [row] = connection.execute("INSERT INTO book VALUES ('ann', 1) RETURNING amount").fetchall()
        return int(row["amount"])

    assert [transactional(plain)(own)(context()) for _ in range(2)] == [1, 1]
    with ConnectionPool(url, min_size=1, kwargs={"autocommit": True}) as pool:
        pooled = transactional(pool.connection)(debit)
        assert [pooled(context("2"), "bob", 5) for _ in range(2)] == [-4, -4]
    assert book() == [("bob", -5), ("ann", 1)]


def test_a_connection_inside_a_transaction_is_refused(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("SELECT 1")
        with pytest.raises(RuntimeError, match="one that is idle"):
            transactional(lambda: nullcontext(connection))(debit)(context(), "ann", 1)


def test_an_old_result_is_removed_a_batch_at_a_time(
    url: str, postgres18: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sequential_postgres.effects._BATCH", 100)
    postgres18.execute(
        "INSERT INTO sequential.effects SELECT 'k' || n, 'r', '1', now() - interval '31 days'"
        " FROM generate_series(1, 250) AS n",
        database,
    )
    once = transactional(url)(debit)
    left = []
    for number in range(5):
        once(context(str(number)), "ann", 1)
        left += postgres18.execute(
            "SELECT count(*) FILTER (WHERE run_id = 'r') FROM sequential.effects", database
        )
    assert [count for (count,) in left] == [150, 50, 0, 0, 0]


@pytest.mark.parametrize("fate", ["before the commit", "after the commit"])
def test_a_lost_connection_is_tried_again(
    url: str, book: Book, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    broken: list[int] = []
    real = psycopg.Transaction.__exit__

    def cut(self: psycopg.Transaction, *told: Any) -> Any:
        if broken or told[0] is not None:
            return real(self, *told)
        broken.append(1)
        if fate == "after the commit":
            real(self, *told)
        self.connection.close()
        raise psycopg.OperationalError("cut")

    monkeypatch.setattr(psycopg.Transaction, "__exit__", cut)
    assert transactional(url)(debit)(context(), "ann", 5) == -5
    assert broken == [1]
    assert book() == [("ann", -5)]


def test_a_crash_of_the_server_in_a_tool_is_no_double_effect(own_postgres: OwnServer) -> None:
    database = own_postgres.database()
    own_postgres.execute("CREATE TABLE book (account text, amount int)", database)
    crashes = [True, False]

    def take(context: ToolContext, connection: Connection) -> int:
        connection.execute("INSERT INTO book VALUES ('ann', 1)")
        if crashes.pop(0):
            own_postgres.restart(crash=True)
        connection.execute("INSERT INTO book VALUES ('ann', 2)")
        return 3

    assert transactional(own_postgres.url(database))(take)(context()) == 3
    rows = own_postgres.execute("SELECT amount FROM book ORDER BY 1", database)
    assert rows == [(1,), (2,)]


# -- as a tool


def test_the_tool_has_no_connection_in_its_input(url: str) -> None:
    registry = Registry()
    made = tool("shop", "debit", registry=registry)(transactional(url)(debit))
    assert made.binding.names == ("account", "amount")
    assert made.binding.context == "context"
    assert made.result is not None
    assert made.__doc__ == "Take *amount* off."
    assert list(inspect.signature(made.function).parameters) == ["context", "account", "amount"]


def without_context(connection: Connection, amount: int) -> int:
    return amount


def without_connection(context: ToolContext) -> int:
    return 1


def by_name(context: ToolContext, *, connection: Connection) -> int:
    return 1


async def asynchronous(context: ToolContext, connection: Connection) -> int:
    return 1


@pytest.mark.parametrize("function", [without_context, without_connection, by_name, asynchronous])
def test_a_function_that_cannot_be_one_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match=function.__name__):
        transactional("postgresql://h/d")(function)


def test_a_schema_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(ConfigError):
        transactional(psycopg.connect, schema="a b")


def application(url: str, clock: FakeClock, *plugins: object) -> Sequential:
    registry = Registry()
    once = tool("shop", "debit", registry=registry)(transactional(url)(debit))

    @flow(name="pay", registry=registry)
    def pay(amount: int) -> Steps[list[int]]:
        first = yield from once("ann", amount)
        second = yield from once("ann", amount)
        return [first, second]

    brought = [sequential_postgres.plugin, *plugins]
    return Sequential(open_postgres(url, clock), plugins=brought, registry=registry, clock=clock)


class Killer:
    """Kills its process when a tool has answered: between the commit and the step's record."""

    @hookimpl(wrapper=True)
    def sequential_call_tool(self, call: ToolCall) -> Iterator[Any]:
        yield
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_kill_between_commit_and_record_leaves_one_effect(url: str, book: Book) -> None:
    clock = FakeClock()
    with application(url, clock) as app:
        app.start("pay", {"amount": 5}, run_id="p1")
    for _ in range(2):  # the second finds what the first did, and dies as well
        child = os.fork()
        if child == 0:
            with application(url, clock, Killer()) as app:
                app.execute("p1")
            os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert book() == [("ann", -5)]
        clock.advance(3600)
        clock.set_skew(clock.skew() + 3600)
    with application(url, clock) as app:
        outcome = app.execute("p1")
    assert isinstance(outcome, Completed)
    assert outcome.result == [-5, -10]
    assert book() == [("ann", -5), ("ann", -5)]


def test_without_the_table_it_is_said(postgres18: Server, empty_database: str) -> None:
    once = transactional(postgres18.url(empty_database))(debit)
    with pytest.raises(ConfigError, match=r"no table effects.*`sequential migrate`") as caught:
        once(context(), "ann", 1)
    assert isinstance(caught.value.__cause__, psycopg.errors.UndefinedTable)

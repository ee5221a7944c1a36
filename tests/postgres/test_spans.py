"""Spans over Postgres: the contract, by a role that owns nothing and behind a pooler."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from sequential.errors import StorageUnavailable
from sequential.spans import SpanStore
from sequential.testing import FakeClock, SpanStoreContract
from sequential.testing._span_store_contract import TRACE, make_span
from sequential_postgres.plugin import open_postgres, open_spans
from tests.fix_postgres import Server

ROLE = "spanner"


@pytest.fixture
def url(postgres18: Server) -> Iterator[str]:
    """Give the URL of a role that may do what role.sql lets one do."""
    database = postgres18.emptied()
    postgres18.execute(
        f"CREATE ROLE {ROLE} LOGIN; GRANT USAGE ON SCHEMA sequential TO {ROLE};"
        f" GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA sequential TO {ROLE}",
        database,
    )
    plain = postgres18.url(database, prepare="off")
    yield f"postgresql://{ROLE}@{plain.rpartition('://')[2].rpartition('@')[2]}"
    postgres18.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}", database)


class TestPostgres(SpanStoreContract):
    @pytest.fixture
    def spans(self, url: str) -> Iterator[SpanStore]:
        store = open_spans(url, FakeClock())
        yield store
        store.close()

    @pytest.fixture
    def again(self, url: str) -> Callable[[], SpanStore]:
        return lambda: open_spans(url, FakeClock())


def test_a_schema_that_is_not_there_is_set_up(postgres18: Server) -> None:
    url = postgres18.url(postgres18.database(empty=True))
    store = open_spans(url, FakeClock())
    store.add([make_span(1)])
    assert list(store.spans_of(TRACE)) == [make_span(1)]
    store.close()
    storage = open_postgres(url, FakeClock())
    assert storage.load("r1") is None
    storage.close()


def test_a_batch_waits_no_longer_than_the_url_says(postgres18: Server) -> None:
    database = postgres18.emptied()
    store = open_spans(postgres18.url(database, statement_timeout="0.5s"), FakeClock())
    with psycopg.connect(postgres18.url(database)) as other:
        other.execute("LOCK TABLE sequential.spans")
        with pytest.raises(StorageUnavailable):
            store.add([make_span(1)])
    store.add([make_span(1)])
    assert list(store.spans_of(TRACE)) == [make_span(1)]
    store.close()

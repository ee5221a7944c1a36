"""The contract and the engine over the oldest server of ours and over the newest.

The contract over the newest stands in `test_schema`, where a role with few rights keeps it. How
often each race is run says ``SEQUENTIAL_TEST_ROUNDS``:

    SEQUENTIAL_TEST_ROUNDS=1000 pytest tests/postgres --timeout 900 -k "wins or creates or append"
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from sequential.storage import Storage
from sequential.testing import EngineContract, FakeClock, StorageContract
from sequential_postgres.plugin import open_postgres
from tests.fix_postgres import Server


class OverPostgres(StorageContract):
    """The contract, over the server that the fixture `server` gives."""

    rounds = int(os.environ.get("SEQUENTIAL_TEST_ROUNDS", "10"))

    @pytest.fixture
    def database(self, server: Server) -> str:
        return server.emptied()

    @pytest.fixture
    def url(self, server: Server, database: str) -> str:
        return server.url(database, pool="20")

    @pytest.fixture
    def storage(self, url: str, clock: FakeClock) -> Iterator[Storage]:
        storage = open_postgres(url, clock)
        yield storage
        storage.close()

    @pytest.fixture
    def damage(self, storage: Storage, server: Server, database: str) -> Callable[[str, str], None]:
        def change(run_id: str, digest: str) -> None:
            changed = server.execute(
                "UPDATE sequential.stored_values SET data = '\\x00'"
                f" WHERE run_id = '{run_id}' AND digest = '{digest}' RETURNING 1",
                database,
            )
            assert changed == [(1,)]

        return change


class TestPostgres16(OverPostgres):
    @pytest.fixture
    def server(self, postgres16: Server) -> Server:
        return postgres16


class EngineOverPostgres(EngineContract):
    """The engine, over the server that the fixture `server` gives."""

    @pytest.fixture
    def storage(self, server: Server, clock: FakeClock) -> Iterator[Storage]:
        storage = open_postgres(server.url(server.emptied()), clock)
        yield storage
        storage.close()


class TestTheEngineOnPostgres16(EngineOverPostgres):
    @pytest.fixture
    def server(self, postgres16: Server) -> Server:
        return postgres16


class TestTheEngineOnPostgres18(EngineOverPostgres):
    @pytest.fixture
    def server(self, postgres18: Server) -> Server:
        return postgres18

"""The contract, over the storages of the core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sequential._memory import MemoryStorage, open_memory
from sequential._sqlite import open_sqlite
from sequential._storage import Storage
from sequential.errors import ConfigError
from sequential.testing import FakeClock
from tests.core.storage_cases import StorageCases


class TestMemory(StorageCases):
    @pytest.fixture
    def storage(self, clock: FakeClock) -> Storage:
        return MemoryStorage(clock)

    def test_its_url_takes_nothing_else(self, clock: FakeClock) -> None:
        assert open_memory("memory://", clock).deployment
        with pytest.raises(ConfigError):
            open_memory("memory://flows", clock)


class TestSqlite(StorageCases):
    @pytest.fixture
    def storage(self, clock: FakeClock, tmp_path: Path) -> Iterator[Storage]:
        # What a power failure would do is not tested here, so nothing waits for the disk.
        storage = open_sqlite(f"sqlite:///{tmp_path}/flows.db?synchronous=normal", clock)
        yield storage
        storage.close()

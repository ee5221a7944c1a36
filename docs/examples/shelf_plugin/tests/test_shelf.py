from collections.abc import Iterator
from pathlib import Path

import pytest

from sequential import Sequential
from sequential.storage import Storage
from sequential.testing import EngineContract, FakeClock, StorageContract


class Shelf:
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"shelf:///{tmp_path}/shelf"

    @pytest.fixture
    def storage(self, url: str, clock: FakeClock) -> Iterator[Storage]:
        with Sequential(url, clock=clock) as app:
            yield app.storage


class TestStorage(Shelf, StorageContract): ...


class TestEngine(Shelf, EngineContract): ...

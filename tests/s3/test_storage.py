"""The contract over S3 servers: all of it on one, and what can differ by server on another."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from sequential.storage import Storage
from sequential.testing import FakeClock, StorageContract
from sequential.testing._storage_finding import Finding
from sequential.testing._storage_model import Modelled
from sequential.testing._storage_races import Racing
from sequential_s3.keys import name_of
from sequential_s3.plugin import open_s3
from sequential_s3.storage import S3Storage
from tests.fix_s3 import S3Url


class OnS3:
    """What the contract's tests are handed."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def storage(self, url: str, clock: FakeClock) -> Iterator[Storage]:
        storage = open_s3(url, clock)
        yield storage
        storage.close()

    @pytest.fixture
    def damage(self, storage: S3Storage) -> Callable[[str, str], None]:
        def change(run_id: str, digest: str) -> None:
            key = storage._keys.value(name_of(run_id), digest)
            assert storage.bucket.get(key) is not None
            storage.bucket.put(key, b"changed")

        return change


class TestS3(OnS3, StorageContract):
    @pytest.fixture
    def url(self, s3_url: str) -> str:
        return s3_url


@pytest.mark.chaos
class TestLockedMoto(OnS3, Finding, Racing, Modelled):
    """Another server's conditions, listings and keys. The rest is our own code: once is enough."""

    rounds = 3
    processes = 2

    @pytest.fixture
    def url(self, s3_url_at: S3Url, locked_moto: str) -> str:
        return s3_url_at(locked_moto)

    @pytest.mark.parametrize("seed", [0])
    def test_any_operations_are_answered_as_by_the_model(
        self, storage: Storage, clock: FakeClock, seed: int
    ) -> None:
        super().test_any_operations_are_answered_as_by_the_model(storage, clock, seed)

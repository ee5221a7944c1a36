"""Two storages over one prefix: one whose requests fail as planned, and somebody else's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sequential.testing import FakeClock
from sequential_s3.plugin import open_s3
from sequential_s3.storage import S3Storage
from tests.s3.faults import Faults


def opened(url: str, clock: FakeClock) -> S3Storage:
    storage = open_s3(url, clock)
    assert isinstance(storage, S3Storage)
    assert storage.deployment
    return storage


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def storage(s3_url: str, clock: FakeClock) -> Iterator[S3Storage]:
    storage = opened(s3_url, clock)
    yield storage
    storage.close()


@pytest.fixture
def other(s3_url: str, clock: FakeClock) -> Iterator[S3Storage]:
    storage = opened(s3_url, clock)
    yield storage
    storage.close()


@pytest.fixture
def faults(storage: S3Storage) -> Faults:
    return Faults(storage)

"""Two storages over one prefix: one whose requests fail as planned, and somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sequential.testing import FakeClock
from sequential_s3.plugin import open_s3
from sequential_s3.storage import S3Storage
from tests.s3.faults import Faults

HERE = Path(__file__).parent


def opened(url: str, clock: FakeClock) -> S3Storage:
    storage = open_s3(url, clock)
    assert isinstance(storage, S3Storage)
    assert storage.deployment
    return storage


LONG = ("-retry]", "-duplicate]", *(f"as_by_the_model[{number}]" for number in range(6, 12)))
"""Ends of the names of what is left to the long runs."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave half of the failpoints, and of the random operations, to the long runs.

    Who acts next is the engine's, not S3's. The sweeper asks the index of S3, and whoever waits for
    a lease its clock; those stay.
    """
    for item in items:
        if item.path.parent == HERE and item.name.endswith(LONG):
            item.add_marker("chaos")


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

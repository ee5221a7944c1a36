"""The whole engine over S3: every failpoint with every next actor."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sequential.storage import Storage
from sequential.testing import EngineContract, FakeClock
from sequential_s3.plugin import open_s3


class TestS3(EngineContract):
    @pytest.fixture
    def storage(self, s3_url: str, clock: FakeClock) -> Iterator[Storage]:
        storage = open_s3(s3_url, clock)
        yield storage
        storage.close()

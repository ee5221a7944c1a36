"""One virtual clock and a queue in memory that follows it."""

from __future__ import annotations

import pytest

from sequential.testing import FakeClock
from tests.sqs.memory_queue import MemoryQueue


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(clock: FakeClock) -> MemoryQueue:
    return MemoryQueue(clock)

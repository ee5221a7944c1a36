"""Fixtures for tests of flows, found by pytest through an entry point.

``sequential_clock``, ``sequential_app`` and ``play``; the rest of `sequential.testing` is imported
where it is used. The only module here that knows pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .._app import Sequential
from ._clock import FakeClock
from ._play import Played
from ._play import play as _play


@pytest.fixture
def sequential_clock() -> FakeClock:
    """Return a clock that stands still until the test moves it."""
    return FakeClock()


@pytest.fixture
def sequential_app(sequential_clock: FakeClock) -> Iterator[Sequential]:
    """Give an application in memory, on `sequential_clock`, with this process's flows and tools.

    Installed plugins are left out.
    """
    with Sequential("memory:", plugins=[], clock=sequential_clock) as app:
        yield app


@pytest.fixture
def play() -> Callable[..., Played[Any]]:
    """Return `sequential.testing.play`."""
    return _play

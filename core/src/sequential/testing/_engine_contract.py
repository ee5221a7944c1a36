"""The contract kit that runs the whole engine over any storage: one class, one fixture to override.

Whoever keeps `StorageContract` keeps this too; what only shows when the parts work together is
found here. Time is moved by the clock, and by its skew where the storage has a clock of its own.
Needs pytest.
"""

from __future__ import annotations

import pytest

from .._storage import Storage
from ._clock import FakeClock
from ._engine_journeys import Journeys
from ._engine_language import LanguageJourneys
from ._engine_matrix import Cell, cells
from ._engine_row import play


class EngineContract(Journeys, LanguageJourneys):
    """Plain journeys, and every failpoint with every next actor. Inherit, and override `storage`.

    Each failpoint is a test ``test_a_failpoint[F23-sweeper]``: what happens there and what must
    hold stands in the table that `sequential.testing` keeps; a point that is not reached fails.

    Example:
        >>> class TestShelfWithTheEngine(EngineContract):
        ...     @pytest.fixture
        ...     def storage(self, clock: FakeClock, tmp_path: Path) -> Iterator[Storage]:
        ...         storage = open_shelf(f"shelf://{tmp_path}", clock)
        ...         yield storage
        ...         storage.close()
    """

    @pytest.fixture
    def clock(self) -> FakeClock:
        """Give the clock that the storage must be opened with; its skew moves the time."""
        return FakeClock()

    @pytest.fixture
    def storage(self, clock: FakeClock) -> Storage:
        """Give an empty storage, opened with *clock*. To be overridden."""
        raise NotImplementedError(
            f"{type(self).__name__} has no storage to run the engine over: override the fixture"
            f" `storage(self, clock)` and return an empty storage that is opened with the"
            f" {type(clock).__name__} given"
        )

    @pytest.mark.parametrize("cell", cells(), ids=lambda cell: cell.key)
    def test_a_failpoint(self, cell: Cell, storage: Storage, clock: FakeClock) -> None:
        play(cell.row, cell.actor, storage, clock)

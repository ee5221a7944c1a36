"""The contract kit for storages: one class to inherit, one fixture to override.

What is asked stands in the modules that it is put together from, by subject. Only the contract is
used, so that the same class runs over any storage. Needs pytest.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .._storage import Storage
from ._clock import FakeClock
from ._storage_finding import Finding
from ._storage_keeping import Keeping
from ._storage_model import Modelled
from ._storage_races import Racing
from ._storage_timing import Timing
from ._storage_writing import Writing


class StorageContract(Writing, Timing, Finding, Keeping, Racing, Modelled):
    """Everything that a storage must do, as tests. Inherit, and override `storage`.

    Example:
        >>> class TestShelf(StorageContract):
        ...     @pytest.fixture
        ...     def storage(self, clock: FakeClock, tmp_path: Path) -> Iterator[Storage]:
        ...         storage = open_shelf(f"shelf://{tmp_path}", clock)
        ...         yield storage
        ...         storage.close()

    Attributes:
        rounds: How often each race is run, 10 where it is not overridden.
        processes: How many processes race, 3 where it is not overridden.
    """

    @pytest.fixture
    def clock(self) -> FakeClock:
        """Give the clock that the storage must be opened with; its skew moves the time."""
        return FakeClock()

    @pytest.fixture
    def storage(self, clock: FakeClock) -> Storage:
        """Give an empty storage, opened with *clock*. To be overridden."""
        raise NotImplementedError(
            f"{type(self).__name__} has no storage to test: override the fixture"
            f" `storage(self, clock)` and return an empty storage that is opened with the"
            f" {type(clock).__name__} given"
        )

    @pytest.fixture
    def url(self, storage: Storage) -> str | None:  # noqa: ARG002  (those that override it use it)
        """Give the URL under which another process opens *storage*; None if none can.

        A storage without one must say in ``probe().cannot`` that it "serves one process only".
        """
        return None

    @pytest.fixture
    def damage(self, storage: Storage) -> Callable[[str, str], None] | None:  # noqa: ARG002
        """Give what changes the bytes of a stored value behind the storage's back.

        It is called with the id of the run and the digest. None where nobody can reach them.
        """
        return None

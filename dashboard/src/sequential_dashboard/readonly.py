"""A storage that lets nobody write: what the pages look through.

It stands below the application, so that nothing that a page could call gets past it. Where the
database knows a role that may only read, use that as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NoReturn

from sequential.errors import StorageRefused
from sequential.spans import Rolled
from sequential.storage import Loaded, Page, Probe, Query, Run, Stale, Status, StepRecord, Storage


class ReadOnlyStorage:
    """Answers what only reads of *storage*, and refuses everything else."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @property
    def deployment(self) -> str:
        """As the storage's."""
        return self._storage.deployment

    @property
    def schema(self) -> object:
        """As the storage's, if it has one."""
        return getattr(self._storage, "schema", None)

    @property
    def upto(self) -> float | None:
        """When what a projection has was last whole; None for any other storage."""
        return getattr(self._storage, "upto", None)

    @property
    def rollups(self) -> Callable[[float, float], Rolled] | None:
        """As the storage's, if it makes statistics; it never makes them for who only looks."""
        return getattr(self._storage, "rollups", None)

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        """As the storage."""
        return self._storage.load(run_id, after)

    def find(self, query: Query) -> Page:
        """As the storage."""
        return self._storage.find(query)

    def get_value(self, run_id: str, digest: str) -> bytes:
        """As the storage."""
        return self._storage.get_value(run_id, digest)

    def count(self, query: Query) -> Mapping[tuple[str, Status], int]:
        """As the storage."""
        return self._storage.count(query)

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:  # noqa: ARG002
        """Refuse."""
        self._refuse(f"create run {run.run_id}")

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:  # noqa: ARG002
        """Refuse."""
        self._refuse(f"change run {run.run_id}")

    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:  # noqa: ARG002
        """Refuse: a run that is handed out is held back for others."""
        self._refuse("hand out due runs")

    def put_value(self, run_id: str, data: bytes) -> str:  # noqa: ARG002
        """Refuse."""
        self._refuse(f"keep a value of run {run_id}")

    def purge(self, expect: Run) -> bool:
        """Refuse."""
        self._refuse(f"purge run {expect.run_id}")

    def probe(self) -> Probe:
        """Refuse: trying the contract writes."""
        self._refuse("try the contract")

    def close(self) -> None:
        """Leave it open: it belongs to whoever opened it."""

    def _refuse(self, what: str) -> NoReturn:
        raise StorageRefused("the dashboard", f"it only reads, and was asked to {what}")

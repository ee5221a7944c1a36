"""ProjectionStorage: a projection as the pages and commands see it. It lets nobody write.

Reading is that of the SQLite storage, and each connection refuses writes by itself as well. The
deployment is that of the runs' own storage, so that sealed values open.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import NoReturn

from .._clock import Clock
from .._model import Run, StepRecord
from .._sqlite.schema import PROJECTION
from .._sqlite.storage import SqliteStorage
from .._sqlite.url import SqliteSettings, read_sqlite_url
from .._storage import Probe, Stale
from ..errors import StorageForeign, StorageRefused, StorageUnavailable, ValueCorrupt
from .queries import READ_MARKS


class ProjectionStorage(SqliteStorage):
    """Looks at the projection in one file.

    Args:
        settings: Where it is.
        clock: The host's.

    Raises:
        StorageForeign: There is no projection.
    """

    def __init__(self, settings: SqliteSettings, clock: Clock) -> None:
        if not os.path.exists(settings.path):  # noqa: PTH110  (pathlib is slow to import)
            remedy = f"make one: sequential --storage URL project --into {settings.path}"
            raise StorageForeign(settings.path, "there is no such file", remedy)
        super().__init__(settings, clock, PROJECTION)

    @property
    def source(self) -> str:
        """Address of the storage that the runs are in, without secrets."""
        return self._marks()[0]

    @property
    def upto(self) -> float | None:
        """When the last whole pass began, in seconds since the epoch; None before the first."""
        return self._marks()[1]

    def _marks(self) -> tuple[str, float | None]:
        with self._connections.reading() as connection:
            row = connection.execute(READ_MARKS).fetchone()
        return ("a storage not looked at yet", None) if row is None else (row[0], row[1])

    def get_value(self, run_id: str, digest: str) -> bytes:
        """Refuse: values too large for a record are not copied."""
        reason = "it is large, and stayed where the runs are"
        raise ValueCorrupt(run_id, digest, reason, "name their storage with --values to see it")

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:  # noqa: ARG002
        """Refuse: nobody may carry on a copy of a run."""
        self._refuse()

    def put_value(self, run_id: str, data: bytes) -> str:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def drop_values(self, run_id: str) -> None:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def purge(self, expect: Run) -> bool:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def roll_up(self) -> float:
        """Refuse: who copies runs makes their statistics as well."""
        self._refuse()

    def probe(self) -> Probe:
        """Say whether the file is whole, and how far it came; the contract is not tried."""
        with self._connections.reading() as connection:
            [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise StorageUnavailable(self.path, f"the file is damaged ({found}); make it anew")
        upto, name = self.upto, f"projection:///{self.path}"
        if upto is None:
            return Probe(name, ["the file is whole"], ["show runs: no pass has come to its end"])
        late = f"{max(0.0, self._time.now() - upto):,.0f} s ago"
        return Probe(
            name,
            ["the file is whole", f"the last whole pass over {self.source} began {late}"],
            ["change runs: name their own storage to act", "show large values without --values"],
        )

    def _refuse(self) -> NoReturn:
        reason = f"it is a projection, which is only looked at; to act name {self.source} instead"
        raise StorageRefused(self.path, reason)


def open_projection(url: str, clock: Clock) -> ProjectionStorage:
    """Return the projection that ``projection:///runs.db`` names.

    Raises:
        ConfigError: The URL names no file, or an option that there is not.
        StorageError: The file cannot be opened, or is no projection.
    """
    found = read_sqlite_url(url, "projection")
    return ProjectionStorage(SqliteSettings(found.path, "normal", found.timeout, True), clock)

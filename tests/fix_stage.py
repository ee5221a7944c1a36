"""A stage to play runs on: one storage, one clock, and as many processes as a test wants.

Each `Stage.app` stands for a process of its own: nothing is shared with the others but the storage
and the clock. `Crash` stands for a killed process: nobody catches it, nothing is tidied up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sequential import Registry, Sequential
from sequential._memory import MemoryStorage
from sequential._model import Run, StepRecord
from sequential._outcomes import Outcome
from sequential._protocol import Terms
from sequential._sqlite import open_sqlite
from sequential._storage import Loaded, Stale, Storage
from sequential.testing import FakeClock


class Crash(BaseException):
    """The process is killed here."""


class CountingStorage(MemoryStorage):
    """Memory that counts what is asked of it."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.creates = self.commits = self.loads = 0

    @property
    def writes(self) -> int:
        """Return how many writes were asked for, creating included."""
        return self.creates + self.commits

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        self.creates += 1
        return super().create(run, steps)

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        self.loads += 1
        return super().load(run_id, after)

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        self.commits += 1
        return super().commit(run, expect, steps)

    def forget_counts(self) -> None:
        """Count from zero again."""
        self.creates = self.commits = self.loads = 0


class Stage:
    """One storage and one clock; *registry* is what its processes know unless told otherwise."""

    def __init__(self, storage: Storage, clock: FakeClock) -> None:
        self.storage = storage
        self.clock = clock
        self.registry = Registry()
        self.terms = Terms()
        self._apps: list[Sequential] = []

    @property
    def counted(self) -> CountingStorage:
        """The storage, where it counts."""
        assert isinstance(self.storage, CountingStorage)
        return self.storage

    def app(self, registry: Registry | None = None, **settings: Any) -> Sequential:
        """Return a new process."""
        settings.setdefault("plugins", [])
        settings.setdefault("pause", "when-waiting")
        settings.setdefault("terms", self.terms)
        made = Sequential(
            self.storage, registry=registry or self.registry, clock=self.clock, **settings
        )
        self._apps.append(made)
        return made

    def crash(self, app: Sequential, run_id: str) -> None:
        """Execute *run_id* in a process that is killed on the way, and let its lease run out."""
        with pytest.raises(Crash):
            app.execute(run_id)
        self.after_lease()

    def after_lease(self) -> None:
        """Let any lease run out, with the longest backoff."""
        self.clock.advance(self.terms.lease + self.terms.longest_backoff + 1)

    def drive(self, app: Sequential, run_id: str, turns: int = 100) -> Outcome:
        """Execute *run_id* as a worker would, letting time pass, until nothing moves it."""
        outcome = app.execute(run_id)
        for _ in range(turns):
            wake = getattr(outcome, "wake", None)
            if wake is None or type(outcome).__name__ != "Paused":
                break
            self.clock.advance(max(0.0, wake.time - self.clock.now()))
            outcome = app.execute(run_id)
        return outcome

    def close(self) -> None:
        """Discard what the processes keep in memory."""
        for made in self._apps:
            made.driver.close()
        self.storage.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A stage over memory that counts."""
    clock = FakeClock()
    made = Stage(CountingStorage(clock), clock)
    yield made
    made.close()


@pytest.fixture(params=["memory", "sqlite"])
def any_stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """A stage over each storage of the core."""
    clock = FakeClock()
    if request.param == "memory":
        storage: Storage = MemoryStorage(clock)
    else:
        storage = open_sqlite(f"sqlite:///{tmp_path}/flows.db?synchronous=normal", clock)
    made = Stage(storage, clock)
    yield made
    made.close()

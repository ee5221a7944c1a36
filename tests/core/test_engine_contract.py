"""The whole engine, over the storages of the core; and the kit itself, over broken ones.

Every broken storage keeps the contract but for one guarantee; the tests named for it must fail over
it and pass over the sound one.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sequential._memory import MemoryStorage
from sequential._model import Run, Status, StepRecord, evolve
from sequential._outcomes import Lost
from sequential._requests import Perform
from sequential._sqlite import open_sqlite
from sequential._storage import STALE, Loaded, Page, Query, Stale, Storage
from sequential.errors import StorageUnavailable
from sequential.testing import EngineContract, FakeClock
from sequential.testing._engine_flows import ProcessLost
from sequential.testing._engine_matrix import NAMES, ROWS, cells, report, uncovered
from sequential.testing._engine_row import Row, is_step, once_each, play
from sequential.testing._engine_scene import ACTORS, LEASE_OVER, Actor, Scene

OPTIONS = "?synchronous=normal"
"""What a power failure would do is not tested here, so nothing waits for the disk."""


class TestMemory(EngineContract):
    @pytest.fixture
    def storage(self, clock: FakeClock) -> Storage:
        return MemoryStorage(clock)

    @pytest.mark.parametrize("actor", ACTORS)
    def test_commits_that_the_storage_lost(
        self, actor: Actor, storage: MemoryStorage, clock: FakeClock
    ) -> None:
        lose_commits(Scene(storage, clock, actor), lambda: rolled_back(storage))


class ServersClock:
    """The clock of a storage that has a server: it goes its own way, plus the skew."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._mine = FakeClock(start=1_900_000_000.0)

    def now(self) -> float:
        self._mine.advance(0.001)
        return self._mine.now()

    def monotonic(self) -> float:
        return self._mine.monotonic()

    def skew(self) -> float:
        return self._clock.skew()

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        return self._mine.wait(seconds, event)


class TestServer(EngineContract):
    """A storage whose time only the skew moves."""

    @pytest.fixture
    def storage(self, clock: FakeClock) -> Storage:
        return MemoryStorage(ServersClock(clock))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an empty database, so that it is set up once only."""
    path = tmp_path_factory.mktemp("empty") / "flows.db"
    open_sqlite(f"sqlite:///{path}{OPTIONS}", FakeClock()).close()
    return path


class TestSqlite(EngineContract):
    @pytest.fixture
    def path(self, tmp_path: Path, empty: Path) -> Path:
        return Path(shutil.copy(empty, tmp_path / "flows.db"))

    @pytest.fixture
    def storage(self, clock: FakeClock, path: Path) -> Iterator[Storage]:
        storage = open_sqlite(f"sqlite:///{path}{OPTIONS}", clock)
        yield storage
        storage.close()

    @pytest.mark.parametrize("actor", ACTORS)
    def test_commits_that_the_storage_lost(
        self, actor: Actor, storage: Storage, clock: FakeClock, path: Path
    ) -> None:
        def rollback() -> Callable[[], None]:
            kept = sqlite3.connect(":memory:")
            with closing(sqlite3.connect(path)) as now:
                now.backup(kept)

            def restore() -> None:
                with closing(kept), closing(sqlite3.connect(path)) as now:
                    kept.backup(now)

            return restore

        lose_commits(Scene(storage, clock, actor), rollback)


# -- F43: a failover that loses commits ----------------------------------------------------------


Rollback = Callable[[], Callable[[], None]]
"""Called it keeps how the storage stands; what it returns brings that back."""


def rolled_back(storage: MemoryStorage) -> Callable[[], None]:
    runs = dict(storage._runs)
    steps = {place: dict(kept) for place, kept in storage._steps.items()}

    def restore() -> None:
        storage._runs, storage._steps = dict(runs), steps
        storage._nudged.clear()

    return restore


def lose_commits(scene: Scene, rollback: Rollback) -> None:
    """Lose the commits of a second claim while its owner is at work; then a third comes."""
    scene.start()
    scene.first.execute()
    restore = rollback()
    prefix = scene.steps
    owner = scene.worker()
    invocation = owner.invoke()
    invocation.until(is_step)
    fence = scene.run.fence
    restore()
    assert scene.run.fence < fence
    other = scene.worker()
    again = other.invoke()
    again.until(lambda request: isinstance(request, Perform))
    # The same fence was handed out again: the owner is what tells the two apart.
    assert scene.run.fence == fence
    run = scene.run
    scene.losses += 1
    outcome = owner.carry(invocation)
    assert isinstance(outcome, Lost), outcome
    assert scene.run == run
    other.carry(again)
    scene.carry_on()
    assert scene.run.status is Status.COMPLETED
    assert scene.steps[: len(prefix)] == prefix
    assert [step.number for step in scene.steps] == [0, 1, 2]


# -- the matrix ----------------------------------------------------------------------------------


def test_every_failpoint_of_the_core_meets_every_next_actor() -> None:
    assert len(NAMES) == 41
    assert {row.name for row in ROWS} == set(NAMES)
    assert uncovered() == []
    keys = [cell.key for cell in cells()]
    assert len(set(keys)) == len(keys) >= 4 * len(NAMES)


def test_a_failpoint_without_a_cell_is_reported() -> None:
    rest = [row for row in ROWS if row.name != "F23"]
    assert uncovered(rest) == [f"F23-{actor}" for actor in ACTORS]
    only = [replace(row, not_for={"sweeper": "why"}) for row in ROWS]
    assert uncovered(only) == [f"{name}-sweeper" for name in NAMES]


def test_what_makes_no_sense_is_said_in_a_sentence() -> None:
    left_out = [why for row in ROWS for why in row.not_for.values()]
    assert left_out
    assert all(len(why.split()) > 5 for why in left_out)
    said = report()
    assert all(row.happens in said and row.holds in said for row in ROWS)


def test_a_failpoint_that_is_not_reached_fails() -> None:
    clock = FakeClock()
    row = Row("F23", "nothing", "nothing", lambda scene: scene.start(), check=once_each)
    with pytest.raises(AssertionError, match="F23 was not reached"):
        play(row, "lease", MemoryStorage(clock), clock)


def test_a_run_that_nobody_moves_is_called_stranded() -> None:
    clock = FakeClock()
    scene = Scene(MemoryStorage(clock), clock, "sweeper")
    scene.start()
    scene.code = "gone"
    with pytest.raises(AssertionError, match="stranded"):
        scene.carry_on()
    assert scene.waited > LEASE_OVER


def test_a_kit_without_a_storage_says_what_to_override() -> None:
    asked = EngineContract.storage
    with pytest.raises(NotImplementedError, match="override the fixture"):
        asked.__wrapped__(EngineContract(), FakeClock())  # type: ignore[attr-defined]


# -- broken storages -----------------------------------------------------------------------------


class Sound(MemoryStorage):
    """Keeps the contract; the broken ones break one line of it."""


class LosesACommit(Sound):
    """Says that a step was written, and has forgotten it."""

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        return super().commit(run, expect, () if run.cursor == 2 else steps)


class ForgetsWhatItConfirmed(Sound):
    """Confirms the end of a run without writing it."""

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        if run.status is Status.COMPLETED:
            return evolve(run, version=expect.version + 1)
        return super().commit(run, expect, steps)


class HandsOutAnOldSnapshot(Sound):
    """A replica: the record is of now, the steps are of before the last commit."""

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        loaded = super().load(run_id, after)
        return loaded and loaded._replace(steps=loaded.steps[:-1])


class ForgetsMessages(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        return super().commit(evolve(run, inbox=()), expect, steps)


class ForgetsWhichMessagesItSaw(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        return super().commit(evolve(run, seen=()), expect, steps)


class ForgetsWhatIsOpen(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        return super().commit(evolve(run, open={}), expect, steps)


class IgnoresExpect(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        stored = self._runs.get(run.run_id)
        return STALE if stored is None else super().commit(run, stored, steps)


class AppendsAlthoughStale(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        answer = super().commit(run, expect, steps)
        if answer is STALE and steps:
            self._append(run.run_id, [step._replace(position="late") for step in steps])
        return answer


class ForgetsTheOwner(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        return super().commit(evolve(run, owner=""), expect, steps)


class ForgetsTheFence(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        return super().commit(evolve(run, fence=1), expect, steps)


class ForgetsWhoWroteAStep(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        return super().commit(run, expect, [step._replace(op_id="") for step in steps])


class ForgetsStalls(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        return super().commit(evolve(run, stalls=0), expect, steps)


class NeverTellsWhatIsDue(Sound):
    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        return ()


class TellsOnlyOnce(Sound):
    """Takes a run that it told of for done."""

    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        return super().due(limit, flows, 1e9)


class CutsLargeValues(Sound):
    def put_value(self, run_id: str, data: bytes) -> str:
        digest = super().put_value(run_id, data)
        self._values[run_id, digest] = data[:1000]
        return digest


class CallsAppliedUnavailable(Sound):
    """Says that a step was certainly not written, when it was."""

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        answer = super().commit(run, expect, steps)
        if steps and isinstance(answer, Run):
            raise StorageUnavailable("broken:", "it did not get through, it says")
        return answer


class MixesGenerations(Sound):
    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        loaded = super().load(run_id, after)
        older = self._steps.get((run_id, 0), {})
        if loaded is None or loaded.run.generation == 0 or after > 0:
            return loaded
        return loaded._replace(steps=(*older.values(), *loaded.steps))


class PurgesTheValuesOfAll(Sound):
    def purge(self, expect: Run) -> bool:
        self._values.clear()
        return super().purge(expect)


class PurgesTwice(Sound):
    """Takes an old record for the stored one, so that a tombstone is removed at once."""

    def purge(self, expect: Run) -> bool:
        stored = self._runs.get(expect.run_id)
        return stored is not None and super().purge(stored)


class CreatesAgain(Sound):
    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        self._runs.pop(run.run_id, None)
        return super().create(run, steps)


class ForgetsTheDeadline(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        return super().commit(evolve(run, deadline=None), expect, steps)


class ForgetsProgress(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        return super().commit(evolve(run, progress=None), expect, steps)


class ForgetsPatches(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        return super().commit(evolve(run, patches=()), expect, steps)


class FindsNoChildren(Sound):
    def find(self, query: Query) -> Page:
        return super().find(query) if query.parent is None else Page((), None)


_RETRIED = "test_a_failed_run_is_retried_from_the_step_that_failed"
_INLINE = "test_an_inline_run_is_one_claim_and_a_commit_a_step"
BROKEN: dict[type[Sound], tuple[str, ...]] = {
    LosesACommit: (_INLINE, "F23-lease"),
    ForgetsWhatItConfirmed: (_INLINE, "F38-died-lease"),
    HandsOutAnOldSnapshot: ("F22-parked-retry", "F23-lease"),
    ForgetsMessages: ("test_a_signal_is_waited_for_without_a_time", "F31-parking-lease"),
    ForgetsWhichMessagesItSaw: ("F32-twice-lease",),
    ForgetsWhatIsOpen: ("F16-after-intent-lease",),
    IgnoresExpect: ("F10-2-retry", "F25-step-lease", "F26-step-lease", "F35-parked-lease"),
    AppendsAlthoughStale: ("F25-step-lease", "F26-step-lease", "F44-ahead-lease"),
    ForgetsTheOwner: (_INLINE, "F23-lease"),
    ForgetsTheFence: ("test_every_step_is_a_claim_and_a_commit", "F44-ahead-lease"),
    ForgetsWhoWroteAStep: ("F22-overwritten-retry",),
    ForgetsStalls: ("F40-lease",),
    NeverTellsWhatIsDue: ("F04-sweeper",),
    TellsOnlyOnce: ("F28-sweeper",),
    CutsLargeValues: ("test_large_values_come_back_whole", "F15-value-lease"),
    CallsAppliedUnavailable: (_INLINE, "F23-lease"),
    MixesGenerations: (_RETRIED, "test_a_run_that_continues_as_new_has_a_short_history"),
    PurgesTheValuesOfAll: ("test_a_run_is_forked_at_a_step", "F39-reply-retry"),
    PurgesTwice: ("F39-before-duplicate",),
    CreatesAgain: ("test_starting_twice_is_starting_once",),
    ForgetsTheDeadline: ("test_a_run_is_cancelled_at_its_deadline",),
    ForgetsProgress: ("test_progress_is_kept_with_the_run",),
    ForgetsPatches: ("test_a_run_keeps_the_way_that_it_went_at_a_patch",),
    FindsNoChildren: ("test_children_are_waited_for_forgotten_fail_and_are_cancelled",),
}


def passes(kind: type[Sound], name: str) -> bool:
    """Run the test of the kit, or the cell, that has this name; tell whether it passed."""
    clock = FakeClock()
    storage = kind(clock)
    cell = {cell.key: cell for cell in cells()}.get(name)
    try:
        if cell is None:
            getattr(EngineContract(), name)(storage, clock)
        else:
            play(cell.row, cell.actor, storage, clock)
    except (Exception, ProcessLost, pytest.fail.Exception):  # noqa: BLE001  (whatever it finds)
        return False
    return True


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_storage_is_caught_by_the_tests_named_for_it(kind: type[Sound]) -> None:
    for name in BROKEN[kind]:
        assert passes(Sound, name)
        assert not passes(kind, name), f"{name} does not see it"


def test_every_broken_storage_is_in_the_table() -> None:
    assert set(Sound.__subclasses__()) == set(BROKEN)

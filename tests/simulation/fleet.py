"""What the simulated processes meet: a storage that is watched, and a bad way to reach it.

The storage keeps the contract, but can lose its last commits as a failover does. All that goes
wrong between a process and the storage goes wrong in its `Channel`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from sequential._memory import MemoryStorage
from sequential._model import OPEN_STATUSES, Run, Status, StepRecord
from sequential._protocol import Terms
from sequential._storage import STALE, Loaded, Page, Probe, Query, Stale
from sequential.errors import OutcomeUnknown, StorageRefused, StorageUnavailable
from sequential.testing import FakeClock
from tests.simulation.choices import Choices
from tests.simulation.deadlines import check_deadline
from tests.simulation.families import Families
from tests.simulation.invariants import Watched
from tests.simulation.patching import Patching
from tests.simulation.programs import Code
from tests.simulation.repairs import Repairs
from tests.simulation.said import check_progress
from tests.simulation.told import Told
from tests.simulation.trace import told_commit
from tests.simulation.values import Values

Tell = Callable[[str, str, str], None]


class Trouble(StrEnum):
    """What becomes of one commit."""

    UNAVAILABLE = "unavailable"
    """It does not get through, and the caller knows."""
    LOST = "reply lost"
    """It is applied, and the caller does not know."""
    UNCONFIRMED = "unconfirmed"
    """It does not get through, and the caller does not know."""
    LATE = "late"
    """The caller hears nothing, and it arrives at some other time."""
    TWICE = "sent twice"
    """It is applied and confirmed, and arrives once more at some other time."""
    REFUSED = "refused"
    """The storage says no."""


class Letter(NamedTuple):
    """A commit that is still under way."""

    run: Run
    expect: Run
    steps: Sequence[StepRecord]
    code: Code | None


class WatchedMemory(MemoryStorage):
    """Keeps runs, and checks every commit.

    Attributes:
        watched: What was seen, by run.
        broken: The first invariant that did not hold.
        writer: Whose code commits now; None for somebody outside.
        counts: What became of runs, and how often.
        families: What runs are to each other.
        told: What is said to runs.
        values: What is kept apart from records.
        repairs: What operators do.
        barred: Whether no purge of a record gets through.
        patching: What patched code does with them, where a change is patched.
        steady: Whether nobody's clock is wrong.
    """

    def __init__(self, clock: FakeClock, terms: Terms) -> None:
        super().__init__(clock)
        self._deployment = "simulated"
        self.watched: dict[str, Watched] = {}
        self.broken: AssertionError | None = None
        self.writer: Code | None = None
        self.counts: Counter[str] = Counter()
        self.families = Families(self.watched)
        self.told = Told(self.watched, lambda: self.steady)
        self.values = Values(self, clock, self.watched)
        self.repairs = Repairs(self.watched, self.stored)
        self.patching = Patching(self.counts, self.stored)
        self.steady = True
        self.barred = False
        self._terms = terms

    def stored(self, run_id: str) -> Run:
        """Return the record of the run."""
        return self._runs[run_id]

    def time(self) -> float:
        """Return the storage's time."""
        return self._time.now()

    def step_back(self, seconds: float) -> None:
        """Let the storage forget how late it was already."""
        self._time._mark -= seconds

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        """Create, and look."""
        stored = super().create(run, steps)
        if run.run_id not in self.watched:
            self.watched[run.run_id] = Watched(run.run_id, self._terms)
            self._look(stored)
        return stored

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        """Commit, and look."""
        answer = super().commit(run, expect, steps)
        if answer is not STALE:
            self._look(self._runs[run.run_id])
        return answer

    def _look(self, run: Run) -> None:
        steps = tuple(self._steps.get((run.run_id, run.generation), {}).values())
        watched = self.watched[run.run_id]
        before = watched.past[-1].run if watched.past else None
        self._count(before or run, run)
        try:
            watched.see(run, steps, self.writer)
            self.families.see(before, run, steps, self.writer)
            self.told.see(before, run, steps, self.writer)
            if before:
                check_progress(before, run, self.writer, watched)
            self.values.see(before, run, steps)
            self.repairs.see(before, run, steps)
            self.patching.see(before, run, steps, self.writer)
            now, steady = self._time.now(), self.steady
            if before and check_deadline(before, run, steps, now, steady=steady):
                self.counts["deadlines over"] += 1
        except AssertionError as error:
            # Raised here it would be an answer of the storage; the simulation raises it.
            self.broken = self.broken or error

    def purge(self, expect: Run) -> bool:
        """Purge, and look."""
        if self.barred:
            raise StorageUnavailable("simulated:", "purge did not get through")
        done = super().purge(expect)
        self.watched[expect.run_id].purged |= done
        return done

    def _count(self, before: Run, run: Run) -> None:
        if before is run and run.parent is not None:
            self.counts["children"] += 1
        if before.notice and before.generation == run.generation:
            self.counts["deferred notices" if run.notice else "notices"] += 1
        if before.attention is not run.attention and run.attention is not None:
            self.counts["blocked"] += 1
        if run.generation > before.generation:
            ended = before.status not in OPEN_STATUSES
            self.counts["retried" if ended else "continued"] += 1
        if before.status is not run.status and Status.QUARANTINED in (before.status, run.status):
            left = before.status is Status.QUARANTINED
            self.counts["redriven" if left else "quarantined"] += 1

    def roll_back(self, run_id: str, commits: int) -> Run:
        """Lose the last *commits* of the run; return what is left."""
        run, steps, _ = self.watched[run_id].roll_back(commits)
        self._runs[run_id] = run
        for place in [p for p in self._steps if p[0] == run_id and p[1] >= run.generation]:
            del self._steps[place]
        if steps:
            self._steps[run_id, run.generation] = {step.position: step for step in steps}
        return run


class Troubles:
    """What goes wrong on all channels, as *choices* have it.

    Attributes:
        rate: Of commits that something happens to.
        letters: Commits under way.
        counts: What happened, and how often.
    """

    def __init__(self, choices: Choices) -> None:
        self.rate = 0.0
        self.kinds: Sequence[Trouble] = tuple(Trouble)
        self.letters: list[Letter] = []
        self.counts: Counter[str] = Counter()
        self._choices = choices

    def with_commit(self, often: int = 1) -> Trouble | None:
        """Return what becomes of a commit; or of what is rarer, and so that much as *often*."""
        if not self.rate or not self._choices.chance(self.rate * often):
            return None
        found = self._choices.one_of(self.kinds)
        self.counts[found] += 1
        return found

    def with_load(self) -> bool:
        """Tell whether a read does not get through."""
        if not self.rate or not self._choices.chance(self.rate / 4):
            return False
        self.counts["load failed"] += 1
        return True


class Channel:
    """The way of one process to the storage.

    Attributes:
        name: Of the process.
        code: Of the process; None for somebody outside.
    """

    def __init__(
        self, memory: WatchedMemory, troubles: Troubles, name: str, code: Code | None, zero: float
    ) -> None:
        self.memory = memory
        self.name = name
        self.code = code
        self.tell: Tell | None = None
        self._troubles = troubles
        self._zero = zero

    @property
    def deployment(self) -> str:
        """Random id of the storage."""
        return self.memory.deployment

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        """Create, with whatever trouble there is but one.

        It does not arrive when its sender has given it up: that would begin a child of a step that
        the parent may have come past, and nobody would know of it.
        """
        trouble = self._troubles.with_commit()
        if self.tell is not None:
            self.tell(self.name, run.run_id, f"create → {trouble or 'done'}")
        if trouble in (None, Trouble.LOST, Trouble.TWICE):
            stored = self.memory.create(run, steps)
            if trouble is not Trouble.LOST:
                return stored
        self._refuse(trouble)
        raise OutcomeUnknown("simulated:", "the reply to create was lost")

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        """Load, if it gets through."""
        if self._troubles.with_load():
            if self.tell is not None:
                self.tell(self.name, run_id, "load → does not get through")
            raise StorageUnavailable("simulated:", "load did not get through")
        return self.memory.load(run_id, after)

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        """Commit, with whatever trouble there is."""
        trouble = self._troubles.with_commit()
        if trouble is None:
            answer = self.apply(run, expect, steps)
            if self.tell is not None:
                self._told(run, expect, steps, "refused: stale" if answer is STALE else "done")
            return answer
        if self.tell is not None:
            self._told(run, expect, steps, trouble)
        return self._troubled(trouble, Letter(run, expect, steps, self.code))

    def apply(self, run: Run, expect: Run, steps: Sequence[StepRecord]) -> Run | Stale:
        """Commit without trouble."""
        self.memory.writer = self.code
        answer = self.memory.commit(run, expect, steps)
        self.memory.writer = None
        return answer

    def _troubled(self, trouble: Trouble, letter: Letter) -> Run | Stale:
        self._refuse(trouble)
        if trouble in (Trouble.LATE, Trouble.TWICE):
            self._troubles.letters.append(letter)
        if trouble in (Trouble.LOST, Trouble.TWICE):
            answer = self.apply(letter.run, letter.expect, letter.steps)
            if trouble is Trouble.TWICE:
                return answer
        raise OutcomeUnknown("simulated:", "the reply to commit was lost")

    def _told(self, run: Run, expect: Run, steps: Sequence[StepRecord], answer: str) -> None:
        assert self.tell is not None
        what = told_commit(run, expect, steps, self._zero)
        self.tell(self.name, run.run_id, f"commit: {what} → {answer}")

    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        """Ask what is due."""
        return self.memory.due(limit, flows, hold)

    def find(self, query: Query) -> Page:
        """Find."""
        return self.memory.find(query)

    def count(self, query: Query) -> Mapping[tuple[str, Status], int]:
        """Count."""
        return self.memory.count(query)

    def put_value(self, run_id: str, data: bytes) -> str:
        """Keep a value, with whatever trouble there is."""
        trouble = self._troubles.with_commit(often=4)
        if self.tell is not None:
            self.tell(self.name, run_id, f"keep a value → {trouble or 'done'}")
        self._refuse(trouble)
        if trouble in (Trouble.LATE, Trouble.TWICE):
            self.memory.values.late.append((run_id, data))
        if trouble in (None, Trouble.LOST, Trouble.TWICE):
            digest = self.memory.values.storage.put_value(run_id, data)
            if trouble is not Trouble.LOST:
                return digest
        raise OutcomeUnknown("simulated:", "the reply was lost")

    def get_value(self, run_id: str, digest: str) -> bytes:
        """Fetch a value, if it gets through."""
        if self._troubles.with_load():
            raise StorageUnavailable("simulated:", "a value did not get through")
        return self.memory.values.storage.get_value(run_id, digest)

    def purge(self, expect: Run) -> bool:
        """Purge, with whatever trouble there is but one: it does not arrive some other time."""
        return self.purge_with(expect, self._troubles.with_commit())

    def purge_with(self, expect: Run, trouble: Trouble | None) -> bool:
        """Purge, with that *trouble*."""
        self.memory.barred = trouble not in (None, Trouble.LOST, Trouble.TWICE)
        try:
            done = self.memory.values.storage.purge(expect)
            if trouble is not Trouble.LOST:
                return done
        except StorageUnavailable:
            self._refuse(trouble)
        finally:
            self.memory.barred = False
            self.memory.values.check_kept()
        raise OutcomeUnknown("simulated:", "the reply was lost")

    def _refuse(self, trouble: Trouble | None) -> None:
        if trouble is Trouble.UNAVAILABLE:
            raise StorageUnavailable("simulated:", "it did not get through")
        if trouble is Trouble.REFUSED:
            raise StorageRefused("simulated:", "the storage is full")

    def probe(self) -> Probe:
        """Probe the storage."""
        return self.memory.probe()

    def close(self) -> None:
        """Leave the storage open: others use it."""

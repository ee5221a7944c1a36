"""A storage that misbehaves on demand, for tests of whoever calls one.

Wraps any storage. Per operation and number of the call it fails before the effect, applies and
loses the reply, lets an unconfirmed write land later, refuses, or runs a callback before or after,
so that somebody else's write comes in the middle; and it changes what was read. Knows nothing of
runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

from .._model import Run, Status, StepRecord
from .._storage import Loaded, Page, Probe, Query, Stale, Storage
from ..errors import OutcomeUnknown, StorageRefused, StorageUnavailable

T = TypeVar("T")


class Fault(StrEnum):
    """What becomes of one call."""

    UNAVAILABLE = "unavailable"
    """Fails before its effect."""
    LOST = "lost"
    """Takes effect; the reply is lost."""
    UNCONFIRMED = "unconfirmed"
    """Never takes effect; the caller is told that it may have."""
    LATE = "late"
    """Like that, but takes effect right before the next write."""
    REFUSED = "refused"
    """The storage says no."""


UNKNOWN = (Fault.LOST, Fault.UNCONFIRMED, Fault.LATE)


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens at one call: *before* it, instead of its reply, and *after* it."""

    fault: Fault | None = None
    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None


class FaultyStorage:
    """Keeps the contract of *inner*, but for what is planned.

    Attributes:
        inner: The storage that keeps everything; use it to look without disturbing the counts.
        calls: Names of the operations so far, in order.
    """

    def __init__(self, inner: Storage) -> None:
        self.inner = inner
        self.calls: list[str] = []
        self._count: Counter[str] = Counter()
        self._plans: dict[tuple[str, int], Plan] = {}
        self._always: dict[str, Callable[[Run, Sequence[StepRecord]], Fault | None]] = {}
        self._spoils: dict[str, Callable[[Any], Any]] = {}
        self._late: list[Callable[[], object]] = []

    def plan(
        self,
        operation: str,
        number: int,
        fault: Fault | None = None,
        *,
        before: Callable[[], object] | None = None,
        after: Callable[[], object] | None = None,
    ) -> None:
        """Plan call *number* of *operation*, counted from 0 from now on."""
        self._plans[operation, self._count[operation] + number] = Plan(fault, before, after)

    def always(self, decide: Callable[[Run, Sequence[StepRecord]], Fault | None]) -> None:
        """Let *decide* choose the fault of every commit that has no plan of its own."""
        self._always["commit"] = decide

    def spoil(self, operation: str, change: Callable[[Any], Any]) -> None:
        """Hand out what *change* makes of each answer of the reading *operation*, or raises."""
        self._spoils[operation] = change

    def heal(self) -> None:
        """Forget all plans; what was to land late lands now."""
        self._plans.clear()
        self._always.clear()
        self._spoils.clear()
        self.land()

    def land(self) -> None:
        """Let the writes that were delayed take effect."""
        late, self._late = self._late, []
        for apply in late:
            apply()

    # -- the contract ------------------------------------------------------------------------

    @property
    def deployment(self) -> str:
        """Random id of the inner storage."""
        return self.inner.deployment

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        """Create through the plan."""
        return self._write("create", partial(self.inner.create, run, steps), None)

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        """Load through the plan."""
        return self._read("load", partial(self.inner.load, run_id, after))

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        """Commit through the plan."""
        decide = self._always.get("commit")
        chosen = None if decide is None else decide(run, steps)
        return self._write("commit", partial(self.inner.commit, run, expect, steps), chosen)

    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        """Ask what is due, through the plan."""
        return self._read("due", partial(self.inner.due, limit, flows, hold))

    def find(self, query: Query) -> Page:
        """Find through the plan."""
        return self._read("find", partial(self.inner.find, query))

    def count(self, query: Query) -> Mapping[tuple[str, Status], int]:
        """Count through the plan."""
        return self._read("count", partial(self.inner.count, query))

    def put_value(self, run_id: str, data: bytes) -> str:
        """Keep a value through the plan."""
        return self._write("put_value", partial(self.inner.put_value, run_id, data), None)

    def get_value(self, run_id: str, digest: str) -> bytes:
        """Fetch a value through the plan."""
        return self._read("get_value", partial(self.inner.get_value, run_id, digest))

    def purge(self, expect: Run) -> bool:
        """Purge through the plan."""
        return self._write("purge", partial(self.inner.purge, expect), None)

    def probe(self) -> Probe:
        """Probe the inner storage."""
        return self.inner.probe()

    def close(self) -> None:
        """Leave the inner storage open: others may use it."""

    # -- the plan ----------------------------------------------------------------------------

    def _planned(self, operation: str) -> Plan:
        number = self._count[operation]
        self._count[operation] += 1
        self.calls.append(operation)
        plan = self._plans.get((operation, number), Plan())
        if plan.before is not None:
            plan.before()
        return plan

    def _read(self, operation: str, act: Callable[[], T]) -> T:
        plan = self._planned(operation)
        _fail_before(plan.fault, operation)
        answer = act()
        if plan.after is not None:
            plan.after()
        change = self._spoils.get(operation)
        return answer if change is None else change(answer)

    def _write(self, operation: str, act: Callable[[], T], chosen: Fault | None) -> T:
        self.land()
        plan = self._planned(operation)
        fault = plan.fault or chosen
        _fail_before(fault, operation)
        answer: T | None = None
        if fault is Fault.LATE:
            self._late.append(act)
        elif fault is not Fault.UNCONFIRMED:
            answer = act()
        if plan.after is not None:
            plan.after()
        if fault in UNKNOWN:
            raise OutcomeUnknown("faulty:", f"the reply to {operation} was lost")
        assert answer is not None
        return answer


def _fail_before(fault: Fault | None, operation: str) -> None:
    if fault is Fault.UNAVAILABLE:
        raise StorageUnavailable("faulty:", f"{operation} did not get through")
    if fault is Fault.REFUSED:
        raise StorageRefused("faulty:", f"{operation} is not allowed")

"""Runs through a network that fails at every operation in turn, and no run notices.

Afterwards the histories must be those of runs that nobody disturbed, and the checker must know a
reason for every execution. Knows no storage: what is cut is a `Proxy`'s.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from sequential import Sequential
from sequential._model import ENDED_STATUSES, Status
from sequential.errors import OutcomeUnknown, StorageUnavailable
from sequential.storage import Storage
from tests.acceptance.effects import Effects, read
from tests.acceptance.history_check import Checker, Findings, Told
from tests.acceptance.kill_flows import write_to
from tests.acceptance.nursery import House
from tests.acceptance.seams import SeamedStorage
from tests.acceptance.stored import Stored, StoredRun
from tests.proxy import Fate, Proxy

T = TypeVar("T")
Cuts = Callable[[int, str], Sequence[Fate]]
"""Told the number and kind of an operation, says what becomes of each request for it."""
FATES: tuple[Fate, ...] = ("before", "after", "half", "late")
PATIENCE = 30.0


class CutStorage(SeamedStorage):
    """A storage behind *proxy*, one operation at a time, so that a cut hits the one it is for.

    Attributes:
        kinds: The operations so far.
        requests: How many requests each came to.
        made: What was cut how often, by kind and fate.
    """

    def __init__(self, inner: Storage, log: Effects, proxy: Proxy) -> None:
        super().__init__(inner, log)
        self.cuts: Cuts = lambda _, __: ()
        self.kinds: list[str] = []
        self.requests: list[int] = []
        self.made: Counter[tuple[str, str]] = Counter()
        self._turn = threading.Lock()
        self._fates: list[Fate] = []
        self._proxy = proxy
        proxy.decide = lambda _: self._fates.pop(0) if self._fates else "pass"

    def _operate(self, kind: str, run_id: str, operation: Callable[[], T]) -> T:
        with self._turn:
            self.kinds.append(kind)
            planned = self.cuts(len(self.kinds) - 1, kind)
            self._fates[:] = planned
            begun = self._proxy.requests
            try:
                return operation()
            finally:
                used = planned[: len(planned) - len(self._fates)]
                self.made.update((kind, fate) for fate in used if fate != "pass")
                self.requests.append(self._proxy.requests - begun)
                self._fates.clear()


@dataclass
class Scene:
    """An application behind a proxy, and what was done in it."""

    house: House
    app: Sequential
    storage: CutStorage
    started: list[str] = field(default_factory=list)
    purged: set[str] = field(default_factory=set)
    usual: dict[str, list[object]] = field(default_factory=dict)

    def play(self, flow: str, cuts: Cuts = lambda _, __: (), *, purges: bool = False) -> str:
        """Carry a run of *flow* to its end as a client and a worker would; return its id."""
        run_id = f"{flow}-{len(self.started)}"
        self.started.append(run_id)
        self.storage.kinds.clear()
        self.storage.requests.clear()
        self.storage.cuts = cuts
        insist(lambda: self.app.start(flow, {"number": 1}, run_id=run_id))
        if flow == "ask":
            insist(lambda: self.app.signal(run_id, "go", "hello", signal_id="only"))
        self._work(run_id)
        assert insist(lambda: self.app.find(flow=flow, limit=1)).runs
        if purges:
            self.purge(run_id)
        return run_id

    def purge(self, run_id: str) -> None:
        """Purge a run as a client would."""
        self.purged.add(run_id)
        insist(lambda: self._purge(run_id))

    def _work(self, run_id: str) -> None:
        end = time.monotonic() + PATIENCE
        while insist(lambda: self.app.get(run_id)).status not in ENDED_STATUSES:
            assert time.monotonic() < end, f"{run_id} does not get on"
            for due in insist(lambda: self.app.storage.due(10, None, 0.02)):
                insist(lambda due=due: self.app.execute(due))  # type: ignore[misc]
            time.sleep(0.002)

    def _purge(self, run_id: str) -> None:
        # Of the record just read: a purge that was called lost may come first, and to purge once
        # more would remove the tombstone.
        while (run := self.app.get(run_id)).status is not Status.PURGED:
            self.storage.purge(run)

    def learn(self, flow: str) -> list[str]:
        """Play *flow* without disturbance; return the kinds of its operations, in order."""
        run_id = self.play(flow)
        runs = Stored(self.house.book).runs()
        self.usual[flow] = next(shape(run) for run in runs if run.run_id == run_id)
        self.purge(run_id)
        return self.storage.kinds.copy()

    def check(self) -> Findings:
        """Check everything that was played, and compare it with what is usual."""
        told = Told(started=self.started, purged=self.purged)
        found = Checker(self.house.book, read(self.house.log), told).check()
        assert not found.violations, "\n".join(found.violations[:20])
        for run in Stored(self.house.book).runs():
            if run.status != "purged":
                assert shape(run) == self.usual[run.run_id.partition("-")[0]], run.run_id
        assert found.purged == len(self.purged)
        assert found.runs == len(self.started)
        return found


def insist(work: Callable[[], T]) -> T:
    """Return what *work* returns: whoever got no answer asks again."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return work()
        except (StorageUnavailable, OutcomeUnknown):
            if time.monotonic() > end:
                raise


def shape(run: StoredRun) -> list[object]:
    """Return the history of *run* without what is made up by each execution."""
    return [
        run.status, run.state["cursor"], run.state.get("inbox"),
        *((*step[:7], type(step.value)) for step in run.steps),
    ]  # fmt: skip


@contextmanager
def scene(house: House, pause: str, behind: Storage, proxy: Proxy) -> Iterator[Scene]:
    """Give an application that pauses by *pause*; *behind* the *proxy* is what *house* has."""
    with ExitStack() as stack:
        log = Effects(house.log)
        stack.callback(log.close)
        write_to(log)
        storage = CutStorage(behind, log, proxy)
        yield Scene(house, stack.enter_context(house.open(pause, storage)), storage)


def only(number: int, fate: Fate) -> Cuts:
    """Cut the first request of the operation *number* alone."""
    return lambda now, _: [fate] if now == number else []


def first(kinds: Collection[str], times: int, fate: Fate, request: int = 0) -> Cuts:
    """Cut that *request*, from 0, of each of *kinds* the first *times* that it comes."""
    passing: list[Fate] = ["pass"] * request
    fates = [*passing, fate]
    left = Counter(dict.fromkeys(kinds, times))

    def cuts(_: int, kind: str) -> Sequence[Fate]:
        left[kind] -= 1
        return fates if left[kind] >= 0 else []

    return cuts


def scattered(dice: random.Random) -> Cuts:
    """Cut every fourth operation, some of them when it is tried again too."""

    def cuts(_: int, __: str) -> Sequence[Fate]:
        return dice.choices(FATES, k=dice.choices((0, 1, 2), (15, 4, 1))[0])

    return cuts


def table(scene: Scene, found: Findings) -> str:
    """Say what was cut how often, and what came of it."""
    made = scene.storage.made
    kinds = sorted({kind for kind, _ in made})
    rows = [f"  {kind:<10}" + "".join(f"{made[kind, fate]:>8}" for fate in FATES) for kind in kinds]
    head = (
        f"\n{made.total()} cuts, {found.runs} runs ({found.purged} purged), {found.steps} records,"
        f" {found.executions} executions, {found.extra} extra {dict(found.causes)}"
    )
    names = f"  {'operation':<10}" + "".join(f"{fate:>8}" for fate in FATES)
    return "\n".join([head, names, *rows])

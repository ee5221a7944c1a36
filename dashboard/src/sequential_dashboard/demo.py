"""``--demo``: a throw-away database with runs that stand in every way there is.

The runs are real: flows are carried on by the engine, on a clock that is moved through three days
before now. Those that are there to be repaired are made in `demo_broken`. Nothing here is imported
unless it is asked for.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from sequential import Sequential
from sequential.errors import SequentialError
from sequential.outcomes import Paused
from sequential.storage import At, Status
from sequential.testing import FakeClock

from .demo_broken import TOOK, make_broken
from .demo_flows import Decision, Died, changed_registry, demo_registry

RUNS = 240
"""How many runs a demonstration has when nobody says."""

_DAYS = 3.0
_A_DAY = 86_400.0


def make(path: Path, runs: int = RUNS, seed: int = 7, now: float | None = None) -> None:
    """Fill the SQLite database at *path* with *runs* runs.

    Args:
        path: A file that need not exist.
        runs: How many, from 20 for one of each kind.
        seed: The same seed makes the same runs, but for their random ids.
        now: When the last of it happened, in seconds since the epoch; by default about now.
    """
    logger = logging.getLogger("sequential")
    level = logger.level
    # What the runs below suffer is on purpose, and nothing for the log of whoever looks.
    logger.setLevel(logging.ERROR)
    try:
        _make(path, runs, seed, (time.time() if now is None else now) - 15.0)
    finally:
        logger.setLevel(level)


def _make(path: Path, runs: int, seed: int, end: float) -> None:
    clock = FakeClock(end - _DAYS * _A_DAY)
    chance = random.Random(seed)  # noqa: S311  (no secrets are made here)
    registry = demo_registry(clock, chance)
    url = f"sqlite:///{path}?synchronous=normal"
    with Sequential(url, plugins=[], registry=registry, clock=clock) as app:
        days = _Days(app, clock, chance, end)
        days.at(end - TOOK, lambda: make_broken(app.storage, path, clock))
        days.live(runs)
        app.roll_up()
        _deploy(
            Sequential(
                app.storage, plugins=[], registry=changed_registry(clock, chance), clock=clock
            )
        )


def _deploy(app: Sequential) -> None:
    """Look at runs with code that disagrees with what they did before: they are blocked."""
    for run in app.find(flow="invoice", status="paused").runs:
        app.signal(run.run_id, "look")  # whoever is told something is looked at
        app.execute(run.run_id)


class _Days:
    """Lives through the days: starts runs, carries on what is due, sends signals."""

    def __init__(
        self, app: Sequential, clock: FakeClock, chance: random.Random, end: float
    ) -> None:
        self._app, self._clock, self._chance, self._end = app, clock, chance, end
        self._numbers = itertools.count()
        self._calendar: list[tuple[float, int, Callable[[], object]]] = []

    def live(self, runs: int) -> None:
        """Start *runs* runs over the days, and carry all of them on until the end."""
        begin = self._clock.now()
        # The last runs start shortly before the end, so that some are still under way.
        span = self._end - begin - 600.0
        for number, (name, given) in zip(range(runs), _orders(self._chance), strict=False):
            at = begin + span * (number / runs) ** 0.7
            self.at(at, partial(self._start, name, given))
        # Nobody looks at these; and one has been taken a moment ago.
        for number in range(3):
            self.at(self._end - 400.0 - number, lambda: self._begin("order"))
        self.at(self._end - 20.0, lambda: self._go(self._begin("poison")))
        while self._calendar and self._calendar[0][0] < self._end:
            at, _, happen = heapq.heappop(self._calendar)
            self._clock.advance(max(0.0, at - self._clock.now()))
            if self._clock.now() > self._end:
                break
            happen()
        self._clock.advance(max(0.0, self._end - self._clock.now()))

    def at(self, moment: float, happen: Callable[[], object]) -> None:
        """Let *happen* be called at *moment*, or as soon after as what came before allows."""
        heapq.heappush(self._calendar, (moment, next(self._numbers), happen))

    def _begin(self, name: str, given: dict[str, object] | None = None) -> str:
        tags = {"demo": "yes", "team": self._chance.choice(("shop", "billing", "data"))}
        run_id = f"{name}-{next(self._numbers):05d}"
        chosen = _given(name, 0, self._chance) if given is None else given
        return self._app.start(name, chosen, run_id=run_id, tags=tags)

    def _start(self, name: str, given: dict[str, object]) -> None:
        run_id = self._begin(name, given)
        self.at(self._clock.now() + self._chance.uniform(0.05, 3.0), lambda: self._go(run_id))
        if name == "approval" and self._chance.random() < 0.6:
            answer = Decision(self._chance.random() < 0.8, 500, "seen by Grace")
            after = self._chance.uniform(600.0, 2 * _A_DAY)
            self.at(self._clock.now() + after, lambda: self._tell(run_id, answer))
        if name == "reminder" and self._chance.random() < 0.2:
            self.at(self._clock.now() + 3600.0, lambda: self._cancel(run_id))

    def _go(self, run_id: str) -> None:
        try:
            outcome = self._app.execute(run_id)
        except Died:
            self._look_again(run_id)
            return
        wait = self._chance.uniform(0.05, 2.0)
        if isinstance(outcome, Paused) and outcome.wake is not None:
            self.at(outcome.wake.time + wait, lambda: self._go(run_id))
            return
        for each in self._told_by(run_id):
            self.at(self._clock.now() + wait, partial(self._go, each))

    def _told_by(self, run_id: str) -> list[str]:
        """Return who goes on now that the run has ended, or waits: its parent, its children."""
        run = self._app.get(run_id)
        if run.ended is not None:
            return [] if run.parent is None else [run.parent.run_id]
        return [child.run_id for child in self._app.find(parent=run_id, status="paused").runs]

    def _look_again(self, run_id: str) -> None:
        """Let others find the run when the lease of the lost invocation has ended."""
        run = self._app.get(run_id)
        # Every third is never looked at again: it stays stalled.
        if isinstance(run.wake, At) and int(run_id[-5:]) % 3:
            self.at(run.wake.time + 0.5, lambda: self._go(run_id))

    def _tell(self, run_id: str, answer: Decision) -> None:
        if self._app.get(run_id).status is Status.PAUSED:
            self._app.signal(run_id, "decision", answer)
            self._go(run_id)

    def _cancel(self, run_id: str) -> None:
        try:
            self._app.cancel(run_id, "the customer called")
        except SequentialError:
            return
        self._go(run_id)


def _orders(chance: random.Random) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield flows to start, and with what: first one of each, then as they come."""
    names = (
        "order", "approval", "reminder", "refund", "feed", "invoice", "crawl", "statement",
        "poison", "trip",
    )  # fmt: skip
    weights = (40, 14, 12, 10, 6, 5, 5, 3, 3, 2)
    for number in itertools.count():
        name = names[number] if number < len(names) else chance.choices(names, weights)[0]
        yield name, _given(name, number, chance)


def _given(name: str, number: int, chance: random.Random) -> dict[str, object]:
    amount = chance.randint(5, 900)
    given: dict[str, dict[str, object]] = {
        "order": {"item": chance.choice(("lamp", "pear", "chair", "rug")), "amount": amount},
        "approval": {"amount": amount, "asked_by": chance.choice(("Ada", "Alan"))},
        "reminder": {"text": "water the plants"},
        "refund": {"order": f"A-{number}"},
        "feed": {"source": "https://reader:hunter2@feeds.example/daily", "api_key": "k-123456"},
        "invoice": {"customer": f"C-{amount}"},
        "crawl": {"page": number},
        "statement": {"month": f"2026-{1 + number % 12:02d}", "entries": chance.choice((40, 250))},
        "poison": {"page": number},
        "trip": {"city": chance.choice(("Lima", "Oslo")), "travellers": ["Ada", "Alan", "Grace"]},
    }
    return given[name]

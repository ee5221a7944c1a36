"""Random operations on a storage and on a model of it, which must answer alike.

Finds what no single test thought of: operations that are right alone and wrong one after another.
The model is the storage in memory. Wakes and times of creation are given, so that the storage's own
clock does not count.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from .._memory import MemoryStorage
from .._model import At, Parent, Run, Status, StepRecord, evolve
from .._storage import Query, Storage
from ..errors import RecordCorrupt
from ._clock import FakeClock
from ._storage_samples import ids, let_pass, make_run, make_step

_IDS = ("a", "b", "c", "d")
_FLOWS = ("f", "g")
_STATUSES = tuple(status for status in Status if status is not Status.PURGED)
_OPERATIONS = 150


class Modelled:
    """Any operations, in any order."""

    @pytest.mark.parametrize("seed", range(12))
    def test_any_operations_are_answered_as_by_the_model(
        self, storage: Storage, clock: FakeClock, seed: int
    ) -> None:
        both = _Both(storage, clock, seed)
        for _ in range(_OPERATIONS):
            both.ask()
        both.compare_all()


class _Both:
    """A storage and its model, side by side."""

    def __init__(self, storage: Storage, clock: FakeClock, seed: int) -> None:
        self.storage = storage
        self.model = MemoryStorage(clock)
        self.clock = clock
        self.random = random.Random(seed)  # noqa: S311  (a schedule, no secret)
        self.told: list[str] = [f"seed {seed}"]
        self.count = 0

    def ask(self) -> None:
        """Ask both the next thing, and compare."""
        self.count += 1
        weights = {
            self.create: 3,
            self.commit: 8,
            self.load: 3,
            self.due: 2,
            self.find: 5,
            self.purge: 2,
            self.wait: 1,
        }
        self.random.choices(list(weights), list(weights.values()))[0]()

    def alike(self, what: str, question: Callable[[Storage], object]) -> None:
        """Ask both *question*; a refusal is an answer too."""
        self.told.append(what)
        answer, expected = _answer(question, self.storage), _answer(question, self.model)
        assert answer == expected, " / ".join([self.told[0], "…", *self.told[-12:]])

    def create(self) -> None:
        run_id = self.random.choice(_IDS)
        steps = [make_step(n, op_id=f"op{self.count}") for n in range(self.random.choice((0, 2)))]
        run = self.changed(
            make_run(
                run_id,
                created=float(self.count),
                flow=self.random.choice(_FLOWS),
                parent=self.random.choice((None, Parent("a", "0"))),
            )
        )
        self.alike(f"create {run_id}", lambda each: each.create(run, steps))

    def changed(self, run: Run) -> Run:
        """Return *run* with another status, wake, owner and tags."""
        tags = {key: self.random.choice("xy") for key in "tuv" if self.random.random() < 0.5}
        return evolve(
            run,
            status=self.random.choice(_STATUSES),
            wake=self.random.choice((None, At(float(self.count)))),
            owner=f"o{self.count}",
            op_id=f"op{self.count}",
            tags=tags,
        )

    def commit(self) -> None:
        run_id = self.random.choice(_IDS)
        loaded = self.model.load(run_id)
        if loaded is None or loaded.run.status is Status.PURGED:
            return
        number = len(loaded.steps)
        run = self.changed(loaded.run)
        if self.random.random() < 0.1:
            run, number = evolve(run, generation=run.generation + 1), 0
        elif self.random.random() < 0.1:
            number = max(0, number - 1)  # recorded already, if there is one
        steps = self.steps(run, number)
        expect = self.known(loaded.run, 0.2)
        what = (
            f"commit {run_id} at {expect.version} of {run.version} with {len(steps)} from {number}"
        )
        self.alike(what, lambda each: each.commit(run, expect, steps))

    def steps(self, run: Run, number: int) -> Sequence[StepRecord]:
        count = self.random.choice((0, 1, 1, 3))
        return [
            make_step(n, run.generation, op_id=f"op{self.count}")
            for n in range(number, number + count)
        ]

    def load(self) -> None:
        run_id, after = self.random.choice(_IDS), self.random.choice((0, 0, 1, 3))
        self.alike(f"load {run_id} after {after}", lambda each: _loaded(each, run_id, after))

    def due(self) -> None:
        limit = self.random.choice((1, 2, 10))
        flows = self.random.choice((None, ("f",), ("f", "g")))
        self.alike(f"due {limit} {flows}", lambda each: list(each.due(limit, flows, 30.0)))

    def find(self) -> None:
        query = Query(
            flow=self.random.choice((None, None, None, "f")),
            statuses=self.random.sample(_STATUSES, self.random.choice((0, 0, 0, 2))),
            tags=self.random.choice(({}, {"t": "x"}, {"u": "y"}, {"t": "x", "u": "y"})),
            since=self.random.choice((None, None, None, 10.0)),
            parent=self.random.choice((None, None, None, "a")),
            before=self.random.choice((None, None, None, 60.0)),
            search=self.random.choice((None, None, None, "a")),
            wakes_before=self.random.choice((None, None, None, 60.0)),
        )
        self.alike(f"find {query}", lambda each: ids(each.find(query).runs))
        self.alike(f"count {query}", lambda each: dict(each.count(query)))

    def purge(self) -> None:
        run_id = self.random.choice(_IDS)
        loaded = self.model.load(run_id)
        expect = self.known(make_run(run_id) if loaded is None else loaded.run, 0.1)
        self.alike(f"purge {run_id} at {expect.version}", lambda each: each.purge(expect))

    def known(self, run: Run, wrong: float) -> Run:
        """Return *run*, or with that probability what somebody knew who is no longer right."""
        if self.random.random() >= wrong:
            return run
        if self.random.random() < 0.5:
            return evolve(run, version=run.version - 1)
        return evolve(run, op_id="of a history that was lost")

    def wait(self) -> None:
        self.told.append("100 s pass")
        let_pass(self.clock, 100.0)

    def compare_all(self) -> None:
        """Compare everything that is stored."""
        for run_id in _IDS:
            self.alike(f"load {run_id}", partial(_loaded, run_id=run_id, after=0))
        self.alike("find all", lambda each: list(each.find(Query()).runs))


def _loaded(storage: Storage, run_id: str, after: int) -> object:
    loaded = storage.load(run_id, after)
    return None if loaded is None else (loaded.run, list(loaded.steps))


def _answer(question: Callable[[Storage], object], storage: Storage) -> object:
    try:
        return question(storage)
    except RecordCorrupt:
        return RecordCorrupt

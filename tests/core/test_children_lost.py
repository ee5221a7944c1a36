"""Child runs whose process is lost, or their parent's: after every request, with every answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sequential import Registry, RunCancelled, flow, gather, map_tool, race
from sequential._memory import MemoryStorage
from sequential._model import Run, Status, StepRecord
from sequential._sqlite import open_sqlite
from sequential._storage import Query, Storage
from sequential.errors import ChildFailed
from sequential.testing import FakeClock
from sequential.testing._faulty import Fault, FaultyStorage
from tests.core.children import Fleet, Shop
from tests.fix_stage import Stage


def one_child(shop: Shop, registry: Registry) -> None:
    @flow(name="parent", registry=registry)
    async def parent() -> list[int]:
        return [await shop.square.run_child(2), await shop.work(3)]


def started(shop: Shop, registry: Registry) -> None:
    @flow(name="parent", registry=registry)
    async def parent() -> str:
        run_id = await shop.square.start_child(2)
        await shop.work(3)
        return run_id


def nested(shop: Shop, registry: Registry) -> None:
    @flow(name="middle", registry=registry)
    async def middle(number: int) -> int:
        return await shop.square.run_child(number)

    @flow(name="parent", registry=registry)
    async def parent() -> list[int]:
        return await map_tool(middle.run_child, [2, 3])


def failing(shop: Shop, registry: Registry) -> None:
    @flow(name="refuse", registry=registry)
    async def refuse() -> None:
        await shop.work(5)
        raise ValueError("no")

    @flow(name="parent", registry=registry)
    async def parent() -> str:
        try:
            await gather(shop.slow.run_child(1), refuse.run_child(), shop.slow.run_child(2))
        except ChildFailed as error:
            await shop.work(6)
            return error.message
        return "completed"


def racing(shop: Shop, registry: Registry) -> None:
    @flow(name="parent", registry=registry)
    async def parent() -> int:
        won = await race(shop.slow.run_child(1), shop.square.run_child(2))
        return int(won.value)


def cancelled(shop: Shop, registry: Registry) -> None:
    @flow(name="parent", registry=registry)
    async def parent() -> None:
        try:
            await gather(shop.slow.run_child(1), shop.slow.run_child(2))
        except RunCancelled:
            await shop.undo(7)
            raise


PROGRAMS = [one_child, started, nested, failing, racing, cancelled]


class End(NamedTuple):
    """What a run came to, and with which records, in the order of their positions."""

    status: Status
    result: object
    left: tuple[object, ...]
    steps: Sequence[object]

    @classmethod
    def of(cls, run: Run, steps: Sequence[StepRecord]) -> End:
        known = sorted((step.position, step.kind, step.outcome, step.value.data) for step in steps)
        return cls(run.status, run.result, (*run.inbox, *run.open, run.notice), known)


def played(
    program: Any, make: Callable[[FakeClock], Storage], doom: int | None
) -> tuple[dict[str, End], Fleet, int]:
    """Play *program*, its process lost after request *doom*; return what it came to."""
    clock = FakeClock()
    stage = Stage(make(clock), clock)
    shop, fleet = Shop(stage.registry), Fleet(stage)
    program(shop, stage.registry)
    fleet.stage.start("parent")
    fleet.doom = doom
    if program is cancelled:
        fleet.carry(patient=False)
        fleet.stage.outside.send("r", "$cancel:0", "$cancel", {"reason": "enough"})
    fleet.carry()
    runs = fleet.stage.storage.find(Query(limit=1000)).runs
    ends = {run.run_id: End.of(run, fleet.stage.steps(run.run_id)) for run in runs}
    stage.close()
    return ends, fleet, shop.calls.total()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_nothing_is_lost_or_done_twice_wherever_the_process_is_lost(program: Any) -> None:
    undisturbed, fleet, calls = played(program, MemoryStorage, None)
    for doom in range(1, fleet.requests):
        lost, disturbed, again = played(program, MemoryStorage, doom)
        assert again <= calls + 1, f"lost after request {doom}"
        # Who is needed no more by then is never begun.
        unborn = undisturbed.keys() - lost.keys()
        assert all(undisturbed[run_id].status is Status.CANCELLED for run_id in unborn)
        rest = {run_id: end for run_id, end in undisturbed.items() if run_id not in unborn}
        assert lost == rest, f"lost after request {doom}"
        assert disturbed.doom is None, "nothing was lost"


def test_the_same_on_sqlite(tmp_path: Path) -> None:
    names = count()

    def sqlite(clock: FakeClock) -> Storage:
        return open_sqlite(f"sqlite:///{tmp_path}/{next(names)}.db?synchronous=normal", clock)

    undisturbed, fleet, _ = played(nested, sqlite, None)
    for doom in range(1, fleet.requests, 3):
        lost, _, _ = played(nested, sqlite, doom)
        assert lost == undisturbed, f"lost after request {doom}"


@pytest.mark.parametrize("operation", ["create", "commit", "load"])
@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNCONFIRMED, Fault.LATE, Fault.UNAVAILABLE])
def test_lost_answers_change_nothing(operation: str, fault: Fault) -> None:
    undisturbed, _, calls = played(nested, MemoryStorage, None)
    for number in range(1, 12):
        planned = partial(faulty, operation, number, fault)
        lost, _, again = played(nested, planned, None)
        assert lost == undisturbed, f"{operation} {number} went wrong"
        assert again == calls


def faulty(operation: str, number: int, fault: Fault, clock: FakeClock) -> Storage:
    storage = FaultyStorage(MemoryStorage(clock))
    storage.plan(operation, number, fault)
    return storage

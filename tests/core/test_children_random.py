"""Random families of runs, their processes lost at random, end as those that never were lost."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from sequential import Registry, flow, gather, map_tool, race, run_child, sleep, tool
from sequential._memory import MemoryStorage
from sequential._model import ENDED_STATUSES, Run, Status
from sequential._storage import Query
from sequential.errors import ChildFailed
from sequential.testing import FakeClock
from tests.core.children import Fleet
from tests.fix_stage import Stage

SEEDS = 150
PARTS = 3
Tree = list[Any]
"""Kind of a node, a number, and the trees that its children are given."""


def child(tree: Tree) -> Any:
    return run_child("node", {"tree": tree})


async def several(kind: str, below: list[Tree]) -> Any:
    """Run a child for each of *below*."""
    if kind == "race":
        return (await race(*map(child, below))).value
    if kind == "map":
        return await map_tool(child, below, max_concurrency=2)
    if kind == "collect":
        ends = await gather(*map(child, below), errors="collect")
        return ["failed" if isinstance(end, Exception) else end for end in ends]
    return list(await gather(*map(child, below)))


def build() -> Registry:
    """Return a flow that does what its input says, and its tool."""
    known = Registry()

    @tool("t", "work", registry=known)
    def work(number: int) -> int:
        if number % 7 == 6:
            raise ValueError("a six")
        return number + 1

    @flow(name="node", registry=known)
    async def node(tree: Tree) -> Any:
        kind, number, below = tree
        if kind == "sleep":
            await sleep(number)
            return number
        if kind == "work":
            return await work(number)
        try:
            return await several(kind, below)
        except ChildFailed:
            if number % 2:
                raise
            return ["failed", await work(0)]

    return known


def drawn(rng: random.Random, depth: int) -> Tree:
    """Return a random tree."""
    if depth == 0:
        return [rng.choice(["work", "work", "sleep"]), rng.randrange(20), []]
    kind, number = rng.choice(["gather", "map", "collect", "race", "work"]), rng.randrange(20)
    below = [drawn(rng, depth - 1) for _ in range(rng.randrange(1, 4))]
    if kind == "race":
        # Who is first must not hang on who was lost: the others sleep for days.
        below = [below[0], *[["sleep", 5e5 + n, []] for n in range(len(below) - 1)]]
    return [kind, number, below]


def played(seed: int, *, lossy: bool) -> tuple[Run, dict[str, Run], int]:
    """Play the family of *seed*; return its head, all that completed, and how often it was lost."""
    rng, clock = random.Random(seed), FakeClock()
    tree = drawn(rng, 3)
    stage = Stage(MemoryStorage(clock), clock)
    stage.registry = build()
    fleet = Fleet(stage)
    stage.app().start("node", {"tree": tree}, run_id="r")
    if lossy:
        fleet.doom = rng.randrange(1, 30)
        # A process that never lives for a step gets nowhere, and its runs are quarantined.
        fleet.next_doom = lambda: fleet.requests + rng.randrange(12, 120)
    fleet.carry()
    runs = {run.run_id: run for run in fleet.stage.storage.find(Query(limit=1000)).runs}
    for run in runs.values():
        assert run.status in ENDED_STATUSES, f"seed {seed}: stranded {run}"
        assert not run.notice, f"seed {seed}: {run.run_id} told nobody"
        steps = fleet.stage.steps(run.run_id)
        assert len({step.position for step in steps}) == len(steps)
    executed = Counter((each.run_id, each.position) for each in fleet.stage.executions)
    assert executed.total() - len(executed) <= fleet.losses, f"seed {seed}: executed too often"
    completed = {key: run for key, run in runs.items() if run.status is Status.COMPLETED}
    return runs["r"], completed, fleet.losses


@pytest.mark.parametrize("part", range(PARTS))
def test_a_family_whose_processes_are_lost_comes_to_the_same_end(part: int) -> None:
    lost = 0
    for seed in range(part, SEEDS, PARTS):
        undisturbed, completed, _ = played(seed, lossy=False)
        run, others, losses = played(seed, lossy=True)
        assert (run.status, run.result) == (undisturbed.status, undisturbed.result), f"seed {seed}"
        assert (run.error and run.error.type) == (undisturbed.error and undisturbed.error.type)
        for key in completed.keys() & others.keys():
            assert others[key].result == completed[key].result, f"seed {seed}: {key}"
        lost += losses
    assert lost > SEEDS / PARTS

"""Steps of branches that end at one moment are recorded in one commit, and mean the same."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from sequential import (
    Registry,
    Sequential,
    Steps,
    flow,
    gather,
    map_tool,
    patched,
    race,
    sleep,
    tool,
)
from sequential._model import Status
from sequential._requests import Commit
from sequential.outcomes import Completed
from sequential.testing import FakeClock
from tests.core.branches import add, call, carried, positions, process_of, stage_of, tools
from tests.fix_stage import CountingStorage

PLACES = 64


def test_sleeps_that_end_together_are_recorded_in_few_commits() -> None:
    registry, clock = Registry(), FakeClock()
    storage = CountingStorage(clock)

    def rested(number: int) -> Steps[int]:
        yield from sleep(60)
        return number

    @flow(registry=registry)
    async def all_rest() -> int:
        return sum(await gather(*(rested(number) for number in range(4 * PLACES))))

    app = Sequential(storage, clock=clock, registry=registry, pause="when-waiting")
    run_id = app.start(all_rest)
    app.execute(run_id)
    before = storage.commits
    clock.advance(60)
    assert app.execute(run_id) == Completed(run_id, sum(range(4 * PLACES)))
    # A claim, four times as many records as one commit takes, the end.
    assert storage.commits - before <= 1 + 4 + 1
    assert app.replay(run_id).agrees


def test_a_result_that_came_together_with_the_one_that_won_changes_nothing() -> None:
    registry = Registry()
    all_there = threading.Barrier(3)

    @tool("test", "meet", registry=registry)
    def meet(number: int) -> int:
        all_there.wait(30)
        return number

    @flow(registry=registry)
    async def racing() -> list[int]:
        won = [(await race(*map(meet, range(3)))).winner for _ in range(20)]
        return [*won, *(await map_tool(meet, range(3)))]

    app = Sequential("memory:", registry=registry, pause="when-waiting")
    recorded = 0
    for number in range(10):
        run_id = f"r{number}"
        result = app.run(racing, run_id=run_id)
        assert result[20:] == [0, 1, 2]
        recorded += len(app.steps(run_id))
        assert app.replay(run_id).agrees
    # Of some races a loser was there in time to be recorded, and none of that was given to it.
    assert recorded > 10 * (20 + 3)


def test_what_follows_records_of_one_commit_is_no_replay() -> None:
    registry, clock = Registry(), FakeClock()
    ways: list[bool] = []

    def rested() -> Steps[None]:
        yield from sleep(60)
        ways.append(patched("since"))

    @flow(registry=registry)
    async def all_rest() -> None:
        await gather(*(rested() for _ in range(3)))

    app = Sequential("memory:", clock=clock, registry=registry, pause="when-waiting")
    run_id = app.start(all_rest)
    app.execute(run_id)
    clock.advance(60)
    assert app.execute(run_id) == Completed(run_id, None)
    assert ways == [True, True, True]


def test_what_takes_the_process_down_is_raised_after_what_came_before_it_was_recorded() -> None:
    known, down = tools(), [True]

    @tool("t", "down", registry=known)
    def fall() -> int:
        if down:
            raise SystemExit
        return 2

    def body() -> Steps[Any]:
        return (yield gather(add(1), call("down")))

    stage = stage_of(body, registry=known)
    process = process_of(stage, "0.0")
    process.together = lambda: True
    with pytest.raises(SystemExit):
        process.execute()
    assert positions(stage) == ["0.0"]
    down.clear()
    assert carried(stage, process) == Completed("r", [1, 2])


def test_what_has_landed_besides_is_recorded_in_the_same_commit() -> None:
    def body() -> Steps[Any]:
        return (yield gather(add(1), race(add(2), add(3)), add(4)))

    stage = stage_of(body)
    process = process_of(stage, "0.1.1", "0.2")
    process.together = lambda: True
    commits = [0]
    invocation = process.invoke()
    while invocation.advance():
        commits[0] += isinstance(invocation.request, Commit)
    # The claim, all four, the end.
    assert commits == [3]
    assert positions(stage) == ["0.1.1", "0.2", "0.0", "0.1.0"]
    assert stage.run().status is Status.COMPLETED

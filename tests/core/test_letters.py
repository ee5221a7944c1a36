"""Threads that tell the same run something at one time: one of them tells it all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from sequential import Registry, Sequential, flow, map_tool, run_child
from sequential._letters import Letter, Letters
from sequential._memory import MemoryStorage
from sequential.errors import StorageRefused
from sequential.outcomes import Completed
from sequential.storage import Loaded, Run
from sequential.testing import FakeClock

PATIENCE = 20.0


def letter(name: str) -> Letter:
    def sent_id(run: Run) -> str | None:
        return run.run_id

    return Letter(name, b"null", sent_id)


def test_who_waits_for_the_turn_finds_that_another_took_its_letter_along() -> None:
    letters = Letters()
    first, second, third = letter("1"), letter("2"), letter("3")

    def tell(mine: Letter) -> Sequence[Letter]:
        with letters.turn("parent", mine) as taken:
            return taken

    with ThreadPoolExecutor(2) as pool:
        with letters.turn("parent", first) as taken:
            assert taken == [first]
            others = [pool.submit(tell, second), pool.submit(tell, third)]
            until = time.monotonic() + PATIENCE
            while len(letters._boxes["parent"].letters) < 2 and time.monotonic() < until:
                time.sleep(0)
            # Another run's turn is another one.
            with letters.turn("other", third) as more:
                assert more == [third]
        sizes = sorted(len(each.result(PATIENCE)) for each in others)
    assert sizes == [0, 2]
    assert not letters._boxes


def test_children_that_end_on_several_threads_at_once_are_all_told() -> None:
    registry = Registry()

    @flow(registry=registry)
    async def child(number: int) -> int:
        return number

    @flow(registry=registry)
    async def parent() -> int:
        return sum(await map_tool(child.run_child, range(64)))

    app = Sequential("memory:", registry=registry)
    run_id = app.start(parent)
    app.execute(run_id)
    with ThreadPoolExecutor(8) as pool:
        children = [run.run_id for run in app.find(flow=child.name, limit=99).runs]
        outcomes = list(pool.map(app.execute, children))
    assert len(outcomes) == 64
    assert all(isinstance(outcome, Completed) for outcome in outcomes)
    assert not any(run.notice for run in app.find(flow=child.name, limit=99).runs)
    assert app.execute(run_id) == Completed(run_id, sum(range(64)))


class Refusing(MemoryStorage):
    """Refuses to read the run *refused*."""

    refused = ""

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        if run_id == self.refused:
            raise StorageRefused("memory:", "no")
        return super().load(run_id, after)


def test_a_parent_that_cannot_be_told_is_told_later() -> None:
    registry, clock = Registry(), FakeClock()

    @flow(registry=registry)
    async def child() -> int:
        return 7

    @flow(registry=registry)
    async def parent() -> int:
        return await run_child(child, run_id="c")

    storage = Refusing(clock)
    app = Sequential(storage, clock=clock, registry=registry)
    run_id = app.start(parent)
    app.execute(run_id)
    storage.refused = run_id
    assert app.execute("c") == Completed("c", 7)
    assert app.get("c").notice
    storage.refused = ""
    assert app.execute("c") == Completed("c", 7)
    assert not app.get("c").notice
    assert app.execute(run_id) == Completed(run_id, 7)


def test_an_end_that_another_thread_took_along_and_could_not_tell_is_told_later() -> None:
    registry = Registry()

    @flow(registry=registry)
    async def child() -> int:
        return 7

    @flow(registry=registry)
    async def parent() -> int:
        return await run_child(child, run_id="c")

    app = Sequential("memory:", registry=registry)
    run_id = app.start(parent)
    app.execute(run_id)
    letters = app.driver._letters
    with ThreadPoolExecutor(1) as pool:
        with letters.turn(run_id, letter("other")):
            ended = pool.submit(app.execute, "c")
            box, until = letters._boxes[run_id], time.monotonic() + PATIENCE
            while not box.letters and time.monotonic() < until:
                time.sleep(0)
            box.letters.clear()
        assert ended.result(PATIENCE) == Completed("c", 7)
    assert app.get("c").notice
    app.execute("c")
    assert not app.get("c").notice
    assert app.execute(run_id) == Completed(run_id, 7)

"""Child runs as users see them: carried on by `run`, played, found, shown, ended from outside."""

from __future__ import annotations

from typing import Any

import pytest

from sequential import RunFailed, Steps, flow, gather, run_child, sleep, start_child, tool
from sequential._model import Parent, Status
from sequential.errors import RunBlocked
from sequential.testing import crash_everywhere, play
from tests.core.children import Shop
from tests.fix_cli import CommandLine
from tests.fix_stage import Stage


@tool("c", "price")
def price(item: str) -> float:
    return float(len(item))


@flow(name="child-quote")
def quote(item: str) -> Steps[float]:
    got = yield from price(item)
    yield from sleep(60)
    return got


@flow(name="child-order")
async def order(items: list[str]) -> float:
    prices = await gather(*[run_child("child-quote", {"item": item}) for item in items])
    await quote.start_child("extra")
    return float(sum(prices))


# -- run -----------------------------------------------------------------------------------------


def test_run_carries_the_children_on_that_it_waits_for(any_stage: Stage) -> None:
    shop = Shop(any_stage.registry)

    @flow(registry=any_stage.registry)
    async def middle(number: int) -> int:
        return await shop.slow.run_child(number)

    @flow(registry=any_stage.registry)
    async def parent() -> int:
        await shop.square.start_child(9)
        return sum(await gather(*[middle.run_child(number) for number in range(3)]))

    app = any_stage.app()
    assert app.run(parent, run_id="r") == 5
    assert shop.calls == {"work 0": 1, "work 1": 1, "work 2": 1}
    assert app.get("r~0").status is Status.PAUSED


def test_run_finds_a_child_that_had_not_told_its_end(any_stage: Stage) -> None:
    shop = Shop(any_stage.registry)
    app = any_stage.app()
    app.start("slow", {"number": 2}, run_id="other")

    @flow(registry=any_stage.registry)
    async def parent() -> int:
        return await shop.slow.run_child(2)

    app.start(parent, run_id="r")
    app.execute("r")
    # Ended from outside, and whoever did it was lost before it told anybody.
    app._outside.terminate("r~0")
    assert app.get("r~0").notice
    with pytest.raises(RunFailed, match="was cancelled"):
        app.run(parent, run_id="r")


# -- play ----------------------------------------------------------------------------------------


def test_play_plays_children_too() -> None:
    played = play(order, {"items": ["ab", "cde"]}, tools={price: lambda item: len(item) * 2.0})
    assert played.result == 10.0
    assert [step.what for step in played.steps] == [
        "child child-quote",
        "child child-quote",
        "start child-quote",
    ]
    assert [call.input for call in played.calls] == [{"item": "ab"}, {"item": "cde"}]
    assert played.slept == 60


def test_play_says_which_child_cannot_go_on() -> None:
    with pytest.raises(Exception, match=r"no tool answers to c\.price"):
        play(order, {"items": ["ab"]})


def test_play_says_what_flow_is_missing() -> None:
    @flow
    async def lonely() -> Any:
        return await run_child("nobody")

    with pytest.raises(RunBlocked, match="no flow named 'nobody'"):
        play(lonely)


def test_a_flow_with_children_survives_a_crash_at_every_write() -> None:
    survived = crash_everywhere(
        order, {"items": ["ab", "cde"]}, tools={price: lambda item: float(len(item))}
    )
    assert survived.played.result == 5.0
    assert len(survived.crashes) > 40


# -- looking and ending --------------------------------------------------------------------------


def test_children_are_found_by_their_parent(any_stage: Stage) -> None:
    shop = Shop(any_stage.registry)

    @flow(registry=any_stage.registry)
    async def parent() -> str:
        return await start_child(shop.square, {"number": 2})

    app = any_stage.app()
    app.run(parent, run_id="r")
    (child,) = app.find(parent="r").runs
    assert child.parent == Parent("r", "0", waits=False)
    assert app.count(parent="r") == {("square", Status.PAUSED): 1}


def test_a_child_is_not_purged_before_its_parent_knows(any_stage: Stage) -> None:
    shop = Shop(any_stage.registry)

    @flow(registry=any_stage.registry)
    async def parent() -> int:
        return await shop.square.run_child(2)

    app = any_stage.app()
    app.start(parent, run_id="r")
    app.execute("r")
    app._outside.terminate("r~0")
    assert app.purge("r~0")
    with pytest.raises(RunFailed, match="was cancelled"):
        app.run(parent, run_id="r")


def test_a_terminated_child_tells_its_parent_at_once(any_stage: Stage) -> None:
    shop = Shop(any_stage.registry)

    @flow(registry=any_stage.registry)
    async def parent() -> int:
        return await shop.slow.run_child(2)

    app = any_stage.app()
    app.start(parent, run_id="r")
    app.execute("r")
    app.terminate("r~0")
    assert not app.get("r~0").notice
    assert [message.id for message in app.get("r").inbox] == ["$child:r~0:0"]


def test_show_and_list_tell_of_children(command_line: CommandLine) -> None:
    command_line.write(
        "family.py",
        """
from sequential import flow, run_child, sleep

@flow
async def child() -> None:
    await sleep(3600)

@flow
async def parent() -> None:
    await run_child(child)
""",
    )
    command_line.ok("start", "family.py:parent", "--run-id", "r")
    command_line.ok("execute", "r", "--load", "family.py")
    shown = command_line.ok("show", "r")
    assert "child r~0: child, due" in shown
    assert "step 0: waits for a child run of child" in shown
    assert "r~0" in command_line.ok("list", "--parent", "r")
    told = command_line.ok("doctor")
    assert "nothing will ever look at it" not in told

"""Journeys of what flows can say beside single steps: branches, children, deadlines, patches.

Over any storage, as the plain journeys. A storage keeps what these need in the state of a run and
in records in any order of positions; what it loses there shows here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from .._calls import ToolContext
from .._children import run_child, start_child
from .._model import At, Status
from .._outcomes import Cancelled, Completed, Paused
from .._parallel import map_tool, race
from .._ref import Ref
from .._registry import Registry, flow, tool
from .._scope import patched, set_progress
from .._steps import Steps, tool_call, wait_for_signal
from .._storage import Storage
from ..errors import ChildCancelled, ChildFailed, RunCancelled, SignalMismatch, ToolError
from ._clock import FakeClock
from ._engine_flows import LARGE, ProcessLost
from ._engine_journeys import Journey, raising, result


def _use(name: str, number: int) -> Steps[int]:
    got: int = yield tool_call("t", name, {"number": number})
    return got


def _branches(registry: Registry) -> None:
    def patient() -> Steps[str]:
        try:
            yield wait_for_signal("never")
        except RunCancelled:
            yield from _use("undo", 9)
            raise
        return "too late"

    @flow(name="racing", registry=registry)
    def racing() -> Steps[list[int]]:
        won = yield from race(_use("first", 1), patient())
        return [won.winner, won.value, (yield from _use("second", 2))]

    @flow(name="mapping", registry=registry)
    async def mapping() -> list[int]:
        first = registry.tools["t", "first"]
        return list(await map_tool(first, [1, 2, 3, 4], max_concurrency=2))


def _relatives(registry: Registry) -> None:
    @flow(name="waiting", registry=registry)
    async def waiting() -> object:
        return await wait_for_signal("go")

    @flow(name="relatives", registry=registry)
    async def relatives() -> list[str]:
        got = [await start_child("single")]
        try:
            await run_child("failing")
        except ChildFailed as error:
            got.append(error.type)
        try:
            await run_child("waiting", run_id="other")
        except ChildCancelled as error:
            got.append(error.run_id)
        return got


def _talking(registry: Registry) -> None:
    @flow(name="talking", registry=registry)
    async def talking() -> None:
        set_progress({"done": 1, "total": 2})
        await wait_for_signal("go")


def _handing_on(registry: Registry) -> None:
    @tool("t", "measured", registry=registry)
    def measured(context: ToolContext, text: Ref[str]) -> int:
        return len(context.load(text))

    @flow(name="giving", registry=registry)
    async def giving() -> Ref[str]:
        return Ref("x" * LARGE)

    @flow(name="handing", registry=registry)
    async def handing() -> list[object]:
        text = await giving.run_child()
        got: list[object] = [await measured(text)]
        await wait_for_signal("go")
        try:
            got.append(len(await text.load()))
        except ToolError as error:
            got.append(error.type)
        return got


def _patching(code: str) -> Callable[[Registry], None]:
    def add(registry: Registry) -> None:
        @flow(name="patching", registry=registry)
        def patching() -> Steps[list[int]]:
            got = [(yield from _use("first", 1))]
            yield wait_for_signal("go")
            if code == "new" and patched("second-too"):
                got.append((yield from _use("second", 2)))
            yield wait_for_signal("stop")
            return got

    return add


def _die() -> None:
    raise ProcessLost


class LanguageJourneys:
    """What flows can say beside single steps, over any storage."""

    @pytest.mark.parametrize("lost_at", ["first", "first done", "undo", "second done"])
    def test_a_race_is_decided_once_though_its_process_is_lost(
        self, storage: Storage, clock: FakeClock, lost_at: str
    ) -> None:
        journey = Journey(storage, clock, flows=_branches)
        journey.app.start("racing", run_id="r")
        journey.scene.places.at(lost_at, _die)
        journey.lose()
        assert result(journey.carry()) == [0, 1, 2]
        passed = {name: journey.passed(name) for name in ("first", "undo", "second")}
        assert passed == {"first": 1, "undo": 1, "second": 1} | {lost_at.partition(" ")[0]: 2}
        positions = Counter(step.position for step in journey.app.steps("r"))
        assert positions == dict.fromkeys(["0.0.0", "0.1.1", "1"], 1)

    def test_a_map_whose_process_is_lost_repeats_nothing_recorded(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        journey = Journey(storage, clock, flows=_branches)
        journey.app.start("mapping", run_id="r")

        def die_at_the_third() -> None:
            if journey.passed("first") == 3:
                raise ProcessLost

        journey.scene.places.at("first", die_at_the_third, always=True)
        journey.lose()
        recorded = len(journey.app.steps("r"))
        assert result(journey.carry()) == [1, 2, 3, 4]
        assert 0 < recorded < 4
        assert 5 <= journey.passed("first") <= 6  # two are in flight at once

    def test_children_are_waited_for_forgotten_fail_and_are_cancelled(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        journey = Journey(storage, clock, flows=_relatives)
        app = journey.app
        app.start("relatives", run_id="r")
        journey.scene.places.at("second", raising(ValueError("no")))
        assert isinstance(app.execute("r"), Paused)
        app.execute("r~1")
        assert isinstance(app.execute("r"), Paused)
        assert app.get("other").status is Status.PAUSED
        assert app.cancel("other")
        assert isinstance(app.execute("other"), Cancelled)
        assert result(app.execute("r")) == ["r~0", "ToolError", "other"]
        children = {run.run_id: run.status for run in app.find(parent="r").runs}
        assert children == {
            "r~0": Status.PAUSED, "r~1": Status.FAILED, "other": Status.CANCELLED
        }  # fmt: skip
        assert result(app.execute("r~0")) == 1

    def test_a_signal_of_a_wrong_type_is_refused_or_dropped(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        journey = Journey(storage, clock)
        app = journey.app
        app.start("letter", run_id="r")
        assert app.signal("r", "go", "early", signal_id="a")
        assert isinstance(app.execute("r"), Paused)
        waiting = app.get("r").open["1"]
        assert "str" in waiting.error, waiting
        with pytest.raises(SignalMismatch):
            app.signal("r", "go", "late", signal_id="b")
        assert app.signal("r", "go", 7, signal_id="b")
        assert result(app.execute("r")) == [1, 7, 2]

    def test_a_run_is_cancelled_at_its_deadline(self, storage: Storage, clock: FakeClock) -> None:
        journey = Journey(storage, clock)
        journey.app.start("letter", run_id="r", deadline=timedelta(hours=1))
        outcome = journey.app.execute("r")
        assert isinstance(outcome, Paused)
        assert isinstance(outcome.wake, At)
        journey.scene.let_pass(3000)
        assert "r" not in storage.due(100, None, 30.0)
        journey.scene.let_pass(601)
        assert "r" in storage.due(100, None, 30.0)
        journey.reopen()
        assert isinstance(journey.app.execute("r"), Cancelled)

    def test_progress_is_kept_with_the_run(self, storage: Storage, clock: FakeClock) -> None:
        journey = Journey(storage, clock, flows=_talking)
        journey.app.start("talking", run_id="r")
        journey.app.execute("r")
        journey.reopen()
        said = journey.app.progress("r")
        assert said is not None
        assert said.value == {"done": 1, "total": 2}
        journey.app.signal("r", "go")
        assert isinstance(journey.app.execute("r"), Completed)
        assert journey.app.progress("r") == said

    @pytest.mark.parametrize("purged", [False, True], ids=["kept", "purged"])
    def test_a_ref_is_handed_on_until_its_run_is_purged(
        self, storage: Storage, clock: FakeClock, purged: bool
    ) -> None:
        journey = Journey(storage, clock, flows=_handing_on)
        journey.app.start("handing", run_id="r")
        for run_id in ("r", "r~0", "r"):
            journey.app.execute(run_id)
        steps = journey.app.steps("r")
        assert [len(step.value.data) < 1000 for step in steps] == [True, True]
        journey.reopen()
        if purged:
            assert journey.app.purge("r~0")
        journey.app.signal("r", "go")
        last = "RefGone" if purged else LARGE
        assert result(journey.app.execute("r")) == [LARGE, last]

    def test_a_run_keeps_the_way_that_it_went_at_a_patch(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        journey = Journey(storage, clock, flows=_patching("old"))
        for run_id in ("old", "new"):
            journey.app.start("patching", run_id=run_id)
            journey.app.execute(run_id)
        journey.app.signal("old", "go")
        journey.app.execute("old")
        journey.flows = _patching("new")
        journey.reopen()
        journey.app.signal("new", "go")
        journey.app.execute("new")
        assert journey.app.get("new").patches == ("second-too",)
        journey.reopen()
        for run_id, expected in (("old", [1]), ("new", [1, 2])):
            journey.app.signal(run_id, "stop")
            assert result(journey.app.execute(run_id)) == expected

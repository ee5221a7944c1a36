"""Failpoints of a replay, and of the end of a run: F13, F14, F15, F37, F38."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._model import Status
from .._outcomes import Blocked
from .._storage import Loaded
from ..errors import ValueCorrupt
from ._engine_flows import ProcessLost
from ._engine_row import Row, at_commit, executed, is_end, once_each
from ._engine_scene import Scene
from ._faulty import Fault, FaultyStorage


def _crash() -> None:
    """Lose the process, without a failpoint: for the way to one."""
    raise ProcessLost


# -- replay --------------------------------------------------------------------------------------


def _die_in_replay(after: int) -> Callable[[Scene], None]:
    def reach(scene: Scene) -> None:
        scene.start()
        scene.places.at("third", _crash)
        scene.first.execute()
        scene.to_wake()
        scene.places.at(f"body {after}", scene.die("F13"))
        before = len(scene.executions)
        scene.first.execute()
        assert len(scene.executions) == before, "a replay ran a tool"

    return reach


def _code_disagrees(scene: Scene) -> None:
    scene.start()
    scene.first.execute()
    scene.first.execute()
    steps, calls = scene.steps, len(scene.executions)
    scene.code = "changed"
    scene.places.at("changed code", scene.at("F14"), always=True)
    scene.first = scene.worker()
    outcome = None
    for _ in range(3):
        if outcome is None or not scene.hits["F14"]:
            outcome = scene.turn()
    assert isinstance(outcome, Blocked), outcome
    attention = scene.run.attention
    assert attention is not None
    assert attention.reason == "changed"
    assert "t.second" in attention.diff
    assert "t.undo" in attention.diff
    assert (scene.steps, len(scene.executions)) == (steps, calls)
    scene.code = ""
    scene.places.clear()
    scene.first = scene.worker()


def _damaged(operation: str, change: Callable[[Any], Any], flow: str) -> Callable[[Scene], None]:
    def reach(scene: Scene) -> None:
        scene.start(flow)
        scene.first.execute()
        scene.first.execute()
        steps, calls = scene.steps, len(scene.executions)

        def found(answer: Any) -> Any:
            scene.point("F15")
            return change(answer)

        def spoil(storage: FaultyStorage) -> None:
            storage.spoil(operation, found)

        scene.spoil = spoil
        scene.first = scene.worker()
        for _ in range(3):
            scene.turn()
        attention = scene.run.attention
        assert attention is not None, "damage was not noticed"
        assert attention.reason == "corrupt"
        assert (scene.steps, len(scene.executions)) == (steps, calls)
        scene.spoil = lambda _: None
        scene.first = scene.worker()

    return reach


def _missing_value(data: bytes) -> bytes:
    raise ValueCorrupt("r", f"of {len(data)} bytes", "it is missing")


def _missing_step(loaded: Loaded | None) -> Loaded | None:
    # Only where the whole history is asked for: later ones are read to settle commits.
    if loaded is None or len(loaded.steps) != loaded.run.cursor or not loaded.steps:
        return loaded
    return loaded._replace(steps=loaded.steps[:-1])


# -- the end -------------------------------------------------------------------------------------


def _die_before_end(scene: Scene) -> None:
    scene.start()
    at_commit(scene, is_end, before=scene.die("F37"))
    assert scene.run.cursor == 3


def _around_the_end(fault: Fault | None) -> Callable[[Scene], None]:
    def reach(scene: Scene) -> None:
        scene.start()
        act = scene.die("F38") if fault is None else scene.at("F38")
        at_commit(scene, is_end, fault, after=act)
        run = scene.run
        assert run.status is Status.COMPLETED
        scene.turn()
        assert scene.run == run, "an outcome was written twice"

    return reach


REPLAY = (
    *[
        Row(
            "F13",
            f"the process dies in a replay, after {after} of 2 records",
            "no tool ran; the next claim replays all",
            _die_in_replay(after),
            f"after-{after}",
            executed(first=1, second=1, third=2),
            "when-waiting",
        )
        for after in (1, 2)
    ],
    Row(
        "F14",
        "the code of the flow disagrees with a record",
        "no tool runs and nothing is overwritten; blocked with the diff until the code fits again",
        _code_disagrees,
        check=once_each,
    ),
    Row(
        "F15",
        "a large value is missing",
        "blocked as corrupt; nothing is guessed or executed again",
        _damaged("get_value", _missing_value, "bulky"),
        "value",
        executed(bulk=1, second=1, third=1),
    ),
    Row(
        "F15",
        "a step record is missing",
        "blocked as corrupt; nothing is guessed or executed again",
        _damaged("load", _missing_step, "errand"),
        "step",
        once_each,
    ),
    Row(
        "F37",
        "all steps are recorded and the process dies before the end",
        "the next invocation replays and ends the run; no tool runs",
        _die_before_end,
        check=once_each,
        pause="when-waiting",
    ),
    Row(
        "F38",
        "the end is applied and its reply is lost",
        "the outcome is the same whenever it is read",
        _around_the_end(Fault.LOST),
        "reply",
        once_each,
        "when-waiting",
    ),
    Row(
        "F38",
        "the process dies right after the end",
        "the outcome is the same whenever it is read",
        _around_the_end(None),
        "died",
        once_each,
        "when-waiting",
    ),
)

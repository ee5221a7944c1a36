"""Failpoints of a step with others of its run in flight: F16, F17, F21, F22, F23, F25.

What was recorded is never done again; what was in flight is, once for each loss.
"""

from __future__ import annotations

from collections.abc import Callable

from .._outcomes import Completed, Paused
from ._engine_row import NOBODY_ELSE, Row, at_commit, executed, is_intent, is_step, once_each
from ._engine_rows_zombies import frozen
from ._engine_scene import Scene
from ._faulty import Fault


def _die_in_tool(scene: Scene) -> None:
    scene.start("spread")
    scene.places.at("second", scene.die("F17"))
    scene.first.execute()
    scene.losses += 1  # the first was in flight too


def _die_after_record(scene: Scene) -> None:
    scene.start("spread")
    at_commit(scene, is_step, after=scene.die("F23"))
    scene.losses += 1  # two others were in flight


def _die_after_park(scene: Scene) -> None:
    scene.start("spread")
    at_commit(
        scene, lambda request: is_step(request) and not request.run.owner, after=scene.die("F23")
    )


def _die_after_intent(scene: Scene) -> None:
    scene.start("spread-once")
    at_commit(scene, is_intent, after=scene.die("F16"))


def _zombie(scene: Scene) -> None:
    scene.losses += 2  # three were in flight, and one is counted
    frozen("F25", is_step, "spread")(scene)


def _record_goes_wrong(name: str, fault: Fault) -> Callable[[Scene], None]:
    def reach(scene: Scene) -> None:
        scene.start("spread")
        outcome = at_commit(scene, is_step, fault, before=scene.at(name))
        taken = scene.actor == "duplicate"
        assert taken or isinstance(outcome, Paused | Completed), outcome

    return reach


BRANCHES = (
    Row(
        "F16",
        "the process dies after the intent of an at-most-once call, which others stand beside",
        "StepInterrupted is recorded in its branch; the tool never runs; the other branch does",
        _die_after_intent,
        "branch",
        executed(once=0, second=1),
    ),
    Row(
        "F17",
        "the process dies in a tool, with another in flight",
        "both are executed again, with the same keys",
        _die_in_tool,
        "branch",
        executed(first=2, second=2, third=1, undo=1),
    ),
    *[
        Row(
            "F21" if fault is not Fault.LOST else "F22",
            f"the commit of a branch goes wrong ({fault}) with others in flight",
            "one record of each; no tool is run again",
            _record_goes_wrong("F21" if fault is not Fault.LOST else "F22", fault),
            f"branch-{fault}",
            once_each,
            "when-waiting",
            NOBODY_ELSE,
        )
        for fault in (Fault.UNAVAILABLE, Fault.LOST)
    ],
    Row(
        "F23",
        "the process dies after the record of one branch, with two others in flight",
        "what is recorded is not executed again; what was in flight is, once",
        _die_after_record,
        "branch",
        executed(first=1, second=2, third=2, undo=1),
        "when-waiting",
    ),
    Row(
        "F23",
        "the process dies after a pause in the middle of branches",
        "nothing is executed again: what was in flight was recorded before the pause",
        _die_after_park,
        "branch-pause",
        once_each,
    ),
    Row(
        "F25",
        "the record of a branch is committed after a new claim, with others in flight",
        "it is refused, and nothing of the others is written",
        _zombie,
        "branch",
        pause="when-waiting",
    ),
)

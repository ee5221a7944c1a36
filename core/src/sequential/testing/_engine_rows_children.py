"""Failpoints of child runs: F49, and the creation of a child."""

from __future__ import annotations

from collections.abc import Callable

from .._model import Run, Status, StepKind
from .._requests import Commit, Create, Request
from ._engine_row import Row, once_each
from ._engine_scene import HOLD, LEASE_OVER, Scene, Worker, alternate

CHILD = "r~0"
"""The id of the child of the run that a scene has."""


def _dies_at(wanted: Callable[[Request], bool], *, after: bool) -> Callable[[Scene], None]:
    """Return what loses the child's process before or after its request that is *wanted*."""

    def reach(scene: Scene) -> None:
        scene.start("family")
        scene.first.execute()
        invocation = scene.first.process.invoke(CHILD)
        invocation.until(wanted)
        if after:
            scene.first.advance(invocation)
        scene.point("F49")
        scene.first.lose(invocation)
        _find_child(scene)

    return reach


def _find_child(scene: Scene) -> None:
    """Let the next actor look at the child, which has ended and may have told nobody."""
    if scene.actor == "lease":
        scene.let_pass(LEASE_OVER)
    if scene.actor == "sweeper":
        scene.let_pass(HOLD + 1)
        if _child(scene).notice:
            assert CHILD in scene.storage.due(100, None, HOLD)
    if scene.actor == "duplicate":
        pair = [(worker, worker.process.invoke(CHILD)) for worker in _two(scene)]
        alternate(pair)
        return
    worker = scene.first if scene.actor == "retry" else scene.worker()
    worker.process.execute(CHILD)


def _two(scene: Scene) -> list[Worker]:
    return [scene.worker(), scene.worker()]


def _child(scene: Scene) -> Run:
    found = scene.storage.load(CHILD)
    assert found is not None, "there is no child"
    return found.run


def _dies_between_child_and_park(scene: Scene) -> None:
    scene.start("family")
    invocation = scene.until(lambda request: isinstance(request, Create))
    scene.first.advance(invocation)
    scene.point("F49")
    scene.first.lose(invocation)
    _find_child(scene)


def _told_once(scene: Scene) -> None:
    once_each(scene)
    child = _child(scene)
    assert (child.status, child.notice) == (Status.COMPLETED, False)
    assert [step.kind for step in scene.steps] == [StepKind.CHILD, StepKind.TOOL]
    assert not [message for message in scene.run.inbox if CHILD in message.id]


def _is_message(request: Request) -> bool:
    return isinstance(request, Commit) and request.run.run_id == "r"


CHILDREN = (
    Row(
        "F49",
        "a child has ended, and its process dies before it tells the parent",
        "whoever finds it tells the parent, which records its end once",
        _dies_at(_is_message, after=False),
        "before",
        _told_once,
        "when-waiting",
    ),
    Row(
        "F49",
        "a child has told its parent, and its process dies before that is remembered",
        "the parent is told again, and records its end once",
        _dies_at(_is_message, after=True),
        "told",
        _told_once,
        "when-waiting",
    ),
    Row(
        "F49",
        "a child is created, and its parent's process dies before it waits",
        "there is one child, which is begun once; its end may come before the wait",
        _dies_between_child_and_park,
        "created",
        _told_once,
        "when-waiting",
    ),
)

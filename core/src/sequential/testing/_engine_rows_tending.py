"""Failpoints of sweepers, signals and purges: F28, F30, F31, F32, F39."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from .._model import Message, Run, Status
from .._outcomes import Purged
from ..errors import OutcomeUnknown, StorageUnavailable
from ._engine_flows import LARGE, ProcessLost
from ._engine_row import Row, is_park, once_each
from ._engine_scene import HOLD, TERMS, Scene, alternate
from ._faulty import Fault

# -- sweepers ------------------------------------------------------------------------------------


def _sweeper_dies(scene: Scene) -> None:
    scene.start()
    assert "r" in scene.storage.due(100, None, HOLD)
    assert "r" not in scene.storage.due(100, None, HOLD), "it was told of twice"
    scene.point("F28")


def _stale_lists(scene: Scene) -> None:
    scene.start()
    lists = [scene.storage.due(100, None, 0.0) for _ in range(3)]
    assert all("r" in each for each in lists)
    scene.point("F30")
    racers = [(worker, worker.invoke()) for worker in (scene.worker() for _ in lists)]
    alternate(racers)
    assert scene.run.fence >= 1
    cursor = scene.run.cursor
    for worker, _ in racers:
        # The same lists, long after.
        worker.execute()
    assert scene.run.cursor >= cursor


# -- signals -------------------------------------------------------------------------------------


def _signal_while_running(scene: Scene) -> None:
    scene.start("letter")

    def send() -> None:
        assert scene.signal()
        scene.point("F31")

    scene.places.at("first", send)
    scene.first.execute()


def _signal_while_parking(scene: Scene) -> None:
    scene.start("letter")
    invocation = scene.until(is_park)
    assert scene.signal()
    scene.point("F31")
    scene.first.carry(invocation)
    run = scene.run
    assert run.status is Status.PAUSED
    assert run.wake is not None, "the signal was overlooked"


def _taken_once(scene: Scene) -> None:
    once_each(scene)
    assert [step.tool for step in scene.steps].count("go") == 1
    assert _kept(scene.run, "go") == ()
    assert scene.run.seen.count("s1") == 1


def _kept(run: Run, name: str) -> tuple[Message, ...]:
    return tuple(message for message in run.inbox if message.name == name)


def _signal_twice(scene: Scene) -> None:
    scene.start("letter")
    scene.first.execute()
    assert scene.signal()
    assert not scene.signal()
    scene.point("F32")
    # It may have ended: a duplicate came at the very point.
    accepted: list[bool] = []
    scene.refused(lambda: accepted.append(scene.signal()))
    assert True not in accepted


def _signal_early(scene: Scene) -> None:
    scene.start("letter")
    assert scene.signal()
    scene.point("F32")
    scene.first.execute()


def _signal_late(scene: Scene) -> None:
    scene.start("letter")
    scene.signal()
    scene.drive(lambda run: run.status is Status.COMPLETED)
    run = scene.run
    assert scene.refused(lambda: scene.signal("s2"))
    scene.point("F32")
    assert scene.refused(lambda: scene.signal("s2"))
    scene.turn()
    assert scene.run == run


# -- purges --------------------------------------------------------------------------------------


def _purge_goes_wrong(fault: Fault | None, *, before: bool) -> Callable[[Scene], None]:
    def reach(scene: Scene) -> None:
        scene.start("bulky")
        scene.stage.start("bulky", run_id="bystander")
        scene.worker().process.execute("bystander")
        scene.drive(lambda run: run.status is Status.COMPLETED)
        run = scene.run
        act = scene.die("F39") if fault is None else scene.at("F39")
        acts = {"before" if before else "after": act}
        scene.client.plan("purge", 0, fault, **acts)
        with suppress(ProcessLost, OutcomeUnknown, StorageUnavailable):
            scene.client.purge(run)
        _purge_again(scene)

    return reach


def _purge_again(scene: Scene) -> None:
    """Let the next actor purge what is not purged yet."""
    if scene.actor == "sweeper":
        scene.let_pass(TERMS.retention + 1)
        due = scene.storage.due(100, None, HOLD)
        assert "r" in due or scene.run.status is Status.PURGED
    if scene.actor == "lease":
        scene.let_pass(TERMS.retention + 1)
    run = scene.run
    if run.status is not Status.PURGED:
        asked = [scene.storage.purge(run) for _ in range(2 if scene.actor == "duplicate" else 1)]
        assert asked.count(True) == 1, "purged twice"


def _tombstone(scene: Scene) -> None:
    assert scene.run.status is Status.PURGED
    assert isinstance(scene.worker().execute(), Purged)
    bystander = scene.storage.load("bystander")
    assert bystander is not None
    assert bystander.run.status is Status.PAUSED
    reference = bystander.steps[0].value.ref
    assert reference is not None
    assert len(scene.storage.get_value("bystander", reference)) == LARGE + 2


TENDING = (
    Row(
        "F28",
        "a sweeper is told of the run and dies before it sends the message",
        "it is told of again after the hold",
        _sweeper_dies,
        check=once_each,
    ),
    Row(
        "F30",
        "three sweepers act on the same list, and again when it is stale",
        "they only send messages; one claim wins at a time",
        _stale_lists,
        check=once_each,
    ),
    Row(
        "F31",
        "a signal arrives while a tool runs",
        "taken once; the tool is not run again",
        _signal_while_running,
        "running",
        _taken_once,
    ),
    Row(
        "F31",
        "a signal arrives between the decision to wait and its commit",
        "the run is due at once, and the signal taken once",
        _signal_while_parking,
        "parking",
        _taken_once,
        "when-waiting",
    ),
    Row("F32", "a signal is sent twice", "accepted once", _signal_twice, "twice", _taken_once),
    Row(
        "F32",
        "a signal arrives before anything waits for it",
        "it is kept, and taken once",
        _signal_early,
        "early",
        _taken_once,
    ),
    Row(
        "F32",
        "a signal arrives when the run has ended",
        "refused with the reason; nothing changes",
        _signal_late,
        "ended",
        _taken_once,
    ),
    *[
        Row(
            "F39",
            f"a purge {said}",
            "it can be made again; the tombstone answers; no other run is touched",
            _purge_goes_wrong(fault, before=before),
            variant,
            _tombstone,
        )
        for variant, said, fault, before in (
            ("unavailable", "does not get through", Fault.UNAVAILABLE, True),
            ("reply", "is applied and its reply is lost", Fault.LOST, False),
            ("before", "is about to be made when the process dies", None, True),
            ("after", "is applied and the process dies", None, False),
        )
    ],
)

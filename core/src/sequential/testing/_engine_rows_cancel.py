"""Failpoints of runs that are ended from outside: F33, terminated, and F48, asked to stop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .._model import Run, Status, StepOutcome
from .._outcomes import Cancelled, Lost
from .._protocol import CANCEL, cancel_id
from ..errors import OutcomeUnknown, StorageUnavailable
from ._engine_flows import ProcessLost
from ._engine_row import Row, is_commit, is_end, is_step, once_each
from ._engine_scene import TERMS, Scene
from ._faulty import Fault

_RUN = "r"

# -- terminated ----------------------------------------------------------------------------------


def _terminate(scene: Scene) -> None:
    scene.stage.outside.terminate(_RUN)
    scene.point("F33")


def _overtakes(wanted: Callable[[Any], bool], cursor: int = 0) -> Callable[[Scene], None]:
    """Return what terminates the run right before the commit that is *wanted*, after *cursor*."""

    def reach(scene: Scene) -> None:
        scene.start()
        scene.drive(lambda run: run.cursor == cursor)
        invocation = scene.until(wanted)
        _terminate(scene)
        run, calls = scene.run, len(scene.executions)
        outcome = scene.first.carry(invocation)
        assert run.status is Status.CANCELLED
        assert isinstance(outcome, Cancelled if wanted is is_commit else Lost), outcome
        assert scene.run == run, "what came too late was committed"
        assert len(scene.executions) == calls, "a tool was run for a run that has ended"

    return reach


def _while_a_tool_runs(scene: Scene) -> None:
    scene.start()
    leases = scene.first.process.leases

    def ends() -> None:
        _terminate(scene)
        run = scene.run
        scene.let_pass(TERMS.lease / 2)
        leases.renew_due()
        assert scene.run == run, "the lease of a run that has ended was renewed"

    scene.places.at("first", ends)
    assert isinstance(scene.first.execute(), Lost)


def _before_a_signal(scene: Scene) -> None:
    scene.start("letter")
    scene.drive(lambda run: bool(run.open))
    scene.client.plan("commit", 0, before=lambda: _terminate(scene))
    assert scene.refused(scene.signal), "a run that has ended took a signal"


def _goes_wrong(fault: Fault | None, *, before: bool) -> Callable[[Scene], None]:
    def reach(scene: Scene) -> None:
        scene.start("letter")
        scene.drive(lambda run: bool(run.open))
        act = scene.die("F33") if fault is None else scene.at("F33")
        acts = {"before" if before else "after": act}
        scene.client.plan("commit", 0, fault, **acts)
        with suppress(ProcessLost, OutcomeUnknown, StorageUnavailable):
            scene.stage.outside.terminate(_RUN)
        if scene.run.status is not Status.CANCELLED:
            scene.stage.outside.terminate(_RUN)

    return reach


def _too_late(scene: Scene) -> None:
    scene.start()
    scene.drive(lambda run: run.status is Status.COMPLETED)
    run = scene.run
    scene.point("F33")
    assert scene.refused(lambda: scene.stage.outside.terminate(_RUN))
    assert scene.run == run


def _ended_once(scene: Scene) -> None:
    run = scene.run
    assert run.result is None, "it was terminated, and has a result"
    assert (run.open, run.inbox, run.owner) == ({}, (), "")


# -- asked to stop -------------------------------------------------------------------------------


def _cancel(scene: Scene) -> bool:
    run = scene.run
    return scene.stage.outside.send(_RUN, cancel_id(run), CANCEL, {"reason": "enough"})


def _waits(run: Run) -> bool:
    return run.status is Status.PAUSED and bool(run.open)


def _dies_with_it(*, after: bool) -> Callable[[Scene], None]:
    """Return what loses the process before or after the commit that records the cancel."""

    def reach(scene: Scene) -> None:
        scene.start("guarded")
        scene.drive(_waits)
        assert _cancel(scene)
        invocation = scene.until(is_step)
        if after:
            scene.first.advance(invocation)
        scene.point("F48")
        scene.first.lose(invocation)

    return reach


def _accepted_while_a_tool_runs(scene: Scene) -> None:
    scene.start("guarded")

    def asks() -> None:
        assert _cancel(scene)
        scene.point("F48")
        raise ProcessLost("F48")

    scene.places.at("first done", asks)
    scene.first.execute()


def _reply_is_lost(scene: Scene) -> None:
    scene.start("guarded")
    scene.drive(_waits)
    scene.client.plan("commit", 0, Fault.LOST, after=scene.at("F48"))
    _cancel(scene)
    assert not _cancel(scene), "one cancel was accepted twice"


def _dies_in_cleanup(scene: Scene) -> None:
    scene.start("guarded")
    scene.drive(_waits)
    assert _cancel(scene)
    scene.places.at("undo", scene.die("F48"))
    scene.drive(lambda _: bool(scene.hits["F48"]))


def _told_once(scene: Scene) -> None:
    run, steps = scene.run, scene.steps
    told = [step for step in steps if step.outcome is StepOutcome.CANCELLED]
    assert len(told) == 1, "a cancel is told once"
    assert [step.tool for step in steps][-1] == "t.undo", "who was cancelled did not clean up"
    assert steps[-1].outcome is StepOutcome.VALUE
    assert run.seen.count(cancel_id(run)) == 1
    assert not [message for message in run.inbox if message.name == CANCEL]


CANCELS = (
    *[
        Row(
            "F33",
            f"a run is terminated right before {said}",
            "it has ended; what comes later is refused, and nothing of it is stored",
            reach,
            variant,
            _ended_once,
            ends=Status.CANCELLED,
        )
        for variant, said, reach in (
            ("claim", "it is claimed", _overtakes(is_commit)),
            ("step", "a step is committed", _overtakes(is_step)),
            ("end", "its end is committed", _overtakes(is_end, 3)),
            ("renewal", "its lease is renewed, while a tool runs", _while_a_tool_runs),
            ("signal", "a signal is accepted", _before_a_signal),
        )
    ],
    *[
        Row(
            "F33",
            f"a termination {said}",
            "it can be asked for again; there is one end",
            _goes_wrong(fault, before=before),
            variant,
            _ended_once,
            ends=Status.CANCELLED,
        )
        for variant, said, fault, before in (
            ("unavailable", "does not get through", Fault.UNAVAILABLE, True),
            ("reply", "is applied and its reply is lost", Fault.LOST, False),
            ("before", "is about to be made when the process dies", None, True),
            ("after", "is applied and the process dies", None, False),
        )
    ],
    Row(
        "F33",
        "a run is terminated that has completed",
        "refused with the reason; the result stays",
        _too_late,
        "completed",
        once_each,
    ),
    *[
        Row(
            "F48",
            f"a cancel was accepted, and the process dies {said}",
            "whoever goes on tells the flow of it once, and its cleanup is carried to the end",
            reach,
            variant,
            _told_once,
            ends=Status.CANCELLED,
        )
        for variant, said, reach in (
            ("before", "before what it comes to is recorded", _dies_with_it(after=False)),
            ("after", "when what it comes to is recorded", _dies_with_it(after=True)),
            ("running", "in the tool that ran meanwhile", _accepted_while_a_tool_runs),
            ("cleanup", "while the flow cleans up", _dies_in_cleanup),
        )
    ],
    Row(
        "F48",
        "a cancel is accepted, the reply is lost, and it is sent again",
        "it is one cancel, told once",
        _reply_is_lost,
        "reply",
        _told_once,
        ends=Status.CANCELLED,
    ),
)

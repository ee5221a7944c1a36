"""Failpoints of invocations that were overtaken, cloned, thawed, hung, or misled by a clock.

F25, F26, F34, F35, F36, F44.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._model import At, Run, Status
from .._outcomes import Lost
from .._protocol import claimed
from .._requests import Perform
from ._clock import FakeClock
from ._engine_row import (
    NOBODY_ELSE,
    Row,
    executed,
    is_end,
    is_intent,
    is_park,
    is_paused,
    is_step,
    nothing_more,
    once_each,
)
from ._engine_scene import LEASE_OVER, TERMS, Scene, Worker
from ._stage import Invocation
from ._staged_time import Time

Wanted = Callable[[Any], bool]


def _is_perform(request: object) -> bool:
    return isinstance(request, Perform)


# -- overtaken -----------------------------------------------------------------------------------


def frozen(
    name: str, wanted: Wanted, flow: str = "errand", *, in_tool: bool = False, stop: bool = False
) -> Callable[[Scene], None]:
    """Return what freezes an invocation until the next actor holds the run, and wakes it then."""

    def reach(scene: Scene) -> None:
        scene.start(flow)
        zombie = _stopping_at(scene, wanted) if stop else scene.until(wanted)
        if in_tool:
            zombie.advance()
        scene.point(name)
        scene.losses += 1
        scene.let_pass(LEASE_OVER)
        _wake_when_overtaken(scene, scene.first, zombie)

    return reach


def _stopping_at(scene: Scene, wanted: Wanted) -> Invocation:
    """Return an invocation whose process was asked to end after the first step."""
    process = scene.first.process
    invocation = scene.until(is_step)
    process.stopping = True
    invocation.until(wanted)
    process.stopping = False
    return invocation


def _wake_when_overtaken(scene: Scene, worker: Worker, zombie: Invocation) -> None:
    woken: list[bool] = []

    def wake() -> None:
        run, sent, calls = scene.run, len(scene.sent), len(scene.executions)
        # What it was about to start, nobody can stop.
        begun = _is_perform(zombie.request)
        outcome = worker.carry(zombie)
        woken.append(isinstance(outcome, Lost))
        assert scene.run == run, "an overtaken invocation changed the record"
        assert len(scene.sent) == sent, "an overtaken invocation sent a message"
        assert len(scene.executions) <= calls + begun, "an overtaken invocation ran a tool"

    scene.places.at("body", wake)
    for _ in range(4):
        if not woken:
            scene.turn()
    assert woken == [True], "nobody took over"


def _cloned(flow: str, wanted: Wanted) -> Callable[[Scene], None]:
    def reach(scene: Scene) -> None:
        scene.flow = flow
        payload, digest = scene.stage.outside.input_payload("r", b"{}")
        new = Run("r", flow, payload, asked=digest, created=scene.now())
        held = claimed(new, scene.now(), scene.stage.token(), TERMS)
        stored, own = scene.stage.outside.create(held)
        assert own
        scene.losses += 1
        other = scene.worker()
        pair = [(scene.first, scene.first.process.begin(stored))]
        pair.append((other, other.process.begin(stored)))
        for _, invocation in pair:
            invocation.until(lambda request: bool(wanted(request)))
        scene.point("F26")
        (worker, invocation), (clone, cloned) = pair
        worker.advance(invocation)
        run, calls, sent = scene.run, len(scene.executions), len(scene.sent)
        assert run.status is Status.RUNNING
        outcome = clone.carry(cloned)
        assert isinstance(outcome, Lost), outcome
        assert (scene.run, len(scene.executions), len(scene.sent)) == (run, calls, sent)
        if scene.actor == "retry":
            worker.carry(invocation)
        else:
            worker.lose(invocation)

    return reach


# -- thawed and hung -----------------------------------------------------------------------------


def _thawed(after: str) -> Callable[[Scene], None]:
    def reach(scene: Scene) -> None:
        scene.start()
        invocation = scene.until(_is_perform)
        invocation.advance()
        (lease,) = scene.first.leases()
        scene.first.carry(invocation)
        if after == "claimed":
            other = scene.worker()
            held = other.invoke()
            held.until(_is_perform)
            held.advance()
            other.lose(held)
        scene.point("F35")
        scene.let_pass(TERMS.lease / 3 + 1)
        run = scene.run
        scene.first.thaw(lease)
        assert scene.run == run, "a thread that outlived its invocation wrote"
        assert lease.hold.lost
        scene.first.restart()

    return reach


def _hangs(scene: Scene) -> None:
    scene.start()
    hung = scene.until(_is_perform)
    hung.advance()
    wakes = {_wake(scene)}
    for _ in range(10):
        scene.let_pass(TERMS.lease / 3 + 1)
        scene.first.process.leases.renew_due()
        wakes.add(_wake(scene))
    # About as often as thirds of a lease fit into the longest step.
    assert 4 <= len(wakes) <= 9, "renewed without end, or hardly at all"
    scene.point("F36")
    scene.losses += 1
    _wake_when_overtaken(scene, scene.first, hung)


def _wake(scene: Scene) -> float:
    wake = scene.run.wake
    assert isinstance(wake, At)
    return wake.time


# -- misled by a clock ---------------------------------------------------------------------------


class _Crooked(Time):
    """A process that believes itself wherever the storage says: always off by *offset*."""

    def __init__(self, clock: FakeClock, offset: float) -> None:
        super().__init__(clock)
        self._offset = offset

    def now(self) -> float:
        """Return the storage's time, wrong by as much."""
        return super().now() + self._offset


_DAY = 86_400.0


def _ahead(scene: Scene) -> None:
    scene.start()
    other = scene.worker()
    held = other.invoke()
    held.until(_is_perform)
    held.advance()
    scene.point("F44")
    scene.losses += 1
    early = scene.worker()
    early.process.time = _Crooked(scene.clock, _DAY)
    early.execute()
    assert scene.run.fence == 2, "its clock did not mislead it"
    outcome = other.carry(held)
    assert isinstance(outcome, Lost), outcome


def _behind(scene: Scene) -> None:
    scene.start()
    late = scene.worker()
    late.process.time = _Crooked(scene.clock, -_DAY)
    run = scene.run
    late.execute()
    assert scene.run == run, "it took what it cannot know to be due"
    scene.point("F44")
    # It is misled no longer than its storage does not tell it the time.
    held = late.invoke()
    late.process.time = Time(scene.clock)
    late.carry(held)


def _drifting(scene: Scene) -> None:
    scene.start()
    scene.first.process.time.drift = 50.0
    invocation = scene.until(is_step)
    scene.point("F44")
    scene.let_pass(TERMS.lease / 2)
    scene.first.carry(invocation)
    scene.first.process.time.drift = 1.0


def _stepping_back(scene: Scene) -> None:
    scene.start()
    invocation = scene.until(is_step)
    scene.clock.set_skew(scene.clock.skew() - 10.0)
    scene.point("F44")
    scene.first.carry(invocation)
    assert scene.run.cursor >= 1


def _is_release(request: object) -> bool:
    return is_park(request) and is_paused(request.run)  # type: ignore[arg-type, attr-defined]


_FENCED = "it is refused: nothing changes, it sends nothing and runs no more tools"


def _zombie(
    name: str, variant: str, happens: str, reach: Callable[[Scene], None], pause: str = "every-step"
) -> Row:
    return Row(name, happens, _FENCED, reach, variant, nothing_more, pause)


ZOMBIES = (
    _zombie("F25", "step", "a step is committed after a new claim", frozen("F25", is_step)),
    _zombie(
        "F25",
        "end",
        "the end is committed after a new claim",
        frozen("F25", is_end),
        "when-waiting",
    ),
    _zombie(
        "F25",
        "park",
        "a wait is committed after a new claim",
        frozen("F25", is_park, "letter"),
        "when-waiting",
    ),
    _zombie(
        "F25",
        "release",
        "an invocation lets go after a new claim",
        frozen("F25", _is_release, stop=True),
        "when-waiting",
    ),
    _zombie(
        "F25",
        "intent",
        "an intent is committed after a new claim",
        frozen("F25", is_intent, "careful"),
    ),
    Row(
        "F26",
        "two processes go on from one claim (fork, restored snapshot)",
        "one commit of the step is accepted; the other process stops",
        _cloned("errand", is_step),
        "step",
        pause="when-waiting",
    ),
    Row(
        "F26",
        "two processes go on from one claim, at an at-most-once call",
        "one announces it; the other process stops; the tool runs once at most",
        _cloned("careful", is_intent),
        "intent",
    ),
    _zombie("F34", "F16", "frozen between intent and tool", frozen("F34", _is_perform, "careful")),
    _zombie("F34", "F17", "frozen right before the tool", frozen("F34", _is_perform)),
    _zombie("F34", "F18", "frozen in the tool", frozen("F34", _is_perform, in_tool=True)),
    _zombie(
        "F34",
        "F16-in-tool",
        "frozen in an at-most-once tool",
        frozen("F34", _is_perform, "careful", in_tool=True),
    ),
    _zombie("F34", "F20", "frozen after a large value was stored", frozen("F34", is_step, "bulky")),
    _zombie(
        "F34",
        "F22",
        "frozen before the commit of a step that keeps the claim",
        frozen("F34", is_step),
        "when-waiting",
    ),
    *[
        Row(
            "F35",
            f"the thread that renews leases goes on when the run is {after}",
            "it revives nothing and writes nothing",
            _thawed(after),
            after,
            nothing_more,
            "when-waiting" if after == "ended" else "every-step",
            NOBODY_ELSE if after == "ended" else {},
        )
        for after in ("parked", "ended", "claimed")
    ],
    Row(
        "F36",
        "a tool hangs and its lease is renewed",
        "renewal stops at the step timeout; the run moves on",
        _hangs,
        check=executed(first=2, second=1, third=1),
    ),
    Row(
        "F44",
        "the clock of a process is a day ahead, so that it takes what another holds",
        "the other is refused",
        _ahead,
        "ahead",
    ),
    Row(
        "F44",
        "the clock of a process is a day behind",
        "it takes nothing; whoever knows the storage's time goes on",
        _behind,
        "behind",
        once_each,
    ),
    Row(
        "F44",
        "the clock of a process drifts",
        "nothing is lost or done twice",
        _drifting,
        "drift",
        once_each,
    ),
    Row(
        "F44",
        "the clock of the storage steps back ten seconds in a step",
        "nothing is lost or done twice",
        _stepping_back,
        "step-back",
        once_each,
    ),
)

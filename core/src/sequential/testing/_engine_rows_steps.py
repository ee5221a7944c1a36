"""Failpoints of a step, from its intent to its commit: F16 to F24."""

from __future__ import annotations

from collections.abc import Callable

from .._model import StepOutcome
from .._outcomes import Completed, Outcome, Paused
from .._requests import Perform, Store
from ._engine_flows import LARGE, ProcessLost
from ._engine_row import NOBODY_ELSE, Row, at_commit, executed, is_intent, is_step, once_each
from ._engine_scene import LEASE_OVER, Scene
from ._faulty import Fault

# -- a tool --------------------------------------------------------------------------------------


def _around_the_intent(side: str) -> Callable[[Scene], None]:
    def reach(scene: Scene) -> None:
        scene.start("careful")
        act = scene.die("F16")
        if side == "before":
            at_commit(scene, is_intent, before=act)
        else:
            at_commit(scene, is_intent, after=act)

    return reach


def _ran_once(scene: Scene) -> None:
    assert scene.calls("once") == 1
    assert scene.steps[0].outcome is StepOutcome.VALUE


def _never_ran(scene: Scene) -> None:
    assert scene.calls("once") == 0
    assert scene.steps[0].outcome is StepOutcome.ERROR
    assert b"StepInterrupted" in scene.steps[0].value.data


def _die_in_tool(name: str, place: str) -> Callable[[Scene], None]:
    def reach(scene: Scene) -> None:
        scene.start()
        scene.places.at(place, scene.die(name))
        scene.first.execute()

    return reach


def _effects(seen: int) -> Callable[[Scene], None]:
    def check(scene: Scene) -> None:
        key = next(each.key for each in scene.executions if each.position == "0")
        assert scene.places.effects[key] == seen
        tries = [each for each in scene.executions if each.position == "0"]
        assert (len(tries), {each.key for each in tries}) == (2, {key})

    return check


def _reply_is_lost(scene: Scene) -> None:
    scene.start("stubborn")

    def lose() -> None:
        scene.point("F18")
        raise ConnectionError("the reply was lost")

    scene.places.at("flaky done", lose)
    scene.first.execute()
    assert scene.run.open["0"].attempt == 2


def _die_before_encoding(scene: Scene) -> None:
    scene.start()
    invocation = scene.until(lambda request: isinstance(request, Perform))
    invocation.advance()
    assert scene.calls("first") == 1
    scene.point("F19")
    scene.first.lose(invocation)


def _not_encodable(scene: Scene) -> None:
    scene.start("odd")
    scene.places.at("odd done", scene.at("F19"))
    scene.first.execute()


def _value_stored(fault: Fault | None) -> Callable[[Scene], None]:
    def reach(scene: Scene) -> None:
        scene.start("bulky")
        invocation = scene.until(lambda request: isinstance(request, Store))
        act = scene.die("F20") if fault is None else scene.at("F20")
        scene.first.storage.plan("put_value", 0, fault, after=act)
        scene.first.carry(invocation)
        scene.losses += fault is not None

    return reach


def _large_value_is_there(scene: Scene) -> None:
    reference = scene.steps[0].value.ref
    assert reference is not None
    assert len(scene.storage.get_value("r", reference)) == LARGE + 2
    assert scene.calls("bulk") == 2


# -- the commit of a step ------------------------------------------------------------------------


def _step_goes_wrong(name: str, fault: Fault, *, before: bool) -> Callable[[Scene], None]:
    def reach(scene: Scene) -> None:
        scene.start()
        act = scene.at(name)
        outcome = at_commit(
            scene, is_step, fault, before=act if before else None, after=None if before else act
        )
        _went_on(scene, outcome)

    return reach


def _reply_lost_then_overwritten(scene: Scene) -> None:
    scene.start("letter")

    def overwrite() -> None:
        # The record's op_id is somebody else's from here on; the step keeps its own.
        assert scene.signal()
        scene.point("F22")

    outcome = at_commit(scene, is_step, Fault.LOST, after=overwrite)
    _went_on(scene, outcome)


def _went_on(scene: Scene, outcome: Outcome | None) -> None:
    """Check that the process did not take its own commit for somebody else's."""
    assert scene.calls("first") == 1
    taken = scene.actor == "duplicate"
    assert taken or isinstance(outcome, Paused | Completed), outcome


def _die_after_step(scene: Scene) -> None:
    scene.start()
    sent: list[int] = []

    def die() -> None:
        scene.point("F23")
        sent.append(len(scene.sent))
        raise ProcessLost

    at_commit(scene, is_step, after=die)
    assert sent == [len(scene.sent)], "a lost process sent a message"


def _late_step(scene: Scene) -> None:
    scene.start()

    def sleep() -> None:
        scene.point("F24")
        scene.let_pass(LEASE_OVER)

    scene.places.at("first", sleep)
    scene.first.execute()
    assert scene.steps[0].fence == 1, "a late result was thrown away"


_ALIVE = "the process tries again with the same op_id; the tool is not run again"
_ONE_RECORD = "the process finds that it was applied: one record, and the tool is not run again"

STEPS = (
    Row(
        "F16",
        "the process dies before the intent of an at-most-once call is committed",
        "the tool runs, once",
        _around_the_intent("before"),
        "before-intent",
        _ran_once,
    ),
    Row(
        "F16",
        "the process dies after the intent, before the tool",
        "StepInterrupted is recorded; the tool never runs",
        _around_the_intent("after"),
        "after-intent",
        _never_ran,
    ),
    Row(
        "F17",
        "the process dies in the tool, before its effect",
        "executed again with the same key; one effect",
        _die_in_tool("F17", "first"),
        check=_effects(1),
    ),
    Row(
        "F18",
        "the process dies in the tool, after its effect",
        "executed again with the same key, so that the other side sees one request twice",
        _die_in_tool("F18", "first done"),
        "died",
        _effects(2),
    ),
    Row(
        "F18",
        "the effect is done and the tool's own reply is lost",
        "the next attempt has the same key",
        _reply_is_lost,
        "reply",
        _effects(2),
    ),
    Row(
        "F19",
        "the process dies when the tool has returned, before its value is encoded",
        "executed again",
        _die_before_encoding,
        "died",
        executed(first=2, second=1, third=1),
    ),
    Row(
        "F19",
        "the tool returned what cannot be stored",
        "recorded as an error; the tool is not run again",
        _not_encodable,
        "not-encodable",
        executed(odd=1, second=1),
    ),
    Row(
        "F20",
        "the process dies between a large value and the commit of its step",
        "the value is stored and committed again, and is readable",
        _value_stored(None),
        "died",
        _large_value_is_there,
    ),
    Row(
        "F20",
        "nobody knows whether a large value was stored",
        "the value is stored and committed again, and is readable",
        _value_stored(Fault.LOST),
        "unknown",
        _large_value_is_there,
    ),
    *[
        Row(
            "F21",
            f"the commit of a step is not applied ({fault}), its process is alive",
            _ALIVE,
            _step_goes_wrong("F21", fault, before=True),
            f"{fault}-{said}",
            once_each,
            pause,
            NOBODY_ELSE if said == "kept" else {},
        )
        for fault in (Fault.UNAVAILABLE, Fault.UNCONFIRMED, Fault.LATE)
        for said, pause in (("parked", "every-step"), ("kept", "when-waiting"))
    ],
    *[
        Row(
            "F22",
            "the commit of a step is applied and its reply is lost",
            _ONE_RECORD,
            _step_goes_wrong("F22", Fault.LOST, before=False),
            said,
            once_each,
            pause,
            NOBODY_ELSE if said == "kept" else {},
        )
        for said, pause in (("parked", "every-step"), ("kept", "when-waiting"))
    ],
    Row(
        "F22",
        "the reply to the commit of a step is lost, and a signal overwrites the record",
        _ONE_RECORD,
        _reply_lost_then_overwritten,
        "overwritten",
        once_each,
    ),
    Row(
        "F23",
        "the process dies after the commit of a step, before the resume message",
        "the run is due and is found; nothing is executed again",
        _die_after_step,
        check=once_each,
    ),
    Row(
        "F24",
        "the commit of a step comes after the end of the lease, and nobody has claimed",
        "it is accepted",
        _late_step,
        check=once_each,
    ),
)

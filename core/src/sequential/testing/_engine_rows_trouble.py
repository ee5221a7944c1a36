"""Failpoints of bad code, deploys, and storages that say no: F40, F41, F42."""

from __future__ import annotations

from collections.abc import Callable

from .._outcomes import Blocked, NotMine
from .._requests import Perform
from ._engine_row import Row, executed, is_commit, is_step, once_each
from ._engine_rows_begin import quarantined_then_redriven
from ._engine_scene import TERMS, Scene
from ._faulty import Fault

# -- bad code and deploys ------------------------------------------------------------------------


def _dies_always(scene: Scene) -> None:
    scene.start()
    scene.places.at("first", scene.die("F40"), always=True)
    scene.first.execute()


def _code_is_gone(scene: Scene) -> None:
    scene.start()
    scene.first.execute()
    run = scene.run
    scene.code = "gone"
    worker = scene.worker()
    outcome = worker.execute()
    assert isinstance(outcome, NotMine), outcome
    assert scene.run == run, "a process without the flow wrote"
    scene.code = ""
    scene.point("F41")


def _code_is_longer(scene: Scene) -> None:
    scene.start()
    scene.first.execute()
    scene.code = "longer"
    scene.first = scene.worker()
    scene.places.at("longer code", scene.at("F41"))
    for _ in range(6):
        if not scene.hits["F41"]:
            scene.turn()


def _code_is_rolled_back(scene: Scene) -> None:
    scene.start()
    scene.code = "longer"
    scene.first = scene.worker()
    scene.drive(lambda run: run.cursor == 4)
    steps = scene.steps
    scene.code = ""
    outcome = scene.worker().execute()
    assert isinstance(outcome, Blocked), outcome
    assert scene.steps == steps
    scene.code = "longer"
    scene.point("F41")
    scene.first = scene.worker()


def _four_steps(scene: Scene) -> None:
    executed(first=1, second=1, third=1, undo=1)(scene)


# -- storages that say no ------------------------------------------------------------------------


def _says_no(fault: Fault, at: str) -> Callable[[Scene], None]:
    """Return what lets every commit fail, from the claim or the first step on."""

    def reach(scene: Scene) -> None:
        scene.start()
        invocation = scene.until(is_step if at == "step" else is_commit)
        storage = scene.first.storage
        storage.always(lambda *_: fault)
        storage.plan("commit", 0, fault, before=scene.at("F42"))
        scene.losses += at == "step"
        assert scene.first.carry(invocation) is None
        storage.heal()

    return reach


def _cannot_be_read(scene: Scene) -> None:
    scene.start()
    scene.first.storage.plan("load", 0, Fault.UNAVAILABLE, before=scene.at("F42"))
    assert scene.first.execute() is None


def _is_slow(scene: Scene) -> None:
    scene.start()
    for number in range(20):
        scene.first.storage.plan("commit", number, before=lambda: scene.let_pass(10.0))
    scene.first.execute()
    scene.point("F42")
    scene.first.storage.heal()


def _heartbeats_do_not_pile_up(scene: Scene) -> None:
    scene.start()
    invocation = scene.until(lambda request: isinstance(request, Perform))
    invocation.advance()
    storage, leases = scene.first.storage, scene.first.process.leases
    storage.always(lambda *_: Fault.UNAVAILABLE)
    scene.let_pass(TERMS.lease / 3 + 1)
    storage.calls.clear()
    for _ in range(5):
        leases.renew_due()
    assert storage.calls == ["commit"] * 5, "a heartbeat did more than one write each"
    scene.point("F42")
    storage.heal()
    before = scene.run.version
    leases.renew_due()
    leases.renew_due()
    assert scene.run.version == before + 1, "renewals were made up for"
    scene.first.carry(invocation)


TROUBLE = (
    Row(
        "F40",
        "the process dies in the same tool every time",
        "quarantined after the most stalls; can be redriven",
        _dies_always,
        check=quarantined_then_redriven,
    ),
    Row(
        "F41",
        "a process without the flow is asked",
        "it says so and writes nothing",
        _code_is_gone,
        "gone",
        once_each,
    ),
    Row(
        "F41",
        "code that asks for a step more is deployed",
        "the run goes on with it",
        _code_is_longer,
        "longer",
        _four_steps,
    ),
    Row(
        "F41",
        "code is rolled back behind what is recorded",
        "blocked, with nothing changed, until the code is there again",
        _code_is_rolled_back,
        "rolled-back",
        _four_steps,
    ),
    *[
        Row(
            "F42",
            f"the storage is {said} from the commit of the {at} on",
            "the run is as of the last commit; it goes on when the storage does",
            _says_no(fault, at),
            f"{said}-{at}",
        )
        for fault, said in ((Fault.REFUSED, "full"), (Fault.UNAVAILABLE, "gone"))
        for at in ("claim", "step")
    ],
    Row(
        "F42",
        "the storage cannot be read",
        "nothing happened; the run stays due",
        _cannot_be_read,
        "read",
        once_each,
    ),
    Row(
        "F42",
        "every commit takes ten seconds",
        "nothing is lost or done twice",
        _is_slow,
        "slow",
        once_each,
    ),
    Row(
        "F42",
        "the storage is gone while leases are renewed",
        "one try at each look; one renewal afterwards",
        _heartbeats_do_not_pile_up,
        "heartbeat",
        once_each,
    ),
)

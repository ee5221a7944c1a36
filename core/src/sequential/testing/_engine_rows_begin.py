"""Failpoints from the creation of a run to the first line of its flow: F01 to F12."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from .._model import Status
from .._outcomes import Busy
from .._requests import Perform, Send
from .._storage import Query
from ..errors import StorageUnavailable
from ._engine_flows import ProcessLost
from ._engine_row import Row, executed, is_commit, once_each
from ._engine_scene import TERMS, Scene
from ._faulty import Fault


def _create_never_arrives(scene: Scene) -> None:
    scene.client.plan("create", 0, Fault.UNAVAILABLE, before=scene.at("F01"))
    try:
        scene.start()
    except StorageUnavailable:
        pass
    else:
        raise AssertionError("a run that was not created was reported as started")
    assert not scene.exists
    scene.turn()
    scene.start()


def _create_loses_its_reply(scene: Scene) -> None:
    scene.client.plan("create", 0, Fault.LOST, after=scene.at("F02"))
    scene.start()
    scene.start()


def _one_run(scene: Scene) -> None:
    assert len(scene.storage.find(Query(flow="errand")).runs) == 1
    once_each(scene)


def _die_after_create(scene: Scene) -> None:
    scene.client.plan("create", 0, after=scene.die("F03"))
    with suppress(ProcessLost):
        scene.start()
    assert scene.exists
    if scene.actor == "retry":
        scene.start()


def _message_is_lost(scene: Scene) -> None:
    scene.start()
    invocation = scene.until(lambda request: isinstance(request, Send))
    scene.point("F04")
    scene.first.carry(invocation)
    assert scene.sent, "no message was sent"


def _die_before_claim(operation: str) -> Callable[[Scene], None]:
    def reach(scene: Scene) -> None:
        scene.start()
        if operation == "load":
            scene.first.storage.plan("load", 0, after=scene.die("F06"))
        else:
            scene.first.storage.plan("commit", 0, before=scene.die("F06"))
        scene.first.execute()

    return reach


def _claim_goes_wrong(name: str, fault: Fault) -> Callable[[Scene], None]:
    def reach(scene: Scene) -> None:
        scene.start()
        counted: list[int] = []
        scene.places.at("first", lambda: counted.append(scene.run.stalls))
        scene.first.storage.plan("commit", 0, fault, after=scene.at(name))
        scene.first.execute()
        assert counted == [1], "the claim was counted more than once"
        assert scene.executions[0].fence == 1

    return reach


def _claim_fails(scene: Scene) -> None:
    scene.start()
    scene.first.storage.plan("commit", 0, Fault.UNAVAILABLE, before=scene.at("F07"))
    scene.first.execute()
    assert scene.executions[0].fence == 1


def _die_after_claim(scene: Scene) -> None:
    scene.start()
    scene.first.storage.plan("commit", 0, after=scene.die("F09"))
    scene.first.execute()
    run = scene.run
    assert (run.status, run.fence, run.stalls) == (Status.RUNNING, 1, 1)


def _second_claim(scene: Scene) -> None:
    once_each(scene)
    assert scene.executions[0].fence == 2


def _claims_race(many: int) -> Callable[[Scene], None]:
    def reach(scene: Scene) -> None:
        scene.start()
        racers = [(worker, worker.invoke()) for worker in (scene.worker() for _ in range(many))]
        for _, invocation in racers:
            invocation.until(is_commit)
        scene.point("F10")
        for worker, invocation in racers:
            worker.advance(invocation)
        winners = [pair for pair in racers if isinstance(pair[1].request, Perform)]
        # A duplicate that came at the very point was faster than all of them.
        assert len(winners) == (0 if scene.actor == "duplicate" else 1)
        for worker, invocation in racers:
            if (worker, invocation) in winners:
                continue
            outcome = worker.carry(invocation)
            assert isinstance(outcome, Busy) or not winners
        for worker, invocation in winners:
            if scene.actor == "retry":
                worker.carry(invocation)
            else:
                worker.lose(invocation)

    return reach


def _die_at_the_first_line(scene: Scene) -> None:
    scene.start()
    scene.places.at("body", scene.die("F12"))
    scene.first.execute()
    assert scene.run.stalls == 1


def _die_at_the_first_line_always(scene: Scene) -> None:
    scene.start()
    scene.places.at("body", scene.die("F12"), always=True)
    scene.first.execute()


def quarantined_then_redriven(scene: Scene) -> None:
    """Check that the run was stopped in time; mend the code, redrive it, and carry it on."""
    run = scene.run
    assert (run.status, run.cursor, run.wake) == (Status.QUARANTINED, 0, None)
    assert scene.losses <= TERMS.max_stalls
    assert len(scene.executions) <= TERMS.max_stalls
    scene.places.clear()
    scene.stage.outside.redrive(run.run_id)
    scene.carry_on()
    assert scene.run.status is Status.COMPLETED


BEGIN = (
    Row(
        "F01",
        "create never reaches the storage",
        "nothing is there; the client starts it again",
        _create_never_arrives,
        check=once_each,
    ),
    Row(
        "F02",
        "create is applied and its reply is lost",
        "starting it again finds it; there is one run",
        _create_loses_its_reply,
        check=_one_run,
    ),
    Row(
        "F03",
        "created, then lost before the first resume message",
        "the run is due and is found",
        _die_after_create,
        check=once_each,
    ),
    Row(
        "F04",
        "the resume message is lost",
        "the run is due and is found",
        _message_is_lost,
        check=once_each,
    ),
    Row(
        "F06",
        "the process dies after the message, before it has read the run",
        "the run stays due",
        _die_before_claim("load"),
        "read",
        once_each,
    ),
    Row(
        "F06",
        "the process dies after it has read the run, before the claim",
        "the run stays due",
        _die_before_claim("commit"),
        "claim",
        once_each,
    ),
    Row(
        "F07",
        "the claim does not get through, its process is alive",
        "it is tried again, and counted once",
        _claim_fails,
        check=once_each,
    ),
    Row(
        "F07",
        "the claim is not applied and nobody knows",
        "it is tried again, and counted once",
        _claim_goes_wrong("F07", Fault.UNCONFIRMED),
        "unconfirmed",
        once_each,
    ),
    Row(
        "F07",
        "the claim is applied late, after its process has looked",
        "there is one claim, counted once",
        _claim_goes_wrong("F07", Fault.LATE),
        "late",
        once_each,
    ),
    Row(
        "F08",
        "the claim is applied and its reply is lost",
        "its process has it, and it is counted once",
        _claim_goes_wrong("F08", Fault.LOST),
        check=once_each,
    ),
    Row(
        "F09",
        "the process dies right after the claim",
        "after the lease somebody claims with the next fence",
        _die_after_claim,
        check=_second_claim,
    ),
    Row(
        "F10",
        "two claims race",
        "one wins, the other is told that the run is busy",
        _claims_race(2),
        "2",
        once_each,
    ),
    Row(
        "F10",
        "sixteen claims race",
        "one wins, the others are told that the run is busy",
        _claims_race(16),
        "16",
        once_each,
    ),
    Row(
        "F12",
        "the process dies at the first line of the flow, once",
        "the stall is counted, and cleared by the first step",
        _die_at_the_first_line,
        "once",
        executed(first=1, second=1, third=1),
    ),
    Row(
        "F12",
        "the process dies at the first line of the flow, always",
        "the run is quarantined with no tool executed, and can be redriven",
        _die_at_the_first_line_always,
        "always",
        quarantined_then_redriven,
    ),
)

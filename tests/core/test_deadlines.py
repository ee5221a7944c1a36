"""Runs that must have ended at a moment: cancelled then, with what they do to clean up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sequential import (
    Registry,
    RunCancelled,
    Steps,
    continue_as_new,
    flow,
    gather,
    save,
    sleep,
    tool,
    wait_for_signal,
)
from sequential._memory import MemoryStorage
from sequential._model import At, Status, StepOutcome, evolve
from sequential._outcomes import Cancelled, Completed, Paused
from sequential.errors import ConfigError
from sequential.testing import FakeClock
from sequential.testing._stage import Stage as Staged
from tests.fix_stage import Stage

HOUR = timedelta(hours=1)
WAITS: dict[str, Callable[[], Any]] = {
    "a signal": lambda: wait_for_signal("never"),
    "a longer sleep": lambda: sleep(7 * 86_400),
    "branches": lambda: gather(wait_for_signal("never"), sleep(7 * 86_400)),
    "a signal with a later end": lambda: wait_for_signal("never", timeout=7 * 86_400),
}


def tidying(registry: Registry, reasons: list[str]) -> None:
    @tool("t", "undo", registry=registry)
    def undo() -> str:
        return "undone"

    @flow(name="coroutine", registry=registry)
    async def as_coroutine(wait: str) -> str:
        try:
            await WAITS[wait]()
        except RunCancelled as cancel:
            reasons.append(cancel.reason)
            await sleep(2 * 86_400)
            await undo()
            raise
        return "in time"

    @flow(name="generator", registry=registry)
    def as_generator(wait: str) -> Steps[str]:
        try:
            yield from WAITS[wait]()
        except RunCancelled as cancel:
            reasons.append(cancel.reason)
            yield sleep(2 * 86_400)
            yield from undo()
            raise
        return "in time"


@pytest.mark.parametrize("style", ["coroutine", "generator"])
@pytest.mark.parametrize("wait", WAITS)
def test_a_run_is_cancelled_when_its_deadline_is_over_and_cleans_up(
    any_stage: Stage, wait: str, style: str
) -> None:
    reasons = list[str]()
    tidying(any_stage.registry, reasons)
    app, begun = any_stage.app(), any_stage.clock.now()
    run_id = app.start(style, {"wait": wait}, deadline=HOUR)
    paused = app.execute(run_id)
    assert isinstance(paused, Paused)
    assert paused.wake == At(begun + 3600)
    any_stage.clock.advance(3599)
    assert isinstance(app.execute(run_id), Paused)
    assert any_stage.drive(any_stage.app(), run_id) == Cancelled(run_id)
    # Told once: the cleanup, which takes days, is not cancelled again.
    *told, slept, undone = app.steps(run_id)
    assert {step.outcome for step in told} == {StepOutcome.CANCELLED}
    assert (slept.ended, undone.tool) == (begun + 3600 + 2 * 86_400, "t.undo")
    assert set(reasons) == {"deadline"}


def test_a_run_that_ends_in_time_is_not_cancelled(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    async def quick() -> str:
        await sleep(60)
        return "in time"

    app = any_stage.app()
    run_id = app.start(quick, deadline=HOUR)
    assert any_stage.drive(app, run_id) == Completed(run_id, "in time")


def test_a_run_that_goes_on_without_a_pause_is_cancelled_at_its_next_step(stage: Stage) -> None:
    @tool("t", "slow", registry=stage.registry)
    def slow() -> None:
        stage.clock.advance(20 * 60)

    @flow(registry=stage.registry)
    async def busy() -> None:
        while True:
            await slow()

    with pytest.raises(RunCancelled):
        stage.app().run(busy, run_id="r", deadline=HOUR)
    outcomes = [step.outcome for step in stage.app().steps("r")]
    assert outcomes == [StepOutcome.VALUE] * 3 + [StepOutcome.CANCELLED]


def test_a_run_that_has_not_begun_is_cancelled_at_its_first_step(stage: Stage) -> None:
    tidying(stage.registry, [])
    app, begun = stage.app(), stage.clock.now()
    given = {"wait": "a signal"}
    run_id = app.start("coroutine", given, wake=timedelta(days=1), deadline=HOUR)
    assert app.get(run_id).wake == At(begun + 3600)
    later = app.start("coroutine", given, wake=HOUR, deadline=timedelta(days=1))
    assert app.get(later).wake == At(begun + 3600)
    stage.clock.advance(3600)
    app.execute(run_id)
    assert app.steps(run_id)[0].outcome is StepOutcome.CANCELLED
    app.execute(later)
    assert len(app.steps(later)) == 0


def test_the_deadline_of_a_run_may_be_a_moment_with_a_time_zone(stage: Stage) -> None:
    tidying(stage.registry, [])
    app, moment = stage.app(), datetime(2099, 1, 1, tzinfo=UTC)
    run_id = app.start("coroutine", {"wait": "a signal"}, deadline=moment)
    assert app.get(run_id).deadline == moment.timestamp()
    wrong: Any
    for wrong in (datetime(2099, 1, 1), 3600, "1h"):  # noqa: DTZ001  (refused)
        with pytest.raises(ConfigError, match="deadline"):
            app.start("coroutine", {"wait": "a signal"}, deadline=wrong)
    with pytest.raises(ConfigError, match="deadline"):
        app.start("coroutine", {"wait": "a signal"}, deadline=datetime(1960, 1, 1, tzinfo=UTC))


def test_a_cancel_and_a_deadline_are_told_once_together(stage: Stage) -> None:
    reasons = list[str]()
    tidying(stage.registry, reasons)
    app = stage.app()
    run_id = app.start("coroutine", {"wait": "a signal"}, deadline=HOUR)
    app.execute(run_id)
    assert app.cancel(run_id, "enough")
    app.execute(run_id)
    stage.clock.advance(3600)
    assert stage.drive(app, run_id) == Cancelled(run_id)
    assert set(reasons) == {"enough"}
    late = app.start("coroutine", {"wait": "a signal"}, deadline=HOUR)
    app.execute(late)
    stage.clock.advance(3600)
    app.execute(late)
    assert not app.cancel(late, "enough")
    assert stage.drive(app, late) == Cancelled(late)


def test_a_retry_keeps_a_deadline_that_is_still_ahead_and_drops_one_that_is_over(
    stage: Stage,
) -> None:
    tidying(stage.registry, [])
    app, begun = stage.app(), stage.clock.now()
    run_id = app.start("coroutine", {"wait": "a signal"}, deadline=HOUR)
    app.execute(run_id)
    app.terminate(run_id)
    assert app.retry(run_id).deadline == begun + 3600
    assert isinstance(app.execute(run_id), Paused)
    stage.clock.advance(3600)
    assert stage.drive(app, run_id) == Cancelled(run_id)
    assert app.retry(run_id).deadline is None
    assert isinstance(app.execute(run_id), Paused)
    app.signal(run_id, "never")
    assert app.execute(run_id) == Completed(run_id, "in time")


def test_a_fork_has_no_deadline(stage: Stage) -> None:
    tidying(stage.registry, [])
    app = stage.app()
    run_id = app.start("coroutine", {"wait": "a signal"}, deadline=HOUR)
    app.execute(run_id)
    app.signal(run_id, "never")
    app.execute(run_id)
    assert app.get(app.fork(run_id, "0")).deadline is None


def test_starting_again_does_not_move_the_deadline(stage: Stage) -> None:
    tidying(stage.registry, [])
    app, given = stage.app(), {"wait": "a signal"}
    for hours in (1, 2):
        app.start("coroutine", given, run_id="r", deadline=timedelta(hours=hours))
    assert app.get("r").deadline == stage.clock.now() + 3600


@pytest.mark.parametrize("wait", ["a signal", "branches"])
def test_a_crash_at_any_request_cancels_no_less_and_not_twice(wait: str) -> None:
    registry, boundary, lost = Registry(), 0, True
    tidying(registry, [])
    while lost:
        boundary += 1
        clock = FakeClock()
        stage = Staged(registry, MemoryStorage(clock), clock)
        run_id = stage.start("coroutine", b'{"wait":"%s"}' % wait.encode())
        run = stage.run(run_id)
        stage.storage.commit(evolve(run, deadline=clock.now() + 3600, op_id="deadline"), run)
        lost, taken = False, 0
        for _ in range(20):
            process = stage.process().invoke()
            while not lost and process.advance():
                taken += 1
                lost = taken == boundary
            if lost and not process.over:
                process.crash()
                stage.process().execute()
            clock.advance(86_400 / 2)
            stage.process().execute()
        assert stage.run(run_id).status is Status.CANCELLED
        told = [step for step in stage.steps(run_id) if step.outcome is StepOutcome.CANCELLED]
        assert len(told) == len(stage.steps(run_id)) - 2
        assert stage.count("t.undo") in (1, 2)
    assert boundary > 12


@pytest.mark.parametrize("late", [True, False])
def test_two_generations_that_are_cancelled_are_one_cancel(stage: Stage, late: bool) -> None:
    @tool("t", "undo", registry=stage.registry)
    async def undo() -> str:
        return "undone"

    @flow(registry=stage.registry)
    async def going_on(first: bool) -> None:
        if first:
            await save()
            await continue_as_new({"first": False})
        try:
            await wait_for_signal("never")
        finally:
            await undo()

    app = stage.app(pause="every-step")
    run_id = app.start(going_on, {"first": True}, deadline=HOUR)
    app.execute(run_id)
    assert app.cancel(run_id)
    app.execute(run_id)
    assert app.get(run_id).generation == 1
    if late:
        stage.clock.advance(3600)
    else:
        assert app.cancel(run_id)
    assert isinstance(stage.drive(app, run_id), Cancelled)
    assert [(step.tool, step.outcome) for step in app.steps(run_id)] == [
        ("never", StepOutcome.CANCELLED),
        ("t.undo", StepOutcome.VALUE),
    ]


@pytest.mark.parametrize("repaired", ["retried", "forked", "forked before"])
def test_a_cleanup_that_is_repaired_is_not_cancelled_again(stage: Stage, repaired: str) -> None:
    broken = [repaired == "retried"]

    @tool("t", "undo", registry=stage.registry)
    async def undo() -> str:
        if broken.pop():
            raise ValueError("broken")
        return "undone"

    @flow(registry=stage.registry)
    async def waiting() -> None:
        try:
            await wait_for_signal("never")
        finally:
            await undo()

    app = stage.app(pause="every-step")
    run_id = app.start(waiting)
    app.execute(run_id)
    app.cancel(run_id)
    stage.drive(app, run_id)
    broken.append(False)
    if repaired == "retried":
        app.retry(run_id)
    else:
        run_id = app.fork(run_id, "1" if repaired == "forked" else "0")
    assert app.cancel(run_id) is (repaired == "forked before")
    assert isinstance(stage.drive(app, run_id), Cancelled)
    assert [step.outcome for step in app.steps(run_id)] == [
        StepOutcome.CANCELLED,
        StepOutcome.VALUE,
    ]


def test_a_cleanup_may_have_save_points(stage: Stage) -> None:
    @flow(registry=stage.registry)
    async def saving() -> str:
        try:
            await wait_for_signal("never")
        except RunCancelled:
            await save()
            await save()
        return "tidy"

    app = stage.app()
    run_id = app.start(saving, deadline=HOUR)
    app.execute(run_id)
    stage.clock.advance(3600)
    assert stage.drive(app, run_id) == Completed(run_id, "tidy")

"""Deterministic values, the silent logger, and what cleanup code may ask."""

from __future__ import annotations

import logging
import uuid
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from sequential import (
    RunFailed,
    Steps,
    continue_as_new,
    det,
    flow,
    is_pausing,
    logger,
    save,
    sleep,
    tool,
)
from sequential._outcomes import Completed
from tests.fix_stage import Crash, Stage


def test_deterministic_values_are_the_same_on_every_replay(any_stage: Stage) -> None:
    seen: list[Any] = []

    @tool("api", "wait", registry=any_stage.registry)
    def wait() -> None:
        any_stage.clock.advance(3)

    @flow(registry=any_stage.registry)
    def drawing() -> Steps[list[str]]:
        drawn: list[str] = []
        seen.append(drawn)
        for _ in range(3):
            drawn.extend([str(det.random()), str(det.random()), str(det.uuid4()), str(det.now())])
            yield wait()
            yield save()
        return drawn

    run_id = any_stage.app().start(drawing)
    outcome: Any = None
    for _ in range(4):
        outcome = any_stage.app(warm=0).execute(run_id)
    assert isinstance(outcome, Completed)
    assert len(seen) == 4
    for shorter, longer in pairwise(seen):
        assert longer[: len(shorter)] == shorter
    values = [value for value in seen[-1] if not value.endswith("+00:00")]
    assert len(set(values)) == len(values) == 9


def test_deterministic_values_differ_between_runs_and_generations(stage: Stage) -> None:
    @flow(registry=stage.registry)
    def drawing() -> Steps[str]:
        value = str(det.uuid4())
        drawn.append(value)
        if len(drawn) == 3:
            raise ValueError(value)
        yield from ()
        return value

    drawn: list[str] = []
    app = stage.app()
    app.run(drawing)
    app.run(drawing)
    failed = app.start(drawing)
    app.execute(failed)
    app.retry(failed)
    app.execute(failed)
    assert len(set(drawn)) == len(drawn) == 4


def test_deterministic_values_are_the_same_after_a_crash(stage: Stage) -> None:
    drawn: list[Any] = []
    crashing = [True]

    @tool("api", "fragile", registry=stage.registry)
    def fragile() -> None:
        if crashing:
            raise Crash

    @flow(registry=stage.registry)
    async def drawing() -> None:
        stage.clock.advance(1)
        drawn.append((det.random(), det.uuid4(), det.now()))
        await fragile()

    run_id = stage.app().start(drawing)
    stage.crash(stage.app(), run_id)
    crashing.clear()
    stage.app().execute(run_id)
    assert drawn[0] == drawn[1]


def test_a_deterministic_number_is_from_zero_to_one_and_a_uuid_is_of_version_four(
    stage: Stage,
) -> None:
    @flow(registry=stage.registry)
    def drawing() -> Steps[list[Any]]:
        yield from ()
        return [[det.random() for _ in range(1000)], det.uuid4()]

    numbers, drawn = stage.app().run(drawing)
    assert all(0 <= number < 1 for number in numbers)
    assert 0.4 < sum(numbers) / 1000 < 0.6
    assert isinstance(drawn, uuid.UUID)
    assert drawn.version == 4


def test_now_is_the_end_of_the_last_record_and_before_it_the_creation(stage: Stage) -> None:
    @tool("api", "wait", registry=stage.registry)
    def wait() -> None:
        stage.clock.advance(10)

    @flow(registry=stage.registry)
    def timing() -> Steps[list[Any]]:
        first = det.now()
        yield wait()
        second = det.now()
        yield sleep(5)
        return [first, second, det.now()]

    app = stage.app()
    begun = datetime.fromtimestamp(stage.clock.now(), UTC)
    run_id = app.start(timing)
    stage.clock.advance(100)
    stage.drive(app, run_id)
    outcome: Any = app.outcome(app.get(run_id))
    first, second, third = outcome.result
    assert first == begun
    assert (second - first).total_seconds() == 110
    assert (third - second).total_seconds() == 5


@pytest.mark.parametrize("ask", [det.now, det.random, det.uuid4])
def test_outside_a_flow_a_deterministic_value_is_refused(ask: Any) -> None:
    with pytest.raises(RuntimeError, match="only works inside a flow"):
        ask()


def test_inside_a_tool_a_deterministic_value_is_refused(stage: Stage) -> None:
    @tool("api", "draw", registry=stage.registry)
    def draw() -> float:
        return det.random()

    @flow(registry=stage.registry)
    def drawing() -> Steps[str]:
        try:
            yield draw()
        except Exception as error:  # noqa: BLE001
            return str(error)
        return ""

    assert "only works inside a flow" in stage.app().run(drawing)


def test_a_logger_is_silent_on_replay(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    log = logger("tests.silent")

    @tool("api", "work", registry=stage.registry)
    def work() -> None: ...

    @flow(registry=stage.registry)
    def logging_flow() -> Steps[None]:
        log.info("one")
        yield work()
        log.info("two")
        yield save()
        log.info("three")
        yield sleep(10)
        log.info("four")
        yield save()
        log.info("five")

    with caplog.at_level(logging.INFO, "tests.silent"):
        run_id = stage.app().start(logging_flow)
        for _ in range(5):
            stage.app(warm=0).execute(run_id)
            stage.clock.advance(6)
        assert isinstance(stage.app().execute(run_id), Completed)
    said = [r.message for r in caplog.records if r.name == "tests.silent"]
    assert said == ["one", "two", "three", "four", "five"]


def test_a_logger_speaks_outside_flows_and_in_tools(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    log = logger("tests.silent")

    @tool("api", "work", registry=stage.registry)
    def work() -> None:
        log.info("tool")

    @flow(registry=stage.registry)
    def working() -> Steps[None]:
        yield work()

    with caplog.at_level(logging.INFO, "tests.silent"):
        log.info("outside")
        stage.app().run(working)
    assert [r.message for r in caplog.records if r.name == "tests.silent"] == ["outside", "tool"]


def test_cleanup_code_can_tell_a_pause_from_the_end(stage: Stage) -> None:
    seen: list[bool] = []

    @flow(registry=stage.registry)
    def cleaning() -> Steps[None]:
        try:
            yield save()
        finally:
            seen.append(is_pausing())

    run_id = stage.app().start(cleaning)
    stage.app(warm=0).execute(run_id)
    assert seen == [True]
    assert isinstance(stage.app(warm=0).execute(run_id), Completed)
    assert seen == [True, False]
    assert is_pausing() is False


def drawing(stage: Stage, fails: list[Exception]) -> list[tuple[str, str]]:
    """Register a flow whose steps take deterministic values; return what its tool was given."""
    given: list[tuple[str, str]] = []

    @tool("api", "order", registry=stage.registry)
    def order(key: str, at: str) -> None:
        given.append((key, at))
        if len(given) == 3 and fails:
            raise fails.pop()

    @flow(name="drawing", registry=stage.registry)
    def drawing() -> Steps[str]:
        for _ in range(3):
            yield order(str(det.uuid4()), str(det.now()))
        return str(det.uuid4())

    return given


def test_a_retry_draws_for_the_kept_steps_what_they_were_recorded_with(any_stage: Stage) -> None:
    """Otherwise the inputs of the copied steps would differ, and the retried run be blocked."""
    given = drawing(any_stage, [OSError("down")])
    app = any_stage.app()
    with pytest.raises(RunFailed):
        app.run("drawing", run_id="r")
    app.retry("r")
    any_stage.clock.advance(5)
    assert isinstance(any_stage.app().execute("r"), Completed)
    assert len(given) == 4
    assert len({key for key, _ in given}) == 4
    assert given[3][1] == given[2][1]


@pytest.mark.parametrize("edit", [None, (None,)])
def test_a_fork_draws_for_the_kept_steps_what_they_were_recorded_with(
    any_stage: Stage, edit: tuple[object] | None
) -> None:
    given = drawing(any_stage, [])
    app = any_stage.app()
    first = app.run("drawing", run_id="r")
    any_stage.clock.advance(5)
    forked = app.fork("r", "1", edit=edit, new_id="f")
    done = any_stage.app().execute(forked)
    assert isinstance(done, Completed)
    # What is done anew is another run's: the same values would collide in other systems.
    assert done.result != first
    assert len({key for key, _ in given}) == len(given) == 3 + (2 if edit is None else 1)


def test_after_continue_as_new_the_time_does_not_go_back(stage: Stage) -> None:
    seen: list[str] = []

    @flow(name="again", registry=stage.registry)
    def again(n: int) -> Steps[None]:
        seen.append(str(det.now()))
        yield sleep(100)
        if n:
            yield continue_as_new({"n": n - 1})

    app = stage.app()
    run_id = app.start("again", {"n": 1})
    for _ in range(4):
        app.execute(run_id)
        stage.clock.advance(101)
    assert isinstance(stage.app().execute(run_id), Completed)
    assert max(seen) == seen[-1]
    assert seen[-1] > seen[0]

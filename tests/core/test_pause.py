"""The pause policies, by what they cost: invocations and commits counted."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from sequential import Steps, flow, save, sleep, tool, wait_for_signal
from sequential._outcomes import Completed, Outcome, Paused
from sequential._pause import BUDGET, PausePolicy
from sequential.errors import ConfigError
from tests.fix_stage import Crash, Stage

POLICIES = ["every-step", "budget", "when-waiting"]


def counting(stage: Stage, *, seconds: float = 0.0) -> list[int]:
    """Register the flow `counting`, of *n* tool calls that each take *seconds*."""
    ran: list[int] = []

    @tool("api", "count", registry=stage.registry)
    def count(n: int) -> int:
        ran.append(n)
        stage.clock.advance(seconds)
        return n

    @flow(registry=stage.registry, name="counting")
    def flow_of_steps(n: int) -> Steps[int]:
        total = 0
        for number in range(n):
            total += yield count(number)
        return total

    return ran


def carried(stage: Stage, app: Any, run_id: str) -> list[Outcome]:
    """Execute until the run ends; return every outcome."""
    outcomes = [app.execute(run_id)]
    while isinstance(outcomes[-1], Paused):
        outcomes.append(app.execute(run_id))
    return outcomes


@pytest.mark.parametrize("policy", ["budget", "when-waiting"])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_an_inline_run_of_n_steps_is_n_and_three_commits(
    stage: Stage, policy: str, steps: int
) -> None:
    counting(stage)
    app = stage.app(pause=policy)
    run_id = app.start("counting", {"n": steps})
    assert isinstance(app.execute(run_id), Completed)
    assert stage.counted.writes == steps + 3
    assert stage.counted.loads == 1


@pytest.mark.parametrize("policy", ["budget", "when-waiting"])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_through_app_run_it_is_n_and_two(stage: Stage, policy: str, steps: int) -> None:
    counting(stage)
    stage.app(pause=policy).run("counting", {"n": steps})
    assert stage.counted.writes == steps + 2
    assert stage.counted.loads == 0


@pytest.mark.parametrize("warm", [0, 256])
def test_every_step_is_one_claim_and_one_commit_a_step(stage: Stage, warm: int) -> None:
    ran = counting(stage)
    app = stage.app(pause="every-step", warm=warm)
    run_id = app.start("counting", {"n": 5})
    for number in range(5):
        stage.counted.forget_counts()
        outcome = app.execute(run_id)
        assert isinstance(outcome, Paused)
        assert (outcome.reason, outcome.position) == ("step", str(number))
        assert stage.counted.writes == 2
        assert stage.counted.loads == (0 if warm and number else 1)
    stage.counted.forget_counts()
    assert app.execute(run_id) == Completed(run_id, 10)
    assert stage.counted.writes == 2
    assert ran == [0, 1, 2, 3, 4]


def test_a_warm_process_reads_nothing_of_a_long_run(stage: Stage) -> None:
    counting(stage)
    app = stage.app(pause="every-step")
    stage.counted.forget_counts()
    app.run("counting", {"n": 200})
    assert stage.counted.loads == 0


def test_a_cold_process_reads_once_an_invocation(stage: Stage) -> None:
    counting(stage)
    run_id = stage.app(pause="every-step").start("counting", {"n": 4})
    stage.counted.forget_counts()
    for _ in range(5):
        stage.app(pause="every-step").execute(run_id)
    assert stage.counted.loads == 5


@pytest.mark.parametrize("policy", POLICIES)
def test_a_save_point_pauses_under_every_policy(any_stage: Stage, policy: str) -> None:
    @flow(registry=any_stage.registry)
    def saving() -> Steps[str]:
        yield save()
        yield {"__save": True}
        return "done"

    app = any_stage.app(pause=policy)
    run_id = app.start(saving)
    outcomes = carried(any_stage, app, run_id)
    assert [getattr(outcome, "reason", "") for outcome in outcomes] == ["save", "save", ""]
    assert [str(step.kind) for step in app.steps(run_id)] == ["save", "save"]


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_waits_for_what_must_be_waited_for(any_stage: Stage, policy: str) -> None:
    @flow(registry=any_stage.registry)
    def waiting() -> Steps[Any]:
        yield sleep(5)
        return (yield wait_for_signal("go"))

    app = any_stage.app(pause=policy)
    run_id = app.start(waiting)
    first = app.execute(run_id)
    assert isinstance(first, Paused)
    assert first.reason == "sleep"
    any_stage.clock.advance(5)
    second = app.execute(run_id)
    assert second == Paused(run_id, "1", None, "signal")
    app.signal(run_id, "go", 1)
    assert app.execute(run_id) == Completed(run_id, 1)


def test_a_budget_of_steps_pauses_after_so_many(stage: Stage) -> None:
    counting(stage)
    app = stage.app(pause="budget:3steps")
    run_id = app.start("counting", {"n": 7})
    outcomes = carried(stage, app, run_id)
    reasons = [getattr(outcome, "reason", "") for outcome in outcomes]
    assert reasons == ["budget", "budget", ""]


def test_a_budget_of_seconds_pauses_when_it_is_used_up(stage: Stage) -> None:
    counting(stage, seconds=4)
    app = stage.app(pause="budget:10s")
    run_id = app.start("counting", {"n": 7})
    outcomes = carried(stage, app, run_id)
    positions = [outcome.position for outcome in outcomes if isinstance(outcome, Paused)]
    assert positions == ["2", "5"]


def test_the_seconds_of_one_invocation_may_be_fewer(stage: Stage) -> None:
    counting(stage, seconds=4)
    app = stage.app(pause="budget:100s")
    run_id = app.start("counting", {"n": 7})
    outcome = app.execute(run_id, seconds=5)
    assert isinstance(outcome, Paused)
    assert (outcome.position, outcome.reason) == ("1", "budget")


def test_an_invocation_without_time_does_nothing_and_is_counted(stage: Stage) -> None:
    ran = counting(stage)
    app = stage.app()
    run_id = app.start("counting", {"n": 1})
    outcome = app.execute(run_id, seconds=0)
    assert isinstance(outcome, Paused)
    assert outcome.reason == "budget"
    assert outcome.wake is not None
    assert outcome.wake.time > stage.clock.now()
    assert app.get(run_id).stalls == 1
    assert ran == []
    stage.clock.advance(2)
    assert isinstance(app.execute(run_id), Completed)


def test_a_process_that_wants_to_end_parks_after_the_step(stage: Stage) -> None:
    stop = threading.Event()
    app = stage.app()
    app.driver.stopping = stop.is_set

    @tool("api", "last", registry=stage.registry)
    def last() -> None:
        stop.set()

    @flow(registry=stage.registry)
    def ending() -> Steps[str]:
        yield last()
        yield last()
        return "done"

    run_id = app.start(ending)
    outcome = app.execute(run_id)
    assert isinstance(outcome, Paused)
    assert (outcome.position, outcome.reason) == ("0", "shutdown")
    again = app.execute(run_id)
    assert isinstance(again, Paused)
    assert again.reason == "shutdown"
    assert (len(app.steps(run_id)), app.get(run_id).stalls) == (1, 0)
    assert stage.app().execute(run_id) == Completed(run_id, "done")


def test_a_crash_between_two_steps_repeats_neither(stage: Stage) -> None:
    ran = counting(stage)
    crashing = [True]

    @flow(registry=stage.registry)
    def dying() -> Steps[Any]:
        value = yield {"__tool": ["api", "count", {"n": 1}]}
        if crashing:
            raise Crash
        return int(value) + (yield {"__tool": ["api", "count", {"n": 2}]})

    run_id = stage.app().start(dying)
    stage.crash(stage.app(), run_id)
    crashing.clear()
    assert stage.app().execute(run_id) == Completed(run_id, 3)
    assert ran == [1, 2]


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("every-step", PausePolicy(every_step=True)),
        ("when-waiting", PausePolicy()),
        ("budget", BUDGET),
        ("budget:90s", PausePolicy(90.0)),
        ("budget:1.5s", PausePolicy(1.5)),
        ("budget:100steps", PausePolicy(math.inf, 100)),
        ("budget:30s,100steps", PausePolicy(30.0, 100)),
    ],
)
def test_a_policy_is_read_from_text(text: str, policy: PausePolicy) -> None:
    assert PausePolicy.parse(text) == policy
    assert PausePolicy.parse(policy) is policy


@pytest.mark.parametrize(
    "text",
    ["", "always", "budget:", "budget:,", "budget:30", "budget:s", "budget:-1s", "budget30s",
     "budget:30s,", "budget:0steps", "budget:0s", "budget:30s100steps", "Budget", "budget\n"],
)  # fmt: skip
def test_a_policy_that_is_none_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(ConfigError, match="use every-step, when-waiting, budget"):
        PausePolicy.parse(text)

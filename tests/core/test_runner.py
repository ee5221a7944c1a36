"""Whole runs: waits, signals, cancel, terminate, retry, fork, continue, crashes, quarantine."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sequential import (
    RunCancelled,
    SignalTimedOut,
    Steps,
    ToolContext,
    continue_as_new,
    det,
    flow,
    save,
    sleep,
    sleep_until,
    tool,
    wait_for_signal,
)
from sequential._model import At, Run, Status, StepRecord
from sequential._outcomes import (
    Blocked,
    Busy,
    Cancelled,
    Completed,
    Failed,
    Missing,
    Paused,
    Purged,
    Quarantined,
)
from sequential._storage import Stale
from sequential.errors import (
    NotEncodable,
    OutcomeUnknown,
    PositionMissing,
    RunMissing,
    RunStatusWrong,
    RunTaken,
)
from tests.fix_stage import Crash, Stage

# -- time ----------------------------------------------------------------------------------------


def test_a_sleep_is_durable_and_looking_early_does_not_prolong_it(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    async def sleepy() -> str:
        await sleep(timedelta(minutes=10))
        return "awake"

    begun = any_stage.clock.now()
    run_id = any_stage.app().start(sleepy)
    assert any_stage.app().execute(run_id) == Paused(run_id, "0", At(begun + 600), "sleep")
    for _ in range(3):
        any_stage.clock.advance(100)
        app = any_stage.app()
        app.signal(run_id, "noise")
        assert app.execute(run_id) == Paused(run_id, "0", At(begun + 600), "sleep")
    any_stage.clock.advance(300)
    assert any_stage.app().execute(run_id) == Completed(run_id, "awake")


def test_sleeping_until_a_moment_ends_there_and_the_past_is_over(any_stage: Stage) -> None:
    moment = datetime.fromtimestamp(any_stage.clock.now() + 50, UTC)

    @flow(registry=any_stage.registry)
    def sleepy() -> Steps[str]:
        yield sleep_until(moment - timedelta(days=1))
        yield sleep(0)
        yield sleep_until(moment)
        return "awake"

    app = any_stage.app()
    run_id = app.start(sleepy)
    assert app.execute(run_id) == Paused(run_id, "2", At(moment.timestamp()), "sleep")
    any_stage.clock.advance(50)
    assert app.execute(run_id) == Completed(run_id, "awake")


def test_a_deadline_stands_even_if_the_code_now_asks_for_another_time(stage: Stage) -> None:
    seconds = [100.0]

    @flow(registry=stage.registry)
    def sleepy() -> Steps[str]:
        yield sleep(seconds[0])
        return "awake"

    run_id = stage.app().start(sleepy)
    stage.app().execute(run_id)
    seconds[0] = 5000.0
    stage.clock.advance(100)
    assert stage.app().execute(run_id) == Completed(run_id, "awake")


def test_app_run_waits_through_sleeps(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    def sleepy() -> Steps[str]:
        yield sleep(60)
        return "awake"

    begun = any_stage.clock.now()
    assert any_stage.app().run(sleepy) == "awake"
    assert any_stage.clock.now() >= begun + 60


# -- signals -------------------------------------------------------------------------------------


def listening(stage: Stage, *, timeout: float | None = None, default: Any = ...) -> None:
    more: dict[str, Any] = {} if default is ... else {"default": default}

    @flow(registry=stage.registry, name="listening")
    def listen(times: int = 1) -> Steps[list[Any]]:
        heard = []
        for _ in range(times):
            try:
                heard.append((yield wait_for_signal("go", timeout=timeout, **more)))
            except SignalTimedOut as late:
                heard.append(f"late: {late.name}")
        return heard


def test_a_signal_is_taken_by_the_wait_it_is_for(any_stage: Stage) -> None:
    listening(any_stage)
    app = any_stage.app()
    run_id = app.start("listening")
    assert app.execute(run_id) == Paused(run_id, "0", None, "signal")
    assert app.signal(run_id, "other", 1)
    assert app.execute(run_id) == Paused(run_id, "0", None, "signal")
    assert app.signal(run_id, "go", {"a": 1})
    assert app.execute(run_id) == Completed(run_id, [{"a": 1}])
    with pytest.raises(RunStatusWrong, match="completed"):
        app.signal(run_id, "go", 1)


def test_early_signals_are_kept_and_taken_in_order(any_stage: Stage) -> None:
    listening(any_stage)
    app = any_stage.app()
    run_id = app.start("listening", {"times": 3})
    for number in range(3):
        app.signal(run_id, "go", number)
    assert any_stage.app().execute(run_id) == Completed(run_id, [0, 1, 2])


def test_a_signal_id_is_accepted_once_also_after_it_was_taken(any_stage: Stage) -> None:
    listening(any_stage)
    app = any_stage.app()
    run_id = app.start("listening", {"times": 2})
    sent = [app.signal(run_id, "go", n, signal_id="one") for n in range(3)]
    assert sent == [True, False, False]
    assert app.execute(run_id) == Paused(run_id, "1", None, "signal")
    assert app.signal(run_id, "go", 9, signal_id="one") is False
    assert app.execute(run_id) == Paused(run_id, "1", None, "not due")
    assert app.signal(run_id, "go", 10, signal_id="two") is True
    assert app.execute(run_id) == Completed(run_id, [0, 10])


def test_a_duplicate_signal_after_the_end_is_false_and_a_new_one_is_refused(stage: Stage) -> None:
    listening(stage)
    app = stage.app()
    run_id = app.start("listening")
    app.signal(run_id, "go", 1, signal_id="one")
    app.execute(run_id)
    assert app.signal(run_id, "go", 1, signal_id="one") is False
    with pytest.raises(RunStatusWrong):
        app.signal(run_id, "go", 1, signal_id="two")


def test_a_wait_may_time_out(any_stage: Stage) -> None:
    listening(any_stage, timeout=30)
    app = any_stage.app()
    run_id = app.start("listening")
    until = At(any_stage.clock.now() + 30)
    assert app.execute(run_id) == Paused(run_id, "0", until, "signal")
    any_stage.clock.advance(29)
    app.signal(run_id, "noise")
    assert app.execute(run_id) == Paused(run_id, "0", until, "signal")
    any_stage.clock.advance(1)
    assert any_stage.app().execute(run_id) == Completed(run_id, ["late: go"])


@pytest.mark.parametrize("default", [None, 7, "x", ("a", 1), datetime(2030, 1, 1, tzinfo=UTC)])
def test_a_wait_may_have_a_default_also_none(any_stage: Stage, default: Any) -> None:
    listening(any_stage, timeout=30, default=default)
    app = any_stage.app()
    run_id = app.start("listening")
    assert any_stage.drive(app, run_id) == Completed(run_id, [default])


def test_a_signal_that_came_in_time_wins_over_a_timeout_seen_late(any_stage: Stage) -> None:
    listening(any_stage, timeout=30)
    app = any_stage.app()
    run_id = app.start("listening")
    app.execute(run_id)
    any_stage.clock.advance(10)
    app.signal(run_id, "go", "in time")
    any_stage.clock.advance(1000)
    assert app.execute(run_id) == Completed(run_id, ["in time"])


def test_a_timeout_of_zero_takes_only_what_is_there(stage: Stage) -> None:
    listening(stage, timeout=0)
    app = stage.app()
    one, two = app.start("listening"), app.start("listening")
    app.signal(two, "go", 1)
    assert app.execute(one) == Completed(one, ["late: go"])
    assert app.execute(two) == Completed(two, [1])


def test_a_typed_signal_is_read_by_its_annotation(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    async def typed() -> list[Any]:
        when = await wait_for_signal("when", datetime)
        await save()
        return [when.year, await wait_for_signal("n", int)]

    app = any_stage.app(warm=0)
    run_id = app.start(typed)
    app.execute(run_id)
    app.signal(run_id, "when", "2030-01-02T03:04:05+00:00")
    app.execute(run_id)
    app.signal(run_id, "n", 5)
    assert app.execute(run_id) == Completed(run_id, [2030, 5])


def test_a_signal_that_does_not_fit_its_annotation_does_not_block_the_run_for_ever(
    stage: Stage,
) -> None:
    @flow(registry=stage.registry)
    async def typed() -> int:
        return await wait_for_signal("n", int)

    app = stage.app()
    run_id = app.start(typed)
    app.execute(run_id)
    app.signal(run_id, "n", "not a number", checked=False)
    app.execute(run_id)
    app.signal(run_id, "n", 5)
    stage.clock.advance(61)
    assert app.execute(run_id) == Completed(run_id, 5)


def test_a_signal_that_arrives_while_a_tool_runs_is_not_lost(any_stage: Stage) -> None:
    app = any_stage.app()

    @tool("api", "tell", registry=any_stage.registry)
    def tell(context: ToolContext) -> None:
        assert app.signal(context.run_id, "go", "from inside")

    @flow(registry=any_stage.registry)
    def telling() -> Steps[Any]:
        yield {"__tool": ["api", "tell"]}
        return (yield wait_for_signal("go"))

    run_id = app.start(telling)
    assert any_stage.drive(app, run_id) == Completed(run_id, "from inside")


def test_a_signal_that_arrives_while_the_run_parks_is_seen_at_once(stage: Stage) -> None:
    listening(stage)
    app = stage.app()
    run_id = app.start("listening")
    commit, sent = stage.counted.commit, list[int]()

    def racing(run: Run, expect: Run, steps: Any = ()) -> Run | Stale:
        if run.status is Status.PAUSED and not sent:
            sent.append(1)
            stage.app().signal(run_id, "go", "racing")
        return commit(run, expect, steps)

    stage.counted.commit = racing  # type: ignore[method-assign]
    outcome = app.execute(run_id)
    assert isinstance(outcome, Paused)
    assert outcome.wake == At(stage.clock.now())
    assert app.execute(run_id) == Completed(run_id, ["racing"])


def test_a_signal_to_nobody_or_without_a_proper_value_is_refused(stage: Stage) -> None:
    listening(stage)
    app = stage.app()
    run_id = app.start("listening")
    with pytest.raises(RunMissing):
        app.signal("nobody", "go")
    with pytest.raises(NotEncodable):
        app.signal(run_id, "go", object())
    for name in ("", "$cancel"):
        with pytest.raises(ValueError, match="name of a signal"):
            app.signal(run_id, name)
    assert app.get(run_id).inbox == ()


# -- continue as new -----------------------------------------------------------------------------


def test_a_flow_may_start_over_with_a_new_input_and_no_history(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    def again(n: int, total: int = 0) -> Steps[int]:
        total += yield wait_for_signal("add", int)
        yield save()
        if n > 1:
            yield continue_as_new({"n": n - 1, "total": total})
            raise AssertionError("never here")
        return total

    app = any_stage.app(warm=0)
    run_id = app.start(again, {"n": 3})
    for number in (1, 10, 100):
        app.signal(run_id, "add", number)
    app.execute(run_id)
    outcome = app.execute(run_id)
    assert isinstance(outcome, Paused)
    assert outcome.reason == "continued"
    record = app.get(run_id)
    assert (record.generation, record.cursor, len(record.inbox)) == (1, 0, 2)
    assert list(app.steps(run_id)) == []
    assert app.start(again, {"n": 3}, run_id=run_id) == run_id
    with pytest.raises(RunTaken):
        app.start(again, {"n": 2}, run_id=run_id)
    assert any_stage.drive(app, run_id) == Completed(run_id, 111)
    assert app.get(run_id).generation == 2


def test_starting_over_with_an_input_that_does_not_fit_blocks(stage: Stage) -> None:
    @flow(registry=stage.registry)
    def again(n: int) -> Steps[Any]:
        return (yield continue_as_new({"m": n}))

    app = stage.app()
    run_id = app.start(again, {"n": 3})
    outcome = app.execute(run_id)
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "input"
    assert app.get(run_id).generation == 0


def test_a_cancel_reaches_a_run_that_starts_over(stage: Stage) -> None:
    @flow(registry=stage.registry)
    def again() -> Steps[Any]:
        yield save()
        return (yield continue_as_new())

    app = stage.app()
    run_id = app.start(again)
    for _ in range(7):
        app.execute(run_id)
    app.cancel(run_id)
    assert stage.drive(app, run_id, 5) == Cancelled(run_id)


# -- cancel and terminate ------------------------------------------------------------------------


def cancellable(stage: Stage) -> list[str]:
    """Register the flow `holding`, which gives back what it took when it is cancelled."""
    ran: list[str] = []

    @tool("res", "note", registry=stage.registry)
    def note(what: str) -> None:
        ran.append(what)

    @flow(registry=stage.registry, name="holding")
    def holding(swallow: bool = False) -> Steps[str]:
        yield note("take")
        try:
            yield wait_for_signal("go")
        except RunCancelled:
            yield note("give back")
            yield sleep(10)
            yield note("tell")
            if swallow:
                return "saved"
            raise
        return "done"

    return ran


def test_a_cancelled_flow_may_clean_up_with_steps(any_stage: Stage) -> None:
    ran = cancellable(any_stage)
    app = any_stage.app(warm=0)
    run_id = app.start("holding")
    app.execute(run_id)
    assert app.cancel(run_id, "changed my mind") is True
    assert app.cancel(run_id) is False
    outcome = app.execute(run_id)
    assert isinstance(outcome, Paused)
    assert outcome.reason == "sleep"
    any_stage.clock.advance(10)
    assert app.execute(run_id) == Cancelled(run_id)
    assert ran == ["take", "give back", "tell"]
    assert app.get(run_id).status is Status.CANCELLED
    assert [str(step.outcome) for step in app.steps(run_id)] == [
        "value",
        "cancelled",
        "value",
        "value",
        "value",
    ]
    with pytest.raises(RunCancelled):
        app.run("holding", run_id=run_id)


def test_a_flow_that_returns_although_it_was_cancelled_is_completed(any_stage: Stage) -> None:
    cancellable(any_stage)
    app = any_stage.app()
    run_id = app.start("holding", {"swallow": True})
    app.execute(run_id)
    app.cancel(run_id)
    assert any_stage.drive(app, run_id) == Completed(run_id, "saved")


def test_a_run_that_has_not_begun_can_be_cancelled(any_stage: Stage) -> None:
    ran = cancellable(any_stage)
    app = any_stage.app()
    run_id = app.start("holding", wake=timedelta(days=1))
    app.cancel(run_id)
    assert app.execute(run_id) == Cancelled(run_id)
    assert ran == []


def test_a_run_that_sleeps_can_be_cancelled(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    async def sleepy() -> None:
        await sleep(10_000)

    app = any_stage.app()
    run_id = app.start(sleepy)
    app.execute(run_id)
    app.cancel(run_id)
    assert any_stage.app().execute(run_id) == Cancelled(run_id)


def test_a_running_run_is_cancelled_at_its_next_step(any_stage: Stage) -> None:
    app = any_stage.app()
    ran: list[str] = []

    @tool("api", "first", registry=any_stage.registry)
    def first(context: ToolContext) -> None:
        ran.append("first")
        app.cancel(context.run_id)

    @tool("api", "second", registry=any_stage.registry)
    def second() -> None:
        ran.append("second")

    @flow(registry=any_stage.registry)
    def both() -> Steps[None]:
        yield {"__tool": ["api", "first"]}
        yield second()

    run_id = app.start(both)
    assert app.execute(run_id) == Cancelled(run_id)
    assert ran == ["first"]


def test_except_exception_does_not_swallow_a_cancel(stage: Stage) -> None:
    @flow(registry=stage.registry)
    def careless() -> Steps[str]:
        try:
            yield wait_for_signal("go")
        except Exception:  # noqa: BLE001
            return "swallowed"
        return "done"

    app = stage.app()
    run_id = app.start(careless)
    app.execute(run_id)
    app.cancel(run_id)
    assert app.execute(run_id) == Cancelled(run_id)


def test_an_ended_run_cannot_be_cancelled_or_terminated(any_stage: Stage) -> None:
    cancellable(any_stage)
    app = any_stage.app()
    run_id = app.start("holding")
    app.signal(run_id, "go")
    app.execute(run_id)
    for verb in (app.cancel, app.terminate, app.retry, app.redrive):
        with pytest.raises(RunStatusWrong, match="completed"):
            verb(run_id)
    for verb in (app.cancel, app.terminate, app.retry, app.redrive):
        with pytest.raises(RunMissing):
            verb("nobody")


def test_terminate_runs_no_code(any_stage: Stage) -> None:
    ran = cancellable(any_stage)
    app = any_stage.app(warm=0)
    run_id = app.start("holding")
    app.execute(run_id)
    assert app.terminate(run_id).status is Status.CANCELLED
    assert app.execute(run_id) == Cancelled(run_id)
    assert ran == ["take"]


def test_an_invocation_that_was_terminated_meanwhile_writes_nothing_more(any_stage: Stage) -> None:
    app = any_stage.app()
    ran: list[int] = []

    @tool("api", "work", registry=any_stage.registry)
    def work(context: ToolContext) -> None:
        ran.append(1)
        if len(ran) == 1:
            app.terminate(context.run_id)

    @flow(registry=any_stage.registry)
    def working() -> Steps[None]:
        yield {"__tool": ["api", "work"]}
        yield {"__tool": ["api", "work"]}

    run_id = app.start(working)
    assert type(app.execute(run_id)).__name__ == "Lost"
    assert ran == [1]
    assert len(app.steps(run_id)) == 0
    assert app.execute(run_id) == Cancelled(run_id)


# -- retry ---------------------------------------------------------------------------------------


def test_a_retry_goes_on_from_the_failed_step_with_a_new_key(any_stage: Stage) -> None:
    keys: dict[str, list[str]] = {"a": [], "b": []}
    broken = [True]

    @tool("api", "a", registry=any_stage.registry)
    def a(context: ToolContext) -> str:
        keys["a"].append(context.idempotency_key)
        return "a"

    @tool("api", "b", registry=any_stage.registry)
    def b(context: ToolContext) -> str:
        keys["b"].append(context.idempotency_key)
        if broken:
            raise OSError("down")
        return "b"

    @flow(registry=any_stage.registry)
    def both() -> Steps[Any]:
        first = yield {"__tool": ["api", "a"]}
        second = yield from b()
        return [first, second]

    app = any_stage.app()
    run_id = app.start(both)
    assert isinstance(app.execute(run_id), Failed)
    before = app.steps(run_id)[0]
    broken.clear()
    record = app.retry(run_id)
    assert (record.generation, record.cursor, record.status) == (1, 1, Status.PAUSED)
    kept = app.steps(run_id)[0]
    assert kept._replace(generation=0, op_id="") == before._replace(op_id="")
    assert app.execute(run_id) == Completed(run_id, ["a", "b"])
    assert [len(keys["a"]), len(keys["b"]), len(set(keys["b"]))] == [1, 2, 2]
    with pytest.raises(RunStatusWrong):
        app.retry(run_id)


def test_a_retry_of_a_flow_that_raised_itself_keeps_all_its_records(any_stage: Stage) -> None:
    ran: list[int] = []
    broken = [True]

    @tool("api", "work", registry=any_stage.registry)
    def work() -> int:
        ran.append(1)
        return len(ran)

    @flow(registry=any_stage.registry)
    def raising() -> Steps[int]:
        value = yield work()
        yield save()
        if broken:
            raise ZeroDivisionError
        return int(value)

    app = any_stage.app()
    run_id = app.start(raising)
    app.execute(run_id)
    assert isinstance(app.execute(run_id), Failed)
    broken.clear()
    assert app.retry(run_id).cursor == 2
    assert app.execute(run_id) == Completed(run_id, 1)
    assert ran == [1]


def test_a_retry_after_a_cancel_waits_again(any_stage: Stage) -> None:
    listening(any_stage)
    app = any_stage.app()
    run_id = app.start("listening")
    app.execute(run_id)
    app.cancel(run_id)
    assert app.execute(run_id) == Cancelled(run_id)
    app.retry(run_id)
    assert app.execute(run_id) == Paused(run_id, "0", None, "signal")
    assert app.cancel(run_id) is True
    assert app.execute(run_id) == Cancelled(run_id)


def test_signals_that_nobody_took_are_still_there_after_a_retry(any_stage: Stage) -> None:
    broken = [True]

    @flow(registry=any_stage.registry)
    def failing() -> Steps[Any]:
        yield save()
        if broken:
            raise ValueError
        return (yield wait_for_signal("go"))

    app = any_stage.app()
    run_id = app.start(failing)
    app.signal(run_id, "go", "early", signal_id="one")
    assert isinstance(any_stage.drive(app, run_id), Failed)
    broken.clear()
    app.retry(run_id)
    assert any_stage.drive(app, run_id) == Completed(run_id, "early")


def test_a_retry_after_a_signal_that_did_not_come_waits_again(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    async def waiting() -> str:
        return await wait_for_signal("go", str, timeout=10)

    app = any_stage.app()
    run_id = app.start(waiting)
    outcome = any_stage.drive(app, run_id)
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "SignalTimedOut"
    app.retry(run_id)
    assert isinstance(app.execute(run_id), Paused)
    app.signal(run_id, "go", "now")
    assert app.execute(run_id) == Completed(run_id, "now")


def test_a_retry_of_a_terminated_run_goes_on_where_it_stood(any_stage: Stage) -> None:
    ran = cancellable(any_stage)
    app = any_stage.app()
    run_id = app.start("holding")
    app.execute(run_id)
    app.terminate(run_id)
    app.retry(run_id)
    app.signal(run_id, "go")
    assert any_stage.drive(app, run_id) == Completed(run_id, "done")
    assert ran == ["take"]


def test_a_failed_step_that_was_handled_does_not_undo_what_came_after_it(stage: Stage) -> None:
    ran: list[str] = []
    broken = [True]

    @tool("api", "work", registry=stage.registry)
    def work(what: str) -> str:
        ran.append(what)
        if what == "optional":
            raise OSError
        return what

    @flow(registry=stage.registry)
    def handling() -> Steps[Any]:
        yield {"__tool": ["api", "work", {"what": "optional"}]}
        yield {"__tool": ["api", "work", {"what": "charge"}]}
        approved = yield wait_for_signal("approve")
        if broken:
            raise ValueError
        return approved

    app = stage.app()
    run_id = app.start(handling)
    app.signal(run_id, "approve", True)
    assert isinstance(stage.drive(app, run_id), Failed)
    broken.clear()
    app.retry(run_id)
    assert stage.drive(app, run_id) == Completed(run_id, True)
    assert ran == ["optional", "charge"]


# -- fork and purge ------------------------------------------------------------------------------


def adding(stage: Stage) -> list[int]:
    ran: list[int] = []

    @tool("api", "add", registry=stage.registry)
    def add(n: int) -> Any:
        ran.append(n)
        return n

    @flow(registry=stage.registry, name="adding")
    def adding_flow(start: int = 0) -> Steps[list[Any]]:
        return [(yield add(start)), (yield add(start + 1)), (yield add(start + 2))]

    return ran


def test_a_fork_does_the_step_anew_and_leaves_the_source(any_stage: Stage) -> None:
    ran = adding(any_stage)
    app = any_stage.app()
    source = app.start("adding", {"start": 5}, tags={"who": "me"})
    app.execute(source)
    before = (app.get(source), list(app.steps(source)))
    forked = app.fork(source, "1")
    assert forked != source
    assert app.get(forked).tags == {"who": "me", "forked_from": source}
    assert app.execute(forked) == Completed(forked, [5, 6, 7])
    assert ran == [5, 6, 7, 6, 7]
    assert (app.get(source), list(app.steps(source))) == before


@pytest.mark.parametrize("edit", [100, None, [1, {"a": 2}]])
def test_a_fork_may_replace_the_result_of_the_step(any_stage: Stage, edit: Any) -> None:
    ran = adding(any_stage)
    app = any_stage.app()
    source = app.start("adding")
    app.execute(source)
    assert app.fork(source, "1", edit=(edit,), new_id="edited") == "edited"
    forked = "edited"
    assert app.execute(forked) == Completed(forked, [0, edit, 2])
    assert ran == [0, 1, 2, 2]
    assert app.value(app.get(forked), app.steps(forked)[1]) == edit


def test_a_failed_step_may_be_replaced_by_a_value(stage: Stage) -> None:
    @tool("api", "fail", registry=stage.registry)
    def fail() -> str:
        raise OSError

    @flow(registry=stage.registry)
    def failing() -> Steps[Any]:
        return (yield fail())

    app = stage.app()
    source = app.start(failing)
    app.execute(source)
    forked = app.fork(source, "0", edit=("by hand",))
    assert app.execute(forked) == Completed(forked, "by hand")


def test_a_fork_of_nothing_is_refused(any_stage: Stage) -> None:
    adding(any_stage)
    app = any_stage.app()
    source = app.start("adding")
    app.execute(source)
    with pytest.raises(RunMissing):
        app.fork("nobody", "0")
    for at in ("3", "", "x", "-1", "1.0"):
        with pytest.raises(PositionMissing):
            app.fork(source, at)


def test_a_fork_into_an_id_that_is_taken_is_refused(any_stage: Stage) -> None:
    adding(any_stage)
    app = any_stage.app()
    source = app.start("adding", run_id="source")
    app.execute(source)
    app.start("adding", run_id="other")
    for taken in ("source", "other"):
        with pytest.raises(RunTaken):
            app.fork(source, "1", new_id=taken)


def test_a_purged_run_is_a_tombstone_that_still_answers(any_stage: Stage) -> None:
    adding(any_stage)
    app = any_stage.app()
    run_id = app.start("adding")
    assert app.purge(run_id) is False
    app.execute(run_id)
    assert app.purge(run_id) is True
    assert app.execute(run_id) == Purged(run_id)
    assert list(app.steps(run_id)) == []
    assert app.outcome(app.get(run_id)) == app.wait(run_id, timeout=1) == Purged(run_id)
    for verb in (app.retry, app.terminate, app.cancel, app.redrive):
        with pytest.raises(RunStatusWrong, match="purged"):
            verb(run_id)
    assert app.purge(run_id) is True
    assert app.execute(run_id) == Missing(run_id)


# -- crashes and quarantine ----------------------------------------------------------------------


def dying(stage: Stage) -> list[bool]:
    alive: list[bool] = []

    @tool("api", "die", registry=stage.registry)
    def die() -> str:
        if not alive:
            raise Crash
        return "alive"

    @flow(registry=stage.registry, name="dying")
    def dying_flow() -> Steps[Any]:
        return (yield die())

    return alive


def test_a_run_that_kills_its_invocations_is_quarantined_and_can_be_redriven(
    any_stage: Stage,
) -> None:
    alive = dying(any_stage)
    run_id = any_stage.app().start("dying")
    for number in range(8):
        any_stage.crash(any_stage.app(), run_id)
        assert any_stage.app().get(run_id).stalls == number + 1
    app = any_stage.app()
    assert app.execute(run_id) == Quarantined(run_id)
    assert app.execute(run_id) == Quarantined(run_id)
    record = app.get(run_id)
    assert (record.status, record.wake) == (Status.QUARANTINED, None)
    alive.append(True)
    app.redrive(run_id)
    assert app.execute(run_id) == Completed(run_id, "alive")


def test_a_crashed_run_is_busy_until_its_lease_ends_and_the_wait_grows(stage: Stage) -> None:
    dying(stage)
    run_id = stage.app().start("dying")
    waits = []
    for _ in range(4):
        with pytest.raises(Crash):
            stage.app().execute(run_id)
        outcome = stage.app().execute(run_id)
        assert isinstance(outcome, Busy)
        assert outcome.until is not None
        waits.append(outcome.until.time - stage.clock.now())
        stage.clock.advance(waits[-1])
    assert waits == [60, 62, 64, 68]


def test_a_quarantined_run_can_be_retried_terminated_and_told(any_stage: Stage) -> None:
    alive = dying(any_stage)
    app = any_stage.app()
    ids = [app.start("dying", run_id=name) for name in ("a", "b")]
    for run_id, _ in itertools.product(ids, range(8)):
        any_stage.crash(any_stage.app(), run_id)
    for run_id in ids:
        assert app.execute(run_id) == Quarantined(run_id)
        assert app.signal(run_id, "go")
        assert app.execute(run_id) == Quarantined(run_id)
    alive.append(True)
    assert app.retry("a").generation == 1
    assert app.execute("a") == Completed("a", "alive")
    app.terminate("b")
    assert app.execute("b") == Cancelled("b")


def test_progress_forgets_the_stalls(stage: Stage) -> None:
    crashes = [Crash(), Crash(), None, Crash(), Crash(), None]

    @tool("api", "fragile", registry=stage.registry)
    def fragile() -> None:
        planned = crashes.pop(0)
        if planned is not None:
            raise planned

    @flow(registry=stage.registry)
    def twice() -> Steps[None]:
        yield fragile()
        yield fragile()

    run_id = stage.app().start(twice)
    stalls = []
    for _ in range(2):
        stage.crash(stage.app(), run_id)
        stalls.append(stage.app().get(run_id).stalls)
    for _ in range(2):
        stage.crash(stage.app(), run_id)
        stalls.append(stage.app().get(run_id).stalls)
    assert stage.app().execute(run_id) == Completed(run_id, None)
    assert stalls == [1, 2, 0, 1]


@pytest.mark.parametrize("point", range(1, 12))
@pytest.mark.parametrize("applied", [True, False], ids=["after", "before"])
def test_a_crash_at_any_commit_repeats_at_most_the_step_in_flight(
    stage: Stage, point: int, applied: bool
) -> None:
    ran: list[int] = []
    seen: list[str] = []

    @tool("api", "work", registry=stage.registry)
    def work(n: int) -> int:
        ran.append(n)
        return n

    @flow(registry=stage.registry)
    def working() -> Steps[list[Any]]:
        first = yield work(0)
        drawn = str(det.uuid4())
        seen.append(drawn)
        yield save()
        second = yield work(1)
        got = yield wait_for_signal("go", int)
        yield sleep(5)
        return [first, second, got, (yield work(2))]

    run_id = stage.app().start(working)
    stage.app().signal(run_id, "go", 9)
    commit, counted = stage.counted.commit, [0]

    def fragile(run: Run, expect: Run, steps: Any = ()) -> Run | Stale:
        counted[0] += 1
        if counted[0] == point and not applied:
            raise Crash
        answer = commit(run, expect, steps)
        if counted[0] == point:
            raise Crash
        return answer

    stage.counted.commit = fragile  # type: ignore[method-assign]
    outcome: Any = None
    for _ in range(12):
        with suppress(Crash):
            outcome = stage.app().execute(run_id)
        stage.after_lease()
    assert outcome == Completed(run_id, [0, 1, 9, 2])
    assert counted[0] >= point
    assert sorted(set(ran)) == [0, 1, 2]
    assert len(ran) <= 4
    assert len(set(seen)) == 1
    numbers = [step.number for step in stage.app().steps(run_id)]
    assert numbers == list(range(6))


@pytest.mark.parametrize("applied", [True, False], ids=["applied", "not applied"])
def test_lost_answers_repeat_nothing(stage: Stage, applied: bool) -> None:
    ran: list[int] = []

    @tool("api", "work", registry=stage.registry)
    def work(n: int) -> int:
        ran.append(n)
        return n

    @flow(registry=stage.registry)
    def working() -> Steps[list[int]]:
        results = [(yield work(0)), (yield work(1)), (yield work(2))]
        yield save()
        return results

    commit, last = stage.counted.commit, [""]

    def unsure(run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        if run.op_id == last[0]:
            return commit(run, expect, steps)
        last[0] = run.op_id
        if applied:
            commit(run, expect, steps)
        raise OutcomeUnknown("memory:", "the line was cut")

    stage.counted.commit = unsure  # type: ignore[method-assign]
    app = stage.app()
    run_id = app.start(working)
    assert stage.drive(app, run_id) == Completed(run_id, [0, 1, 2])
    assert ran == [0, 1, 2]
    assert [step.number for step in app.steps(run_id)] == [0, 1, 2, 3]


def test_a_history_that_is_full_blocks(stage: Stage) -> None:
    adding(stage)
    app = stage.app()
    object.__setattr__(app.engine, "max_steps", 2)
    run_id = app.start("adding")
    outcome = app.execute(run_id)
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "history-full"
    assert "continue_as_new" in outcome.message


@pytest.mark.parametrize(("error", "stalls"), [(KeyboardInterrupt, 0), (SystemExit, 1)])
def test_an_interrupt_in_the_flow_lets_go_of_the_run(
    stage: Stage, error: type[BaseException], stalls: int
) -> None:
    """An exit is counted: a flow that ends its process each time must come to its quarantine."""
    interrupted: list[int] = []

    @flow(registry=stage.registry)
    def working() -> Steps[str]:
        if not interrupted:
            interrupted.append(1)
            raise error
        yield from ()
        return "done"

    app = stage.app()
    run_id = app.start(working)
    with pytest.raises(error):
        app.execute(run_id)
    assert (app.get(run_id).status, app.get(run_id).stalls) == (Status.PAUSED, stalls)
    stage.clock.advance(2)
    assert app.execute(run_id) == Completed(run_id, "done")

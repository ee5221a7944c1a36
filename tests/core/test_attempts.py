"""A tool call, from its first attempt to its record: retries, intents, answers that come later."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sequential import (
    Pending,
    Rejected,
    RetryPolicy,
    Steps,
    ToolContext,
    ToolError,
    flow,
    save,
    tool,
)
from sequential._memory import MemoryStorage
from sequential._model import At
from sequential._outcomes import Blocked, Cancelled, Completed, Failed, Lost, Paused
from sequential._requests import Perform
from sequential._tools import Mode
from sequential.testing import FakeClock
from tests.core import journey
from tests.fix_stage import Crash, Stage


class Tried:
    """A tool that does what *plan* says, attempt by attempt: raise an exception, or return."""

    def __init__(
        self, stage: Stage, *plan: Any, mode: Mode = "at-least-once", **policy: Any
    ) -> None:
        self.plan = list(plan)
        self.seen: list[ToolContext] = []
        self.at: list[float] = []
        options: dict[str, Any] = {"retry": RetryPolicy(**policy)} if policy else {}

        @tool("api", "try", registry=stage.registry, mode=mode, **options)
        def try_it(context: ToolContext) -> Any:
            self.seen.append(context)
            self.at.append(stage.clock.now())
            planned = self.plan.pop(0)
            if isinstance(planned, BaseException):
                raise planned
            return planned() if callable(planned) else planned

        @flow(registry=stage.registry, name="trying")
        def trying() -> Steps[Any]:
            try:
                return (yield try_it())
            except ToolError as error:
                return [error.type, error.message, error.attempts, error.retryable]

    @property
    def attempts(self) -> list[int]:
        return [context.attempt for context in self.seen]

    @property
    def keys(self) -> int:
        """Return how many different idempotency keys were sent."""
        return len({context.idempotency_key for context in self.seen})


def test_by_default_there_is_one_attempt(any_stage: Stage) -> None:
    tried = Tried(any_stage, OSError("down"), "never")
    app = any_stage.app()
    assert app.run("trying") == ["OSError", "down", 1, True]
    assert tried.attempts == [1]


def test_an_uncaught_tool_error_fails_the_run(any_stage: Stage) -> None:
    @tool("api", "fail", registry=any_stage.registry)
    def fail() -> None:
        raise OSError("down")

    @flow(registry=any_stage.registry)
    def failing() -> Steps[None]:
        yield fail()

    app = any_stage.app()
    run_id = app.start(failing)
    outcome = app.execute(run_id)
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "ToolError"
    assert outcome.error.message == "api.fail failed: OSError: down"
    assert app.execute(run_id) == outcome


def test_short_waits_are_slept_in_place_and_attempts_are_recorded(any_stage: Stage) -> None:
    tried = Tried(
        any_stage, OSError(), OSError(), "ok", max_attempts=3, first=5, jitter=False, factor=2
    )
    app = any_stage.app()
    run_id = app.start("trying")
    begun = any_stage.clock.now()
    assert app.execute(run_id) == Completed(run_id, "ok")
    assert [at - begun for at in tried.at] == [0, 5, 15]
    (step,) = app.steps(run_id)
    assert (step.attempts, step.started) == (3, begun)


def test_waits_longer_than_a_third_of_the_lease_park(any_stage: Stage) -> None:
    tried = Tried(
        any_stage, OSError("one"), OSError("two"), "ok", max_attempts=3, first=20.5, jitter=False
    )
    run_id = any_stage.app().start("trying")
    begun = any_stage.clock.now()
    outcome = any_stage.app().execute(run_id)
    assert outcome == Paused(run_id, "0", At(begun + 20.5), "retry")
    opened = any_stage.app().get(run_id).open["0"]
    assert (opened.attempt, opened.error, opened.due) == (2, "OSError: one", begun + 20.5)
    assert any_stage.app().execute(run_id) == Paused(run_id, "0", At(begun + 20.5), "not due")
    assert tried.attempts == [1]
    any_stage.clock.advance(20.5)
    outcome = any_stage.app().execute(run_id)
    assert outcome == Paused(run_id, "0", At(begun + 20.5 + 41), "retry")
    any_stage.clock.advance(41)
    assert any_stage.app().execute(run_id) == Completed(run_id, "ok")
    assert tried.attempts == [1, 2, 3]
    assert any_stage.app().steps(run_id)[0].attempts == 3


def test_a_third_of_the_lease_is_still_slept_in_place(stage: Stage) -> None:
    Tried(stage, OSError(), "ok", max_attempts=2, first=20, jitter=False)
    app = stage.app()
    run_id = app.start("trying")
    assert app.execute(run_id) == Completed(run_id, "ok")


def test_a_wait_longer_than_the_budget_parks(stage: Stage) -> None:
    Tried(stage, OSError(), "ok", max_attempts=2, first=10, jitter=False)
    app = stage.app(pause="budget:8s")
    run_id = app.start("trying")
    outcome = app.execute(run_id)
    assert isinstance(outcome, Paused)
    assert outcome.reason == "retry"


def test_a_signal_does_not_shorten_the_wait_for_the_next_attempt(stage: Stage) -> None:
    tried = Tried(stage, OSError(), "ok", max_attempts=2, first=100, jitter=False)
    app = stage.app()
    run_id = app.start("trying")
    first = app.execute(run_id)
    app.signal(run_id, "other", 1)
    again = app.execute(run_id)
    assert again == first
    assert tried.attempts == [1]


def test_a_crash_in_a_later_attempt_does_not_forget_the_earlier_ones(any_stage: Stage) -> None:
    tried = Tried(
        any_stage, OSError(), Crash(), OSError("last"), max_attempts=3, first=1, jitter=False
    )
    tried.plan.append(OSError("end"))
    run_id = any_stage.app().start("trying")
    any_stage.crash(any_stage.app(), run_id)
    outcome = any_stage.drive(any_stage.app(), run_id)
    assert outcome == Completed(run_id, ["OSError", "end", 3, True])
    assert tried.attempts == [1, 2, 2, 3]
    assert tried.keys == 1


def test_what_is_not_retryable_fails_at_once(stage: Stage) -> None:
    tried = Tried(stage, Rejected("no", retryable=False), "never", max_attempts=5)
    assert stage.app().run("trying") == ["Rejected", "no", 1, False]
    assert tried.attempts == [1]


def test_what_is_not_in_retry_on_fails_at_once(stage: Stage) -> None:
    Tried(stage, OSError(), KeyError("x"), "never", max_attempts=5, retry_on=(OSError,))
    assert stage.app().run("trying")[0] == "KeyError"


def test_jitter_is_within_bounds_and_differs_between_runs(stage: Stage) -> None:
    tried = Tried(stage, *[OSError(), "ok"] * 40, max_attempts=2, first=10)
    app = stage.app()
    for number in range(40):
        app.run("trying", run_id=f"r{number}")
    waits = [b - a for a, b in zip(tried.at[::2], tried.at[1::2], strict=True)]
    assert all(0 <= wait < 10 for wait in waits)
    assert len(set(waits)) > 30
    assert 3 < sum(waits) / 40 < 7


def test_a_cancel_reaches_a_run_that_waits_for_its_next_attempt(any_stage: Stage) -> None:
    tried = Tried(any_stage, OSError(), "never", max_attempts=2, first=100, jitter=False)
    app = any_stage.app()
    run_id = app.start("trying")
    app.execute(run_id)
    app.cancel(run_id)
    assert app.execute(run_id) == Cancelled(run_id)
    assert tried.attempts == [1]


def test_a_budget_that_is_used_up_pauses_before_the_next_tool_and_not_the_first(
    stage: Stage,
) -> None:
    @tool("api", "slow", registry=stage.registry, timeout=timedelta(seconds=50))
    def slow() -> None:
        stage.clock.advance(4)

    @flow(registry=stage.registry)
    def slowly() -> Steps[str]:
        yield slow()
        yield slow()
        return "done"

    app = stage.app(pause="budget:10s")
    run_id = app.start(slowly)
    first = app.execute(run_id)
    assert isinstance(first, Paused)
    assert (first.reason, len(app.steps(run_id))) == ("budget", 1)
    assert isinstance(app.execute(run_id), Paused | Completed)
    assert len(app.steps(run_id)) == 2


# -- at most once --------------------------------------------------------------------------------


def test_the_intent_is_stored_before_an_at_most_once_tool_runs(any_stage: Stage) -> None:
    intents: list[bool] = []

    @tool("api", "pay", registry=any_stage.registry, mode="at-most-once")
    def pay(context: ToolContext) -> None:
        loaded = any_stage.storage.load(context.run_id)
        assert loaded is not None
        intents.append(loaded.run.open[context.position].intent)

    @flow(registry=any_stage.registry)
    def paying() -> Steps[None]:
        yield pay()

    any_stage.app().run(paying)
    assert intents == [True]


def test_a_crash_in_an_at_most_once_tool_is_an_interruption_and_it_never_runs_again(
    any_stage: Stage,
) -> None:
    tried = Tried(any_stage, Crash(), "never", mode="at-most-once", max_attempts=5)
    run_id = any_stage.app().start("trying")
    any_stage.crash(any_stage.app(), run_id)
    outcome = any_stage.app().execute(run_id)
    assert isinstance(outcome, Completed)
    result: Any = outcome.result
    kind, message, attempts, retryable = result
    assert (kind, attempts, retryable) == ("StepInterrupted", 1, False)
    assert "not run again" in message
    assert tried.attempts == [1]


def test_at_most_once_tries_again_only_after_a_definite_failure(stage: Stage) -> None:
    tried = Tried(
        stage, Rejected("busy"), OSError("unknown"), "never", mode="at-most-once", max_attempts=5
    )
    assert stage.app().run("trying") == ["OSError", "unknown", 2, True]
    assert tried.attempts == [1, 2]
    assert tried.keys == 2


def test_a_crash_in_the_second_attempt_of_at_most_once_is_an_interruption(stage: Stage) -> None:
    tried = Tried(
        stage, Rejected("busy"), Crash(), "never", mode="at-most-once", max_attempts=5, first=100,
        jitter=False,
    )  # fmt: skip
    run_id = stage.app().start("trying")
    assert isinstance(stage.app().execute(run_id), Paused)
    assert not stage.app().get(run_id).open["0"].intent
    stage.clock.advance(100)
    stage.crash(stage.app(), run_id)
    outcome = stage.app().execute(run_id)
    assert isinstance(outcome, Completed)
    assert outcome.result[::2] == ["StepInterrupted", 2]  # type: ignore[index]
    assert tried.attempts == [1, 2]


def test_a_crash_before_the_intent_runs_an_at_most_once_tool_once(stage: Stage) -> None:
    tried = Tried(stage, "ok", mode="at-most-once")
    run_id = stage.app().start("trying")
    commit, done = stage.counted.commit, list[int]()

    def die(*args: Any) -> Any:
        if args[0].open and not done:
            done.append(1)
            raise Crash
        return commit(*args)

    stage.counted.commit = die  # type: ignore[method-assign,assignment]
    stage.crash(stage.app(), run_id)
    assert stage.app().execute(run_id) == Completed(run_id, "ok")
    assert tried.attempts == [1]


# -- results -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "object"),
        ({1: 2}, "int"),
        ({"a": [float("nan")]}, "$.a[0] of type float"),
        ("\ud800", "surrogate"),
        (iter(()), "iterator"),
        (ValueError("x"), "ValueError"),
    ],
)
def test_a_result_that_cannot_be_stored_is_an_error_once(
    any_stage: Stage, value: Any, said: str
) -> None:
    tried = Tried(any_stage, lambda: value, "never", max_attempts=5)
    app = any_stage.app()
    kind, message, attempts, retryable = app.run("trying")
    assert (kind, attempts, retryable) == ("ResultNotEncodable", 1, False)
    assert said in message
    assert tried.attempts == [1]


def test_the_message_about_an_unencodable_result_names_tool_path_and_type(stage: Stage) -> None:
    @tool("api", "bad", registry=stage.registry)
    def bad() -> Any:
        return {"users": [1, object()]}

    @flow(registry=stage.registry)
    def asking() -> Steps[str]:
        try:
            yield bad()
        except ToolError as error:
            return str(error)
        return ""

    said = stage.app().run(asking)
    for part in ("api.bad", "users", "1", "object", "ResultNotEncodable"):
        assert part in said


def test_a_result_over_the_cap_is_an_error_and_not_a_stall(stage: Stage) -> None:
    Tried(stage, b"x" * (51 * 1024 * 1024))
    assert stage.app().run("trying")[0] == "ResultNotEncodable"


def test_a_first_result_that_does_not_fit_its_annotation_blocks_and_is_kept(stage: Stage) -> None:
    ran: list[int] = []

    @tool("api", "liar", registry=stage.registry)
    def liar() -> int:
        ran.append(1)
        return "text"  # type: ignore[return-value]

    @flow(registry=stage.registry)
    def asking() -> Steps[Any]:
        return (yield liar())

    app = stage.app()
    run_id = app.start(asking)
    outcome = app.execute(run_id)
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "result"
    assert "tool api.liar result" in outcome.message
    app.redrive(run_id)
    assert isinstance(app.execute(run_id), Blocked)
    assert ran == [1]


# -- answers that come later ---------------------------------------------------------------------


def test_an_answer_may_come_later_under_the_idempotency_key(any_stage: Stage) -> None:
    tried = Tried(any_stage, Pending())
    app = any_stage.app()
    run_id = app.start("trying")
    assert app.execute(run_id) == Paused(run_id, "0", None, "pending")
    app.signal(run_id, tried.seen[0].idempotency_key, {"paid": True})
    assert any_stage.app().execute(run_id) == Completed(run_id, {"paid": True})
    assert tried.attempts == [1]


def test_an_answer_may_come_under_a_name_and_may_be_too_late(any_stage: Stage) -> None:
    tried = Tried(any_stage, Pending("answer", timeout=30))
    app = any_stage.app()
    run_id = app.start("trying")
    outcome = app.execute(run_id)
    assert outcome == Paused(run_id, "0", At(any_stage.clock.now() + 30), "pending")
    app.signal(run_id, "other", 1)
    assert app.execute(run_id) == outcome
    any_stage.clock.advance(30)
    done = any_stage.app().execute(run_id)
    assert isinstance(done, Completed)
    assert done.result[0] == "StepTimedOut"  # type: ignore[index]
    assert tried.attempts == [1]


def test_an_answer_that_came_before_the_tool_said_so_is_taken(any_stage: Stage) -> None:
    Tried(any_stage, Pending("answer"))
    app = any_stage.app()
    run_id = app.start("trying")
    app.signal(run_id, "answer", "early")
    assert any_stage.drive(app, run_id) == Completed(run_id, "early")


def test_an_answer_that_comes_while_the_tool_runs_is_taken(any_stage: Stage) -> None:
    app = any_stage.app()

    @tool("api", "ask", registry=any_stage.registry)
    def ask(context: ToolContext) -> Any:
        app.signal(context.run_id, context.idempotency_key, "at once")
        return Pending()

    @flow(registry=any_stage.registry)
    def asking() -> Steps[Any]:
        return (yield ask())

    run_id = app.start(asking)
    assert any_stage.drive(app, run_id) == Completed(run_id, "at once")


def test_a_pending_call_is_not_made_again_after_a_crash(stage: Stage) -> None:
    tried = Tried(stage, Pending("answer", timeout=10_000))
    run_id = stage.app().start("trying")
    stage.app().execute(run_id)
    stage.app().signal(run_id, "noise", 1)
    stage.app().execute(run_id)
    stage.app().signal(run_id, "answer", 2)
    assert stage.app().execute(run_id) == Completed(run_id, 2)
    assert tried.attempts == [1]


# -- the process --------------------------------------------------------------------------------


def test_an_interrupt_in_a_tool_releases_the_run(any_stage: Stage) -> None:
    Tried(any_stage, KeyboardInterrupt(), "ok")
    app = any_stage.app()
    run_id = app.start("trying")
    with pytest.raises(KeyboardInterrupt):
        app.execute(run_id)
    assert app.get(run_id).stalls == 0
    assert app.execute(run_id) == Completed(run_id, "ok")


def test_a_tool_that_runs_out_of_memory_lets_go_of_the_run_and_counts(stage: Stage) -> None:
    """Given back uncounted it would be run again and again, taking each process down."""
    Tried(stage, MemoryError(), "ok")
    app = stage.app()
    run_id = app.start("trying")
    with pytest.raises(MemoryError):
        app.execute(run_id)
    assert app.get(run_id).stalls == 1
    assert isinstance(app.execute(run_id), Paused)
    stage.clock.advance(2)
    assert app.execute(run_id) == Completed(run_id, "ok")


@pytest.mark.parametrize("error", [StopIteration(1), StopAsyncIteration()])
def test_exceptions_that_steer_generators_are_errors_like_any_other(
    stage: Stage, error: Exception
) -> None:
    Tried(stage, error)
    assert stage.app().run("trying")[0] == type(error).__name__


def test_a_save_after_a_retried_step_counts_the_attempts_once(stage: Stage) -> None:
    tried = Tried(stage, OSError(), "ok", max_attempts=2, first=1)

    @flow(registry=stage.registry)
    def saving() -> Steps[Any]:
        value = yield {"__tool": ["api", "try"]}
        yield save()
        return value

    app = stage.app(warm=0)
    run_id = app.start(saving)
    app.execute(run_id)
    assert app.execute(run_id) == Completed(run_id, "ok")
    assert tried.attempts == [1, 2]


def test_an_input_that_changed_between_two_attempts_blocks_the_run(any_stage: Stage) -> None:
    """It would go out under the idempotency key of the first, which belongs to another request."""
    sent: list[int] = []
    amount = [1]

    @tool("api", "charge", registry=any_stage.registry, retry=RetryPolicy(first=500, jitter=False))
    def charge(amount: int) -> str:
        sent.append(amount)
        if len(sent) == 1:
            raise OSError("no answer")
        return "paid"

    @flow(name="paying", registry=any_stage.registry)
    def paying() -> Steps[str]:
        result: str = yield charge(amount[0])
        return result

    app = any_stage.app()
    run_id = app.start("paying")
    app.execute(run_id)
    any_stage.clock.advance(500)
    amount[0] = 2
    assert isinstance(any_stage.app().execute(run_id), Blocked)
    assert sent == [1]
    amount[0] = 1
    any_stage.clock.advance(60)
    assert any_stage.app().execute(run_id) == Completed(run_id, "paid")


def test_a_lease_that_was_lost_while_the_tool_ran_records_nothing() -> None:
    clock = FakeClock()
    stage = journey.new_stage(MemoryStorage(clock), clock)
    stage.start("two")
    slow, other = stage.process(), stage.process()
    invocation = slow.invoke()
    invocation.until(lambda request: isinstance(request, Perform))
    invocation.advance()
    clock.advance(stage.terms.lease + 1)
    assert isinstance(other.execute(), Completed)
    slow.leases.renew_due()
    record, steps, sent = stage.run(), stage.steps(), list(stage.sent)
    assert isinstance(invocation.finish(), Lost)
    assert (stage.run(), stage.steps(), stage.sent) == (record, steps, sent)
    assert [each.position for each in stage.executions] == ["0", "0", "1"]

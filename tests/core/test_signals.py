"""Signals whose type is known: checked before they are accepted; and answers found by a token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from sequential import (
    Pending,
    Registry,
    Rejected,
    RetryPolicy,
    Steps,
    ToolContext,
    flow,
    gather,
    save,
    tool,
    tool_call,
    wait_for_signal,
)
from sequential._outcomes import Blocked, Completed, Failed, Paused
from sequential._storage import Loaded
from sequential.errors import RunMissing, SignalMismatch, TokenInvalid
from sequential.testing._faulty import Fault, FaultyStorage
from tests.fix_stage import Stage


@dataclass
class Decision:
    approved: bool
    note: str = ""


def deciding(registry: Registry) -> None:
    @flow(name="deciding", registry=registry)
    async def as_coroutine() -> list[Any]:
        return [(await wait_for_signal("decision", Decision)).note for _ in range(2)]

    @flow(name="deciding too", registry=registry)
    def as_generator() -> Steps[list[Any]]:
        first = yield from wait_for_signal("decision", Decision)
        second = yield wait_for_signal("decision", Decision)
        return [first.note, second.note]


@pytest.mark.parametrize("name", ["deciding", "deciding too"])
def test_a_signal_that_does_not_fit_is_refused_and_nothing_is_written(
    any_stage: Stage, name: str
) -> None:
    deciding(any_stage.registry)
    app = any_stage.app()
    run_id = app.start(name, run_id="r")
    app.execute(run_id)
    before = app.get(run_id)
    with pytest.raises(SignalMismatch) as caught:
        app.signal(run_id, "decision", {"approved": "yes"})
    assert app.get(run_id) == before
    assert (caught.value.run_id, caught.value.name) == ("r", "decision")
    assert (caught.value.path, caught.value.reason) == (
        "$.approved",
        "Expected `bool`, got `str`",
    )
    assert '"required":["approved"]' in caught.value.expected
    # A process that does not know the flow says the same.
    with pytest.raises(SignalMismatch, match=r"\$\.approved does not fit"):
        any_stage.app(Registry()).signal(run_id, "decision", {"approved": "yes"})
    assert app.signal(run_id, "decision", {"approved": True, "note": "one"})
    assert app.signal(run_id, "decision", Decision(True, "two"))
    assert any_stage.drive(app, run_id) == Completed(run_id, ["one", "two"])


def test_an_early_signal_is_taken_as_it_is_and_dropped_when_it_does_not_fit(stage: Stage) -> None:
    deciding(stage.registry)
    app = stage.app()
    run_id = app.start("deciding")
    for value in ("no decision", {"approved": True, "note": "a"}):
        assert app.signal(run_id, "decision", value)
    app.execute(run_id)
    assert [step.kind for step in app.steps(run_id)] == ["signal"]
    assert app.signal(run_id, "decision", {"approved": True, "note": "b"})
    assert app.execute(run_id) == Completed(run_id, ["a", "b"])


def test_a_signal_without_a_type_and_another_one_are_taken(stage: Stage) -> None:
    @flow(registry=stage.registry)
    async def open_one() -> Any:
        return await wait_for_signal("any")

    app = stage.app()
    run_id = app.start(open_one)
    app.execute(run_id)
    assert app.signal(run_id, "other", 1)
    assert app.signal(run_id, "any", [1, "a"])
    assert app.execute(run_id) == Completed(run_id, [1, "a"])


def test_a_repeated_signal_is_no_error_although_the_next_wait_has_another_type(
    stage: Stage,
) -> None:
    @flow(registry=stage.registry)
    async def two_types() -> list[Any]:
        return [await wait_for_signal("n", int), await wait_for_signal("n", str)]

    app = stage.app()
    run_id = app.start(two_types)
    app.execute(run_id)
    assert app.signal(run_id, "n", 1, signal_id="s")
    app.execute(run_id)
    assert not app.signal(run_id, "n", 1, signal_id="s")
    with pytest.raises(SignalMismatch):
        app.signal(run_id, "n", 1)


def test_waits_of_one_name_take_signals_in_the_order_in_which_they_came(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    async def in_order() -> list[int]:
        came = [await wait_for_signal("n", int) for _ in range(3)]
        await save()
        return [*came, await wait_for_signal("n", int)]

    app = any_stage.app(warm=0)
    run_id = app.start(in_order)
    app.signal(run_id, "n", 1)
    app.execute(run_id)
    for number in (2, 3, 4):
        app.signal(run_id, "n", number)
    assert any_stage.drive(app, run_id) == Completed(run_id, [1, 2, 3, 4])


def test_a_signal_that_fits_one_of_several_waits_is_taken(stage: Stage) -> None:
    either: Any = int | str

    @flow(registry=stage.registry)
    async def both() -> Any:
        return await gather(wait_for_signal("n", int), wait_for_signal("n", either))

    app = stage.app()
    run_id = app.start(both)
    app.execute(run_id)
    with pytest.raises(SignalMismatch):
        app.signal(run_id, "n", [])
    app.signal(run_id, "n", 1)
    app.signal(run_id, "n", "a")
    assert app.execute(run_id) == Completed(run_id, (1, "a"))


@pytest.mark.parametrize("values", [("a", 1), (1, "a")])
def test_a_signal_that_does_not_fit_is_left_to_another_wait_that_takes_it(
    any_stage: Stage, values: tuple[Any, Any]
) -> None:
    @flow(registry=any_stage.registry)
    async def both() -> Any:
        return await gather(wait_for_signal("n", int), wait_for_signal("n", str))

    app = any_stage.app(warm=0)
    run_id = app.start(both)
    app.execute(run_id)
    for value in values:
        assert app.signal(run_id, "n", value)
    assert any_stage.drive(app, run_id) == Completed(run_id, (1, "a"))
    assert app.get(run_id).inbox == ()


def typed(kind: Any) -> Registry:
    registry = Registry()

    @flow(name="changed", registry=registry)
    async def changed() -> Any:
        return await wait_for_signal("n", kind)

    return registry


def test_the_code_here_counts_more_than_what_the_record_tells(stage: Stage) -> None:
    """A deploy changed the type while the run waited; nobody has looked at the run since."""
    app = stage.app(typed(int))
    run_id = app.start("changed")
    app.execute(run_id)
    with pytest.raises(SignalMismatch):
        stage.app(Registry()).signal(run_id, "n", "text")
    deployed = stage.app(typed(str))
    with pytest.raises(SignalMismatch):
        deployed.signal(run_id, "n", [])
    assert deployed.signal(run_id, "n", "text")
    assert deployed.execute(run_id) == Completed(run_id, "text")


def test_a_process_without_the_flow_can_send_what_a_new_deploy_takes(stage: Stage) -> None:
    app = stage.app(typed(int))
    run_id = app.start("changed")
    app.execute(run_id)
    assert stage.app(Registry()).signal(run_id, "n", "text", checked=False)
    assert stage.app(typed(str)).execute(run_id) == Completed(run_id, "text")


def test_a_wait_that_is_looked_at_tells_what_the_newest_deploy_takes(stage: Stage) -> None:
    app = stage.app(typed(int))
    run_id = app.start("changed")
    app.execute(run_id)
    app.signal(run_id, "else")
    stage.app(typed(str)).execute(run_id)
    assert stage.app(Registry()).signal(run_id, "n", "text")


# -- answers -------------------------------------------------------------------------------------


def asking(registry: Registry, told: Callable[[str], object]) -> None:
    @tool("people", "approve", registry=registry)
    def approve(context: ToolContext) -> Pending | Decision:
        told(context.answer_token)
        return Pending()

    @flow(registry=registry)
    async def asking() -> str:
        decision = await approve()
        assert isinstance(decision, Decision)
        return decision.note


def test_a_token_answers_a_call_without_its_run_id_and_once(any_stage: Stage) -> None:
    tokens = list[str]()
    asking(any_stage.registry, tokens.append)
    app = any_stage.app()
    run_id = app.start("asking.<locals>.asking")
    app.execute(run_id)
    with pytest.raises(SignalMismatch, match="does not fit what it waits for"):
        app.answer(tokens[0], {"note": "no"})
    with pytest.raises(SignalMismatch, match=r"\$ does not fit.*required field `approved`"):
        any_stage.app(Registry()).answer(tokens[0], {"note": "no"})
    assert app.answer(tokens[0], {"approved": True, "note": "fine"})
    assert not app.answer(tokens[0], {"approved": True, "note": "again"})
    assert app.execute(run_id) == Completed(run_id, "fine")
    assert not app.answer(tokens[0], {"approved": True, "note": "late"})


def test_an_answer_that_is_faster_than_the_tool_waits_for_it(stage: Stage) -> None:
    app = stage.app()
    asking(stage.registry, lambda token: app.answer(token, {"approved": True, "note": "fast"}))
    run_id = app.start("asking.<locals>.asking")
    assert stage.drive(app, run_id) == Completed(run_id, "fast")


def test_a_retry_of_the_run_makes_a_token_void(stage: Stage) -> None:
    tokens = list[str]()
    asking(stage.registry, tokens.append)
    app = stage.app()
    run_id = app.start("asking.<locals>.asking")
    app.execute(run_id)
    app.terminate(run_id)
    assert not app.answer(tokens[0], {"approved": True})
    app.retry(run_id)
    app.execute(run_id)
    assert not app.answer(tokens[0], {"approved": True})
    assert app.answer(tokens[1], {"approved": True, "note": "second"})
    assert app.execute(run_id) == Completed(run_id, "second")


def test_a_call_is_not_made_again_because_a_branch_beside_it_is_blocked(stage: Stage) -> None:
    tokens = list[str]()
    asking(stage.registry, tokens.append)

    @flow(registry=stage.registry)
    async def both() -> Any:
        return await gather(tool_call("people", "approve"), tool_call("nobody", "answers"))

    app = stage.app(warm=0)
    run_id = app.start(both)
    for _ in range(3):
        assert isinstance(app.execute(run_id), Blocked)
        stage.clock.advance(86_400)
    assert len(tokens) == 1
    assert app.answer(tokens[0], {"approved": True})


def test_a_token_that_was_not_made_here_is_refused(stage: Stage) -> None:
    tokens = list[str]()
    asking(stage.registry, tokens.append)
    app = stage.app()
    app.execute(app.start("asking.<locals>.asking"))
    for token in ("", "é", "AAAA", "W10", tokens[0][:-8], tokens[0] + "AAAA", "bnVsbA"):
        with pytest.raises(TokenInvalid, match="it is no token"):
            app.answer(token)
    other = app.engine.deployment[::-1]
    with pytest.raises(TokenInvalid, match="not made over this storage"):
        app.answer(_forged(tokens[0], other))


def _forged(token: str, deployment: str) -> str:
    import base64
    import json

    from sequential._calls import idempotency_key

    run_id, generation, position, epoch, _ = json.loads(base64.urlsafe_b64decode(token + "=="))
    key = idempotency_key(deployment, run_id, generation, position, epoch)
    data = json.dumps([run_id, generation, position, epoch, key]).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_an_early_answer_of_the_wrong_type_is_dropped_and_the_token_stays_good(
    stage: Stage,
) -> None:
    tokens = list[str]()

    def answered(token: str) -> None:
        tokens.append(token)
        assert app.answer(token, "no decision")  # nobody can tell yet

    app = stage.app(warm=0)
    asking(stage.registry, answered)
    run_id = app.start("asking.<locals>.asking")
    app.execute(run_id)
    app.execute(run_id)
    (waiting,) = app.get(run_id).open.values()
    assert "expected `object`, got `str`" in waiting.error
    assert app.get(run_id).inbox == ()
    with pytest.raises(SignalMismatch):
        app.answer(tokens[0], "still none")
    assert app.answer(tokens[0], {"approved": True, "note": "fine"})
    assert not app.answer(tokens[0], {"approved": True, "note": "again"})
    assert app.execute(run_id) == Completed(run_id, "fine")


def test_an_early_signal_that_is_no_answer_is_dropped_also_without_the_tool(stage: Stage) -> None:
    @tool("people", "named", registry=stage.registry)
    def named() -> Pending | int:
        return Pending("name", timeout=60)

    def carrying(registry: Registry) -> Registry:
        @flow(name="f", registry=registry)
        async def f() -> Any:
            return await tool_call("people", "named")

        return registry

    app, other = stage.app(carrying(stage.registry)), stage.app(carrying(Registry()), warm=0)
    first, second = app.start("f"), app.start("f")
    app.signal(first, "name", "text")
    app.execute(first)
    assert app.get(first).inbox == ()
    app.execute(second)
    app.signal(second, "name", "text", checked=False)
    other.execute(second)
    for run_id in (first, second):
        assert "xpected `int`, got `str`" in app.get(run_id).open["0"].error
        app.signal(run_id, "name", 7)
        assert app.execute(run_id) == Completed(run_id, 7)
    third = app.start("f")
    app.signal(third, "name", "text")
    app.execute(third)
    stage.clock.advance(60)
    assert isinstance(app.execute(third), Failed)


def test_the_token_of_a_rejected_attempt_is_void(stage: Stage) -> None:
    tokens = list[str]()

    @tool("people", "ask", retry=RetryPolicy(max_attempts=3, first=1.0), registry=stage.registry)
    def ask(context: ToolContext) -> Pending | int:
        tokens.append(context.answer_token)
        if context.attempt == 1:
            raise Rejected("not now")
        return Pending()

    @flow(registry=stage.registry)
    async def asks() -> int:
        answer = await ask()
        assert isinstance(answer, int)
        return answer

    app = stage.app()
    run_id = app.start(asks)
    assert isinstance(stage.drive(app, run_id), Paused)
    first, second = tokens
    assert not app.answer(first, 1)
    assert app.answer(second, 2)
    assert app.execute(run_id) == Completed(run_id, 2)


def test_an_answer_to_a_run_that_ends_meanwhile_is_not_taken(stage: Stage) -> None:
    tokens = list[str]()
    asking(stage.registry, tokens.append)
    app = stage.app()
    run_id = app.start("asking.<locals>.asking")
    app.execute(run_id)
    load, ends = stage.storage.load, [app.terminate]

    def ending(run_id: str, after: int = 0) -> Loaded | None:
        found = load(run_id, after)
        if ends:
            ends.pop()(run_id)
        return found

    stage.storage.load = ending  # type: ignore[method-assign]
    assert not app.answer(tokens[0], {"approved": True})


def test_a_token_of_a_run_that_is_gone_says_so(stage: Stage) -> None:
    tokens = list[str]()
    asking(stage.registry, tokens.append)
    app = stage.app()
    run_id = app.start("asking.<locals>.asking")
    app.execute(run_id)
    app.terminate(run_id)
    app.purge(run_id)
    app.purge(run_id)
    with pytest.raises(RunMissing):
        app.answer(tokens[0], 1)


@pytest.mark.parametrize("told", ["signal", "cancel"])
def test_what_was_accepted_is_no_error_where_the_storage_fails_afterwards(
    stage: Stage, told: str
) -> None:
    deciding(stage.registry)
    stage.storage = faulty = FaultyStorage(stage.storage)
    app = stage.app()
    run_id = app.start("deciding")
    # A signal is one look and one commit; a cancel looks at the generation before.
    faulty.plan("load", 1 if told == "signal" else 2, Fault.UNAVAILABLE)
    accepted = app.signal(run_id, "other") if told == "signal" else app.cancel(run_id)
    assert accepted
    assert faulty.calls[-2:] == ["commit", "load"]
    assert len(app.get(run_id).inbox) == 1

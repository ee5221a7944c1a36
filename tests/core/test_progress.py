"""What a run publishes of its progress: stored with its commits, read without its history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sequential import (
    Registry,
    Steps,
    ToolContext,
    continue_as_new,
    flow,
    gather,
    save,
    set_progress,
    sleep,
    tool,
    tool_call,
    wait_for_signal,
)
from sequential._outcomes import Blocked, Completed
from sequential._progress import Progress, progress_of
from sequential.errors import NotEncodable, RunMissing
from tests.fix_stage import Crash, Stage


def steps_of(registry: Registry, told: Callable[[int], object] = lambda _: None) -> None:
    @tool("t", "work", registry=registry)
    def work(number: int) -> int:
        told(number)
        return number

    @flow(name="coroutine", registry=registry)
    async def as_coroutine() -> str:
        for number in range(3):
            set_progress({"done": number, "total": 3})
            await work(number)
        set_progress("nearly there")
        await sleep(60)
        return "done"

    @flow(name="generator", registry=registry)
    def as_generator() -> Steps[str]:
        for number in range(3):
            set_progress({"done": number, "total": 3})
            yield from work(number)
        set_progress("nearly there")
        yield sleep(60)
        return "done"


@pytest.mark.parametrize("style", ["coroutine", "generator"])
@pytest.mark.parametrize("pause", ["every-step", "when-waiting"])
def test_progress_is_stored_with_the_commit_that_follows(
    any_stage: Stage, style: str, pause: str
) -> None:
    seen = list[Any]()
    app = any_stage.app(pause=pause, warm=0)
    steps_of(any_stage.registry, lambda _: seen.append(app.progress("r")))
    app.start(style, run_id="r")
    assert app.progress("r") is None
    outcome = any_stage.drive(app, "r")
    assert outcome == Completed("r", "done")
    # While a step is under way, what was said before it may not be stored yet.
    assert [each and each.value["done"] for each in seen] == [None, 0, 1]
    assert app.progress(app.get("r")) == Progress("nearly there", None, "nearly there")


def test_progress_costs_no_commit_of_its_own(stage: Stage) -> None:
    @flow(registry=stage.registry)
    async def silent() -> None:
        await tool_call("t", "work", {"number": 1})

    @flow(registry=stage.registry)
    async def talking() -> None:
        for number in range(100):
            set_progress(number / 100)
        await tool_call("t", "work", {"number": 1})

    steps_of(stage.registry)
    app = stage.app()
    writes = list[int]()
    for each in (silent, talking):
        stage.counted.forget_counts()
        app.run(each)
        writes.append(stage.counted.writes)
    assert writes[0] == writes[1]


def test_progress_goes_with_the_renewal_of_a_lease_while_a_tool_takes_long(stage: Stage) -> None:
    seen = list[Any]()

    @tool("t", "long", registry=stage.registry)
    def long(context: ToolContext) -> None:
        stage.clock.advance(stage.terms.lease / 2)
        app.driver.leases.renew_due()
        seen.append(app.progress(context.run_id))

    @flow(registry=stage.registry)
    async def working() -> None:
        set_progress(0.25)
        await tool_call("t", "long")

    app = stage.app()
    app.run(working)
    assert seen == [Progress(0.25, 0.25, "25%")]


def test_a_replay_publishes_nothing_again(stage: Stage) -> None:
    steps_of(stage.registry)
    app = stage.app(warm=0)
    app.start("coroutine", run_id="r")
    app.execute("r")
    values = list[Any]()
    commit = stage.storage.commit

    def watching(run: Any, expect: Any, steps: Any = ()) -> Any:
        values.append(app.progress(run))
        return commit(run, expect, steps)

    stage.storage.commit = watching  # type: ignore[method-assign]
    stage.clock.advance(60)
    app.execute("r")
    assert {each.text for each in values} == {"nearly there"}
    assert app.replay("r").agrees


def test_a_replay_of_other_code_says_nothing_of_what_is_over(stage: Stage) -> None:
    def deployed(word: str) -> Registry:
        registry = Registry()

        @flow(name="f", registry=registry)
        async def f() -> None:
            set_progress(word)
            await save()
            await wait_for_signal("go")
            set_progress(f"{word}er")
            await save()

        return registry

    run_id = stage.app(deployed("old")).start("f")
    stage.drive(stage.app(deployed("old")), run_id)
    app = stage.app(deployed("new"))
    app.signal(run_id, "else")
    app.execute(run_id)
    assert app.progress(run_id) == progress_of("old")
    assert app.replay(run_id).agrees
    app.signal(run_id, "go")
    assert stage.drive(app, run_id) == Completed(run_id, None)
    assert app.progress(run_id) == progress_of("newer")


def test_a_crash_at_any_commit_loses_no_more_than_what_was_not_stored(stage: Stage) -> None:
    steps_of(stage.registry)
    for number in range(1, 9):
        app = stage.app(warm=0)
        run_id = app.start("coroutine", run_id=f"r{number}")
        commit, left = stage.storage.commit, [number]

        def dying(run: Any, expect: Any, steps: Any = (), *, commit=commit, left=left) -> Any:  # type: ignore[no-untyped-def]  # noqa: ANN001
            left[0] -= 1
            if left[0] == 0:
                raise Crash
            return commit(run, expect, steps)

        stage.storage.commit = dying  # type: ignore[method-assign]
        try:
            stage.drive(app, run_id)
        except Crash:
            stage.after_lease()
        finally:
            stage.storage.commit = commit  # type: ignore[method-assign]
        assert stage.drive(stage.app(), run_id) == Completed(run_id, "done")
        assert app.progress(run_id) == progress_of("nearly there")


def test_a_new_input_keeps_the_progress_until_there_is_another(stage: Stage) -> None:
    @flow(registry=stage.registry)
    async def over(number: int = 0) -> None:
        if number == 0:
            set_progress("first")
            await continue_as_new({"number": 1})
        await wait_for_signal("go")
        set_progress("second")
        await save()

    app = stage.app()
    run_id = app.start(over)
    stage.drive(app, run_id)
    assert app.progress(run_id) == progress_of("first")
    app.signal(run_id, "go")
    stage.drive(app, run_id)
    assert app.progress(run_id) == progress_of("second")


def test_a_branch_publishes_too(any_stage: Stage) -> None:
    async def branch(name: str) -> None:
        await save()
        set_progress(name)
        await save()

    @flow(registry=any_stage.registry)
    async def both() -> None:
        await gather(branch("a"), branch("b"))

    app = any_stage.app(warm=0)
    run_id = app.start(both)
    any_stage.drive(app, run_id)
    assert app.progress(run_id) == progress_of("b")


def test_sealed_progress_is_read_by_who_has_the_key(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQUENTIAL_SEAL_KEYS", "k:" + "A" * 43 + "=")
    steps_of(stage.registry)
    app = stage.app(payload=["seal:required"], plugins=None)
    run_id = app.start("coroutine")
    stage.drive(app, run_id)
    stored = app.get(run_id).progress
    assert stored is not None
    assert b"nearly" not in stored.data
    assert app.progress(run_id) == progress_of("nearly there")


def test_what_cannot_be_stored_or_is_too_large_is_refused_in_the_flow(stage: Stage) -> None:
    @flow(registry=stage.registry)
    async def refused() -> list[str]:
        said = []
        for value in (object(), "x" * 5000):
            try:
                set_progress(value)
            except NotEncodable as error:
                said.append(error.reason)
        await save()
        return said

    app = stage.app()
    run_id = app.start(refused)
    outcome = stage.drive(app, run_id)
    assert isinstance(outcome, Completed)
    assert isinstance(outcome.result, list)
    assert "5,002 bytes of 4,096" in outcome.result[1]
    assert app.progress(run_id) is None


def test_progress_is_published_inside_a_flow(stage: Stage) -> None:
    with pytest.raises(RuntimeError, match=r"set_progress\(\) only works inside a flow"):
        set_progress(1)
    with pytest.raises(RunMissing):
        stage.app().progress("nobody")


def test_a_follower_gets_each_change_and_stops_at_the_end(stage: Stage) -> None:
    app = stage.app(pause="every-step", warm=0)
    steps_of(stage.registry)
    run_id = app.start("coroutine")
    looks = 0

    def waiting(_: float) -> None:
        nonlocal looks
        looks += 1
        stage.clock.advance(61)
        app.execute(run_id)

    stage.clock.wait = waiting  # type: ignore[method-assign, assignment]
    found = [each.text for each in app.follow(run_id)]
    assert found == ["0 of 3", "1 of 3", "2 of 3", "nearly there"]
    assert looks < 10


@pytest.mark.parametrize(
    ("value", "fraction", "text"),
    [
        (0, 0.0, "0%"),
        (1, 1.0, "100%"),
        (0.257, 0.257, "26%"),
        (True, None, "true"),
        (7, None, "7"),
        ("step two", None, "step two"),
        ({"done": 3, "total": 10}, 0.3, "3 of 10"),
        ({"done": 12, "total": 10, "text": "more"}, 1.0, "more (12 of 10)"),
        ({"done": 1, "total": 0}, None, '{"done": 1, "total": 0}'),
        ({"text": "indexing"}, None, "indexing"),
        ({"done": "a", "total": 2, "text": 5}, None, '{"done": "a", "total": 2, "text": 5}'),
        ([1, 2], None, "[1, 2]"),
        (None, None, "null"),
    ],
)
def test_progress_says_a_share_and_words(value: Any, fraction: float | None, text: str) -> None:
    assert progress_of(value) == Progress(value, fraction, text)


def test_a_blocked_run_keeps_what_it_had(stage: Stage) -> None:
    @flow(registry=stage.registry)
    async def lost() -> None:
        set_progress("one")
        await save()
        set_progress("two")
        await tool_call("nobody", "answers")

    app = stage.app()
    run_id = app.start(lost)
    assert isinstance(stage.drive(app, run_id), Blocked)
    assert app.progress(run_id) == progress_of("one")

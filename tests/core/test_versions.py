"""Versions that code carries on, patches inside a flow, blocked runs that heal with a deploy."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from sequential import (
    Registry,
    Sequential,
    Steps,
    deprecate_patch,
    flow,
    gather,
    patched,
    race,
    run_child,
    save,
    sleep,
    tool_call,
    wait_for_signal,
)
from sequential._memory import MemoryStorage
from sequential._model import ENDED_STATUSES
from sequential._outcomes import Blocked, Completed, NotMine, Paused
from sequential._protocol import retry
from sequential._registry import tool
from sequential._requests import Perform
from sequential._worker import Worker
from sequential.errors import VersionNotFound
from sequential.testing import FakeClock, verify_replay
from sequential.testing._stage import Stage as Staged
from tests.fix_stage import Stage

Body = Callable[..., Any]


def deployed(body: Body, version: str = "1", compatible: Collection[str] | None = None) -> Registry:
    registry = Registry()

    @tool("t", "note", registry=registry)
    def note(text: str) -> str:
        return text

    flow(name="f", version=version, compatible=compatible, registry=registry)(body)
    return registry


async def waiting() -> Any:
    return await wait_for_signal("go")


# -- versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "compatible", "takes"),
    [
        ("2", None, True),
        ("2", (), False),
        ("1", (), True),
        ("3", {"1", "2"}, True),
        ("3", {"2"}, False),
    ],
)
def test_code_carries_on_the_versions_that_it_says(
    any_stage: Stage, version: str, compatible: Collection[str] | None, takes: bool
) -> None:
    run_id = any_stage.app(deployed(waiting)).start("f", run_id="r")
    app = any_stage.app(deployed(waiting, version, compatible))
    before = app.get(run_id)
    outcome = app.execute(run_id)
    if takes:
        assert isinstance(outcome, Paused)
    else:
        assert outcome == NotMine(run_id, "f", "1")
        assert app.get(run_id) == before
        # Also when it is not due, and whoever carries runs to their end is told.
        any_stage.app(deployed(waiting)).execute(run_id)
        assert app.execute(run_id) == NotMine(run_id, "f", "1")
        with pytest.raises(VersionNotFound, match="started with version '1' of flow 'f'"):
            app.run("f", run_id="r")


def test_a_version_goes_on_in_the_process_that_has_it(any_stage: Stage) -> None:
    old = any_stage.app(deployed(waiting, "1", ()))
    new = any_stage.app(deployed(waiting, "2", ()))
    run_id = old.start("f")
    old.execute(run_id)
    new.signal(run_id, "go", 1)
    assert isinstance(new.execute(run_id), NotMine)
    assert old.execute(run_id) == Completed(run_id, 1)
    # How a run ended is told by any process.
    assert new.execute(run_id) == Completed(run_id, 1)


def test_a_worker_leaves_other_versions_alone() -> None:
    async def quick() -> str:
        return "done"

    with (
        Sequential("memory:", plugins=[], registry=deployed(quick, "1", ())) as old,
        Sequential(old.storage, "poll:?every=0.01s", plugins=[],
                   registry=deployed(quick, "2", {"1.5"})) as new,
    ):  # fmt: skip
        ids = {v: old.start("f", run_id=f"v{v}") for v in "1"}
        mine = new.start("f", run_id="v2")
        worker = Worker(new, 1)
        asked = list[Any]()
        resume = new.driver.resume

        def stopping(run_id: str, seconds: float | None = None) -> Any:
            asked.append(run_id)
            worker.stop()
            return resume(run_id, seconds)

        new.driver.resume = stopping  # type: ignore[method-assign]
        worker.run()
        assert asked == [mine]
        assert new.get(ids["1"]).version == 1
        assert list(old.storage.due(10, old.registry.carried(), 30.0)) == [ids["1"]]


def test_compatible_versions_are_a_set_of_texts() -> None:
    with pytest.raises(TypeError, match="give versions as a set"):
        flow(compatible="12", registry=Registry())


def test_a_blocked_run_heals_with_a_deploy_that_fits(any_stage: Stage) -> None:
    async def one() -> Any:
        return [await tool_call("t", "note", {"text": "one"}), await wait_for_signal("go")]

    async def two() -> Any:
        return [await tool_call("t", "note", {"text": "two"}), await wait_for_signal("go")]

    first = any_stage.app(deployed(one))
    run_id = first.start("f")
    first.execute(run_id)
    first.signal(run_id, "go", 1)
    wrong = any_stage.app(deployed(two, "2"))
    assert isinstance(wrong.execute(run_id), Blocked)
    any_stage.clock.advance(61)
    assert any_stage.app(deployed(one, "3")).execute(run_id) == Completed(run_id, ["one", 1])


def test_a_replay_leaves_other_versions_to_their_code(stage: Stage, tmp_path: Path) -> None:
    async def other() -> Any:
        return await tool_call("t", "note", {"text": "other"})

    app = stage.app(deployed(waiting))
    run_id = app.start("f")
    app.execute(run_id)
    pinned = stage.app(deployed(other, "2", ()))
    path = tmp_path / "r.json"
    path.write_text(app.export(run_id), encoding="utf-8")
    for found in (pinned.replay(run_id), pinned.replay_history(path)):
        assert (found.agrees, found.reason) == (True, "version")
        assert found.message == "left to code of version '1'"
    assert not stage.app(deployed(other, "2")).replay(run_id).agrees


# -- patches -------------------------------------------------------------------------------------


async def before_coroutine() -> Any:
    await save()
    await tool_call("t", "note", {"text": "old"})
    await sleep(60)
    return await tool_call("t", "note", {"text": "end"})


async def after_coroutine() -> Any:
    await save()
    new = patched("greet")
    if new:
        await tool_call("t", "note", {"text": "new"})
    else:
        await tool_call("t", "note", {"text": "old"})
    await sleep(60)
    assert patched("greet") is new
    return await tool_call("t", "note", {"text": "end"})


def after_generator() -> Steps[Any]:
    yield save()
    yield tool_call("t", "note", {"text": "new" if patched("greet") else "old"})
    yield sleep(60)
    return (yield tool_call("t", "note", {"text": "end"}))


async def last_coroutine() -> Any:
    await save()
    deprecate_patch("greet")
    await tool_call("t", "note", {"text": "new"})
    await sleep(60)
    return await tool_call("t", "note", {"text": "end"})


def inputs(app: Sequential, run_id: str) -> list[Any]:
    return [step.input.data for step in app.steps(run_id) if step.input is not None]


OLD, NEW, END = (b'{"text":"%s"}' % text for text in (b"old", b"new", b"end"))


@pytest.mark.parametrize("after", [after_coroutine, after_generator])
@pytest.mark.parametrize(("turns", "way"), [(0, NEW), (1, NEW), (2, OLD), (3, OLD)])
@pytest.mark.parametrize("warm", [0, 8])
def test_a_run_goes_the_new_way_unless_it_had_passed_the_point(
    any_stage: Stage, after: Body, turns: int, way: bytes, warm: int
) -> None:
    """After *turns* invocations of the old code, each to its next pause, the new one goes on."""
    old = any_stage.app(deployed(before_coroutine), pause="every-step", warm=warm)
    run_id = old.start("f")
    for _ in range(turns):
        old.execute(run_id)
    new = any_stage.app(deployed(after), pause="every-step", warm=warm)
    assert any_stage.drive(new, run_id) == Completed(run_id, "end")
    assert inputs(new, run_id) == [way, END]
    assert new.get(run_id).patches == (("greet",) if way == NEW else ())
    assert any_stage.app(deployed(after)).replay(run_id).agrees


def test_a_step_that_the_old_code_began_keeps_the_old_way(any_stage: Stage) -> None:
    async def asks() -> Any:
        return await wait_for_signal("new" if patched("x") else "old")

    async def asked() -> Any:
        return await wait_for_signal("old")

    old = any_stage.app(deployed(asked))
    begun = old.start("f")
    old.execute(begun)
    fresh = old.start("f")
    new = any_stage.app(deployed(asks))
    new.signal(begun, "old", 1)
    new.execute(fresh)
    new.signal(fresh, "new", 2)
    assert new.execute(begun) == Completed(begun, 1)
    assert any_stage.app(deployed(asks)).execute(fresh) == Completed(fresh, 2)


def test_a_retry_a_fork_and_a_fresh_start_keep_what_was_decided(any_stage: Stage) -> None:
    app = any_stage.app(deployed(after_coroutine), warm=0)
    run_id = app.start("f")
    any_stage.drive(app, run_id, turns=1)
    app.terminate(run_id)
    app.retry(run_id)
    assert any_stage.drive(app, run_id) == Completed(run_id, "end")
    forked = app.fork(run_id, "3")
    assert any_stage.drive(app, forked) == Completed(forked, "end")
    assert inputs(app, forked) == [NEW, END]


def test_the_new_way_is_kept_although_the_process_is_lost(stage: Stage) -> None:
    """Lost before its next commit, the run was not anywhere yet; lost after it, it knows."""
    from sequential._model import Run
    from tests.fix_stage import Crash

    for number in range(12):
        app = stage.app(deployed(after_coroutine), warm=0)
        run_id = app.start("f", run_id=f"r{number}")
        commit, left = stage.storage.commit, [number]

        def dying(run: Run, expect: Run, steps: Any = (), *, commit=commit, left=left) -> Any:  # type: ignore[no-untyped-def]  # noqa: ANN001
            left[0] -= 1
            answer = commit(run, expect, steps)
            if left[0] == 0:
                raise Crash
            return answer

        stage.storage.commit = dying  # type: ignore[method-assign]
        try:
            stage.drive(app, run_id)
        except Crash:
            stage.after_lease()
        finally:
            stage.storage.commit = commit  # type: ignore[method-assign]
        assert stage.drive(stage.app(deployed(after_coroutine)), run_id) == Completed(run_id, "end")
        assert inputs(app, run_id) == [NEW, END]


async def branch(name: str) -> Any:
    await save()
    await wait_for_signal(name)
    return await tool_call("t", "note", {"text": "new" if patched("x") else "old"})


async def old_branch(name: str) -> Any:
    await save()
    await wait_for_signal(name)
    return await tool_call("t", "note", {"text": "old"})


async def branches() -> Any:
    return await gather(branch("a"), branch("b"))


async def old_branches() -> Any:
    return await gather(old_branch("a"), old_branch("b"))


def test_branches_of_one_run_go_one_way(any_stage: Stage) -> None:
    app = any_stage.app(deployed(branches), warm=0)
    run_id = app.start("f")
    any_stage.drive(app, run_id)
    app.signal(run_id, "b")
    any_stage.drive(app, run_id)
    app.signal(run_id, "a")
    assert any_stage.drive(app, run_id) == Completed(run_id, ("new", "new"))
    assert app.replay(run_id).agrees


def together(stage: Stage, ask: Callable[[str], bool | None]) -> tuple[Sequential, str]:
    """Return an application and a run of three branches, whose sleeps are over at one time."""

    async def rested() -> bool:
        await sleep(60)
        new = ask("x")
        await save()
        return new is not False

    async def three() -> Any:
        return await gather(rested(), rested(), rested())

    app = stage.app(deployed(three), pause="budget:1steps", warm=0)
    run_id = app.start("f")
    app.execute(run_id)
    stage.clock.advance(61)
    return app, run_id


@pytest.mark.parametrize("ask", [patched, deprecate_patch])
def test_a_new_run_goes_the_new_way_where_steps_are_recorded_together(
    any_stage: Stage, ask: Callable[[str], bool | None]
) -> None:
    """The first of them is given to a flow that has not asked yet, and others follow it."""

    app, run_id = together(any_stage, ask)
    assert isinstance(app.execute(run_id), Paused)
    assert len({step.op_id for step in app.steps(run_id)}) == 1 < len(app.steps(run_id))
    assert any_stage.drive(app, run_id) == Completed(run_id, (True, True, True))
    assert app.get(run_id).patches == ("x",)


@pytest.mark.parametrize("ask", [patched, deprecate_patch])
@pytest.mark.parametrize("again", ["retry", "fork", "edit"])
def test_a_new_run_goes_the_new_way_where_what_was_recorded_together_was_copied(
    any_stage: Stage, ask: Callable[[str], bool | None], again: str
) -> None:
    app, run_id = together(any_stage, ask)
    app.execute(run_id)
    assert (len(app.steps(run_id)), app.get(run_id).patches) == (3, ())
    app.terminate(run_id)
    if again == "retry":
        app.retry(run_id)
    else:
        edit = (None,) if again == "edit" else None
        run_id = app.fork(run_id, "0.2.0", edit=edit)
    for _ in range(9):
        any_stage.clock.advance(61)
        if app.execute(run_id) == Completed(run_id, (True, True, True)):
            break
    assert app.get(run_id).status == "completed"
    assert app.get(run_id).patches == ("x",)


def test_a_file_of_steps_recorded_together_is_replayed_the_way_the_run_goes_on(
    any_stage: Stage, tmp_path: Path
) -> None:
    said: list[bool] = []

    def ask(patch: str) -> bool:
        said.append(patched(patch))
        return said[-1]

    app, run_id = together(any_stage, ask)
    app.execute(run_id)
    path = tmp_path / "r.json"
    path.write_text(app.export(run_id), "utf-8")
    said.clear()
    assert app.replay_history(path).agrees
    from_file = list(said)
    said.clear()
    app.execute(run_id)
    assert from_file == said == [True] * 3


def test_what_a_retry_copied_in_one_commit_was_not_recorded_in_one(any_stage: Stage) -> None:
    old = any_stage.app(deployed(before_coroutine), warm=0)
    run_id = old.start("f")
    any_stage.drive(old, run_id, turns=1)
    old.terminate(run_id)
    old.retry(run_id)
    new = any_stage.app(deployed(after_coroutine), warm=0)
    assert any_stage.drive(new, run_id) == Completed(run_id, "end")
    assert inputs(new, run_id) == [OLD, END]


def test_a_branch_that_went_the_old_way_keeps_the_whole_run_on_it(any_stage: Stage) -> None:
    old = any_stage.app(deployed(old_branches), warm=0)
    run_id = old.start("f")
    any_stage.drive(old, run_id)
    old.signal(run_id, "b")
    any_stage.drive(old, run_id)
    new = any_stage.app(deployed(branches), warm=0)
    new.signal(run_id, "a")
    assert any_stage.drive(new, run_id) == Completed(run_id, ("old", "old"))


def test_a_deprecated_patch_carries_on_the_new_way_and_blocks_the_old(any_stage: Stage) -> None:
    old = any_stage.app(deployed(before_coroutine), warm=0)
    went_old = old.start("f")
    any_stage.drive(old, went_old, turns=1)
    between = any_stage.app(deployed(after_coroutine), warm=0)
    went_new = between.start("f")
    any_stage.drive(between, went_new, turns=1)
    any_stage.clock.advance(61)
    last = any_stage.app(deployed(last_coroutine), warm=0)
    assert any_stage.drive(last, went_new) == Completed(went_new, "end")
    blocked = last.execute(went_old)
    assert isinstance(blocked, Blocked)
    assert blocked.reason == "changed"
    assert "old way of patch 'greet'" in blocked.message
    assert not last.replay(went_old).agrees
    between.redrive(went_old)
    assert any_stage.drive(between, went_old) == Completed(went_old, "end")
    begun = last.start("f")
    assert any_stage.drive(last, begun) == Completed(begun, "end")


def test_the_old_way_is_not_swallowed_by_the_flow(stage: Stage) -> None:
    async def swallowing() -> Any:
        await save()
        try:
            deprecate_patch("greet")
        except Exception:  # noqa: BLE001  (what the test is about)
            return "swallowed"
        return "new"

    old = stage.app(deployed(before_coroutine), warm=0)
    run_id = old.start("f")
    stage.drive(old, run_id, turns=1)
    stage.clock.advance(61)
    assert isinstance(stage.app(deployed(swallowing)).execute(run_id), Blocked)


def test_a_run_that_is_blocked_forgets_what_it_was_told(stage: Stage) -> None:
    async def wrong() -> Any:
        await save()
        assert patched("greet")
        await wait_for_signal("another")

    old = stage.app(deployed(before_coroutine), pause="every-step")
    run_id = old.start("f")
    old.execute(run_id)
    assert isinstance(stage.app(deployed(wrong)).execute(run_id), Paused)
    assert stage.app().get(run_id).patches == ("greet",)


async def not_patched_yet() -> Any:
    await tool_call("t", "note", {"text": "old"})
    return await tool_call("t", "note", {"text": "over"})


async def patched_first() -> Any:
    if patched("x"):
        await tool_call("t", "note", {"text": "new"})
    else:
        await tool_call("t", "note", {"text": "old"})
    return await tool_call("t", "note", {"text": "over"})


@pytest.mark.parametrize("leaves", ["stopped", "renewed and lost", "retried"])
def test_a_run_that_new_code_left_without_a_step_may_go_the_old_way(leaves: str) -> None:
    clock, new = FakeClock(), deployed(patched_first)
    stage = Staged(deployed(not_patched_yet), MemoryStorage(clock), clock, pause="every-step")
    process = stage.process(registry=new)
    stage.start("f")
    process.stopping = leaves == "stopped"
    invocation = process.invoke()
    if leaves == "stopped":
        invocation.finish()
    else:
        invocation.until(lambda request: isinstance(request, Perform))
        invocation.advance()
        clock.advance(stage.terms.lease / 2)
        process.leases.renew_due()
        invocation.crash()
    if leaves == "retried":
        stage.outside.terminate("r")
        stage.outside.retry("r")
    clock.advance(stage.terms.lease * 2)
    # An older process, in the middle of a deploy.
    stage.process().execute()
    last = stage.process(registry=new)
    while stage.run().status not in ENDED_STATUSES:
        assert not isinstance(last.execute(), Blocked)
    assert [step.input.data for step in stage.steps() if step.input] == [
        b'{"text":"old"}', b'{"text":"over"}',
    ]  # fmt: skip


def test_a_flow_that_is_kept_warm_does_not_insist_on_a_way_without_a_step() -> None:
    async def patched_before_waiting() -> Any:
        if patched("x"):
            await tool_call("t", "note", {"text": "new"})
        return await wait_for_signal("go")

    clock = FakeClock()
    stage = Staged(deployed(waiting), MemoryStorage(clock), clock)
    process = stage.process(registry=deployed(patched_before_waiting))
    stage.start("f")
    process.stopping = True
    process.execute()
    assert process.warm
    stage.process().execute()
    stage.outside.send("r", "s", "go", 1)
    process.stopping = False
    assert process.execute() == Completed("r", 1)


@pytest.mark.parametrize(("copied", "patches"), [(1, ("x",)), (0, ())])
def test_a_retry_that_copies_nothing_may_go_either_way(
    copied: int, patches: tuple[str, ...]
) -> None:
    clock = FakeClock()
    stage = Staged(deployed(patched_first), MemoryStorage(clock), clock, pause="every-step")
    stage.start("f")
    stage.process().execute()
    stage.outside.terminate("r")
    again = retry(stage.run(), copied, clock.now())
    assert again is not None
    assert again.patches == patches


@pytest.mark.parametrize(("at", "patches"), [("1", ("x",)), ("0", ())])
def test_a_fork_that_copies_nothing_may_go_either_way(
    stage: Stage, at: str, patches: tuple[str, ...]
) -> None:
    app = stage.app(deployed(patched_first))
    run_id = app.start("f")
    stage.drive(app, run_id)
    assert app.get(app.fork(run_id, at)).patches == patches


def test_an_exported_history_knows_its_patches(stage: Stage, tmp_path: Path) -> None:
    app = stage.app(deployed(after_coroutine))
    run_id = app.start("f")
    stage.drive(app, run_id)
    path = tmp_path / "r.json"
    path.write_text(app.export(run_id), encoding="utf-8")
    assert '"patches": [' in path.read_text(encoding="utf-8")
    assert app.replay_history(path).agrees
    verify_replay(app.registry.flows["f"], path)


@pytest.mark.parametrize("ask", [patched, deprecate_patch])
def test_a_patch_is_asked_for_inside_a_flow_and_by_a_name(ask: Callable[[Any], Any]) -> None:
    with pytest.raises(RuntimeError, match="only works inside a flow"):
        ask("x")
    for wrong in ("", 1, "x" * 257):
        with pytest.raises(ValueError, match="cannot name a patch"):
            ask(wrong)


def test_a_child_is_begun_where_other_code_began_more_of_them_in_a_branch_that_lost(
    any_stage: Stage,
) -> None:
    """Children are counted, and a loser leaves no record of what it had begun."""

    def coded(loser: Callable[[], Steps[Any]]) -> Registry:
        async def kid(number: int) -> int:
            return number

        def parent() -> Steps[int]:
            won = yield race(run_child("kid", {"number": 1}), loser())
            yield save()
            return int(won.value + (yield run_child("kid", {"number": 2})))

        registry = deployed(parent)
        flow(name="kid", registry=registry)(kid)
        return registry

    def begins() -> Steps[Any]:
        return (yield run_child("kid", {"number": 3}))

    def sleeps() -> Steps[Any]:
        return (yield sleep(1_000))

    new = any_stage.app(coded(begins), warm=0, pause="budget:1steps")
    old = any_stage.app(coded(sleeps), warm=0)
    run_id = new.start("f")
    for each in (run_id, f"{run_id}~0.0", run_id, run_id):
        new.execute(each)
    assert (new.get(run_id).children, new.get(run_id).open) == (2, {})
    for each in (run_id, f"{run_id}~2"):
        old.execute(each)
    assert old.execute(run_id) == Completed(run_id, 3)

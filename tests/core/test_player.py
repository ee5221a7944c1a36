"""History against code: what is recorded, new, or changed; blocked runs heal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from sequential import (
    Registry,
    Steps,
    ToolError,
    continue_as_new,
    flow,
    save,
    sleep,
    tool,
    tool_call,
    wait_for_signal,
)
from sequential._memory import MemoryStorage
from sequential._model import Status
from sequential._outcomes import Blocked, Completed, Lost, NotMine, Paused
from sequential._requests import Commit
from sequential.errors import RunBlocked, StorageUnavailable
from sequential.testing import FakeClock
from sequential.testing._faulty import Fault, FaultyStorage
from sequential.testing._stage import Stage as HandDriven
from tests.fix_stage import Crash, Stage

Body = Callable[[], Steps[Any]]

RAN: list[str] = []


def deploy(body: Body, *, tools: bool = True) -> Registry:
    """Return what a process knows after *body* was deployed as the flow."""
    registry = Registry()
    if tools:

        @tool("api", "a", registry=registry)
        def a(n: int = 0) -> int:
            RAN.append(f"a{n}")
            return n

        @tool("api", "b", registry=registry)
        def b(n: int = 0) -> int:
            RAN.append(f"b{n}")
            return n

    flow(registry=registry, name="deployed")(body)
    return registry


def call(name: str, n: int = 0) -> Any:
    return tool_call("api", name, {"n": n})


def original() -> Steps[Any]:
    first = yield call("a", 1)
    yield save()
    second = yield call("b", 2)
    return [first, second]


def renamed() -> Steps[Any]:
    first = yield call("b", 1)
    yield save()
    second = yield call("b", 2)
    return [first, second]


def other_input() -> Steps[Any]:
    first = yield call("a", 99)
    yield save()
    second = yield call("b", 2)
    return [first, second]


def other_kind() -> Steps[Any]:
    yield sleep(1)
    yield save()
    second = yield call("b", 2)
    return [0, second]


def ends_early() -> Steps[Any]:
    yield from ()
    return "early"


def raises_early() -> Steps[Any]:
    yield from ()
    raise ValueError("early")


def step_before() -> Steps[Any]:
    yield wait_for_signal("go")
    first = yield call("a", 1)
    yield save()
    return first


def continues() -> Steps[Any]:
    yield continue_as_new({})


CHANGES = {
    "renamed": (renamed, "tool call api.a", "tool call api.b"),
    "other_input": (other_input, '{"n":1}', '{"n":99}'),
    "other_kind": (other_kind, "tool call api.a", "sleep"),
    "ends_early": (ends_early, "tool call api.a", "the end of the flow"),
    "raises_early": (raises_early, "tool call api.a", "the end of the flow"),
    "step_before": (step_before, "tool call api.a", "wait for signal 'go'"),
    "continues": (continues, "tool call api.a", ""),
}


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RAN.clear()


@pytest.mark.parametrize("change", CHANGES)
def test_changed_code_blocks_the_run_with_a_diff_and_heals(any_stage: Stage, change: str) -> None:
    body, recorded, asked = CHANGES[change]
    run_id = any_stage.app(deploy(original)).start("deployed")
    any_stage.app(deploy(original)).execute(run_id)
    app = any_stage.app(deploy(body))
    before = app.steps(run_id)
    outcome = app.execute(run_id)
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "changed"
    assert outcome.diff.startswith("step 0\n  - recorded: ")
    minus, plus = outcome.diff.splitlines()[1:]
    assert recorded in minus
    assert asked in plus
    assert plus.startswith("  + asked:    ")
    assert run_id in outcome.message
    assert RAN == ["a1"]
    assert app.steps(run_id) == before
    record = app.get(run_id)
    assert (record.status, record.stalls) == (Status.PAUSED, 0)
    assert app.execute(run_id) == outcome  # not due: nothing is tried, nothing counted
    any_stage.clock.advance(61)
    healed = any_stage.app(deploy(original)).execute(run_id)
    assert healed == Completed(run_id, [1, 2])
    assert RAN == ["a1", "b2"]


def test_a_blocked_run_is_looked_at_again_with_backoff_and_remembers_since_when(
    stage: Stage,
) -> None:
    run_id = stage.app(deploy(original)).start("deployed")
    stage.app(deploy(original)).execute(run_id)
    app = stage.app(deploy(renamed))
    since = stage.clock.now()
    waits = []
    for _ in range(9):
        outcome = app.execute(run_id)
        assert isinstance(outcome, Blocked)
        assert outcome.wake is not None
        waits.append(outcome.wake.time - stage.clock.now())
        stage.clock.advance(waits[-1])
    assert waits == pytest.approx([60, 120, 240, 480, 960, 1920, 3600, 3600, 3600])
    attention = app.get(run_id).attention
    assert attention is not None
    assert (attention.tries, attention.since) == (9, since)
    app.execute(run_id)
    app.redrive(run_id)
    assert stage.app(deploy(original)).execute(run_id) == Completed(run_id, [1, 2])
    assert app.get(run_id).attention is None


def test_app_run_raises_run_blocked_with_the_diff(stage: Stage) -> None:
    app = stage.app(deploy(original))
    app.start("deployed", run_id="r")
    app.execute("r")
    with pytest.raises(RunBlocked) as caught:
        stage.app(deploy(renamed)).run("deployed", run_id="r")
    assert "- recorded: tool call api.a" in caught.value.diff
    assert "+ asked:" in str(caught.value)


@pytest.mark.parametrize(
    ("check", "change", "blocked"),
    [
        ("inputs", "other_input", True),
        ("names", "other_input", False),
        ("names", "renamed", True),
        ("off", "renamed", False),
        ("off", "other_kind", True),
        ("off", "ends_early", True),
    ],
)
def test_what_is_compared_is_a_setting(
    stage: Stage, check: Any, change: str, blocked: bool
) -> None:
    run_id = stage.app(deploy(original)).start("deployed")
    stage.app(deploy(original)).execute(run_id)
    outcome = stage.app(deploy(CHANGES[change][0]), check=check).execute(run_id)
    assert isinstance(outcome, Blocked if blocked else Completed)
    expected = ["a1"] if blocked else ["a1", "b2"]
    assert expected == RAN


def test_a_step_in_flight_is_compared_by_what_it_is(stage: Stage) -> None:
    def waiting() -> Steps[Any]:
        return (yield wait_for_signal("one"))

    def waiting_for_other() -> Steps[Any]:
        return (yield wait_for_signal("two"))

    def calling() -> Steps[Any]:
        return (yield call("a"))

    run_id = stage.app(deploy(waiting)).start("deployed")
    stage.app(deploy(waiting)).execute(run_id)
    for body in (waiting_for_other, calling, continues):
        app = stage.app(deploy(body))
        app.signal(run_id, "one", 1)
        if app.get(run_id).attention is not None:
            app.redrive(run_id)
        outcome = app.execute(run_id)
        assert isinstance(outcome, Blocked)
        assert "wait for signal 'one'" in outcome.diff
    assert RAN == []
    app = stage.app(deploy(waiting))
    app.redrive(run_id)
    assert app.execute(run_id) == Completed(run_id, 1)


def test_an_exception_where_the_history_says_that_the_flow_waited_blocks_it(stage: Stage) -> None:
    def waiting() -> Steps[Any]:
        return (yield wait_for_signal("one"))

    run_id = stage.app(deploy(waiting)).start("deployed")
    stage.app(deploy(waiting)).execute(run_id)
    app = stage.app(deploy(raises_early))
    app.signal(run_id, "one", 1)
    outcome = app.execute(run_id)
    assert isinstance(outcome, Blocked), outcome
    assert outcome.reason == "changed"


def test_a_missing_tool_blocks_and_heals(any_stage: Stage) -> None:
    run_id = any_stage.app(deploy(original, tools=False)).start("deployed")
    outcome = any_stage.app(deploy(original, tools=False)).execute(run_id)
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "tool-not-found"
    assert "no tool answers to api.a (registered: none)" in outcome.message
    any_stage.clock.advance(61)
    app = any_stage.app(deploy(original))
    app.execute(run_id)
    assert app.execute(run_id) == Completed(run_id, [1, 2])


def test_a_tool_that_is_gone_is_not_missed_where_its_result_is_recorded(stage: Stage) -> None:
    def short() -> Steps[Any]:
        first = yield call("a", 1)
        yield save()
        return first

    run_id = stage.app(deploy(short)).start("deployed")
    stage.app(deploy(short)).execute(run_id)
    assert stage.app(deploy(short, tools=False)).execute(run_id) == Completed(run_id, 1)


def test_a_run_whose_flow_is_not_here_is_left_alone(any_stage: Stage) -> None:
    run_id = any_stage.app(deploy(original)).start("deployed")
    app = any_stage.app(Registry())
    before = app.get(run_id)
    assert app.execute(run_id) == NotMine(run_id, "deployed")
    assert app.get(run_id) == before


def test_a_stalled_run_whose_flow_is_not_here_is_left_alone(stage: Stage) -> None:
    def dying() -> Steps[Any]:
        yield from ()
        raise Crash

    run_id = stage.app(deploy(dying)).start("deployed")
    stage.crash(stage.app(deploy(dying)), run_id)
    app = stage.app(Registry())
    before = app.get(run_id)
    assert app.execute(run_id) == NotMine(run_id, "deployed")
    assert app.get(run_id) == before


def test_a_recorded_value_that_no_longer_fits_its_annotation_blocks_and_heals(
    any_stage: Stage,
) -> None:
    def with_result(kind: Any) -> Registry:
        registry = Registry()

        def fetch() -> Any:
            return "text"

        fetch.__annotations__["return"] = kind
        tool("api", "fetch", registry=registry)(fetch)

        @flow(registry=registry, name="fetching")
        def fetching() -> Steps[Any]:
            value = yield {"__tool": ["api", "fetch"]}
            yield save()
            return value

        return registry

    run_id = any_stage.app(with_result(str)).start("fetching")
    any_stage.app(with_result(str)).execute(run_id)
    outcome = any_stage.app(with_result(int)).execute(run_id)
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "result"
    assert "expected `int`, got `str`" in outcome.message
    any_stage.clock.advance(61)
    assert any_stage.app(with_result(str)).execute(run_id) == Completed(run_id, "text")


def test_an_input_that_no_longer_fits_blocks_and_heals(stage: Stage) -> None:
    def taking(name: str) -> Registry:
        registry = Registry()
        space: dict[str, Any] = {}
        exec(f"def body({name}: int):\n    return {name}\n    yield", space)
        flow(registry=registry, name="taking")(space["body"])
        return registry

    run_id = stage.app(taking("old")).start("taking", {"old": 5})
    outcome = stage.app(taking("new")).execute(run_id)
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "input"
    assert "'new' missing" in outcome.message
    stage.clock.advance(61)
    assert stage.app(taking("old")).execute(run_id) == Completed(run_id, 5)


def test_a_history_with_a_missing_record_blocks(stage: Stage) -> None:
    run_id = stage.app(deploy(original)).start("deployed")
    stage.app(deploy(original)).execute(run_id)
    stage.counted._steps[run_id, 0].popitem()
    outcome = stage.app(deploy(original)).execute(run_id)
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "corrupt"
    assert "1 of 2 step records" in outcome.message
    assert RAN == ["a1"]


def test_a_missing_large_value_blocks(stage: Stage) -> None:
    registry = Registry()

    @tool("api", "blob", registry=registry)
    def blob() -> str:
        return "x" * 100_000

    @flow(registry=registry)
    def making() -> Steps[int]:
        text = yield blob()
        yield save()
        return len(text)

    app = stage.app(registry, warm=0)
    run_id = app.start(making)
    app.execute(run_id)
    kept = dict(stage.counted._values)
    stage.counted._values.clear()
    outcome = app.execute(run_id)
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "corrupt"
    stage.counted._values.update(kept)
    app.redrive(run_id)
    assert app.execute(run_id) == Completed(run_id, 100_000)


def test_a_caught_error_is_replayed_the_same_way(any_stage: Stage) -> None:
    @tool("api", "fail", registry=any_stage.registry)
    def fail() -> None:
        RAN.append("fail")
        raise OSError("down")

    @flow(registry=any_stage.registry)
    async def careful() -> str:
        said = "nothing"
        try:
            await fail()
        except ToolError as error:
            said = error.type
        await save()
        await sleep(5)
        return said

    app = any_stage.app(warm=0)
    run_id = app.start(careful)
    assert any_stage.drive(app, run_id) == Completed(run_id, "OSError")
    assert RAN == ["fail"]


def test_two_steps_of_one_name_are_told_apart_by_position(stage: Stage) -> None:
    def looping() -> Steps[Any]:
        results = []
        for n in range(3):
            results.append((yield call("a", n)))
            yield save()
        return results

    app = stage.app(deploy(looping), warm=0)
    run_id = app.start("deployed")
    assert isinstance(app.execute(run_id), Paused)
    assert stage.drive(app, run_id) == Completed(run_id, [0, 1, 2])
    assert RAN == ["a0", "a1", "a2"]


def test_a_flow_that_has_no_memory_left_is_not_failed_by_it(stage: Stage) -> None:
    @flow(registry=stage.registry)
    def greedy() -> Steps[None]:
        yield save()
        raise MemoryError

    app = stage.app()
    run_id = app.start(greedy)
    assert isinstance(app.execute(run_id), Paused)
    with pytest.raises(MemoryError):
        app.execute(run_id)
    run = app.get(run_id)
    # It counts as a claim without progress: one that never fits into memory ends in quarantine.
    assert (run.status, run.error) == (Status.PAUSED, None)
    loaded = stage.storage.load(run_id)
    assert loaded is not None
    assert loaded.run.stalls == 1


# -- what is found on the way, with the storage against it ---------------------------------------


def set_up(body: Body) -> tuple[HandDriven, MemoryStorage, FaultyStorage]:
    """Return a stage on which *body* is due, its storage, and a faulty way to it."""
    clock = FakeClock()
    memory = MemoryStorage(clock)
    stage = HandDriven(deploy(body), memory, clock)
    stage.start("deployed")
    return stage, memory, FaultyStorage(memory)


def test_an_invocation_that_is_overtaken_while_it_blocks_a_run_changes_nothing() -> None:
    def unfit() -> Steps[None]:
        yield from ()
        yield continue_as_new({"unknown": 1})

    stage, _, _ = set_up(unfit)
    slow = stage.process().invoke()
    slow.until(lambda request: isinstance(request, Commit) and request.run.attention is not None)
    stage.clock.advance(stage.terms.lease + 1)
    assert isinstance(stage.process().execute(), Blocked)
    record = stage.run()
    assert isinstance(slow.finish(), Lost)
    assert stage.run() == record


def test_a_result_that_cannot_be_fetched_is_not_written_again() -> None:
    def large() -> Steps[str]:
        yield call("a")
        return "x" * 70_000

    stage, _, faulty = set_up(large)
    faulty.plan("get_value", 0, Fault.UNAVAILABLE)
    with pytest.raises(StorageUnavailable):
        stage.process(faulty).execute()
    record = stage.run()
    assert record.status is Status.COMPLETED
    assert faulty.calls[-1] == "get_value"
    assert stage.process().execute() == Completed("r", "x" * 70_000)
    assert stage.run() == record


def test_a_signal_whose_value_is_lost_blocks_the_run_and_heals_with_it() -> None:
    def waiting() -> Steps[int]:
        said = yield from wait_for_signal("go", str)
        return len(said)

    stage, memory, _ = set_up(waiting)
    stage.outside.send("r", "s1", "go", "x" * 10_000)
    kept = dict(memory._values)
    memory._values.clear()
    outcome = stage.process().execute()
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "corrupt"
    memory._values.update(kept)
    stage.outside.redrive("r")
    assert stage.process().execute() == Completed("r", 10_000)


@dataclass(frozen=True)
class Decision:
    approve: bool
    limit: int = 10


def test_a_wait_keeps_what_it_expects_and_why_a_signal_was_dropped() -> None:
    def waiting() -> Steps[int]:
        decision = yield from wait_for_signal("decision", Decision)
        return decision.limit

    stage, _, _ = set_up(waiting)
    stage.process().execute()
    found = stage.run().open["0"]
    assert json.loads(found.schema)["$defs"]["Decision"]["required"] == ["approve"]
    assert found.error == ""
    stage.outside.send("r", "s1", "decision", {"approve": "perhaps"})
    assert isinstance(stage.process().execute(), Paused)
    dropped = stage.run().open["0"]
    assert dropped == found._replace(error=dropped.error)
    assert "ValueMismatch: signal 'decision': $.approve does not fit" in dropped.error
    assert stage.run().inbox == ()
    # Kept when the run is looked at for another reason, and gone with the wait.
    stage.outside.send("r", "s2", "other", 1)
    assert isinstance(stage.process().execute(), Paused)
    assert stage.run().open["0"] == dropped
    stage.outside.send("r", "s3", "decision", {"approve": True})
    assert stage.process().execute() == Completed("r", 10)


def test_a_wait_for_anything_expects_nothing() -> None:
    def waiting() -> Steps[object]:
        return (yield wait_for_signal("go"))

    stage, _, _ = set_up(waiting)
    stage.process().execute()
    assert stage.run().open["0"].schema == ""

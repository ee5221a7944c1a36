"""The application object: starting, carrying, waiting, finding, and what it raises."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from sequential import (
    Registry,
    RunCancelled,
    Sequential,
    Steps,
    flow,
    save,
    sleep,
    tool,
    wait_for_signal,
)
from sequential._model import At, Payload, Run, Status, evolve
from sequential._outcomes import (
    Blocked,
    Busy,
    Cancelled,
    Completed,
    Failed,
    Missing,
    NotMine,
    Outcome,
    Paused,
    Purged,
    Quarantined,
)
from sequential.errors import (
    ConfigError,
    FlowNotFound,
    InputMismatch,
    NotEncodable,
    RunBlocked,
    RunFailed,
    RunMissing,
    RunNotEnded,
    RunTaken,
    SchemeUnknown,
)
from sequential.testing import FakeClock
from tests.fix_stage import CountingStorage, Crash, Stage


def simple(stage: Stage) -> None:
    @flow(registry=stage.registry, name="simple")
    def simple_flow(a: int = 1, b: int = 2) -> Steps[int]:
        yield save()
        return a + b

    @flow(registry=stage.registry, name="other")
    def other_flow(a: int = 1, b: int = 2) -> Steps[int]:
        yield save()
        return a - b


# -- starting ------------------------------------------------------------------------------------


def test_starting_twice_with_the_same_input_is_starting_once(any_stage: Stage) -> None:
    simple(any_stage)
    app = any_stage.app()
    assert app.start("simple", {"a": 1, "b": 2}, run_id="r") == "r"
    first = app.get("r")
    assert any_stage.app().start("simple", {"b": 2, "a": 1}, run_id="r") == "r"
    assert app.get("r") == first
    app.run("simple", {"a": 1, "b": 2}, run_id="r")
    assert app.start("simple", {"a": 1, "b": 2}, run_id="r") == "r"
    assert app.get("r").status is Status.COMPLETED


def test_starting_with_another_input_or_flow_is_refused(any_stage: Stage) -> None:
    simple(any_stage)
    app = any_stage.app()
    app.start("simple", {"a": 1}, run_id="r")
    for given in ({"a": 2}, {}, {"a": 1, "b": 2}):
        with pytest.raises(RunTaken, match="another input"):
            app.start("simple", given, run_id="r")
    with pytest.raises(RunTaken, match="flow 'simple'"):
        app.start("other", {"a": 1}, run_id="r")
    with pytest.raises(RunTaken):
        app.run("other", {"a": 1}, run_id="r")


def test_what_cannot_be_started_leaves_nothing(any_stage: Stage) -> None:
    simple(any_stage)
    app = any_stage.app()
    with pytest.raises(FlowNotFound, match="registered: other, simple"):
        app.start("nothing")
    with pytest.raises(InputMismatch):
        app.start("simple", {"c": 1})
    with pytest.raises((NotEncodable, InputMismatch)):
        app.start("simple", {"a": object()})
    for tags in ({"": "x"}, {"a": 1}, {1: "a"}, {"a" * 65: "x"}, {"a": "x" * 257}):
        with pytest.raises(ConfigError, match="tags"):
            app.start("simple", tags=tags)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="time zone"):
        app.start("simple", wake=datetime(2030, 1, 1))  # noqa: DTZ001
    assert list(app.find().runs) == []


@pytest.mark.parametrize("kind", ["moment", "delay"])
def test_a_run_may_begin_later(any_stage: Stage, kind: str) -> None:
    simple(any_stage)
    app = any_stage.app()
    moment = datetime.fromtimestamp(any_stage.clock.now() + 100, UTC)
    run_id = app.start("simple", wake=moment if kind == "moment" else timedelta(seconds=100))
    until = At(moment.timestamp())
    assert app.execute(run_id) == Paused(run_id, "0", until, "not due")
    any_stage.clock.advance(99)
    assert app.execute(run_id) == Paused(run_id, "0", until, "not due")
    any_stage.clock.advance(1)
    assert any_stage.drive(app, run_id) == Completed(run_id, 3)


def test_many_runs_are_started_at_once_and_again(any_stage: Stage) -> None:
    simple(any_stage)
    app = any_stage.app()
    inputs: dict[str, object] = {f"r{n}": {"a": n} for n in range(5)}
    assert app.start_many("simple", inputs) == list(inputs)
    assert app.start_many("simple", inputs, tags={"x": "y"}) == list(inputs)
    assert len(app.find().runs) == 5


def test_a_flow_that_is_not_registered_here_may_be_given_itself(stage: Stage) -> None:
    @flow(registry=Registry())
    def elsewhere() -> Steps[int]:
        yield from ()
        return 7

    assert stage.app().run(elsewhere) == 7


# -- running to the end --------------------------------------------------------------------------


def test_run_returns_the_result_also_the_second_time(any_stage: Stage) -> None:
    ran: list[int] = []

    @tool("api", "work", registry=any_stage.registry)
    def work() -> int:
        ran.append(1)
        return 7

    @flow(registry=any_stage.registry)
    def working() -> Steps[Any]:
        return (yield work())

    app = any_stage.app()
    assert app.run(working, run_id="r") == 7
    assert any_stage.app().run(working, run_id="r") == 7
    assert ran == [1]


def test_run_raises_run_failed_with_the_flows_error(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    def failing() -> Steps[None]:
        yield from ()
        raise LookupError("nobody")

    with pytest.raises(RunFailed) as caught:
        any_stage.app().run(failing, run_id="r")
    error = caught.value
    assert (error.run_id, error.type, error.message) == ("r", "LookupError", "nobody")
    assert "sequential retry r" in str(error)


def test_run_raises_run_cancelled_when_it_was_terminated(any_stage: Stage) -> None:
    simple(any_stage)
    app = any_stage.app()
    app.start("simple", run_id="r")
    app.terminate("r")
    with pytest.raises(RunCancelled, match="'r' was cancelled"):
        app.run("simple", run_id="r")


def test_run_raises_run_blocked_when_a_tool_is_missing(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    def lost() -> Steps[None]:
        yield {"__tool": ["no", "where"]}

    with pytest.raises(RunBlocked, match=r"no tool answers to no.where") as caught:
        any_stage.app().run(lost, run_id="r")
    assert caught.value.run_id == "r"


def test_run_raises_run_blocked_when_the_run_is_quarantined(stage: Stage) -> None:
    @flow(registry=stage.registry)
    def dying() -> Steps[None]:
        yield from ()
        raise Crash

    run_id = stage.app().start(dying)
    for _ in range(8):
        stage.crash(stage.app(), run_id)
    with pytest.raises(RunBlocked, match=f"sequential redrive {run_id}"):
        stage.app().run(dying, run_id=run_id)


def test_run_waits_for_another_process_that_has_the_run(stage: Stage) -> None:
    @flow(registry=stage.registry)
    def once() -> Steps[int]:
        if not crashed:
            crashed.append(1)
            raise Crash
        yield from ()
        return 7

    crashed: list[int] = []
    run_id = stage.app().start(once)
    with pytest.raises(Crash):
        stage.app().execute(run_id)
    begun = stage.clock.now()
    assert stage.app().run(once, run_id=run_id) == 7
    assert stage.clock.now() >= begun + 60


def test_run_waits_for_a_signal_from_another_thread(stage: Stage) -> None:
    @flow(registry=stage.registry)
    def listening() -> Steps[Any]:
        reached.set()
        return (yield wait_for_signal("go"))

    reached = threading.Event()
    app = stage.app()

    def send() -> None:
        reached.wait(10)
        stage.app().signal("r", "go", 5)

    thread = threading.Thread(target=send)
    thread.start()
    assert app.run(listening, run_id="r") == 5
    thread.join(10)


# -- what execute and wait say -------------------------------------------------------------------

WAKE = At(1_700_000_050.0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Paused("r", "0", WAKE, "not due")),
        ({"flow": "unknown"}, NotMine("r", "unknown")),
        ({"status": Status.RUNNING}, Busy("r", WAKE)),
        ({"status": Status.COMPLETED, "result": Payload(b"7", size=1)}, Completed("r", 7)),
        ({"status": Status.CANCELLED}, Cancelled("r")),
        ({"status": Status.QUARANTINED}, Quarantined("r")),
        ({"status": Status.PURGED}, Purged("r")),
    ],
)
def test_every_status_has_its_outcome(
    stage: Stage, changes: dict[str, Any], expected: Outcome
) -> None:
    simple(stage)
    app = stage.app()
    run = Run("r", "simple", Payload(b"{}", size=2), wake=WAKE)
    stage.storage.create(evolve(run, **changes))
    before = app.get("r")
    assert app.execute("r") == expected
    assert app.outcome(app.get("r")) == expected
    assert app.get("r") == before


def test_a_run_that_never_was_is_missing(any_stage: Stage) -> None:
    app = any_stage.app()
    assert app.execute("nobody") == Missing("nobody")
    for ask in (app.get, app.steps, app.wait, app.purge):
        with pytest.raises(RunMissing, match="'nobody'"):
            ask("nobody")


def test_duplicate_and_late_calls_change_nothing(any_stage: Stage) -> None:
    simple(any_stage)
    app = any_stage.app()
    run_id = app.start("simple")
    outcome = any_stage.drive(app, run_id)
    before = app.get(run_id)
    assert [any_stage.app().execute(run_id) for _ in range(3)] == [outcome] * 3
    assert app.get(run_id) == before


def test_a_resume_message_carries_on_and_in_the_end_purges(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    def short() -> Steps[int]:
        yield from ()
        return 1

    app = any_stage.app()
    run_id = app.start(short)
    assert app.resume(run_id) == Completed(run_id, 1)
    any_stage.clock.advance(any_stage.terms.retention - 1)
    assert app.resume(run_id) == Completed(run_id, 1)
    any_stage.clock.advance(1)
    app.resume(run_id)
    assert app.get(run_id).status is Status.PURGED
    assert app.resume(run_id) == Purged(run_id)
    any_stage.clock.advance(31 * 86_400)
    app.resume(run_id)
    assert app.resume(run_id) == Missing(run_id)


def test_wait_returns_what_the_run_came_to(any_stage: Stage) -> None:
    simple(any_stage)

    @flow(registry=any_stage.registry, name="failing")
    def failing() -> Steps[None]:
        yield from ()
        raise ValueError

    @flow(registry=any_stage.registry, name="lost")
    def lost() -> Steps[None]:
        yield {"__tool": ["no", "where"]}

    app = any_stage.app()
    for name in ("simple", "failing", "lost"):
        app.start(name, run_id=name)
        any_stage.drive(app, name)
    assert app.wait("simple") == Completed("simple", 3)
    assert isinstance(app.wait("failing", timeout=0), Failed)
    assert isinstance(app.wait("lost", timeout=timedelta(seconds=1)), Blocked)


def test_wait_gives_up_when_the_time_is_up(any_stage: Stage) -> None:
    simple(any_stage)
    app = any_stage.app()
    run_id = app.start("simple")
    begun = any_stage.clock.now()
    for timeout in (0, 3.0, timedelta(seconds=3)):
        with pytest.raises(RunNotEnded, match="it is paused"):
            app.wait(run_id, timeout)
    assert any_stage.clock.now() - begun == pytest.approx(6, abs=0.5)


def test_wait_sees_the_end_that_another_thread_brings(stage: Stage) -> None:
    simple(stage)
    app, other = stage.app(), stage.app()
    run_id = app.start("simple")
    thread = threading.Thread(target=lambda: stage.drive(other, run_id))
    thread.start()
    assert app.wait(run_id) == Completed(run_id, 3)
    thread.join(10)


# -- looking -------------------------------------------------------------------------------------


def test_runs_are_found_page_by_page_newest_first(any_stage: Stage) -> None:
    simple(any_stage)
    app = any_stage.app()
    for number in range(7):
        app.start("simple", run_id=f"r{number}")
        any_stage.clock.advance(1)
    found: list[str] = []
    after: str | None = None
    while True:
        page = app.find(limit=3, after=after)
        found += [run.run_id for run in page.runs]
        after = page.next
        if after is None:
            break
    assert found == [f"r{number}" for number in reversed(range(7))]


def test_runs_are_found_by_flow_status_tags_and_time(any_stage: Stage) -> None:
    simple(any_stage)
    app = any_stage.app()
    app.start("simple", run_id="old", tags={"who": "me", "what": "a"})
    any_stage.clock.advance(100)
    since = datetime.fromtimestamp(any_stage.clock.now(), UTC)
    app.start("other", run_id="new", tags={"who": "me"})
    any_stage.drive(app, "new")

    def found(**filters: Any) -> list[str]:
        return [run.run_id for run in app.find(**filters).runs]

    assert found(flow="simple") == ["old"]
    assert found(status="completed") == found(status=[Status.COMPLETED]) == ["new"]
    assert found(status=["paused", "completed"]) == ["new", "old"]
    assert found(tags={"who": "me"}) == ["new", "old"]
    assert found(tags={"who": "me", "what": "a"}) == ["old"]
    assert found(since=since) == ["new"]
    assert found(before=since) == ["old"]
    assert found(search="o") == ["old"]
    assert found(search="ld") == found(flow="nothing") == []
    both = {("simple", Status.PAUSED): 1, ("other", Status.COMPLETED): 1}
    assert app.count() == app.count(tags={"who": "me"}) == both
    assert app.count(status="paused") == app.count(before=since, search="o", flow="simple")
    assert app.count(status="failed") == {}
    for ask in (app.find, app.count):
        with pytest.raises(ConfigError, match="is not a valid Status"):
            ask(status="asleep")
        with pytest.raises(ConfigError, match="the text that the ids begin with"):
            ask(search=cast("Any", 7))


def test_the_value_of_a_step_and_its_error_can_be_read(any_stage: Stage) -> None:
    @tool("api", "big", registry=any_stage.registry)
    def big() -> Any:
        return {"n": (1, 2), "text": "x" * 100_000}

    @flow(registry=any_stage.registry)
    def both() -> Steps[None]:
        yield big()
        yield {"__tool": ["api", "big", {"no": 1}]}

    app = any_stage.app()
    run_id = app.start(both)
    app.execute(run_id)
    run, steps = app.get(run_id), app.steps(run_id)
    assert app.value(run, steps[0])["n"] == (1, 2)
    assert app.value(run, steps[1])["type"] == "InputMismatch"


# -- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"storage": "redis://x"}, SchemeUnknown),
        ({"storage": "flows.db"}, SchemeUnknown),
        ({"storage": "postgresql://u:secret@h/d"}, SchemeUnknown),
        ({"transport": "sqs://x"}, SchemeUnknown),
        ({"pause": "sometimes"}, ConfigError),
        ({"payload": ["rot13"]}, ConfigError),
        ({"check": "everything"}, ConfigError),
        ({"warm": -1}, ConfigError),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(
    settings: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        Sequential(**{"storage": "memory:", "plugins": [], "registry": Registry(), **settings})
    assert "secret" not in str(caught.value)


def test_an_application_is_closed_at_the_end_of_its_block(tmp_path: Path) -> None:
    gone: list[int] = []
    registry = Registry()

    @flow(registry=registry)
    def pausing() -> Steps[None]:
        try:
            yield save()
        finally:
            gone.append(1)

    with Sequential(f"sqlite:///{tmp_path}/a.db", plugins=[], registry=registry) as app:
        app.execute(app.start(pausing))
        assert gone == []
    assert gone == [1]
    with Sequential(f"sqlite:///{tmp_path}/a.db", plugins=[], registry=registry) as app:
        assert len(app.find().runs) == 1


def test_the_storages_clock_decides_and_not_this_hosts() -> None:
    clock = FakeClock()
    storage = CountingStorage(clock)
    registry = Registry()

    @flow(registry=registry)
    def sleepy() -> Steps[str]:
        yield sleep(100)
        return "awake"

    hosts = FakeClock(start=5.0)  # decades behind
    app = Sequential(storage, plugins=[], registry=registry, clock=hosts)
    run_id = app.start(sleepy)
    assert app.execute(run_id) == Paused(run_id, "0", At(clock.now() + 100), "sleep")
    clock.advance(100)
    assert app.execute(run_id) == Completed(run_id, "awake")


def test_many_threads_may_share_one_application(any_stage: Stage) -> None:
    simple(any_stage)
    app = any_stage.app()
    results: list[Any] = []

    def work(n: int) -> None:
        results.append((n, app.run("simple", {"a": n}, run_id=f"r{n}")))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == [(n, n + 2) for n in range(8)]


def test_what_is_no_flow_tag_or_time_is_said_to_be_none(stage: Stage) -> None:
    simple(stage)
    app, no = stage.app(), cast("Any", simple)
    with pytest.raises(TypeError, match="put @flow on it"):
        app.start(no)
    with pytest.raises(ConfigError, match="tags map text to text"):
        app.start("simple", tags=no)
    with pytest.raises(ConfigError, match="a datetime with a time zone"):
        app.start("simple", wake=no)
    with pytest.raises(ConfigError, match="a time that a clock can show"):
        app.find(since=no)
    with pytest.raises(ConfigError, match="a time that a clock can show"):
        app.count(before=no)
    assert not app.find().runs


def test_a_host_with_a_wrong_clock_sleeps_by_the_storages(any_stage: Stage) -> None:
    """A run that was created already claimed is all that such a process has heard of the time."""

    @flow(name="naps", registry=any_stage.registry)
    def naps() -> Steps[str]:
        yield sleep(60)
        return "rested"

    app = any_stage.app()
    app.driver.time.is_now(any_stage.clock.now() + 86_400)
    start = any_stage.clock.now()
    assert app.run(naps) == "rested"
    assert any_stage.clock.now() - start == pytest.approx(60, abs=5)
    (run,) = app.find().runs
    assert run.created == pytest.approx(start, abs=5)

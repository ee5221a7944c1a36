"""What plugins are asked and told while runs go on."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import click
import pytest

from sequential import (
    Pending,
    Registry,
    Rejected,
    RetryPolicy,
    Sequential,
    Steps,
    ToolCall,
    ToolResult,
    flow,
    hookimpl,
    tool,
    tool_call,
)
from sequential._events import (
    AttemptFinished,
    Event,
    InvocationFinished,
    InvocationStarted,
    RunEnded,
    StepRecorded,
)
from sequential._outcomes import Blocked, Paused
from sequential._payload import Place
from sequential._plugins import Plugins
from sequential.errors import ConfigError, NotDecodable, RunBlocked, RunFailed
from sequential.testing import FakeClock

Answer = ToolResult | Pending | None


@pytest.fixture
def registry() -> Registry:
    return Registry()


def opened(registry: Registry, *plugins: object, **settings: Any) -> Sequential:
    chosen: Any = settings.pop("storage", "memory:")
    return Sequential(chosen, plugins=plugins, registry=registry, **settings)


def asks(registry: Registry, category: str = "toy", name: str = "ask") -> Any:
    @flow(name="asks", registry=registry)
    def made(n: int) -> Steps[Any]:
        return (yield tool_call(category, name, {"n": n}))

    return made


class Answers:
    """Answers ``toy.ask`` with *answer*, or leaves it to others."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[ToolCall] = []

    @hookimpl
    def sequential_call_tool(self, call: ToolCall) -> Answer:
        self.asked.append(call)
        found: Answer = self.answer
        return found


# -- sequential_call_tool ------------------------------------------------------------------------


def test_the_first_plugin_that_answers_is_heard(registry: Registry) -> None:
    silent, answers = Answers(None), Answers(ToolResult({"n": 2}))
    with opened(registry, answers, silent) as app:
        assert app.run(asks(registry), {"n": 1}) == {"n": 2}
    assert [len(silent.asked), len(answers.asked)] == [1, 1]
    call = answers.asked[0]
    assert (call.category, call.name, call.input) == ("toy", "ask", {"n": 1})


def test_a_plugin_is_asked_before_registered_tools(registry: Registry) -> None:
    @tool("toy", "ask", registry=registry)
    def ask(n: int) -> str:
        raise AssertionError

    with opened(registry, Answers(ToolResult("plugin"))) as app:
        assert app.run(asks(registry), {"n": 1}) == "plugin"


def test_a_tool_that_is_nobodys_blocks_the_run(registry: Registry) -> None:
    @tool("toy", "other", registry=registry)
    def other() -> None: ...

    with (
        opened(registry, Answers(None)) as app,
        pytest.raises(RunBlocked, match=r"no tool answers to toy\.ask \(registered: toy\.other\)"),
    ):
        app.run(asks(registry), {"n": 1})


@pytest.mark.parametrize("wrong", [5, "text", {"value": 1}])
def test_an_answer_of_a_wrong_type_names_the_type(wrong: object, registry: Registry) -> None:
    with (
        opened(registry, Answers(wrong)) as app,
        pytest.raises(RunFailed, match=f"its hook returned {type(wrong).__name__}, not ToolResult"),
    ):
        app.run(asks(registry), {"n": 1})


class Wraps:
    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log

    @hookimpl(wrapper=True)
    def sequential_call_tool(self, call: ToolCall) -> Generator[None, Answer, Answer]:
        self.log.append(f"{self.name} before {call.context.attempt}")
        try:
            return (yield)
        finally:
            self.log.append(f"{self.name} after {call.context.attempt}")


def test_wrappers_see_every_attempt(registry: Registry) -> None:
    tries: list[int] = []

    @tool("toy", "ask", registry=registry, retry=RetryPolicy(max_attempts=3))
    def ask(n: int) -> int:
        tries.append(n)
        if len(tries) < 3:
            raise Rejected("not yet")
        return n

    log: list[str] = []
    with opened(registry, Wraps("w", log), clock=FakeClock()) as app:
        assert app.run(asks(registry), {"n": 7}) == 7
    assert log == [f"w {when} {n}" for n in (1, 2, 3) for when in ("before", "after")]


def test_the_wrapper_named_last_is_the_outermost(registry: Registry) -> None:
    log: list[str] = []
    plugins = [Answers(ToolResult(1)), Wraps("inner", log), Wraps("outer", log)]
    with opened(registry, *plugins) as app:
        app.run(asks(registry), {"n": 1})
    assert log == ["outer before 1", "inner before 1", "inner after 1", "outer after 1"]


def test_a_wrapper_may_change_the_answer(registry: Registry) -> None:
    class Redacts:
        @hookimpl(wrapper=True)
        def sequential_call_tool(self, call: ToolCall) -> Generator[None, Answer, Answer]:
            found = yield
            assert isinstance(found, ToolResult)
            return ToolResult(f"{found.value} for {call.name}")

    with opened(registry, Answers(ToolResult("***")), Redacts()) as app:
        assert app.run(asks(registry), {"n": 1}) == "*** for ask"


def test_a_wrapper_that_raises_fails_the_attempt(registry: Registry) -> None:
    class Limits:
        @hookimpl(wrapper=True)
        def sequential_call_tool(self, call: ToolCall) -> Generator[None, Answer, Answer]:
            if call.name == "ask":
                raise Rejected("too fast")
            return (yield)

    answers = Answers(ToolResult(1))
    with opened(registry, answers, Limits()) as app, pytest.raises(RunFailed, match="too fast"):
        app.run(asks(registry), {"n": 1})
    assert answers.asked == []


def test_pending_is_answered_by_the_signal_of_its_name(registry: Registry) -> None:
    answers = Answers(Pending("approval"))
    with opened(registry, answers) as app:
        app.start(asks(registry), {"n": 1}, run_id="r")
        paused = app.execute("r")
        assert isinstance(paused, Paused)
        assert paused.reason == "pending"
        app.signal("r", "approval", {"by": "ann"})
        app.execute("r")
        assert app.outcome(app.get("r")).result == {"by": "ann"}  # type: ignore[union-attr]
    assert len(answers.asked) == 1


def test_pending_without_a_name_waits_for_the_idempotency_key(registry: Registry) -> None:
    answers = Answers(Pending())
    with opened(registry, answers) as app:
        app.start(asks(registry), {"n": 1}, run_id="r")
        app.execute("r")
        app.signal("r", answers.asked[0].context.idempotency_key, 5)
        app.execute("r")
        assert app.outcome(app.get("r")).result == 5  # type: ignore[union-attr]


def test_pending_that_is_not_answered_in_time_fails_the_step(registry: Registry) -> None:
    with (
        opened(registry, Answers(Pending("never", timeout=60)), clock=FakeClock()) as app,
        pytest.raises(RunFailed, match=r"StepTimedOut: toy\.ask did not answer within 60 s"),
    ):
        app.run(asks(registry), {"n": 1})


# -- sequential_observe --------------------------------------------------------------------------


class Observes:
    def __init__(self) -> None:
        self.events: list[Event] = []

    @hookimpl
    def sequential_observe(self, event: Event) -> None:
        self.events.append(event)


def test_observers_are_told_what_happened_in_order(registry: Registry) -> None:
    observer = Observes()
    with opened(registry, Answers(ToolResult(1)), observer) as app:
        app.run(asks(registry), {"n": 1}, run_id="r")
    assert [type(event) for event in observer.events] == [
        InvocationStarted, AttemptFinished, StepRecorded, RunEnded, InvocationFinished,
    ]  # fmt: skip
    assert {event.run.run_id for event in observer.events} == {"r"}


def test_an_observer_that_raises_harms_neither_the_run_nor_the_others(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    class Raises:
        @hookimpl
        def sequential_observe(self, event: Event) -> None:
            raise ZeroDivisionError

    before, after = Observes(), Observes()
    with opened(registry, before, Raises(), after, Answers(ToolResult(1))) as app:
        assert app.run(asks(registry), {"n": 1}) == 1
    assert len(before.events) == len(after.events) == 5
    assert sum("observer" in record.message for record in caplog.records) == 5


def test_an_observer_need_not_take_the_event(registry: Registry) -> None:
    told: list[bool] = []

    class Counts:
        @hookimpl
        def sequential_observe(self) -> None:
            told.append(True)

    with opened(registry, Answers(ToolResult(1)), Counts()) as app:
        app.run(asks(registry), {"n": 1})
    assert len(told) == 5


# -- sequential_payload_codecs -------------------------------------------------------------------


class Flips:
    """A toy codec: flips every bit, and binds to the place."""

    id = "flip"

    def encode(self, data: bytes, place: Place) -> bytes:
        return f"{place.run_id}/{place.part}:".encode() + bytes(255 - byte for byte in data)

    def decode(self, data: bytes, place: Place) -> bytes:
        start = f"{place.run_id}/{place.part}:".encode()
        if not data.startswith(start):
            raise NotDecodable("it was flipped elsewhere")
        return bytes(255 - byte for byte in data.removeprefix(start))


class Brings:
    def __init__(self, *codecs: Any) -> None:
        self.codecs = codecs

    @hookimpl
    def sequential_payload_codecs(self) -> Sequence[Any]:
        return self.codecs


def test_a_payload_codec_goes_around_every_value(registry: Registry, tmp_path: Any) -> None:
    url, plugins = f"sqlite:///{tmp_path}/x.db", (Brings(Flips()), Answers(ToolResult("secret")))
    registered = asks(registry)
    with opened(registry, *plugins, storage=url, payload=["flip"]) as app:
        assert app.run(registered, {"n": 471108151623}, run_id="r") == "secret"
        run, (step,) = app.get("r"), app.steps("r")
        assert run.result is not None
        for payload in (run.input, run.result, step.value):
            assert payload.codecs == ("flip",)
            assert payload.data.startswith(b"r/")
    whole = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"secret" not in whole
    assert b"471108151623" not in whole


def test_a_codec_that_left_the_order_still_reads(registry: Registry, tmp_path: Any) -> None:
    url, plugins = f"sqlite:///{tmp_path}/x.db", (Brings(Flips()), Answers(Pending("go")))
    registered = asks(registry)
    with opened(registry, *plugins, storage=url, payload=["flip"]) as app:
        app.start(registered, {"n": 1}, run_id="r")
        app.execute("r")
    with opened(registry, *plugins, storage=url) as app:
        app.signal("r", "go", "plain")
        app.execute("r")
        run, (step,) = app.get("r"), app.steps("r")
        assert (run.input.codecs, step.value.codecs) == (("flip",), ())
        assert app.outcome(run).result == "plain"  # type: ignore[union-attr]


def test_a_missing_codec_blocks_the_run_and_is_named(registry: Registry, tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    registered, answers = asks(registry), Answers(ToolResult(1))
    with opened(registry, Brings(Flips()), storage=url, payload=["flip"]) as app:
        app.start(registered, {"n": 1}, run_id="r")
    with opened(registry, answers, storage=url) as app:
        blocked = app.execute("r")
        assert isinstance(blocked, Blocked)
        assert "payload codec 'flip', which is not installed" in blocked.message
    assert answers.asked == []
    with opened(registry, Brings(Flips()), answers, storage=url) as app:
        app.redrive("r")
        app.execute("r")
        assert app.outcome(app.get("r")).result == 1  # type: ignore[union-attr]


def test_an_unknown_codec_in_the_order_is_refused(registry: Registry) -> None:
    with pytest.raises(ConfigError, match=r"payload = 'other' cannot be used; installed.*: flip"):
        opened(registry, Brings(Flips()), payload=["other"])


# -- sequential_register, sequential_commands ----------------------------------------------------


def test_a_plugin_adds_flows_and_tools(registry: Registry) -> None:
    brought = Registry()

    @tool("toy", "ask", registry=brought)
    def ask(n: int) -> int:
        return n + 1

    registered = asks(brought)

    class Adds:
        @hookimpl
        def sequential_register(self, registry: Registry) -> None:
            registry.add_tool(ask)
            registry.add_flow(registered)

    with opened(registry, Adds()) as app:
        assert app.run("asks", {"n": 1}) == 2
    assert list(registry.flows) == ["asks"]


def test_a_plugin_adds_commands() -> None:
    class Adds:
        @hookimpl
        def sequential_commands(self, cli: click.Group) -> None:
            cli.add_command(click.Command("greet"))

    group = click.Group()
    Plugins([Adds()], []).commands(group)
    assert list(group.commands) == ["greet"]


# -- hooks of wrong types ------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["sequential_storages", "sequential_transports"])
def test_a_hook_that_brings_no_mapping_is_named(hook: str) -> None:
    plugin = type("Odd", (), {hook: hookimpl(lambda self: ["memory"])})()
    with pytest.raises(Exception, match=hook) as raised:
        opened(Registry(), plugin)
    assert type(raised.value).__name__ == "PluginBroken"


def test_a_hook_that_brings_no_codecs_is_named() -> None:
    odd = Brings()
    odd.codecs = 5  # type: ignore[assignment]
    with pytest.raises(Exception, match="sequential_payload_codecs") as raised:
        opened(Registry(), odd)
    assert type(raised.value).__name__ == "PluginBroken"

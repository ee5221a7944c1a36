"""One trace per run, told once, with nothing in it that was not meant to be told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

import sequential
from sequential import (
    Registry,
    RetryPolicy,
    Sequential,
    Steps,
    ToolContext,
    flow,
    save,
    sleep,
    tool,
    wait_for_signal,
)
from sequential._events import RunEnded, StepRecorded
from sequential._span_ids import attempt_span_id, step_span_id, trace_id_of
from sequential._telemetry import Telemetry, carrier
from sequential.errors import ConfigError, RunFailed
from sequential.hookspecs import ResumeMessage
from sequential.spans import Woken, woken_by
from sequential.testing import FakeClock

CANARY = "canary-9f31c2"


class Hidden(Exception):
    """Its message is a secret."""


class Traced:
    """Spans told so far, over any number of applications."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

        self.plugins: list[Telemetry] = []

    def app(self, storage: object, registry: Registry, **settings: Any) -> Sequential:
        plugin = Telemetry(self.provider)
        self.plugins.append(plugin)
        chosen: Any = storage
        return Sequential(chosen, plugins=[plugin], registry=registry, **settings)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        assert all(plugin.flush(10.0) for plugin in self.plugins)
        return self.exporter.get_finished_spans()

    def named(self, start: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name.startswith(start)]


@pytest.fixture
def traced() -> Iterator[Traced]:
    made = Traced()
    yield made
    made.provider.shutdown()


@pytest.fixture
def registry() -> Registry:
    return Registry()


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    number: int = span.context.span_id
    return number


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def two_steps(registry: Registry) -> Any:
    @tool("math", "double", registry=registry)
    def double(n: int) -> int:
        return 2 * n

    @flow(name="twice", registry=registry)
    def twice(n: int) -> Steps[int]:
        once = yield from double(n)
        yield save()
        return (yield from double(once))

    return twice


def test_a_run_is_one_trace_of_run_invocation_steps_and_attempts(
    traced: Traced, registry: Registry
) -> None:
    clock = FakeClock()
    with traced.app("memory:", registry, clock=clock) as app:
        app.start(two_steps(registry), {"n": 3}, run_id="one")
        clock.advance(5)
        assert app.run("twice", {"n": 3}, run_id="one") == 12
        run = app.get("one")

    (whole,) = traced.named("run twice")
    steps, attempts = traced.named("execute_tool"), traced.named("attempt")
    assert {span.context.trace_id for span in traced.spans if span.context} == {
        trace_id_of("one", run.created)
    }
    assert whole.parent is None
    assert whole.start_time == int(run.created * 1e9)
    assert attributes(whole)["sequential.run.outcome"] == "success"
    assert [id_of(span) for span in steps] == [
        step_span_id("one", 0, "0"),
        step_span_id("one", 0, "2"),
    ]
    for step, attempt in zip(steps, attempts, strict=True):
        assert step.parent is not None
        assert step.parent.span_id == id_of(whole)
        assert attempt.parent is not None
        assert attempt.parent.span_id == id_of(step)
    assert {span.parent.span_id for span in traced.named("invocation") if span.parent} == {
        id_of(whole)
    }
    assert Counter(span.name for span in traced.spans) == {
        "run twice": 1, "invocation": 2, "execute_tool math.double": 2,
        "attempt math.double": 2, "save": 1,
    }  # fmt: skip


def test_the_trace_id_begins_with_the_second_in_which_the_run_was_created() -> None:
    assert trace_id_of("a", 0x6553F101 + 0.9) >> 96 == 0x6553F101
    assert trace_id_of("a", 0.0) != trace_id_of("b", 0.0)


def test_the_same_position_of_another_run_or_generation_is_another_span() -> None:
    ids = [step_span_id("r", 0, "1"), step_span_id("r", 1, "1"), step_span_id("q", 0, "1")]
    ids += [step_span_id("r", 0, "2"), *(attempt_span_id(7, n, f) for n, f in [(1, 2), (2, 1)])]
    assert len(set(ids)) == len(ids)


def test_ids_are_the_same_in_every_process() -> None:
    code = (
        "from sequential._telemetry import *;"
        "from sequential._span_ids import trace_id_of, step_span_id, attempt_span_id;"
        "s = step_span_id('r', 1, '3.0');"
        "print(trace_id_of('r', 1700000000.5), s, attempt_span_id(s, 2, 7))"
    )
    printed = {run_python(code, PYTHONHASHSEED=seed) for seed in ("1", "2")}
    step = step_span_id("r", 1, "3.0")
    here = f"{trace_id_of('r', 1700000000.5)} {step} {attempt_span_id(step, 2, 7)}"
    assert printed == {here}


def run_python(code: str, **variables: str) -> str:
    package = str(Path(sequential.__file__).parents[1])
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        check=False, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": package, **variables},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_a_run_over_many_applications_is_one_trace_without_duplicates(
    traced: Traced, registry: Registry, tmp_path: Path
) -> None:
    registered = two_steps(registry)
    url = f"sqlite:///{tmp_path}/runs.db"
    with traced.app(url, registry, pause="every-step") as app:
        app.start(registered, {"n": 1}, run_id="many")
    created = 0.0
    for _ in range(4):
        with traced.app(url, registry, pause="every-step", warm=0) as app:
            app.execute("many")
            created = app.get("many").created
    counted = Counter(id_of(span) for span in traced.spans)
    assert set(counted.values()) == {1}
    assert len(traced.named("run ")) == 1
    assert len(traced.named("execute_tool")) == 2
    assert len(traced.named("save")) == 1
    assert len(traced.named("invocation")) == 4
    traces = {span.context.trace_id for span in traced.spans if span.context}
    assert traces == {trace_id_of("many", created)}


def test_replay_tells_of_nothing_but_its_invocation(traced: Traced, registry: Registry) -> None:
    @tool("t", "one", registry=registry)
    def one() -> int:
        return 1

    @flow(name="waits", registry=registry)
    def waits() -> Steps[int]:
        yield from one()
        yield from wait_for_signal("go")
        return 1

    with traced.app("memory:", registry, warm=0) as app:
        app.start(waits, run_id="r")
        app.execute("r")
        assert len(traced.spans) > 1
        traced.exporter.clear()
        app.signal("r", "other")
        app.execute("r")
        assert [span.name for span in traced.spans] == ["invocation"]
        assert attributes(traced.spans[0])["sequential.invocation.reason"] == "signal"
        assert attributes(traced.spans[0])["sequential.resume.reason"] == "message"


def test_a_wait_has_its_real_times(traced: Traced, registry: Registry) -> None:
    @flow(name="sleepy", registry=registry)
    def sleepy() -> Steps[None]:
        yield from sleep(3600)
        yield from wait_for_signal("go", timeout=60, default=None)

    clock = FakeClock()
    with traced.app("memory:", registry, clock=clock) as app:
        app.run(sleepy)
    (slept,) = traced.named("sleep")
    (waited,) = traced.named("signal go")
    for span, seconds in ((slept, 3600), (waited, 60)):
        assert span.start_time is not None
        assert span.end_time is not None
        assert seconds <= (span.end_time - span.start_time) / 1e9 < seconds + 2
    assert attributes(waited)["sequential.step.outcome"] == "timeout"
    assert attributes(waited)["sequential.wait.key"] == "go"
    assert attributes(waited)["sequential.wait.kind"] == "event"
    assert attributes(slept)["sequential.wait.kind"] == "timer"
    (whole,) = traced.named("run")
    assert attributes(whole)["sequential.run.waited_ms"] == pytest.approx(3_660_000, abs=2000)
    assert attributes(whole)["sequential.run.retries"] == 0


def test_every_attempt_is_a_span_that_names_the_class_of_its_error(
    traced: Traced, registry: Registry
) -> None:
    @tool("t", "shaky", registry=registry, retry=RetryPolicy(max_attempts=3))
    def shaky(context: ToolContext) -> int:
        if context.attempt < 3:
            raise Hidden(CANARY)
        return 1

    @flow(name="shakes", registry=registry)
    def shakes() -> Steps[int]:
        return (yield from shaky())

    with traced.app("memory:", registry, clock=FakeClock()) as app:
        app.run(shakes)
    told = [attributes(span) for span in traced.named("attempt")]
    assert [each["sequential.attempt"] for each in told] == [1, 2, 3]
    assert [each.get("error.type") for each in told] == ["Hidden", "Hidden", None]
    assert [each["sequential.attempt.max"] for each in told] == [3, 3, 3]
    first, second, _ = traced.named("attempt")
    assert [(event.name, dict(event.attributes or {})) for event in first.events] == [
        ("exception", {"exception.type": "Hidden"})
    ]
    rest, _ = traced.named("backoff t.shaky")
    assert rest.parent == first.parent
    assert attributes(rest)["sequential.wait.kind"] == "backoff"
    assert first.end_time is not None
    assert second.start_time is not None
    assert rest.start_time is not None
    assert abs(rest.start_time - first.end_time) < 1e8
    assert rest.end_time == second.start_time
    assert told[1]["sequential.retry.delay_ms"] == round(
        ((attributes(rest)["sequential.wait.deadline"]) - rest.start_time / 1e9) * 1000
    )
    assert len({id_of(span) for span in traced.named("attempt")}) == 3
    (step,) = traced.named("execute_tool")
    assert "error.type" not in attributes(step)
    assert attributes(step)["sequential.step.attempts"] == 3


def test_a_failed_run_names_the_class_of_its_error(traced: Traced, registry: Registry) -> None:
    @tool("t", "bad", registry=registry)
    def bad() -> int:
        raise Hidden(CANARY)

    @flow(name="fails", registry=registry)
    def fails() -> Steps[int]:
        return (yield from bad())

    with traced.app("memory:", registry) as app, pytest.raises(RunFailed):
        app.run(fails)
    (whole,), (step,) = traced.named("run"), traced.named("execute_tool")
    assert attributes(whole)["sequential.run.outcome"] == "failure"
    assert attributes(whole)["error.type"] == "ToolError"
    assert attributes(step)["error.type"] == "Hidden"
    assert step.status.status_code is trace.StatusCode.ERROR
    assert step.status.description is None


class Died(KeyboardInterrupt):
    """Stands for a process that ends."""


def test_an_attempt_repeated_after_a_crash_has_a_span_of_its_own(
    traced: Traced, registry: Registry
) -> None:
    clock = FakeClock()
    with traced.app("memory:", registry, clock=clock) as app:
        app.start(two_steps(registry), {"n": 1}, run_id="r")
        commit = app.storage.commit

        def dies(run: Any, expect: Any, steps: Any = ()) -> Any:
            if steps or run.status == "paused":
                raise Died
            return commit(run, expect, steps)

        app.storage.commit = dies  # type: ignore[method-assign]
        with pytest.raises(Died):
            app.execute("r")
        app.storage.commit = commit  # type: ignore[method-assign]
        clock.advance(3600)
        app.execute("r")
    first, second = traced.named("attempt math.double")[:2]
    assert attributes(first)["sequential.attempt"] == attributes(second)["sequential.attempt"] == 1
    assert attributes(first)["sequential.step.position"] == "0"
    assert attributes(second)["sequential.step.position"] == "0"
    assert id_of(first) != id_of(second)
    assert first.parent == second.parent
    assert (
        len([s for s in traced.named("execute_tool") if id_of(s) == step_span_id("r", 0, "0")]) == 1
    )


@pytest.mark.parametrize("kind", ["sync", "timeout", "async"])
def test_spans_that_a_tool_makes_nest_below_its_attempt(
    kind: str, traced: Traced, registry: Registry
) -> None:
    own = traced.provider.get_tracer("http client")

    def request() -> int:
        with own.start_as_current_span("GET"):
            return 1

    if kind == "async":

        @tool("t", "calls", registry=registry)
        async def calls() -> int:
            return request()

    else:

        @tool("t", "calls", registry=registry, timeout=30 if kind == "timeout" else None)
        def calls() -> int:
            return request()

    @flow(name="f", registry=registry)
    def f() -> Steps[int]:
        return (yield from calls())

    with traced.app("memory:", registry) as app:
        app.run(f)
    (get,), (attempt,) = traced.named("GET"), traced.named("attempt")
    assert get.parent is not None
    assert get.parent.span_id == id_of(attempt)
    assert get.context is not None
    assert attempt.context is not None
    assert get.context.trace_id == attempt.context.trace_id
    assert not trace.get_current_span().get_span_context().is_valid


def test_secrets_are_in_no_span(traced: Traced, registry: Registry) -> None:
    @tool("t", "leaks", registry=registry, retry=RetryPolicy(max_attempts=2))
    def leaks(context: ToolContext, secret: str) -> str:
        if context.attempt == 1:
            raise Hidden(f"{CANARY} {secret}")
        return f"{CANARY} result"

    @flow(name="f", registry=registry)
    def f(secret: str) -> Steps[str]:
        found = yield from leaks(secret)
        value = yield from wait_for_signal("answer")
        raise Hidden(f"{found} {value}")

    with traced.app("memory:", registry, clock=FakeClock()) as app:
        app.start(f, {"secret": CANARY}, run_id="r", tags={"who": CANARY})
        app.signal("r", "answer", {"deep": [CANARY]})
        while app.get("r").status != "failed":
            app.execute("r")
        assert CANARY in app.get("r").error.message  # type: ignore[union-attr]
    told = [json.loads(span.to_json()) for span in traced.spans]
    assert len(told) >= 6
    assert CANARY not in json.dumps(told)


def test_the_span_of_the_caller_is_linked_and_is_no_parent(traced: Traced) -> None:
    with traced.provider.get_tracer("web").start_as_current_span("POST") as caller:
        stored = carrier()
    assert set(stored) == {"traceparent"}
    linked = told_of_run(traced, stored)
    assert [link.context.span_id for link in linked.links] == [caller.get_span_context().span_id]
    assert linked.parent is None


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"traceparent": ""},
        {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"},
        {"traceparent": "ff-" + "1" * 32 + "-" + "2" * 16 + "-01"},
        {"traceparent": "00-é" + "1" * 31 + "-" + "2" * 16 + "-01\r\nX: y"},
        {"tracestate": "a=b"},
    ],
)
def test_a_malformed_context_of_a_caller_is_no_link(stored: dict[str, str], traced: Traced) -> None:
    assert not told_of_run(traced, stored).links


def told_of_run(traced: Traced, stored: dict[str, str]) -> ReadableSpan:
    from sequential._model import Payload, Run, Status

    run = Run("r", "f", Payload(b"1"), trace=stored, created=5.0, status=Status.COMPLETED)
    plugin = Telemetry(traced.provider)
    plugin.sequential_observe(RunEnded(run, 7.0))
    assert plugin.flush(10.0)
    (told,) = traced.named("run f")
    return told


def test_an_invocation_says_what_woke_it_and_how_late(traced: Traced, registry: Registry) -> None:
    @flow(name="f", registry=registry)
    def f() -> Steps[None]:
        yield from sleep(60)
        yield from wait_for_signal("go")

    clock = FakeClock()
    with traced.app("memory:", registry, clock=clock) as app:
        app.start(f, run_id="r")
        app.execute("r")
        clock.advance(61.5)
        with traced.provider.get_tracer("queue").start_as_current_span("send") as sender:
            sent = Woken("consumer", {"messaging.system": "aws_sqs"}, carrier())
        with woken_by(Woken(attributes={"faas.coldstart": True})), woken_by(sent):
            app.execute("r")
        app.signal("r", "go")
        with woken_by(Woken("server")):
            app.execute("r")
    first, second, third = traced.named("invocation")
    reasons = [attributes(each)["sequential.resume.reason"] for each in (first, second, third)]
    assert reasons == ["start", "sleep", "signal"]
    assert [each.kind.name for each in (first, second, third)] == ["INTERNAL", "CONSUMER", "SERVER"]
    assert attributes(second)["sequential.resume.lag_ms"] == pytest.approx(1500, abs=10)
    assert attributes(second)["messaging.system"] == "aws_sqs"
    assert attributes(second)["faas.coldstart"] is True
    assert [each.context.span_id for each in second.links] == [sender.get_span_context().span_id]
    assert not third.links


class Hears:
    """A transport that keeps what is sent, and asks nothing."""

    carries = True
    longest_delay = 900.0

    def __init__(self) -> None:
        self.sent: list[ResumeMessage] = []

    def send(self, messages: Sequence[ResumeMessage]) -> None:
        self.sent += messages

    def listen(self, *_: object) -> None: ...

    def close(self) -> None: ...


def test_a_message_names_the_invocation_that_sent_it(traced: Traced, registry: Registry) -> None:
    hears = Hears()
    with traced.app("memory:", registry, transport=hears, pause="every-step") as app:
        app.start(two_steps(registry), {"n": 1}, run_id="r")
        app.execute("r")
        with traced.provider.get_tracer("web").start_as_current_span("POST") as request:
            app.cancel("r")
    (invocation,) = traced.named("invocation")
    named = [message.trace.get("traceparent", "").split("-") for message in hears.sent]
    assert named[1][2] == f"{id_of(invocation):016x}"
    assert named[2][2] == f"{request.get_span_context().span_id:016x}"


def test_no_span_gives_an_empty_carrier() -> None:
    assert carrier() == {}


def test_an_oversized_tracestate_is_not_stored() -> None:
    state = trace.TraceState([(f"k{n}", "v" * 200) for n in range(9)])
    context = trace.SpanContext(1, 2, is_remote=False, trace_state=state)
    with trace.use_span(trace.NonRecordingSpan(context)):
        assert set(carrier()) == {"traceparent"}


class Broken(SpanProcessor):
    def __init__(self) -> None:
        self.told = 0

    def on_start(self, *_: object, **__: object) -> None:
        self.told += 1
        raise Hidden(CANARY)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        raise Hidden(CANARY)


def test_a_broken_span_processor_harms_no_run(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    broken, provider = Broken(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(broken)
    plugin = Telemetry(provider)
    with Sequential("memory:", plugins=[plugin], registry=registry) as app:
        assert app.run(two_steps(registry), {"n": 1}) == 4
    assert plugin.flush(10.0) is False
    assert plugin.failures == broken.told + 1 > 6  # each span, and the flush itself
    assert [record.message for record in caplog.records] == [
        "telemetry failed, runs go on without: Hidden"
    ]


class Stuck(SpanProcessor):
    """Takes no span until it is let go."""

    def __init__(self) -> None:
        self.gate, self.told = threading.Event(), 0

    def on_end(self, *_: object) -> None:
        self.gate.wait(60)
        self.told += 1

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


def test_a_processor_that_hangs_keeps_no_run_and_little_memory(
    registry: Registry, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sequential._telemetry.plugin._ROOM", 5)
    stuck, provider = Stuck(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(stuck)
    plugin = Telemetry(provider)
    with Sequential("memory:", plugins=[plugin], registry=registry) as app:
        for _ in range(5):
            assert app.run(two_steps(registry), {"n": 1}) == 4
    assert plugin.flush(0.05) is False
    stuck.gate.set()
    assert plugin.flush(10.0) is True
    assert stuck.told <= 6 < plugin.failures
    assert [record.message for record in caplog.records] == [
        "telemetry failed, runs go on without: OverflowError"
    ]


def test_a_forked_process_tells_of_its_own_runs() -> None:
    printed = run_python(
        """
        import os
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
        from sequential import Sequential, flow
        from sequential.telemetry import Telemetry

        @flow
        async def f() -> int:
            return 1

        provider = TracerProvider()
        where = lambda: "parent" if os.getpid() == first else "child"
        show = lambda span: f"{span.name} in {where()}{os.linesep}"
        provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=show)))
        plugin, first = Telemetry(provider), os.getpid()
        Sequential("memory:", plugins=[plugin]).run(f)
        assert plugin.flush(10)
        if os.fork() == 0:
            Sequential("memory:", plugins=[plugin]).run(f)
        else:
            os.wait()
        """
    )
    told = [f"{name} in {who}" for name in ("invocation", "run f") for who in ("child", "parent")]
    assert sorted(printed.splitlines()) == told


def test_a_forked_process_keeps_its_own_rows() -> None:
    printed = run_python(
        """
        import os
        from sequential import Registry, flow
        from tests.core.kept import Shelf, keeping

        @flow(registry=(registry := Registry()))
        async def f() -> int:
            return 1

        shelf = Shelf()
        app = keeping(shelf, registry)
        app.run(f)
        assert app.flush(10)
        if (child := os.fork()) == 0:
            shelf.spans.clear()
        else:
            os.wait()
        app.run(f)
        assert app.flush(10)
        print("child" if child == 0 else "parent", len(shelf.spans), flush=True)
        """,
        PYTHONPATH=str(Path(__file__).parents[2]),
    )
    assert printed.splitlines() == ["child 1", "parent 2"]


def test_flush_takes_no_longer_than_it_is_given() -> None:
    gate = threading.Event()

    class Hangs(SpanProcessor):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return gate.wait(60)

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Hangs())
    try:
        assert Telemetry(provider).flush(0.05) is False
    finally:
        gate.set()
    assert Telemetry(provider).flush(30) is True


@pytest.mark.parametrize(("ratio", "told"), [(0.0, False), (1.0, True)])
def test_sampling_is_decided_once_for_the_whole_trace(
    ratio: float, told: bool, registry: Registry
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(ParentBased(TraceIdRatioBased(ratio)), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    seen: list[bool] = []

    @tool("t", "looks", registry=registry)
    def looks() -> None:
        seen.append(trace.get_current_span().get_span_context().trace_flags.sampled)

    @flow(name="f", registry=registry)
    def f() -> Steps[None]:
        yield from looks()

    plugin = Telemetry(provider)
    with Sequential("memory:", plugins=[plugin], registry=registry) as app:
        app.run(f)
    assert plugin.flush(10.0)
    assert seen == [told]
    assert bool(exporter.get_finished_spans()) is told


def test_a_disabled_sdk_is_told_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    made = Traced()
    with made.app("memory:", registry) as app:
        assert app.run(two_steps(registry), {"n": 1}) == 4
    assert made.spans == ()


def test_two_applications_may_share_one_provider(traced: Traced, registry: Registry) -> None:
    first, second = Telemetry(traced.provider), Telemetry(traced.provider)
    registered = two_steps(registry)
    for plugin in (first, second, first):
        with Sequential("memory:", plugins=[plugin], registry=registry) as app:
            app.run(registered, {"n": 1})
    assert first.flush(10.0)
    assert second.flush(10.0)
    assert first.failures == second.failures == 0
    assert len(traced.named("run ")) == 3


def test_without_a_provider_the_error_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"set_tracer_provider.*Telemetry\.otlp\(\)"):
        Telemetry(trace.ProxyTracerProvider())


def test_without_an_exporter_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sequential._telemetry.providers.entry_points", lambda **_: ())
    with pytest.raises(ConfigError, match="pip install opentelemetry-exporter-otlp-proto-http"):
        Telemetry.otlp()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigError, match="pip install opentelemetry-exporter-otlp-proto-grpc"):
        Telemetry.otlp()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "morse")
    with pytest.raises(ConfigError, match="'morse' cannot be used; use http/protobuf"):
        Telemetry.otlp()


class Found:
    """Entry points that bring exporters which keep everything."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.asked: list[dict[str, str]] = []
        self.given: list[dict[str, Any]] = []
        self.metrics: list[dict[str, Any]] = []

    def __call__(self, **wanted: str) -> list[Any]:
        self.asked.append(wanted)
        traces = wanted["group"] == "opentelemetry_traces_exporter"
        made = (lambda: self.spans) if traces else self._measured
        return [type("Entry", (), {"load": staticmethod(lambda: made)})]

    def _measured(self, **given: Any) -> MetricExporter:
        self.given.append(given)
        found = self.metrics

        class Keeps(MetricExporter):
            def export(self, metrics_data: MetricsData, *_: object, **__: object) -> Any:
                found.append(json.loads(metrics_data.to_json()))
                return MetricExportResult.SUCCESS

            def force_flush(self, timeout_millis: float = 10_000) -> bool:
                return True

            def shutdown(self, *_: object, **__: object) -> None:
                pass

        return Keeps(**given)


@pytest.fixture
def exporters(monkeypatch: pytest.MonkeyPatch) -> Found:
    found = Found()
    monkeypatch.setattr("sequential._telemetry.providers.entry_points", found)
    return found


def shut(plugin: Telemetry) -> None:
    plugin.provider.shutdown()
    if hasattr(plugin._meters, "shutdown"):
        plugin._meters.shutdown()


def test_otlp_uses_the_installed_exporters(exporters: Found) -> None:
    plugin = Telemetry.otlp()
    with plugin.provider.get_tracer("any").start_as_current_span("one"):
        pass
    assert plugin.flush(30)
    assert [span.name for span in exporters.spans.get_finished_spans()] == ["one"]
    assert exporters.asked == [
        {"group": f"opentelemetry_{signal}_exporter", "name": "otlp_proto_http"}
        for signal in ("traces", "metrics")
    ]
    assert exporters.given == [{}]
    shut(plugin)


def test_metrics_can_be_left_out(exporters: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    shut(Telemetry.otlp())
    assert len(exporters.asked) == 1


def test_on_lambda_metrics_are_deltas_and_the_resource_says_where(
    exporters: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    plugin = Telemetry.otlp()
    assert {each.name for each in exporters.given[0]["preferred_temporality"].values()} == {"DELTA"}
    told = plugin.provider.resource.attributes
    assert (told["faas.name"], told["service.name"], told["cloud.region"]) == (
        "orders", "orders", "eu-central-1",
    )  # fmt: skip
    shut(plugin)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    plugin = Telemetry.otlp()
    assert plugin.provider.resource.attributes["service.name"] == "shop"
    shut(plugin)


def test_a_closed_application_leaves_no_thread_of_its_telemetry(
    exporters: Found, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    before = set(threading.enumerate())
    with Sequential("memory:", telemetry="otlp", plugins=[], registry=registry) as app:
        app.run(two_steps(registry), {"n": 1})
    left = {each.name for each in set(threading.enumerate()) - before}
    assert left <= {"sequential-aside"}
    assert len(exporters.spans.get_finished_spans()) == 8
    assert len(exporters.metrics) >= 1
    assert caplog.records == []


def points(exporters: Found) -> dict[str, list[dict[str, Any]]]:
    return {
        metric["name"]: metric["data"]["data_points"]
        for scope in exporters.metrics[-1]["resource_metrics"][0]["scope_metrics"]
        for metric in scope["metrics"]
    }


def test_metrics_tell_of_flows_and_tools_and_never_of_runs(
    exporters: Found, registry: Registry
) -> None:
    @tool("t", "shaky", registry=registry, retry=RetryPolicy(max_attempts=3, jitter=False))
    def shaky(context: ToolContext) -> int:
        if context.attempt < 3:
            raise Hidden(CANARY)
        return 1

    @flow(name="f", registry=registry)
    def f() -> Steps[int]:
        yield from sleep(60)
        return (yield from shaky())

    plugin, clock = Telemetry.otlp(), FakeClock()
    with Sequential("memory:", plugins=[plugin], registry=registry, clock=clock) as app:
        app.run(f, run_id=f"run-{CANARY}")
    assert plugin.flush(30)
    told = points(exporters)
    shut(plugin)
    assert CANARY not in json.dumps(told)
    flow_f = {"sequential.flow.name": "f"}
    (started,), (finished,) = told["sequential.run.started"], told["sequential.run.finished"]
    assert (started["value"], started["attributes"]) == (1, flow_f)
    assert finished["attributes"] == {**flow_f, "sequential.run.outcome": "success"}
    (errors,) = told["sequential.step.errors"]
    assert errors["value"] == 2
    assert errors["attributes"]["error.type"] == "Hidden"
    (attempts,) = told["sequential.step.attempts"]
    assert attempts["sum"] == 3
    waits = {each["attributes"]["sequential.wait.kind"]: each for each in
             told["sequential.wait.duration"]}  # fmt: skip
    assert waits["timer"]["sum"] == pytest.approx(60, abs=1)
    assert waits["backoff"]["count"] == 2
    assert {each["attributes"]["sequential.resume.reason"] for each in
            told["sequential.resume.lag"]} >= {"start", "sleep"}  # fmt: skip
    assert {each["attributes"].get("error.type") for each in
            told["gen_ai.execute_tool.duration"]} == {"Hidden", None}  # fmt: skip
    assert told["sequential.run.duration"][0]["count"] == 1
    assert told["sequential.invocation.duration"][0]["count"] >= 2


def test_invocations_that_never_finish_are_forgotten(
    traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sequential._events import InvocationStarted
    from sequential._model import Payload, Run

    monkeypatch.setattr("sequential._telemetry.plugin._ENTRIES", 10)
    plugin = Telemetry(traced.provider)
    for n in range(50):
        run = Run(f"r{n}", "f", Payload(b"1"))
        plugin.sequential_observe(InvocationStarted(run, 1.0, warm=False))
    assert plugin.flush(10.0)
    assert len(plugin._invocations) == 10
    assert plugin.failures == 0


def test_a_step_told_again_has_the_same_ids(traced: Traced, registry: Registry) -> None:
    with traced.app("memory:", registry) as app:
        app.run(two_steps(registry), {"n": 1}, run_id="r")
        run, steps = app.get("r"), app.steps("r")
    before = {id_of(span) for span in traced.named("execute_tool")}
    traced.exporter.clear()
    other = Telemetry(traced.provider)
    for step in steps:
        other.sequential_observe(StepRecorded(run, step))
    assert other.flush(10.0)
    assert {id_of(span) for span in traced.named("execute_tool")} == before


def test_with_telemetry_off_opentelemetry_is_never_imported() -> None:
    printed = run_python("""
        import sys
        import sequential
        from sequential import Registry, Sequential, flow, tool

        @tool("t", "one")
        def one() -> int:
            return 1

        @flow
        def f():
            return (yield from one())

        with Sequential("memory:") as app:
            assert app.run(f) == 1
        print([name for name in sys.modules if name.startswith("opentelemetry")])
    """)
    assert printed == "[]"

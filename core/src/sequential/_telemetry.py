"""Tells OpenTelemetry of runs: one trace per run, one span per invocation, step and attempt.

The only file that knows OpenTelemetry, imported only when telemetry is on. All ids but those of
invocations are derived from the record, so that every process adds to the same trace and no span
stays open while nothing runs. Attributes are an allow-list: never an input, a result or the message
of an exception. One observer among others; the engine does not know it. Spans are made on a thread
of their own, while a run waits for its storage.
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import weakref
from collections.abc import Generator, Mapping, Sequence
from contextvars import Token
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import distributions, entry_points
from typing import NamedTuple, Self

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Tracer, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ._aside import Aside
from ._calls import Pending, ToolCall, ToolContext, ToolResult
from ._events import (
    AttemptFinished,
    Event,
    InvocationStarted,
    RunEnded,
    SignalDropped,
    StepRecorded,
)
from ._span_ids import attempt_span_id, step_span_id, trace_id_of
from ._spans import Told, run_span_id, told_attempt, told_invocation, told_run, told_step
from .errors import ConfigError
from .hookspecs import hookimpl

_log = logging.getLogger("sequential")

_ROOM = 8192
"""Events that wait for their spans at most; what comes when there are more is dropped."""

_ENTRIES = 4096
"""Invocations remembered at most: one that failed with its storage never says that it finished."""

_EXPORTERS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}

_W3C = TraceContextTextMapPropagator()

Answer = ToolResult | Pending | None


class _PreparedIds(IdGenerator):
    """Hands out the ids laid ready on this thread."""

    ready = threading.local()

    def generate_trace_id(self) -> int:
        return int(self.ready.trace)

    def generate_span_id(self) -> int:
        return int(self.ready.span)


def carrier() -> dict[str, str]:
    """Return the W3C context of the current span, to be stored with a run; empty without one.

    Holds ``traceparent`` and at most 512 characters of ``tracestate``; never baggage.
    """
    found: dict[str, str] = {}
    _W3C.inject(found)
    if len(found.get("tracestate", "")) > 512:  # as many as W3C asks everybody to carry
        del found["tracestate"]
    return found


def _links(target: SpanContext) -> list[Link]:
    return [Link(target)] if target.is_valid else []


def _caller(stored: Mapping[str, str]) -> SpanContext:
    """Return the span that started the run. Only linked to: whether to sample is decided here."""
    return trace.get_current_span(_W3C.extract(stored, Context())).get_span_context()


@dataclass(slots=True)
class _Invocation:
    """An invocation under way on one thread; *links* lead to whoever called for it."""

    context: SpanContext
    started: float
    warm: bool
    links: Sequence[Link]
    error: str | None = None


class _Heard(NamedTuple):
    """An event, with the thread that it came from and the span that was current there."""

    event: Event
    thread: int
    current: SpanContext | None


class Telemetry:
    """The plugin that tells OpenTelemetry: ``Sequential(plugins=[Telemetry()])``.

    What fails in a span processor is counted in `failures`, logged once, and harms no run. So is
    what is dropped because more happened than could be told.
    """

    def __init__(self, tracer_provider: trace.TracerProvider | None = None) -> None:
        """Tell *tracer_provider*, by default the one set for the process.

        Its samplers, limits, processors and resource apply. Samplers that decide by trace id (all
        but rate limiters) decide alike in every process of a run.

        Raises:
            ConfigError: It is not a provider of the OpenTelemetry SDK.
        """
        provider = tracer_provider or trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            remedy = (
                "call opentelemetry.trace.set_tracer_provider() with a provider of the"
                " OpenTelemetry SDK first, give one to Telemetry(), or use Telemetry.otlp()"
            )
            raise ConfigError("telemetry", type(provider).__name__, remedy)
        self.provider = provider
        self.failures = 0
        tracer = provider.get_tracer("sequential", _version())
        self._tracer = tracer if isinstance(tracer, Tracer) else None  # None: OTEL_SDK_DISABLED
        if self._tracer is not None:
            self._tracer.id_generator = _PreparedIds()
        self._root = lru_cache(1024)(self._decided)
        self._invocations: dict[tuple[str, int], _Invocation] = {}
        self._aside = Aside(self._hear, _ROOM)
        # Before the provider's own end, which was registered earlier.
        atexit.register(_finish, weakref.ref(self._aside))

    @classmethod
    def otlp(cls) -> Self:
        """Export by OTLP, as the standard ``OTEL_*`` environment variables say.

        Among them ``OTEL_EXPORTER_OTLP_PROTOCOL``: ``http/protobuf`` (default) or ``grpc``.

        Raises:
            ConfigError: The exporter is not installed; the message says what to install.
        """
        provider = TracerProvider(resource=Resource.create({"sequential.version": _version()}))
        provider.add_span_processor(BatchSpanProcessor(_exporter()))
        return cls(provider)

    def flush(self, seconds: float = 2.0) -> bool:
        """Hand what was told so far to the exporters, for at most *seconds*; never raises.

        Call it before a process is frozen or ends. Returns False when the time was up or it failed;
        whether the other side accepted the spans is known to the exporter only.
        """
        # On a thread of its own: processors of several SDK versions ignore the time they are given.
        answers: list[bool] = []

        def work() -> None:
            told = self._aside.wait(seconds)
            try:
                answers.append(self.provider.force_flush(max(1, int(seconds * 1000))) and told)
            except Exception as error:  # noqa: BLE001  (an exporter may fail in any way)
                self._failed(error)

        thread = threading.Thread(target=work, daemon=True, name="sequential-telemetry")
        thread.start()
        thread.join(seconds)
        return answers == [True]

    @hookimpl
    def sequential_trace(self) -> Mapping[str, str] | None:
        """Let a new run remember the span it was started in."""
        return carrier() or None

    @hookimpl
    def sequential_observe(self, event: Event) -> None:
        """Tell of *event*, a little later."""
        current = None
        if isinstance(event, InvocationStarted):
            current = trace.get_current_span().get_span_context()
        dropped = self._aside.dropped
        self._aside.put(_Heard(event, threading.get_ident(), current))
        if self._aside.dropped != dropped:
            self._failed(OverflowError())

    def _hear(self, heard: _Heard) -> None:
        try:
            self._observe(heard)
        except Exception as error:  # noqa: BLE001  (a span processor may fail in any way)
            self._failed(error)

    @hookimpl(wrapper=True, tryfirst=True)
    def sequential_call_tool(self, call: ToolCall) -> Generator[None, Answer, Answer]:
        """Make the attempt's span the current one, so that the spans a tool makes nest below it."""
        token = self._entered(call.context)
        try:
            return (yield)
        finally:
            if token is not None:
                contexts.detach(token)

    def _entered(self, call: ToolContext) -> Token[Context] | None:
        try:
            root = self._root(call.run_id, call.run_created, call.flow)
            step = step_span_id(call.run_id, call.generation, call.position)
            span = _beside(root, attempt_span_id(step, call.attempt, call.fence))
            return contexts.attach(trace.set_span_in_context(NonRecordingSpan(span)))
        except Exception as error:  # noqa: BLE001  (a sampler may fail in any way)
            self._failed(error)
            return None

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        if self.failures == 1:
            # Its class only: messages of exporters quote what they were to send.
            _log.warning("telemetry failed, runs go on without: %s", type(error).__name__)

    def _observe(self, heard: _Heard) -> None:
        event = heard.event
        run = event.run
        root = self._root(run.run_id, run.created, run.flow)
        key = run.run_id, heard.thread
        if isinstance(event, InvocationStarted):
            return self._remember(key, root, event, heard.current)
        found = self._invocations.get(key)
        links: Sequence[Link] = () if found is None else _links(found.context)
        if isinstance(event, AttemptFinished):
            told = told_attempt(event)
            if found is not None:
                found.error = event.error
        elif isinstance(event, StepRecorded):
            told = told_step(run, event.step)
            if found is not None and found.error:
                told = told._replace(error=told.error and found.error)
                found.error = None
        elif isinstance(event, RunEnded):
            told, links = told_run(run, event.at), _links(_caller(run.trace))
        elif found is None or isinstance(event, SignalDropped):
            return None
        else:
            del self._invocations[key]
            own, times = found.context.span_id, (found.started, event.at)
            told = told_invocation(run, event.outcome, own, times, warm=found.warm)
            links = found.links
        return self._tell(root, told, links)

    def _remember(
        self,
        key: tuple[str, int],
        root: SpanContext,
        event: InvocationStarted,
        current: SpanContext | None,
    ) -> None:
        if len(self._invocations) >= _ENTRIES:
            self._invocations.pop(next(iter(self._invocations)), None)
        own = _beside(root, random.SystemRandom().getrandbits(64) or 1)
        links = () if current is None else _links(current)
        self._invocations[key] = _Invocation(own, event.at, event.warm, links)

    def _decided(self, run_id: str, created: float, flow: str) -> SpanContext:
        """Return the context of a run's own span, with what the sampler says of its trace."""
        number, flags = trace_id_of(run_id, created), TraceFlags.DEFAULT
        if self._tracer is not None:
            answer = self._tracer.sampler.should_sample(Context(), number, f"run {flow}")
            flags = TraceFlags.SAMPLED if answer.decision is Decision.RECORD_AND_SAMPLE else flags
        span = run_span_id(run_id)
        return SpanContext(number, span, is_remote=False, trace_flags=TraceFlags(flags))

    def _tell(self, root: SpanContext, told: Told, links: Sequence[Link]) -> None:
        if self._tracer is None:
            return
        context, (started, ended) = Context(), told.times
        if told.parent is not None:
            above = NonRecordingSpan(_beside(root, told.parent))
            context = trace.set_span_in_context(above, context)
        _PreparedIds.ready.trace, _PreparedIds.ready.span = root.trace_id, told.span
        span = self._tracer.start_span(
            told.name, context, attributes=told.attributes, links=links,
            start_time=int(started * 1e9),
        )  # fmt: skip
        if told.error is not None:
            span.set_attribute("error.type", told.error[:256])
            span.set_status(Status(StatusCode.ERROR))
        span.end(int(max(started, ended) * 1e9))


def _finish(kept: weakref.ref[Aside[_Heard]]) -> None:
    """At the end of the process, let what was heard become spans."""
    if (aside := kept()) is not None:
        aside.wait(2.0)


def _beside(root: SpanContext, span: int) -> SpanContext:
    """Return the context of another span of the same trace."""
    return SpanContext(root.trace_id, span, is_remote=False, trace_flags=root.trace_flags)


def _version() -> str:
    return next((each.version for each in distributions(name="sequential-core")), "0")


def _exporter() -> SpanExporter:
    chosen = [os.environ.get(f"OTEL_EXPORTER_OTLP_{each}PROTOCOL") for each in ("TRACES_", "")]
    protocol = chosen[0] or chosen[1] or "http/protobuf"
    if protocol not in _EXPORTERS:
        raise ConfigError("OTEL_EXPORTER_OTLP_PROTOCOL", protocol, "use http/protobuf or grpc")
    entry = _EXPORTERS[protocol]
    for found in entry_points(group="opentelemetry_traces_exporter", name=entry):
        made: SpanExporter = found.load()()
        return made
    package = f"opentelemetry-exporter-{entry.replace('_', '-')}"
    remedy = f"its exporter is not installed; it needs: pip install {package}"
    raise ConfigError("telemetry", "otlp", remedy)

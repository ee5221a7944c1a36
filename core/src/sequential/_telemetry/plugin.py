"""One trace per run, one span per invocation, step and attempt: the observer that tells of them.

All ids are derived from the record, so that every process adds to the same trace and no span stays
open while nothing runs. Attributes are an allow-list: never an input, a result or the message of
an exception. One observer among others; the engine does not know it. Spans are made on a thread of
their own, while a run waits for its storage.
"""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Generator, Mapping, Sequence
from contextvars import Token
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Self

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

from .._aside import Aside
from .._calls import Pending, ToolCall, ToolContext, ToolResult
from .._events import (
    AttemptFinished,
    Event,
    InvocationStarted,
    RunEnded,
    SignalDropped,
    StepRecorded,
)
from .._keeper import Keeper
from .._span_ids import (
    attempt_span_id,
    invocation_span_id,
    run_span_id,
    step_span_id,
    trace_id_of,
)
from .._spans import Told, told_attempt, told_invocation, told_run, told_step
from ..errors import ConfigError
from ..hookspecs import hookimpl
from .contexts import PreparedIds, below, beside, caller, carrier, links_to
from .foreign import collect_for, row_of_ours
from .providers import otlp_tracer_provider, version

_log = logging.getLogger("sequential")

_ROOM = 8192
"""Events that wait for their spans at most; what comes when there are more is dropped."""

_ENTRIES = 4096
"""Invocations remembered at most: one that failed with its storage never says that it finished."""

Answer = ToolResult | Pending | None


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
        tracer = provider.get_tracer("sequential", version())
        self._tracer = tracer if isinstance(tracer, Tracer) else None  # None: OTEL_SDK_DISABLED
        if self._tracer is not None:
            self._tracer.id_generator = PreparedIds()
        self._root = lru_cache(1024)(self._decided)
        self._invocations: dict[tuple[str, int], _Invocation] = {}
        self._keeper: Keeper | None = None
        self._aside = Aside(self._hear, _ROOM)
        # Before the provider's own end, which was registered earlier.
        atexit.register(_finish, weakref.ref(self))

    @classmethod
    def otlp(cls) -> Self:
        """Export by OTLP, as the standard ``OTEL_*`` environment variables say.

        Among them ``OTEL_EXPORTER_OTLP_PROTOCOL``: ``http/protobuf`` (default) or ``grpc``.

        Raises:
            ConfigError: The exporter is not installed; the message says what to install.
        """
        return cls(otlp_tracer_provider())

    @classmethod
    def stored(cls) -> Self:
        """Make no spans at all, only the rows of a span store: see `keep`."""
        made = cls(TracerProvider(ALWAYS_OFF, shutdown_on_exit=False))
        made._tracer = None
        return made

    def keep(self, keeper: Keeper) -> None:
        """Also leave to *keeper* what the records of runs do not say, whatever is sampled.

        And the spans that other instrumentations make below those of runs, in this provider and in
        the one that is set for the process.
        """
        self._keeper = keeper
        collect_for(self.provider, keeper)

    def flush(self, seconds: float = 2.0) -> bool:
        """Hand what was told so far to the exporters, for at most *seconds*; never raises.

        Call it before a process is frozen or ends. Returns False when the time was up or it failed;
        whether the other side accepted the spans is known to the exporter only.
        """
        # On a thread of its own: processors of several SDK versions ignore the time they are given.
        answers: list[bool] = []

        def work() -> None:
            told = self.finish(seconds)
            try:
                answers.append(self.provider.force_flush(max(1, int(seconds * 1000))) and told)
            except Exception as error:  # noqa: BLE001  (an exporter may fail in any way)
                self._failed(error)

        thread = threading.Thread(target=work, daemon=True, name="sequential-telemetry")
        thread.start()
        thread.join(seconds)
        return answers == [True]

    def finish(self, seconds: float) -> bool:
        """Let what was heard become spans and rows, for at most *seconds* each; say whether."""
        told = self._aside.wait(seconds)
        return (self._keeper is None or self._keeper.flush(seconds)) and told

    @hookimpl
    def sequential_trace(self) -> Mapping[str, str] | None:
        """Let a new run remember the span it was started in."""
        return carrier() or None

    @hookimpl
    def sequential_observe(self, event: Event) -> None:
        """Tell of *event*, a little later."""
        current = None
        if isinstance(event, InvocationStarted):
            if self._keeper is not None:
                self._keeper.see(trace_id_of(event.run.run_id, event.run.created))
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
            span = beside(root, attempt_span_id(step, call.attempt, call.fence))
            if self._keeper is not None:
                self._keeper.see(root.trace_id)
                collect_for(trace.get_tracer_provider(), self._keeper)
            return contexts.attach(below(span))
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
        links: Sequence[Link] = () if found is None else links_to(found.context)
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
            told, links = told_run(run, event.at), links_to(caller(run.trace))
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
        own = beside(root, invocation_span_id(event.run.run_id, event.run.fence))
        links = () if current is None else links_to(current)
        self._invocations[key] = _Invocation(own, event.at, event.warm, links)

    def _decided(self, run_id: str, created: float, flow: str) -> SpanContext:
        """Return the context of a run's own span, with what the sampler says of its trace."""
        number, flags = trace_id_of(run_id, created), TraceFlags.DEFAULT
        sampler = self._sampler()
        if sampler is not None:
            answer = sampler.should_sample(Context(), number, f"run {flow}")
            flags = TraceFlags.SAMPLED if answer.decision is Decision.RECORD_AND_SAMPLE else flags
        span = run_span_id(run_id)
        return SpanContext(number, span, is_remote=False, trace_flags=TraceFlags(flags))

    def _sampler(self) -> Sampler | None:
        """Return who decides: where no spans are made here, those of tools still may be."""
        if self._tracer is not None:
            return self._tracer.sampler
        set_for_process = trace.get_tracer_provider()
        return set_for_process.sampler if isinstance(set_for_process, TracerProvider) else None

    def _tell(self, root: SpanContext, told: Told, links: Sequence[Link]) -> None:
        if self._keeper is not None and not told.recorded:
            self._keeper.put(row_of_ours(told, root.trace_id, links, self.provider.resource))
        if self._tracer is None:
            return
        context, (started, ended) = Context(), told.times
        if told.parent is not None:
            context = below(beside(root, told.parent), context)
        PreparedIds.ready.trace, PreparedIds.ready.span = root.trace_id, told.span
        span = self._tracer.start_span(
            told.name, context, attributes=told.attributes, links=links,
            start_time=int(started * 1e9),
        )  # fmt: skip
        if told.error is not None:
            span.set_attribute("error.type", told.error[:256])
            span.set_status(Status(StatusCode.ERROR))
        span.end(int(max(started, ended) * 1e9))


def _finish(kept: weakref.ref[Telemetry]) -> None:
    """At the end of the process, let what was heard become spans."""
    if (telemetry := kept()) is not None:
        telemetry.finish(2.0)

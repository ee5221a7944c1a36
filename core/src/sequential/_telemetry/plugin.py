"""One trace per run, one span per invocation, step, wait and attempt: the observer that tells.

All ids are derived from the record, so that every process adds to the same trace and no span stays
open while nothing runs. Attributes are an allow-list: never an input, a result or the message of
an exception. One observer among others; the engine does not know it. Spans, rows and metrics are
made on a thread of their own, while a run waits for its storage.
"""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextvars import Token
from typing import Any, NamedTuple, Self

from opentelemetry import context as contexts
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Link, SpanContext

from .._aside import Aside
from .._calls import Pending, ToolCall, ToolContext, ToolResult
from .._events import (
    AttemptFinished,
    Event,
    InvocationFinished,
    InvocationStarted,
    RunEnded,
    StepRecorded,
)
from .._keeper import Keeper
from .._span_ids import attempt_span_id, invocation_span_id, step_span_id
from .._spans import Told, told_attempt, told_backoff, told_invocation, told_run, told_step
from .._woken import NOTHING, Woken, woken
from ..errors import ConfigError
from ..hookspecs import hookimpl
from .contexts import below, beside, caller, carrier, links_to
from .foreign import collect_for, row_of_ours
from .metrics import Metrics
from .providers import otlp_meter_provider, otlp_tracer_provider
from .traces import Traces

_log = logging.getLogger("sequential")

_ROOM = 8192
"""Events that wait for their spans at most; what comes when there are more is dropped."""

_ENTRIES = 4096
"""Invocations remembered at most: one that failed with its storage never says that it finished."""

Answer = ToolResult | Pending | None


class _Heard(NamedTuple):
    """An event, with the thread that it came from, and what it answered there."""

    event: Event
    thread: int
    current: SpanContext | None = None
    woken: Woken = NOTHING


class _Invocation:
    """An invocation under way on one thread; *links* lead to whoever called for it."""

    __slots__ = ("begun", "context", "error", "links", "woken")

    def __init__(self, begun: InvocationStarted, context: SpanContext, heard: _Heard) -> None:
        self.begun = begun
        self.context = context
        self.woken = heard.woken
        self.links: Sequence[Link] = links_to(heard.current, caller(heard.woken.trace))
        self.error: str | None = None


class Telemetry:
    """The plugin that tells OpenTelemetry: ``Sequential(plugins=[Telemetry()])``.

    What fails in a span processor is counted in `failures`, logged once, and harms no run. So is
    what is dropped because more happened than could be told.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        """Tell *tracer_provider* and *meter_provider*, by default those set for the process.

        Their samplers, limits, processors, views and resource apply. Samplers that decide by trace
        id (all but rate limiters) decide alike in every process of a run.

        Raises:
            ConfigError: It is not a tracer provider of the OpenTelemetry SDK.
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
        self._meters: Any = meter_provider or metrics.get_meter_provider()
        self._metrics = Metrics(self._meters)
        self._traces = Traces(provider)
        self._invocations: dict[tuple[str, int], _Invocation] = {}
        self._here = threading.local()
        self._keeper: Keeper | None = None
        self._aside = Aside(self._hear, _ROOM)
        # Before the providers' own ends, which were registered earlier.
        atexit.register(_finish, weakref.ref(self))

    @classmethod
    def otlp(cls) -> Self:
        """Export by OTLP, as the standard ``OTEL_*`` environment variables say.

        Among them ``OTEL_EXPORTER_OTLP_PROTOCOL``: ``http/protobuf`` (default) or ``grpc``.
        ``OTEL_METRICS_EXPORTER=none`` leaves metrics out.

        Raises:
            ConfigError: The exporter is not installed; the message says what to install.
        """
        provider = otlp_tracer_provider()
        return cls(provider, otlp_meter_provider(provider.resource))

    @classmethod
    def stored(cls) -> Self:
        """Make no spans at all, only the rows of a span store: see `keep`."""
        made = cls(TracerProvider(ALWAYS_OFF, shutdown_on_exit=False))
        made._traces.tracer = None
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
                for each in (self.provider, self._meters):
                    # Only providers of the SDK have something to hand over.
                    force = getattr(each, "force_flush", None)
                    told = (force is None or force(max(1, int(seconds * 1000)))) and told
                answers.append(told)
            except Exception as error:  # noqa: BLE001  (an exporter may fail in any way)
                self._failed(error)

        thread = threading.Thread(target=work, daemon=True, name="sequential-telemetry")
        thread.start()
        thread.join(seconds)
        return answers == [True]

    def close(self, seconds: float = 2.0) -> None:
        """Flush, and end the threads of the providers, for at most *seconds* each; never raise.

        Only who made the providers, as `otlp` does, closes them.
        """
        self.flush(seconds)

        def work() -> None:
            try:
                for each in (self.provider, self._meters):
                    getattr(each, "shutdown", lambda: None)()
            except Exception as error:  # noqa: BLE001  (an exporter may fail in any way)
                self._failed(error)

        thread = threading.Thread(target=work, daemon=True, name="sequential-telemetry")
        thread.start()
        thread.join(seconds)

    def finish(self, seconds: float) -> bool:
        """Let what was heard become spans and rows, for at most *seconds* each; say whether."""
        told = self._aside.wait(seconds)
        return (self._keeper is None or self._keeper.flush(seconds)) and told

    @hookimpl
    def sequential_trace(self) -> Mapping[str, str] | None:
        """Let a new run, or a message, remember the span it comes from."""
        found = carrier()
        under_way = getattr(self._here, "invocation", None)
        if not found and under_way is not None:
            found = carrier(below(under_way, Context()))
        return found or None

    @hookimpl
    def sequential_observe(self, event: Event) -> None:
        """Tell of *event*, a little later."""
        heard = _Heard(event, threading.get_ident())
        if isinstance(event, InvocationStarted):
            current = trace.get_current_span().get_span_context()
            heard = heard._replace(current=current, woken=woken())
            self._enter(event)
        elif isinstance(event, InvocationFinished):
            self._here.invocation = None
        dropped = self._aside.dropped
        self._aside.put(heard)
        if self._aside.dropped != dropped:
            self._failed(OverflowError())

    def _enter(self, event: InvocationStarted) -> None:
        try:
            run = event.run
            root = self._traces.root(run)
            self._here.invocation = beside(root, invocation_span_id(run.run_id, run.fence))
            if self._keeper is not None:
                self._keeper.see(root.trace_id)
        except Exception as error:  # noqa: BLE001  (a sampler may fail in any way)
            self._failed(error)

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
            root = self._traces.root_of(call.run_id, call.run_created, call.flow)
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
        event, key = heard.event, (heard.event.run.run_id, heard.thread)
        root = self._traces.root(event.run)
        found = self._invocations.get(key)
        self._metrics.record(event, None if found is None else found.begun)
        links: Sequence[Link] = () if found is None else links_to(found.context)
        if isinstance(event, InvocationStarted):
            self._remember(key, root, event, heard)
        elif isinstance(event, AttemptFinished | StepRecorded):
            for told in _told_of_step(event, found):
                self._tell(root, told, links)
        elif isinstance(event, RunEnded):
            self._tell(root, told_run(event), links_to(caller(event.run.trace)))
        elif found is not None and isinstance(event, InvocationFinished):
            del self._invocations[key]
            self._tell(root, told_invocation(event, found.begun, found.woken), found.links)

    def _remember(
        self, key: tuple[str, int], root: SpanContext, event: InvocationStarted, heard: _Heard
    ) -> None:
        if len(self._invocations) >= _ENTRIES:
            self._invocations.pop(next(iter(self._invocations)), None)
        own = beside(root, invocation_span_id(event.run.run_id, event.run.fence))
        self._invocations[key] = _Invocation(event, own, heard)

    def _tell(self, root: SpanContext, told: Told, links: Sequence[Link]) -> None:
        if self._keeper is not None and not told.recorded:
            self._keeper.put(row_of_ours(told, root.trace_id, links, self.provider.resource))
        self._traces.tell(root, told, links)


def _told_of_step(
    event: AttemptFinished | StepRecorded, found: _Invocation | None
) -> Iterator[Told]:
    """Return the spans of an attempt and the wait before it, or of a recorded step."""
    if isinstance(event, AttemptFinished):
        if found is not None:
            found.error = event.error
        rest = told_backoff(event)
        yield from () if rest is None else (rest,)
        yield told_attempt(event)
        return
    told = told_step(event.run, event.step)
    if found is not None and found.error:
        # The record has the class of the error inside its value, which is not opened here.
        told = told._replace(error=told.error and found.error)
        found.error = None
    yield told


def _finish(kept: weakref.ref[Telemetry]) -> None:
    """At the end of the process, let what was heard become spans."""
    if (telemetry := kept()) is not None:
        telemetry.finish(2.0)

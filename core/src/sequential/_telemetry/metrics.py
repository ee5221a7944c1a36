"""Metrics of runs. Of low cardinality: names of flows and tools, outcomes, classes; never an id."""

from __future__ import annotations

from opentelemetry.metrics import Histogram, MeterProvider

from .._events import (
    AttemptFinished,
    Event,
    InvocationFinished,
    InvocationStarted,
    RunEnded,
    StepRecorded,
)
from .._model import StepKind, StepRecord
from .._outcomes import Lost
from .._spans import GEN_AI_OPERATION, GEN_AI_TOOL, WAITS, resume_lag, resume_reason, run_outcome
from .providers import version

_BOUNDS = (
    0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
    21_600.0, 86_400.0,
)  # fmt: skip
"""Seconds: a step takes milliseconds, a run may take a day."""

_FLOW, _TOOL, _ERROR = "sequential.flow.name", "sequential.tool", "error.type"


class Metrics:
    """Records what happened in the instruments of *provider*."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("sequential", version())

        def seconds(name: str, what: str) -> Histogram:
            return meter.create_histogram(
                name, "s", what, explicit_bucket_boundaries_advisory=_BOUNDS
            )

        self._run = seconds("sequential.run.duration", "Runs, from creation to end.")
        self._active = seconds("sequential.run.active_time", "Tool calls of a run, together.")
        self._step = seconds("sequential.step.duration", "Tool calls, retries included.")
        self._tool = seconds("gen_ai.execute_tool.duration", "Attempts of tool calls.")
        self._wait = seconds("sequential.wait.duration", "Sleeps, signals and backoffs.")
        self._lag = seconds("sequential.resume.lag", "From when a run was due to its claim.")
        self._invocation = seconds("sequential.invocation.duration", "Turns of processes.")
        self._attempts = meter.create_histogram(
            "sequential.step.attempts", "1", "Attempts that a tool call took.",
            explicit_bucket_boundaries_advisory=(1, 2, 3, 5, 10, 20),
        )  # fmt: skip
        self._started = meter.create_counter("sequential.run.started", "1", "Runs begun.")
        self._finished = meter.create_counter("sequential.run.finished", "1", "Runs ended.")
        self._errors = meter.create_counter("sequential.step.errors", "1", "Failed attempts.")
        self._lost = meter.create_counter("sequential.lease.lost", "1", "Claims lost.")
        self._dropped = meter.create_counter("sequential.signal.dropped", "1", "Unfit signals.")

    def record(self, event: Event, begun: InvocationStarted | None) -> None:
        """Count and measure *event*; *begun* is the invocation that it is of, where known."""
        flow = {_FLOW: event.run.flow}
        if isinstance(event, InvocationStarted):
            self._begun(event, flow)
        elif isinstance(event, AttemptFinished):
            self._attempt(event, flow)
        elif isinstance(event, StepRecorded):
            self._recorded(event.step, flow)
        elif isinstance(event, RunEnded):
            self._ended(event, flow)
        elif isinstance(event, InvocationFinished):
            self._let_go(event, begun, flow)
        else:
            self._dropped.add(1, flow)

    def _begun(self, event: InvocationStarted, flow: dict[str, str]) -> None:
        reason = resume_reason(event.found)
        self._lag.record(resume_lag(event), flow | {"sequential.resume.reason": reason})
        if reason == "start":
            self._started.add(1, flow)

    def _ended(self, event: RunEnded, flow: dict[str, str]) -> None:
        outcome = flow | {"sequential.run.outcome": run_outcome(event.run)}
        self._finished.add(1, outcome)
        self._run.record(max(0.0, event.at - event.run.created), outcome)
        if event.spent is not None:
            self._active.record(event.spent.active, flow)

    def _let_go(
        self, event: InvocationFinished, begun: InvocationStarted | None, flow: dict[str, str]
    ) -> None:
        if isinstance(event.outcome, Lost):
            self._lost.add(1, flow)
        if begun is not None:
            self._invocation.record(max(0.0, event.at - begun.at), flow)

    def _attempt(self, event: AttemptFinished, flow: dict[str, str]) -> None:
        error = {} if event.error is None else {_ERROR: event.error[:256]}
        named = {GEN_AI_OPERATION: "execute_tool", GEN_AI_TOOL: event.tool}
        self._tool.record(max(0.0, event.ended - event.started), named | error)
        if error:
            self._errors.add(1, flow | {_TOOL: event.tool} | error)
        if event.due is not None:
            waited = event.started - event.due + event.delay
            self._wait.record(max(0.0, waited), flow | {"sequential.wait.kind": "backoff"})

    def _recorded(self, step: StepRecord, flow: dict[str, str]) -> None:
        took = max(0.0, step.ended - step.started)
        if step.kind is StepKind.TOOL:
            called = flow | {_TOOL: step.tool, "sequential.step.outcome": step.outcome.value}
            self._step.record(took, called)
            self._attempts.record(step.attempts, called)
        elif step.kind in WAITS:
            self._wait.record(took, flow | {"sequential.wait.kind": WAITS[step.kind]})

"""What happened, as observers are told it. Data only; times are seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass

from ._model import Run, StepRecord
from ._outcomes import Outcome


@dataclass(frozen=True, slots=True)
class InvocationStarted:
    """A run was claimed; *warm* when its frame was still in this process."""

    run: Run
    at: float
    warm: bool


@dataclass(frozen=True, slots=True)
class AttemptFinished:
    """One attempt of a tool call ended, and is not recorded yet.

    *error* is the name of the exception's class, None when the attempt succeeded; *pending* when
    the answer comes later as a signal.
    """

    run: Run
    position: str
    tool: str
    attempt: int
    started: float
    ended: float
    error: str | None
    pending: bool = False


@dataclass(frozen=True, slots=True)
class StepRecorded:
    """A step was committed. Never told again on replay."""

    run: Run
    step: StepRecord


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The outcome of a run was committed; its record says which."""

    run: Run
    at: float


@dataclass(frozen=True, slots=True)
class InvocationFinished:
    """An invocation let go of its run, or lost it."""

    run: Run
    outcome: Outcome
    at: float


@dataclass(frozen=True, slots=True)
class SignalDropped:
    """A signal did not fit the type that the flow waits for, and was taken out of the inbox."""

    run: Run
    position: str
    name: str
    signal_id: str


Event = (
    InvocationStarted
    | AttemptFinished
    | StepRecorded
    | RunEnded
    | InvocationFinished
    | SignalDropped
)

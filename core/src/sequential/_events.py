"""What happened, as observers are told it. Data only; times are seconds since the epoch.

Named tuples here and in `_model`: a dataclass takes five times as long to import.
"""

from __future__ import annotations

from typing import NamedTuple

from ._model import Run, StepRecord
from ._outcomes import Outcome


class InvocationStarted(NamedTuple):
    """A run was claimed; *warm* when its frame was still in this process."""

    run: Run
    at: float
    warm: bool


class AttemptFinished(NamedTuple):
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


class StepRecorded(NamedTuple):
    """A step was committed. Never told again on replay."""

    run: Run
    step: StepRecord


class RunEnded(NamedTuple):
    """The outcome of a run was committed; its record says which."""

    run: Run
    at: float


class InvocationFinished(NamedTuple):
    """An invocation let go of its run, or lost it."""

    run: Run
    outcome: Outcome
    at: float


class SignalDropped(NamedTuple):
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

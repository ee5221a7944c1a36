"""What happened, as observers are told it. Data only; times are seconds since the epoch.

Named tuples here and in `_model`: a dataclass takes five times as long to import.
"""

from __future__ import annotations

from typing import NamedTuple

from ._model import Run, StepKind, StepRecord
from ._outcomes import Outcome


class InvocationStarted(NamedTuple):
    """A run was claimed; *warm* when its frame was still in this process.

    *found* is its record as it was before: what it waited for. None if it was created claimed.
    """

    run: Run
    at: float
    warm: bool
    found: Run | None = None


class AttemptFinished(NamedTuple):
    """One attempt of a tool call ended, and is not recorded yet.

    *error* is the name of the exception's class, None when the attempt succeeded; *pending* when
    the answer comes later as a signal. *most* is how many the retry policy allows. *due* says until
    when it was put off after the attempt before, and *delay* for how many seconds.
    """

    run: Run
    position: str
    tool: str
    attempt: int
    started: float
    ended: float
    error: str | None
    pending: bool = False
    most: int = 1
    due: float | None = None
    delay: float = 0.0


class StepRecorded(NamedTuple):
    """A step was committed. Never told again on replay."""

    run: Run
    step: StepRecord


class Spent(NamedTuple):
    """What the recorded steps of a generation took together.

    Attributes:
        retries: Attempts beyond the first of each step.
        active: Seconds of tool calls, from the first attempt to the record.
        waited: Seconds of sleeps, and of waits for signals and child runs.
    """

    retries: int = 0
    active: float = 0.0
    waited: float = 0.0

    def plus(self, record: StepRecord) -> Spent:
        """Return the same with *record* added."""
        retries, active, waited = self
        took = record.ended - record.started
        if record.kind is StepKind.TOOL:
            return Spent(retries + record.attempts - 1, active + took, waited)
        return Spent(retries, active, waited + took)


class RunEnded(NamedTuple):
    """The outcome of a run was committed; its record says which.

    *spent* is None when it was ended from outside: nobody there has read its steps.
    """

    run: Run
    at: float
    spent: Spent | None = None


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

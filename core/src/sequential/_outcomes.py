"""What one invocation, or a wait, has to say about a run. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from ._model import At, ErrorValue


@dataclass(frozen=True, slots=True)
class Paused:
    """The run waits, or goes on in another invocation.

    Attributes:
        run_id: The run.
        position: The last recorded or the waited-for step.
        wake: When it must next be looked at; None when only a signal can move it.
        reason: ``step``, ``save``, ``budget``, ``sleep``, ``signal``, ``retry``, ``pending``,
            ``shutdown``, ``not due`` or ``continued``.
    """

    run_id: str
    position: str
    wake: At | None
    reason: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """A deploy or a person must act; *wake* is when it is looked at again by itself."""

    run_id: str
    reason: str
    message: str
    diff: str = ""
    wake: At | None = None


@dataclass(frozen=True, slots=True)
class Busy:
    """Another invocation has the run, until *until* at the latest unless it goes on."""

    run_id: str
    until: At | None


@dataclass(frozen=True, slots=True)
class Completed:
    """The flow returned *result*, decoded and read by its annotation."""

    run_id: str
    result: object


@dataclass(frozen=True, slots=True)
class Failed:
    """The flow raised."""

    run_id: str
    error: ErrorValue


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The run was cancelled or terminated."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """The run killed its invocations too often; it needs a redrive."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Purged:
    """The run ended long ago; only its tombstone is left."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such run."""

    run_id: str


@dataclass(frozen=True, slots=True)
class NotMine:
    """This process does not have the flow; the run is left alone.

    Attributes:
        run_id: The run.
        flow: Its flow.
        version: That it was started with, if the flow is here and does not carry that on.
    """

    run_id: str
    flow: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """Another invocation took the run over, or the storage was lost; nothing more was written."""

    run_id: str
    reason: str


Ended = Completed | Failed | Cancelled
Outcome = (
    Paused
    | Blocked
    | Busy
    | Completed
    | Failed
    | Cancelled
    | Quarantined
    | Purged
    | Missing
    | NotMine
    | Lost
)

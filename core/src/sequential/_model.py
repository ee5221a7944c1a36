"""The stored nouns, as frozen dataclasses and enums; no behaviour.

Times are seconds since the epoch by the storage's clock. A `Run` is the whole record of a run;
what changes it stands in `_protocol`, what stores it in a `Storage`. Neither is known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

FORMAT = 1
"""Version of the record format, stored with every record from the first release on."""


class Status(StrEnum):
    """Where a run stands, as stored."""

    PAUSED = "paused"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    QUARANTINED = "quarantined"
    PURGED = "purged"


OPEN_STATUSES = frozenset({Status.PAUSED, Status.RUNNING})
ENDED_STATUSES = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


class StepKind(StrEnum):
    """What a step is."""

    TOOL = "tool"
    SLEEP = "sleep"
    SIGNAL = "signal"
    SAVE = "save"
    CHILD = "child"
    START = "start"


class StepOutcome(StrEnum):
    """How a recorded step ended."""

    VALUE = "value"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class At:
    """A moment: *time* in seconds since the epoch, by the storage's clock."""

    time: float


@dataclass(frozen=True, slots=True)
class In:
    """A moment that the storage resolves: *seconds* from its own now."""

    seconds: float


Wake = At | In | None
"""When a run must next be looked at, by anybody; None when only a signal can move it."""


class Payload(NamedTuple):
    """An encoded value as it is stored. A named tuple, because every step makes some.

    Attributes:
        data: The bytes, after the payload codecs; empty when *ref* is set.
        codecs: Ids of the payload codecs that the bytes went through, first applied first.
        ref: Digest under which the storage keeps the bytes, when they are too large to stand here.
        size: Length in bytes of the encoded value before payload codecs.
    """

    data: bytes
    codecs: tuple[str, ...] = ()
    ref: str | None = None
    size: int = 0


class ErrorValue(NamedTuple):
    """An error as data: no class is ever stored.

    Attributes:
        type: Name of the exception's class.
        message: At most 4 KiB.
        data: What the tool attached, encoded, or None.
        retryable: Whether trying again could help.
        position: Of the failed step that the error came from, in the error of a run; else empty.
    """

    type: str
    message: str
    data: Payload | None = None
    retryable: bool = True
    position: str = ""


class Open(NamedTuple):
    """What is in flight or waited for at one position.

    Attributes:
        kind: What the step is.
        tool: ``category.name`` of a tool call, the flow of a child, else empty.
        attempt: The attempt under way or next, from 1.
        epoch: Grows after each failure in which the other side certainly did nothing; part of the
            idempotency key.
        intent: An at-most-once attempt was announced; found again without a record, it is over.
        due: When to look again: the end of a sleep, a timeout, the next attempt.
        name: Name of the message that is waited for: a signal, an answer, a child's end.
        schema: JSON schema of that signal's value, when it is typed.
        error: The last failed attempt, or why a signal that came was dropped; for people.
        started: When the step was first asked for.
        fingerprint: Digest of the input that was tried: another one is another request.
    """

    kind: StepKind
    tool: str = ""
    attempt: int = 1
    epoch: int = 0
    intent: bool = False
    due: float | None = None
    name: str = ""
    schema: str = ""
    error: str = ""
    started: float = 0.0
    fingerprint: str = ""


class Message(NamedTuple):
    """Something sent to a run: a signal, ``$cancel``, or the notice of a child."""

    id: str
    name: str
    value: Payload
    sent: float = 0.0


class Attention(NamedTuple):
    """Why a run needs a person or a deploy.

    Attributes:
        reason: One word for machines: ``changed``, ``tool-not-found``, ``not-a-step``, …
        message: The sentence for people.
        diff: Recorded against asked, line by line; may be empty.
        since: When it was first found.
        tries: How often it was looked at since.
    """

    reason: str
    message: str
    diff: str = ""
    since: float = 0.0
    tries: int = 1


class Parent(NamedTuple):
    """The run, and the position in it, that started this run as a child.

    *waits* says whether that step waits for its end, and is to be told of it.
    """

    run_id: str
    position: str
    waits: bool = True


@dataclass(frozen=True)
class Run:
    """The record of one run. *version* and *op_id* change with every commit.

    *asked* is the digest of the input that the run was created with, so that creating it again is
    recognised after `continue_as_new` has replaced the input. *begun* is when the history of the
    generation began, None for the creation. *seeds* say what deterministic values derive from:
    pairs of a number of records and the text that counts from there on; a copied history keeps its
    own. *deadline* is when the run is cancelled unless it has ended. *patches* are the ids of
    those that its code was told are in. *children* is how many of the
    steps that wait for a child run, in the order in which the generation asks for them, have begun
    theirs; *unneeded* how many of those that it needed no more, in that order, have had it told to
    their child. Two numbers, so that the record of a run with thousands of children stays small.

    Without slots on purpose: `evolve` copies the instance's dictionary, a tenth of the price of
    `dataclasses.replace` over this many fields, and every step pays it twice.
    """

    run_id: str
    flow: str
    input: Payload
    flow_version: str = "1"
    generation: int = 0
    status: Status = Status.PAUSED
    fence: int = 0
    owner: str = ""
    wake: Wake = None
    cursor: int = 0
    stalls: int = 0
    open: Mapping[str, Open] = field(default_factory=dict)
    inbox: tuple[Message, ...] = ()
    seen: tuple[str, ...] = ()
    attention: Attention | None = None
    notice: bool = False
    result: Payload | None = None
    error: ErrorValue | None = None
    parent: Parent | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    progress: Payload | None = None
    trace: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    asked: str = ""
    begun: float | None = None
    seeds: tuple[tuple[int, str], ...] = ()
    deadline: float | None = None
    patches: tuple[str, ...] = ()
    children: int = 0
    unneeded: int = 0
    version: int = 0
    op_id: str = ""


def evolve(run: Run, **changes: object) -> Run:
    """Return a copy of *run* with *changes*; the names are those of its fields."""
    values = run.__dict__.copy()
    values.update(changes)
    copy: Run = object.__new__(Run)
    object.__setattr__(copy, "__dict__", values)
    return copy


class StepRecord(NamedTuple):
    """One recorded step. Never changed after it was committed.

    A named tuple, because a replay makes thousands of them.

    Attributes:
        generation: Of the run, when it was recorded.
        number: Order of recording within the generation, from 0, without gaps.
        position: Where the step stands: ``3``, or ``3.1.0`` inside branches.
        kind: What the step is.
        tool: ``category.name`` of a tool call, the name of a signal, the flow of a child, else
            empty.
        fingerprint: Digest of the input, empty where there is none to compare.
        outcome: How it ended.
        value: The result, or the error as data.
        input: What was asked, for people; None when it was too large to keep.
        attempts: How many attempts were made, from 1.
        started: When it was first asked for.
        ended: When it was recorded.
        fence: The claim that recorded it.
        op_id: The commit that recorded it first; a copy, by a retry or a fork, keeps it.
    """

    generation: int
    number: int
    position: str
    kind: StepKind
    tool: str
    fingerprint: str
    outcome: StepOutcome
    value: Payload
    input: Payload | None
    attempts: int
    started: float
    ended: float
    fence: int
    op_id: str

"""What an invocation asks of whoever drives it, and what it is told beforehand.

The runner is a generator of these requests; the production driver answers them with threads, a
clock and a storage, the simulator with a seeded schedule. Requests are data. Answers that failed
are thrown into the generator as the errors of the contracts.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from ._calls import Pending, ToolCall, ToolResult
from ._events import Event
from ._letters import Letters
from ._model import Run, StepRecord
from ._pause import PausePolicy
from ._payload import Payloads
from ._protocol import Terms
from ._registry import Registry
from ._replay import Check

T = TypeVar("T")


class Load(NamedTuple):
    """Answered by `Loaded` or None."""

    run_id: str
    after: int


class Commit(NamedTuple):
    """Answered by the stored `Run`, or `STALE`."""

    run: Run
    expect: Run
    steps: Sequence[StepRecord]


class Create(NamedTuple):
    """A child run. Answered by the `Run` that is stored under its id, whoever created it."""

    run: Run


class CreateAll(NamedTuple):
    """Several child runs. Answered by what is stored under their ids, in the same order."""

    runs: Sequence[Run]


class Perform(NamedTuple):
    """One attempt of a tool call, its lease kept alive meanwhile. Answered by `Performed`."""

    call: ToolCall
    run: Run


class Start(NamedTuple):
    """The same, not waited for: its end is told by `Await`. Answered by None.

    The lease is kept alive while any that was started is under way.
    """

    call: ToolCall
    run: Run


class Await(NamedTuple):
    """What was started, wanted back for at most *seconds*; None for as long as it takes.

    Answered by `Arrival` of the first that has ended, or None when the time is up.
    """

    seconds: float | None


class Abandon(NamedTuple):
    """What was started at *position* is needed no more, nor is its end. Answered by None."""

    position: str


class Wait(NamedTuple):
    """A wait in place, well within the lease. Answered by None.

    *apart* when other steps of the run may go on meanwhile; not in the middle of a commit.
    """

    seconds: float
    apart: bool = False


class Send(NamedTuple):
    """A resume message, wanted in *delay* seconds.

    Never fails: the record is the outbox, the sweeper the relay.
    """

    run: Run
    delay: float


class Store(NamedTuple):
    """A large value, to be kept for the run. Answered by its digest."""

    run_id: str
    data: bytes


class Fetch(NamedTuple):
    """A large value, wanted back. Answered by its bytes."""

    run_id: str
    digest: str


class Observe(NamedTuple):
    """Something happened. Never fails."""

    event: Event


Outside = Load | Commit | Create | CreateAll | Store | Fetch | Send | Observe
"""What is answered by a storage, a transport, or somebody who watches."""

Request = Outside | Perform | Start | Await | Abandon | Wait
Requests = Generator[Request, Any, T]


class Performed(NamedTuple):
    """What became of an attempt.

    Attributes:
        result: The tool's answer; None when no plugin and no tool was found, or it raised.
        error: What it raised.
        run: The record, newer than before if the lease was renewed.
        lost: Whether the claim was found to be lost meanwhile.
    """

    result: ToolResult | Pending | None
    error: Exception | None
    run: Run
    lost: bool = False


class Arrival(NamedTuple):
    """The end of an attempt that was started: *position* says of which step."""

    position: str
    done: Performed


class World(Protocol):
    """What the runner may ask of its surroundings without an answer from outside."""

    @property
    def letters(self) -> Letters:
        """Return what this process has to tell other runs."""

    def now(self) -> float:
        """Return the storage's time, as far as it is known here."""

    def token(self) -> str:
        """Return 128 random bits, as 32 hex digits, from the operating system.

        Never from a generator seeded earlier: a forked or restored process would repeat them.
        """

    def left(self) -> float:
        """Return how many seconds this invocation may go on."""

    def stopping(self) -> bool:
        """Tell whether the process wants to end."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What every invocation of one application shares.

    Attributes:
        registry: Flows and tools by name.
        payloads: How encoded values are stored.
        terms: The numbers of the protocol.
        policy: When to pause.
        check: What a replay compares.
        deployment: Random id of the storage.
        max_steps: The most records one generation may have.
        observed: Whether anybody wants events.
    """

    registry: Registry
    payloads: Payloads
    terms: Terms
    policy: PausePolicy
    check: Check
    deployment: str
    max_steps: int
    observed: bool

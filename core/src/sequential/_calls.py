"""One attempt of a tool call, as the ``sequential_call_tool`` hook sees it.

Data and the context object that a tool may ask for; how a tool is found and run is not known here.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from ._model import Run
from ._ref import Ref, held_by
from .errors import LeaseLost, TokenInvalid

T = TypeVar("T")


def idempotency_key(
    deployment: str, run_id: str, generation: int, position: str, epoch: int
) -> str:
    """Return the key that names one request to another system.

    The same for every attempt whose effect is unknown, also after a crash; new after an attempt
    in which the other side certainly did nothing. Each part is preceded by its length, so that no
    two lists of parts make one key.
    """
    parts = (deployment, run_id, str(generation), position, str(epoch))
    text = b"".join(len(part.encode()).to_bytes(4) + part.encode() for part in parts)
    return "sq1_" + base64.b32encode(hashlib.sha256(text).digest()).decode().rstrip("=").lower()


class AnswerName(NamedTuple):
    """The call that an answer is for; *key* is the idempotency key that it waits under."""

    run_id: str
    generation: int
    position: str
    epoch: int
    key: str


def read_answer_token(token: str, deployment: str) -> AnswerName:
    """Return what *token*, an `ToolContext.answer_token` of *deployment*, names.

    Raises:
        TokenInvalid: It is none.
    """
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        run_id, generation, position, epoch, key = json.loads(base64.urlsafe_b64decode(padded))
        named = AnswerName(run_id, generation, position, epoch, key)
        made = idempotency_key(deployment, run_id, generation, position, epoch)
    except (ValueError, TypeError, AttributeError):
        raise TokenInvalid("it is no token") from None
    if key != made:
        raise TokenInvalid("it was not made over this storage")
    return named


class Hold:
    """The claim under which a tool runs: told when it is lost, asked to be kept alive.

    Attributes:
        lost: Whether nobody wants the tool's result any more.
        beats: How often the tool said that it is working.
        on_abandon: Ends the tool, where it can be ended from outside.
        load: Reads what a `Ref` stands for; whoever runs the tool gives it.
    """

    __slots__ = ("beats", "load", "lost", "on_abandon")

    def __init__(self) -> None:
        self.lost = False
        self.beats = 0
        self.on_abandon: Callable[[], object] | None = None
        self.load: Callable[[Ref[Any]], Any] = held_by

    def abandon(self) -> None:
        """Say that the result is not wanted any more, and end what can be ended."""
        self.lost = True
        if self.on_abandon is not None:
            self.on_abandon()


class ToolContext:
    """What a tool may know of the call it answers: annotate a parameter with it.

    Attributes:
        position: Of the step, such as ``3``.
        attempt: From 1; informational, it may repeat after a crash.
        epoch: Part of the idempotency key.
        deployment: Random id of the storage.
        hold: The claim under which the tool runs.
    """

    # Made for every step: reading the run when asked is cheaper than copying five of its fields.
    __slots__ = ("_run", "attempt", "deployment", "epoch", "hold", "position")

    def __init__(
        self, run: Run, position: str, attempt: int, epoch: int, deployment: str, hold: Hold
    ) -> None:
        self._run = run
        self.position = position
        self.attempt = attempt
        self.epoch = epoch
        self.deployment = deployment
        self.hold = hold

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return self._run.run_id

    @property
    def flow(self) -> str:
        """Name of the run's flow."""
        return self._run.flow

    @property
    def generation(self) -> int:
        """Generation of the run."""
        return self._run.generation

    @property
    def fence(self) -> int:
        """Number of the claim; a system that stores the highest it saw can refuse older ones."""
        return self._run.fence

    @property
    def run_created(self) -> float:
        """When the run was created, in seconds since the epoch."""
        return self._run.created

    @property
    def idempotency_key(self) -> str:
        """Key to send along, so that the other side can tell a repeated request."""
        run = self._run
        return idempotency_key(
            self.deployment, run.run_id, run.generation, self.position, self.epoch
        )

    @property
    def answer_token(self) -> str:
        """Text by which `Sequential.answer` finds this call, for a tool that returns `Pending()`.

        It names run, generation, position and the idempotency key. Whoever has it can answer, where
        your application lets them: hand it to nobody else. A retry of the run makes it void.
        """
        run, key = self._run, self.idempotency_key
        named = AnswerName(run.run_id, run.generation, self.position, self.epoch, key)
        data = json.dumps(named, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    @property
    def lost(self) -> bool:
        """Whether another invocation has taken the run: what this tool returns is not saved."""
        return self.hold.lost

    def heartbeat(self) -> None:
        """Say that the tool is still working, so that its lease is renewed for longer.

        Without a heartbeat a lease is renewed up to the step timeout from the start of the
        attempt; each heartbeat starts that time anew.

        Raises:
            LeaseLost: Another invocation has taken the run; stop.
        """
        if self.hold.lost:
            raise LeaseLost(self._run.run_id)
        self.hold.beats += 1

    def load(self, ref: Ref[T]) -> T:
        """Return the value that *ref*, a part of the tool's input, stands for.

        Reads the storage, on this thread; an async tool had better call it in another one.

        Raises:
            RefGone: The run that stored it was purged.
            ValuesError: It is damaged, or does not fit its annotation.
            StorageError: The storage cannot be reached.
        """
        value: T = self.hold.load(ref)
        return value


CALL: ContextVar[ToolContext | None] = ContextVar("sequential_call", default=None)
"""What the current code knows of the call that it answers; None outside of tools."""


class ToolCall(NamedTuple):
    """One attempt of a tool call.

    Attributes:
        category: Such as ``api``.
        name: Of the tool within the category.
        input: The input, decoded: an object of parameters by name, or a raw value. Not to be
            changed: wrappers that change it make another call.
        timeout: Seconds this attempt may take, or None.
        context: What the tool may know.
    """

    category: str
    name: str
    input: Any
    timeout: float | None
    context: ToolContext


class ToolResult(NamedTuple):
    """The answer of a tool. Wrapped, since None means "not mine" to a hook."""

    value: object


@dataclass(frozen=True, slots=True)
class Pending:
    """The answer comes later, as the signal *name*.

    Attributes:
        name: Of the signal; None for the call's idempotency key.
        timeout: Seconds to wait at most; None for ever.
    """

    name: str | None = None
    timeout: float | None = None

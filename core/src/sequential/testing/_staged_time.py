"""What a stage's processes and tools leave to see: the time as one process knows it, executions."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from .._calls import ToolCall
from .._letters import Letters
from ._clock import FakeClock

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution of a tool, as the outside world saw it."""

    run_id: str
    generation: int
    position: str
    epoch: int
    key: str
    attempt: int
    fence: int
    tool: str

    @classmethod
    def of(cls, call: ToolCall) -> Execution:
        """Return the execution of *call*."""
        context = call.context
        return cls(
            context.run_id,
            context.generation,
            context.position,
            context.epoch,
            context.idempotency_key,
            context.attempt,
            context.fence,
            f"{call.category}.{call.name}",
        )


class Time:
    """The storage's time as one process knows it: its last answer, and what passed since.

    Attributes:
        drift: Seconds that pass here for each that really passes.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.drift = 1.0
        self._clock = clock
        self._told, self._at = clock.now(), clock.monotonic()

    def now(self) -> float:
        """Return the storage's time, in seconds since the epoch."""
        return self._told + (self._clock.monotonic() - self._at) * self.drift

    def is_now(self, now: float) -> None:
        """Take *now*, just told by the storage, as the time."""
        self._told, self._at = now, self._clock.monotonic()


class StagedWorld:
    """What one invocation may know: the time, its budget of *seconds*, whether it is to stop."""

    def __init__(
        self,
        time: Time,
        clock: FakeClock,
        token: Callable[[], str],
        seconds: float,
        stopping: Callable[[], bool],
    ) -> None:
        self.letters = Letters()
        self.now = time.now
        self.token = token
        self.stopping = stopping
        self._clock = clock
        self._until = clock.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds left of the budget."""
        return self._until - self._clock.monotonic()


def answered(requests: Generator[Any, Any, T], answer: Callable[[Any], object]) -> T:
    """Answer *requests* to their end, one after the other; return what they came to."""
    given: object = None
    error: Exception | None = None
    while True:
        try:
            asked = requests.send(given) if error is None else requests.throw(error)
        except StopIteration as stop:
            result: T = stop.value
            return result
        given, error = None, None
        try:
            given = answer(asked)
        except Exception as raised:  # noqa: BLE001  (whoever asked decides what it means)
            error = raised

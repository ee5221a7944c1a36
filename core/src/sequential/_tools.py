"""A tool as its author declares it: a function under a category and a name, with its options.

Calling a `Tool` makes a step and runs nothing; `Tool.function` is the plain function. How an
attempt is run (threads, timeouts, event loop) is not known here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, Literal, ParamSpec, TypeVar

from . import _typed
from ._binding import Binding
from ._calls import Pending, ToolContext, ToolResult
from ._clock import seconds_of
from ._steps import Errors, ToolStep
from .errors import Rejected

P = ParamSpec("P")
R = TypeVar("R")

Mode = Literal["at-least-once", "at-most-once"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How many attempts a tool call gets, and how they are spaced. Waits are durable.

    The wait before attempt n + 1 is drawn from 0 to ``first * factor ** (n - 1)``, at most
    *longest* (full jitter), so that many runs do not come back at one moment.

    Attributes:
        max_attempts: At most this many, from 1.
        first: Seconds, or a timedelta.
        factor: Growth from one wait to the next, from 1.
        longest: Seconds, or a timedelta.
        jitter: Without it the waits are exactly as long as the formula says.
        retry_on: Exceptions that are tried again; others fail the step at once.
        definite: Exceptions after which the other side certainly did nothing, so that the next
            attempt is a new request with a new idempotency key. `Rejected` always is.
    """

    max_attempts: int = 3
    first: timedelta | float = 1.0
    factor: float = 2.0
    longest: timedelta | float = 300.0
    jitter: bool = True
    retry_on: tuple[type[Exception], ...] = (Exception,)
    definite: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        seconds_of(self.first), seconds_of(self.longest)
        if self.max_attempts < 1 or self.factor < 1:
            msg = f"{self!r} cannot be used; max_attempts and factor start at 1"
            raise ValueError(msg)

    def allows(self, error: Exception, attempt: int) -> bool:
        """Tell whether another attempt follows attempt *attempt*, which raised *error*."""
        if attempt >= self.max_attempts:
            return False
        if isinstance(error, Rejected):
            return error.retryable
        return isinstance(error, self.retry_on)

    def is_definite(self, error: Exception) -> bool:
        """Tell whether *error* says that the other side certainly did nothing."""
        return isinstance(error, (Rejected, *self.definite))

    def delay(self, attempt: int, draw: float) -> float:
        """Return the seconds to wait after *attempt*; *draw* is a random number from 0 to 1."""
        # The exponent is capped where every factor has long passed any longest wait.
        grown = seconds_of(self.first) * self.factor ** min(attempt - 1, 64)
        full = min(grown, seconds_of(self.longest))
        return full * draw if self.jitter else full


ONE_ATTEMPT = RetryPolicy(max_attempts=1)


@dataclass(frozen=True, slots=True)
class ToolOptions:
    """What `tool` was told beside category and name.

    Attributes:
        retry: Policy; by default one attempt.
        timeout: Seconds that one attempt may take, or None.
        mode: ``at-least-once``, or ``at-most-once``: announced before it starts, and never
            started again once it was.
        ignore: Parameters that are left out when a replay compares inputs.
        errors: ``raise`` or ``return``, where the call does not say.
    """

    retry: RetryPolicy = ONE_ATTEMPT
    timeout: float | None = None
    mode: Mode = "at-least-once"
    ignore: frozenset[str] = frozenset()
    errors: Errors = "raise"


DEFAULT_OPTIONS = ToolOptions()


class Tool(Generic[P, R]):
    """A registered function. Calling it makes a step; ``function`` is the plain function."""

    def __init__(
        self, category: str, name: str, function: Callable[..., object], options: ToolOptions
    ) -> None:
        self.category = category
        self.name = name
        self.function = function
        self.options = options
        self.is_async = inspect.iscoroutinefunction(function)
        self.where = f"tool {category}.{name}"
        self.binding = Binding(function, self.where, ToolContext)
        self.result = _typed.return_shape(function, where=self.where, without=(Pending, ToolResult))
        self.__doc__ = function.__doc__
        self.__name__ = name
        self.__wrapped__ = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> ToolStep[R]:
        """Make a step that calls this tool; nothing runs until the flow awaits it."""
        given = self.binding.input_of(args, kwargs)
        return ToolStep(self.category, self.name, given, self.options.errors)

    def __repr__(self) -> str:
        return f"<{self.where}>"

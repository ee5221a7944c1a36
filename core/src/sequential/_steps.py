"""What a flow may yield or await.

Making a step runs nothing: it is a description that the runner reads. The generator behind
`Step.__await__` and `Step.__iter__` is one, so both styles of flow know the result's type. Nothing
here knows how a step is carried out or recorded.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, NoReturn, TypeVar, overload

from ._clock import seconds_of

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
D = TypeVar("D")

Steps = Generator[Any, Any, T]
"""The return annotation of a generator flow: ``Steps[R]`` is a generator that returns R."""

Errors = Literal["raise", "return"]

OnCancel = Literal["cancel", "leave"]
"""What becomes of a child run whose parent needs it no more: it is cancelled, or it goes on."""


class StepNeverAwaited(RuntimeWarning):
    """A step was made in a flow and neither awaited nor yielded, so it never ran."""


class Step(Generic[R_co]):
    """One step that a flow asks for; ``await`` it, or ``yield from`` it."""

    # `shielded` is set on few: where a lost race must not interrupt the step. See `is_shielded`.
    __slots__ = ("asked", "shielded")

    shielded: bool

    def __init__(self) -> None:
        self.asked = False

    def __await__(self) -> Generator[Any, Any, R_co]:
        result: R_co = yield self
        return result

    __iter__ = __await__

    def __del__(self) -> None:
        if not getattr(self, "asked", True):
            warnings.warn(
                f"{self!r} was made and never awaited, so it did not run; await or yield it",
                StepNeverAwaited,
                stacklevel=2,
            )


def is_shielded(step: Step[Any] | None) -> bool:
    """Tell whether *step* must not be interrupted because its branch is needed no more."""
    return getattr(step, "shielded", False)


class ToolStep(Step[R_co]):
    """A tool call: *category*, *name*, and the *input* as passed, by parameter name."""

    __slots__ = ("category", "errors", "input", "name")

    def __init__(self, category: str, name: str, input: object, errors: Errors) -> None:
        self.asked = False
        self.category = category
        self.name = name
        self.input = input
        self.errors = errors

    def __repr__(self) -> str:
        return f"tool call {self.category}.{self.name}"


class SleepStep(Step[None]):
    """A durable wait for *seconds*, or until *until* (seconds since the epoch)."""

    __slots__ = ("seconds", "until")

    def __init__(self, seconds: float | None, until: float | None) -> None:
        super().__init__()
        self.seconds = seconds
        self.until = until

    def __repr__(self) -> str:
        return "sleep"


class _NoDefault:
    """Stands for "no default was given", since None is a fine default."""

    def __repr__(self) -> str:
        return "<no default>"


NO_DEFAULT = _NoDefault()


class SignalStep(Step[R_co]):
    """A wait for the signal *name*, read as *annotation*, for at most *timeout* seconds."""

    __slots__ = ("annotation", "default", "name", "timeout")

    def __init__(
        self, name: str, annotation: object, timeout: float | None, default: object
    ) -> None:
        super().__init__()
        self.name = name
        self.annotation = annotation
        self.timeout = timeout
        self.default = default

    def __repr__(self) -> str:
        return f"wait for signal {self.name!r}"


class SaveStep(Step[None]):
    """A save point: recorded, then the invocation pauses and the run is resumed at once."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "save point"


class ContinueStep(Step[NoReturn]):
    """Start over with *input* and an empty history."""

    __slots__ = ("input",)

    def __init__(self, input: object) -> None:
        super().__init__()
        self.input = input

    def __repr__(self) -> str:
        return "continue as new"


class ChildStep(Step[R_co]):
    """A run of *flow* with *input*, begun by this run as its child.

    Attributes:
        flow: Name of the flow.
        known: The flow itself, where it was given, for a process that has not registered it.
        input: An object of its parameters by name, or its raw input.
        waits: Whether the step is the child's end; else it is its start, and gives its id.
        run_id: Chosen by the author; None for one that follows from where the step stands.
        tags: Of the child.
        on_cancel: What becomes of the child when the step is cancelled.
        errors: What a child that did not complete does to the flow.
    """

    __slots__ = ("errors", "flow", "input", "known", "on_cancel", "run_id", "tags", "waits")

    def __init__(  # noqa: PLR0913  (a run has as many parts)
        self,
        flow: str,
        input: object,
        *,
        waits: bool,
        known: object = None,
        run_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        on_cancel: OnCancel = "cancel",
        errors: Errors = "raise",
    ) -> None:
        super().__init__()
        self.flow = flow
        self.input = input
        self.waits = waits
        self.known = known
        self.run_id = run_id
        self.tags = tags or {}
        self.on_cancel = on_cancel
        self.errors = errors

    def __repr__(self) -> str:
        return f"child run of {self.flow}" if self.waits else f"start of {self.flow}"


def tool_call(
    category: str,
    name: str,
    input: object = None,
    *,
    errors: Errors = "raise",
) -> ToolStep[Any]:
    """Make a step that calls the tool *name* of *category* with *input*.

    Args:
        category: Such as ``"api"``; letters, digits, ``_`` and ``-``.
        name: Name of the tool within the category.
        input: An object of the tool's parameters by name, or the raw input of a tool whose only
            parameter is called ``input``; None for no input.
        errors: ``"raise"`` a `ToolError` in the flow, or ``"return"`` ``{"__error": message}``.
    """
    return ToolStep(category, name, {} if input is None else input, errors)


def save() -> SaveStep:
    """Make a save point: the invocation pauses there under every pause policy."""
    return SaveStep()


def sleep(duration: timedelta | float) -> SleepStep:
    """Make a durable wait of *duration* (seconds when a number). Nothing runs meanwhile."""
    return SleepStep(seconds_of(duration), None)


def sleep_until(moment: datetime) -> SleepStep:
    """Make a durable wait until *moment*, which must know its time zone."""
    if moment.tzinfo is None:
        msg = f"sleep_until needs a time zone on {moment!r}; add tzinfo, such as datetime.UTC"
        raise ValueError(msg)
    return SleepStep(None, moment.timestamp())


@overload
def wait_for_signal(
    name: str, annotation: type[T], *, timeout: timedelta | float | None = None
) -> SignalStep[T]: ...
@overload
def wait_for_signal(
    name: str, annotation: type[T], *, timeout: timedelta | float | None = None, default: D
) -> SignalStep[T | D]: ...
@overload
def wait_for_signal(
    name: str, *, timeout: timedelta | float | None = None, default: object = ...
) -> SignalStep[Any]: ...
def wait_for_signal(
    name: str,
    annotation: object = Any,
    *,
    timeout: timedelta | float | None = None,
    default: object = NO_DEFAULT,
) -> SignalStep[Any]:
    """Make a wait for the signal *name*; a signal that came early is taken at once.

    Args:
        name: Name of the signal; not starting with ``$``.
        annotation: Type that its value is read as.
        timeout: How long to wait at most (seconds when a number); None for ever.
        default: What to return when the time is up; without it `SignalTimedOut` is raised.
    """
    if not name or name.startswith("$"):
        msg = f"{name!r} cannot be the name of a signal; use a word that does not start with $"
        raise ValueError(msg)
    limit = None if timeout is None else seconds_of(timeout)
    return SignalStep(name, annotation, limit, default)


def continue_as_new(input: object = None) -> ContinueStep:
    """Make a step that starts the run over with *input* and an empty history.

    For flows that go on for ever: the history stays short. Nothing after it runs.
    """
    return ContinueStep({} if input is None else input)


def as_step(yielded: object) -> Step[Any] | None:
    """Return the step that a flow yielded, reading the literal forms; None if it is no step.

    The literals are ``{"__tool": [category, name, input]}`` (the input may be left out), whose
    errors are returned, and ``{"__save": True}``.
    """
    if isinstance(yielded, Step):
        return yielded
    if isinstance(yielded, Mapping) and len(yielded) == 1:
        if "__tool" in yielded:
            return _literal_tool(yielded["__tool"])
        if yielded.get("__save") is True:
            return SaveStep()
    return None


def _literal_tool(parts: object) -> Step[Any] | None:
    if not isinstance(parts, list | tuple) or len(parts) not in (2, 3):
        return None
    category, name = parts[0], parts[1]
    if not isinstance(category, str) or not isinstance(name, str):
        return None
    return tool_call(category, name, parts[2] if len(parts) == 3 else None, errors="return")


__all__ = [
    "NO_DEFAULT",
    "ChildStep",
    "ContinueStep",
    "Errors",
    "OnCancel",
    "SaveStep",
    "SignalStep",
    "SleepStep",
    "Step",
    "StepNeverAwaited",
    "Steps",
    "ToolStep",
    "as_step",
    "continue_as_new",
    "is_shielded",
    "save",
    "sleep",
    "sleep_until",
    "tool_call",
    "wait_for_signal",
]

"""The cast of a play: a flow that is watched, and fakes that answer for its tools.

A fake keeps the options and types of the tool it stands for. How the play is carried on is not
known here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple

from .._binding import Binding
from .._calls import Pending, ToolCall, ToolContext, ToolResult
from .._flow import Body, Flow
from .._registry import Registry
from .._tools import DEFAULT_OPTIONS, Tool
from ..errors import InputMismatch
from ..hookspecs import hookimpl

Fakes = Mapping[Any, Any]
"""``category.name`` or the `Tool` → a function, or its answers in order; exceptions are raised.

Checked when they are used: type checkers find no common type of functions and lists.
"""


class Call(NamedTuple):
    """One attempt of a tool call.

    Attributes:
        tool: ``category.name``.
        input: Decoded, as the tool got it.
        position: Of the step.
        attempt: From 1.
        generation: From 0; grows with each `continue_as_new`.
    """

    tool: str
    input: Any
    position: str
    attempt: int = 1
    generation: int = 0


class FakeAsserted(BaseException):
    """A fake asserted something that is not so: no error of the flow, the test's own."""

    def __init__(self, error: AssertionError) -> None:
        super().__init__(str(error))
        self.error = error


class Cast:
    """The flow and the fakes of one play, and what they were seen doing. A plugin."""

    def __init__(self, flow: Flow[..., Any], tools: Fakes, registry: Registry) -> None:
        self.calls: list[Call] = []
        self.caught: list[Exception] = []
        self.missing: tuple[str, str] | None = None
        self.registry = Registry()
        self.registry.add_flow(_Watched(flow, self.caught))
        for name, other in registry.flows.items():
            # What it begins as its children by name.
            self.registry.flows.setdefault(name, other)
        for key, given in tools.items():
            self.registry.add_tool(_stand_in(key, given, registry))

    @hookimpl(wrapper=True)
    def sequential_call_tool(
        self, call: ToolCall
    ) -> Generator[None, ToolResult | Pending | None, ToolResult | Pending | None]:
        """Note the call, and whether anybody answered."""
        name, context = f"{call.category}.{call.name}", call.context
        # A copy: the fake may change its own.
        given = copy.deepcopy(call.input)
        made = Call(name, given, context.position, context.attempt, context.generation)
        self.calls.append(made)
        try:
            answer = yield
        except AssertionError as error:
            raise FakeAsserted(error) from error
        if answer is None:
            self.calls.remove(made)
            self.missing = (call.category, call.name)
        return answer


class _Watched(Flow[..., Any]):
    """A flow whose exceptions are kept: of a failed run only their text is stored."""

    def __init__(self, flow: Flow[..., Any], caught: list[Exception]) -> None:
        self.__dict__.update(flow.__dict__)
        self._caught = caught

    def body(self, given: object) -> Body:
        """Return what the flow's own body is, watched."""
        inner: Any = super().body(given)
        return self._awaited(inner) if hasattr(inner, "cr_frame") else self._delegated(inner)

    async def _awaited(self, inner: Any) -> Any:
        try:
            return await inner
        except Exception as error:
            self._caught.append(error)
            raise

    def _delegated(self, inner: Any) -> Generator[Any, Any, Any]:
        try:
            return (yield from inner)
        except Exception as error:
            self._caught.append(error)
            raise


# -- fakes ---------------------------------------------------------------------------------------


class _Answers:
    """Answers given in order. An attempt that is repeated after a crash gets the same again."""

    def __init__(self, name: str, answers: Sequence[object]) -> None:
        self._name = name
        self._answers = answers
        self._given: dict[tuple[int, str, int], object] = {}

    def take(self, context: ToolContext) -> object:
        """Return the answer to the attempt, or raise it."""
        place = (context.generation, context.position, context.attempt)
        if place not in self._given:
            count = len(self._given)
            if count == len(self._answers):
                msg = (
                    f"{self._name} was given {count} answers and is called once more; add the"
                    " next answer to the list, or give a function"
                )
                raise AssertionError(msg)
            self._given[place] = self._answers[count]
        answer = self._given[place]
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, type) and issubclass(answer, BaseException):
            raise answer
        return answer


def _stand_in(key: object, given: object, registry: Registry) -> Tool[..., Any]:
    """Return the tool *key*, its options and types as they are, but answered by *given*."""
    real, category, name = _named(key, registry)
    where = f"{category}.{name}"
    if isinstance(given, Tool):
        function: Callable[..., object] = given.function
    elif callable(given):
        function = given if real is not None else _bindable(given)
    elif isinstance(given, list | tuple):
        function = _answering(_Answers(where, given), by_name=real is not None)
    else:
        msg = f"{where} is given {given!r}; give a function, or a list of its results"
        raise TypeError(msg)
    if real is None:
        return Tool(category, name, function, DEFAULT_OPTIONS)
    made = copy.copy(real)
    plain: Tool[..., Any] = Tool(category, name, _bindable(function), real.options)
    made.function, made.is_async = function, plain.is_async
    # What the flow passes is checked and read as the real tool would; only its context is not.
    made.binding = copy.copy(real.binding)
    made.binding.context = plain.binding.context
    return made


def _named(key: object, registry: Registry) -> tuple[Tool[..., Any] | None, str, str]:
    if isinstance(key, Tool):
        return key, key.category, key.name
    category, dot, name = key.partition(".") if isinstance(key, str) else ("", "", "")
    if not (category and dot and name):
        msg = f"{key!r} cannot be the name of a tool; use 'category.name', or the tool itself"
        raise ValueError(msg)
    return registry.tools.get((category, name)), category, name


def _answering(answers: _Answers, *, by_name: bool) -> Callable[..., object]:
    def named(_context: ToolContext, **_: object) -> object:
        return answers.take(_context)

    def raw(_context: ToolContext, input: object = None) -> object:  # noqa: ARG001  (a tool's)
        return answers.take(_context)

    return named if by_name else raw


def _bindable(function: Callable[..., object]) -> Callable[..., object]:
    """Return *function*, or for a mock and the like one that passes everything on."""

    def anything(input: Any) -> object:
        return function(**input) if isinstance(input, dict) else function(input)

    try:
        Binding(function, "", ToolContext)
    except (InputMismatch, TypeError, ValueError):
        return anything
    return function

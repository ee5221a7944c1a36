"""A flow as its author declares it: a generator or coroutine function under a name.

How a flow is driven, and what its steps do, is not known here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Coroutine, Generator
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

from . import _typed
from ._binding import Binding
from ._calls import ToolContext
from ._steps import ChildStep

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Body = Generator[Any, Any, Any] | Coroutine[Any, Any, Any]
"""A started flow: what `Flow.body` returns and the runner drives by ``send``."""


class SubFlow(Protocol[R_co]):
    """A flow inside another: ``yield from`` it in a generator, ``await`` it in a coroutine.

    What is there at run time is the plain generator or coroutine, for its own style only.
    """

    def __await__(self) -> Generator[Any, Any, R_co]:
        """Give the steps of the inner flow, and its result."""

    def __iter__(self) -> Generator[Any, Any, R_co]:
        """Give the steps of the inner flow, and its result."""


class _Starts(Protocol):
    """The two methods of `Sequential` that a flow's own shorthands call."""

    def start(self, flow: Any, input: object = None, *, run_id: str | None = None) -> str: ...

    def run(self, flow: Any, input: object = None, *, run_id: str | None = None) -> Any: ...


class Flow(Generic[P, R]):
    """A registered flow. Calling it makes the plain generator or coroutine, as for a helper."""

    def __init__(
        self,
        name: str,
        version: str,
        function: Callable[..., Body],
        compatible: Collection[str] | None = None,
    ) -> None:
        if not (inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function)):
            msg = f"flow {name!r} is neither a generator nor `async def`; a flow yields or awaits"
            raise TypeError(msg)
        self.name = name
        self.version = version
        # None for those of all versions, as far as their histories fit.
        self.versions = None if compatible is None else frozenset({version, *compatible})
        self.function = function
        self.where = f"flow {name}"
        self.binding = Binding(function, self.where, ToolContext)
        if self.binding.context is not None:
            msg = f"flow {name!r} asks for a ToolContext, which only tools get; use det instead"
            raise TypeError(msg)
        self.result = _typed.return_shape(function, where=self.where)
        self.__doc__ = function.__doc__
        self.__name__ = name
        self.__wrapped__ = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> SubFlow[R]:
        """Return the plain generator or coroutine, to ``yield from`` or await in another flow."""
        return cast("SubFlow[R]", self.function(*args, **kwargs))

    def carries(self, version: str) -> bool:
        """Tell whether this code may carry on runs that were started with *version*."""
        return self.versions is None or version in self.versions

    def body(self, given: object) -> Body:
        """Return the generator or coroutine for *given*, a decoded input.

        Raises:
            InputMismatch: The input does not fit the parameters.
        """
        return self.function(**self.binding.arguments_of(given))

    def start(self, app: _Starts, *args: P.args, **kwargs: P.kwargs) -> str:
        """Start a run on *app* with these arguments; return its id."""
        return app.start(self, self.binding.input_of(args, kwargs))

    def run(self, app: _Starts, *args: P.args, **kwargs: P.kwargs) -> R:
        """Start a run on *app*, carry it to its end here, and return its result."""
        result: R = app.run(self, self.binding.input_of(args, kwargs))
        return result

    def run_child(self, *args: P.args, **kwargs: P.kwargs) -> ChildStep[R]:
        """Make a step that begins a run with these arguments and waits for its end.

        The function `run_child` says the same with options, and what the step raises.
        """
        given = self.binding.input_of(args, kwargs)
        return ChildStep(self.name, given, waits=True, known=self)

    def start_child(self, *args: P.args, **kwargs: P.kwargs) -> ChildStep[str]:
        """Make a step that begins a run with these arguments, for its id; nobody waits for it."""
        given = self.binding.input_of(args, kwargs)
        return ChildStep(self.name, given, waits=False, known=self)

    def __repr__(self) -> str:
        return f"<{self.where}>"

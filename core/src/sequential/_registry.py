"""The flows and tools of this process, by name, and the decorators that put them there.

Names stand in stored records, so they are looked up here and never imported from stored data.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Coroutine, Generator, Iterable
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, get_args, overload

from ._calls import ToolContext
from ._clock import seconds_of
from ._flow import Flow
from ._json import is_unicode
from ._model import Run
from ._steps import Errors
from ._storage import OfVersions
from ._tools import ONE_ATTEMPT, Mode, RetryPolicy, Tool, ToolOptions
from .errors import NameTaken, NotEncodable

P = ParamSpec("P")
R = TypeVar("R")

_CATEGORY = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


class Registry:
    """Flows by name and tools by category and name."""

    def __init__(self) -> None:
        self.flows: dict[str, Flow[..., Any]] = {}
        self.tools: dict[tuple[str, str], Tool[..., Any]] = {}

    def add_flow(self, added: Flow[..., Any]) -> None:
        """Register *added*. A reload of the same function replaces it.

        Raises:
            NameTaken: Another function has the name.
        """
        _refuse_unwritable("flow", added.name)
        _refuse_other("flow", added.name, self.flows.get(added.name), added)
        self.flows[added.name] = added

    def add_tool(self, added: Tool[..., Any]) -> None:
        """Register *added*. A reload of the same function replaces it.

        Raises:
            NameTaken: Another function has the category and name.
        """
        key = (added.category, added.name)
        _refuse_unwritable("tool", f"{added.category}.{added.name}")
        _refuse_other("tool", f"{added.category}.{added.name}", self.tools.get(key), added)
        self.tools[key] = added

    def flow_of(self, run: Run) -> Flow[..., Any] | None:
        """Return the flow that may carry *run* on; None if none of this process may."""
        found = self.flows.get(run.flow)
        return found if found is not None and found.carries(run.flow_version) else None

    def carried(self) -> list[str]:
        """Return the flows whose runs can be carried on here, as `Storage.due` takes them."""
        return [
            flow.name if flow.versions is None else OfVersions(flow.name, flow.versions)
            for flow in self.flows.values()
        ]

    def tool_names(self) -> list[str]:
        """Return ``category.name`` of every tool, sorted."""
        return sorted(f"{category}.{name}" for category, name in self.tools)


REGISTRY = Registry()
"""What the decorators fill when they are not told another registry."""


class _Registered(Protocol):
    @property
    def function(self) -> Callable[..., Any]: ...


def _refuse_unwritable(kind: str, name: str) -> None:
    # It stands in records and messages, which are UTF-8.
    if not is_unicode(name):
        reason = f"{name!a:.80} has half of a surrogate pair; use whole characters"
        raise NotEncodable(f"the name of a {kind}", "str", reason)


def _refuse_other(kind: str, name: str, first: _Registered | None, second: _Registered) -> None:
    if first is not None and not _is_reload(first.function, second.function):
        raise NameTaken(kind, name, _origin(first), _origin(second))


def _is_reload(first: Callable[..., Any], second: Callable[..., Any]) -> bool:
    # The file and line, not the module's name: a file run as a script and imported again is one.
    # A cell of a notebook that is run again is a new file each time, but always of __main__.
    cells = first.__module__ == second.__module__ == "__main__"
    # What a decorator of somebody's wraps is looked at: its wrappers all stand on one line.
    one, two = inspect.unwrap(first).__code__, inspect.unwrap(second).__code__
    same_line = (one.co_filename, one.co_firstlineno) == (two.co_filename, two.co_firstlineno)
    rerun = cells and one.co_filename != two.co_filename
    return first.__qualname__ == second.__qualname__ and (same_line or rerun)


def _origin(registered: _Registered) -> str:
    code = registered.function.__code__
    return f"{registered.function.__qualname__} ({code.co_filename}:{code.co_firstlineno})"


class _FlowDecorator(Protocol):
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Flow[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Generator[Any, Any, R]], /) -> Flow[P, R]: ...


@overload
def flow(function: Callable[P, Coroutine[Any, Any, R]], /) -> Flow[P, R]: ...
@overload
def flow(function: Callable[P, Generator[Any, Any, R]], /) -> Flow[P, R]: ...
@overload
def flow(
    *,
    name: str | None = None,
    version: str = "1",
    compatible: Collection[str] | None = None,
    registry: Registry = ...,
) -> _FlowDecorator: ...
def flow(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    version: str = "1",
    compatible: Collection[str] | None = None,
    registry: Registry = REGISTRY,
) -> Any:
    """Make a generator or coroutine function a flow, and register it.

    Args:
        function: The function, when the decorator is used without arguments.
        name: What records call it; by default the function's qualified name.
        version: Stored with each run that is started.
        compatible: Versions whose runs this code carries on beside its own; those of others are
            left to processes that have them. ``()`` pins runs to the code that they were started
            with. By default it carries on all runs, and blocks those whose history does not fit.
        registry: Where to register it; by default the process's own.

    Raises:
        NameTaken: Another flow has the name.
        AmbiguousUnion: An annotation cannot be read back from JSON.
    """
    if isinstance(compatible, str):
        msg = f"compatible={compatible!r} is one text; give versions as a set, such as {{'1', '2'}}"
        raise TypeError(msg)

    def decorate(decorated: Callable[..., Any]) -> Flow[..., Any]:
        made: Flow[..., Any] = Flow(name or decorated.__qualname__, version, decorated, compatible)
        registry.add_flow(made)
        return made

    return decorate if function is None else decorate(function)


class _ToolDecorator(Protocol):
    @overload
    def __call__(
        self, function: Callable[Concatenate[ToolContext, P], Coroutine[Any, Any, R]], /
    ) -> Tool[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[ToolContext, P], R], /) -> Tool[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Tool[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Tool[P, R]: ...


def tool(  # noqa: PLR0913  (one keyword per option, each with a default)
    category: str,
    name: str | None = None,
    *,
    retry: RetryPolicy = ONE_ATTEMPT,
    timeout: timedelta | float | None = None,
    mode: Mode = "at-least-once",
    ignore: Iterable[str] = (),
    errors: Errors = "raise",
    registry: Registry = REGISTRY,
) -> _ToolDecorator:
    """Make a function, sync or async, a tool, and register it.

    The decorated function, called in a flow, makes a step whose result is the function's. A first
    parameter annotated `ToolContext` is filled in for each call and is not part of the input.

    Args:
        category: 1 to 64 of letters, digits, ``_`` and ``-``.
        name: What records call it; by default the function's qualified name.
        retry: How often and how spaced; by default one attempt.
        timeout: Seconds that one attempt may take, or a timedelta; None for no limit.
        mode: ``at-least-once`` (default), or ``at-most-once``.
        ignore: Parameters left out when a replay compares inputs.
        errors: ``raise`` a `ToolError` in the flow, or ``return`` ``{"__error": message}``.
        registry: Where to register it; by default the process's own.

    Raises:
        NameTaken: Another tool has the category and name.
        AmbiguousUnion: An annotation cannot be read back from JSON.
    """
    if not _CATEGORY.match(category):
        msg = f"{category!r} cannot be a tool's category; use letters, digits, _ and -"
        raise ValueError(msg)
    if mode not in get_args(Mode) or errors not in get_args(Errors):
        msg = f"mode={mode!r}, errors={errors!r} cannot be a tool's; use at-least-once or"
        raise ValueError(msg + " at-most-once, and raise or return")
    seconds = None if timeout is None else seconds_of(timeout)
    options = ToolOptions(retry, seconds, mode, frozenset(ignore), errors)

    def decorate(function: Callable[..., Any]) -> Tool[..., Any]:
        made: Tool[..., Any] = Tool(category, name or function.__qualname__, function, options)
        unknown = sorted(options.ignore - set(made.binding.names))
        if unknown:
            msg = f"{made.where} has no parameter {', '.join(unknown)} to ignore"
            raise ValueError(msg)
        registry.add_tool(made)
        return made

    return cast("_ToolDecorator", decorate)

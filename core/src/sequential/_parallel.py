"""Several branches at once: what a flow yields to have them carried out side by side.

A branch is a step, or a sub-flow that asks for steps of its own. Making a parallel step runs
nothing. How branches are advanced stands in `_strands`, how their steps are carried out in
`_abreast`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from types import CoroutineType, GeneratorType
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, get_args, overload

from ._steps import Step, as_step

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

OnError = Literal["raise", "collect"]
"""What a failed branch does: cancel the others and raise, or stand in the result as its error."""


class _Awaited(Protocol[R_co]):
    """A sub-flow as type checkers see it: a `Flow` that was called."""

    def __await__(self) -> Generator[Any, Any, R_co]: ...

    def __iter__(self) -> Generator[Any, Any, R_co]: ...


Branch = Step[R] | Generator[Any, Any, R] | Coroutine[Any, Any, R] | _Awaited[R]
"""A step, a generator or coroutine that asks for steps, or a flow that was called."""


class Raced(NamedTuple):
    """Which branch of a `race` was the first to finish, counted from 0, and what it returned."""

    winner: int
    value: Any


class ParallelStep(Step[R_co]):
    """Branches to be carried out side by side.

    Attributes:
        branches: Steps, and generators or coroutines that have not begun.
        first: Whether the first that finishes ends the others.
        collect: Whether failed branches stand in the result as their errors.
        at_once: How many may be under way at once; None for all.
        make: Makes the result of the branches' results, in the order of the branches.
    """

    __slots__ = ("at_once", "branches", "collect", "first", "make")

    def __init__(
        self,
        branches: Sequence[object],
        make: Callable[[Sequence[Any]], Any],
        *,
        first: bool = False,
        collect: bool = False,
        at_once: int | None = None,
    ) -> None:
        super().__init__()
        self.branches = branches
        self.make = make
        self.first = first
        self.collect = collect
        self.at_once = at_once

    def __repr__(self) -> str:
        what = "race" if self.first else "gather"
        return f"{what} of {len(self.branches)} branches"


@overload
def gather(a: Branch[A], /, *, max_concurrency: int | None = None) -> ParallelStep[tuple[A]]: ...
@overload
def gather(
    a: Branch[A], b: Branch[B], /, *, max_concurrency: int | None = None
) -> ParallelStep[tuple[A, B]]: ...
@overload
def gather(
    a: Branch[A], b: Branch[B], c: Branch[C], /, *, max_concurrency: int | None = None
) -> ParallelStep[tuple[A, B, C]]: ...
@overload
def gather(
    a: Branch[A], b: Branch[B], c: Branch[C], d: Branch[D], /, *, max_concurrency: int | None = None
) -> ParallelStep[tuple[A, B, C, D]]: ...
@overload
def gather(
    *branches: Branch[T], errors: Literal["raise"] = "raise", max_concurrency: int | None = None
) -> ParallelStep[tuple[T, ...]]: ...
@overload
def gather(
    *branches: Branch[T], errors: Literal["collect"], max_concurrency: int | None = None
) -> ParallelStep[tuple[T | Exception, ...]]: ...
def gather(
    *branches: Any, errors: OnError = "raise", max_concurrency: int | None = None
) -> ParallelStep[Any]:
    """Make a step that carries out all *branches* side by side and gives a tuple of their results.

    No branch outlives the step. With ``errors="raise"`` the first error cancels the other branches
    (`BranchCancelled` is raised in them, their cleanup may take steps) and is raised when they are
    over; with ``"collect"`` every branch goes to its end, and errors stand among the results.

    Args:
        branches: Steps, and generators or coroutines that ask for steps.
        errors: What a failed branch does.
        max_concurrency: How many branches may be under way at once; None for all.

    Raises:
        TypeError: Something else was given as a branch.
        ValueError: *max_concurrency* or *errors* cannot be used.
    """
    return _gathered("gather", branches, tuple, errors, max_concurrency)


def race(*branches: Branch[Any]) -> ParallelStep[Raced]:
    """Make a step that ends with the first of *branches* to finish; the others are cancelled.

    The first is the one whose last step was recorded first, on every replay. If it raised, the
    race raises that. For the first that succeeds see `sequential.patterns.quorum`.

    Returns:
        A step that gives a `Raced`: number and value of the winner.

    Raises:
        ValueError: There are no branches, so nobody could win.
        TypeError: Something else was given as a branch.
    """
    if not branches:
        msg = "race needs a branch: with none, nobody can win; give it steps or sub-flows"
        raise ValueError(msg)
    return ParallelStep(_taken("race", branches), _only, first=True)


@overload
def map_tool(
    tool: Callable[[T], Branch[R]], items: Iterable[T], *, max_concurrency: int | None = None
) -> ParallelStep[list[R]]: ...
@overload
def map_tool(
    tool: Callable[[T], Branch[R]],
    items: Iterable[T],
    *,
    errors: Literal["collect"],
    max_concurrency: int | None = None,
) -> ParallelStep[list[R | Exception]]: ...
def map_tool(
    tool: Callable[[T], Branch[R]],
    items: Iterable[T],
    *,
    max_concurrency: int | None = None,
    errors: OnError = "raise",
) -> ParallelStep[Any]:
    """Make a step that calls *tool* with each of *items*, some at once; it gives a list.

    Args:
        tool: A tool of one parameter, or any function that makes a branch of an item.
        items: What to call it with, in a fixed order.
        max_concurrency: How many calls may be under way at once; None for all.
        errors: As for `gather`; with ``"collect"`` errors stand in the list.

    Raises:
        TypeError: *tool* made something that is no branch.
        ValueError: *max_concurrency* or *errors* cannot be used.
    """
    return _gathered("map_tool", list(map(tool, items)), list, errors, max_concurrency)


def close_all(branches: Iterable[object]) -> None:
    """Close *branches*, which have not begun and never will."""
    for branch in branches:
        if isinstance(branch, Step):
            branch.asked = True
        if isinstance(branch, ParallelStep):
            close_all(branch.branches)
        elif isinstance(branch, GeneratorType | CoroutineType):
            branch.close()


def _gathered(
    what: str,
    branches: Sequence[object],
    make: Callable[[Sequence[Any]], Any],
    errors: OnError,
    at_once: int | None,
) -> ParallelStep[Any]:
    taken = _taken(what, branches)
    whole = isinstance(at_once, int) and not isinstance(at_once, bool)
    msg = ""
    if errors not in get_args(OnError):
        msg = f'{what}: errors = {errors!r:.80} cannot be used; use "raise" or "collect"'
    elif at_once is not None and (not whole or at_once < 1):
        msg = f"{what}: max_concurrency = {at_once!r:.80} cannot be used; give 1 or more, or None"
    if msg:
        close_all(taken)
        raise ValueError(msg)
    return ParallelStep(taken, make, collect=errors == "collect", at_once=at_once)


def _only(results: Sequence[Any]) -> Any:
    return results[0]


def _taken(what: str, branches: Sequence[object]) -> Sequence[object]:
    """Check *branches*; a step among them will be asked for by its branch, or never needs to be."""
    taken: list[object] = []
    for number, branch in enumerate(branches):
        try:
            taken.append(branch_of(what, number, branch))
        except TypeError:
            close_all(branches)
            raise
    return tuple(taken)


def branch_of(what: str, number: int, branch: object) -> object:
    """Return *branch* as a step, or as the generator or coroutine that it is.

    Raises:
        TypeError: It is neither; *what* was given it, as its branch *number*.
    """
    step = as_step(branch)
    if step is not None:
        step.asked = True
        return step
    if isinstance(branch, GeneratorType | CoroutineType):
        return branch
    msg = (
        f"branch {number} of {what} is {type(branch).__name__} {branch!r:.80}; a branch is"
        " a step (a tool that was called, sleep(...)), or a generator or coroutine that"
        " asks for steps"
    )
    raise TypeError(msg)


__all__ = [
    "Branch",
    "OnError",
    "ParallelStep",
    "Raced",
    "branch_of",
    "close_all",
    "gather",
    "map_tool",
    "race",
]

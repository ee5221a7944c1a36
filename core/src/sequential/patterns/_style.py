"""One generator for both styles of flow."""

from __future__ import annotations

import types
from collections.abc import Callable, Generator, Iterable
from typing import Any, ParamSpec, TypeVar, cast

from .._flow import SubFlow
from .._parallel import Branch, branch_of
from .._steps import Step

P = ParamSpec("P")
R = TypeVar("R")


def both_styles(function: Callable[P, Generator[Any, Any, R]]) -> Callable[P, SubFlow[R]]:
    """Let the generators of *function* be awaited too, and delegate to coroutines."""
    return cast("Callable[P, SubFlow[R]]", types.coroutine(function))


def steps_of(what: str, number: int, branch: Branch[R]) -> SubFlow[R]:
    """Return what to ``yield from`` in a function of `both_styles` to carry out *branch*.

    Raises:
        TypeError: It is no branch; *what* was given it, as its branch *number*.
    """
    return cast("SubFlow[R]", branch_of(what, number, branch))


def close_unbegun(branches: Iterable[object]) -> None:
    """Close those of *branches* that never began, so that no coroutine is left unawaited.

    To be called when all that began are over.
    """
    for branch in branches:
        if not isinstance(branch, Step):
            branch.close()  # type: ignore[attr-defined]


def refuse_uncallable(what: str, given: object, remedy: str) -> None:
    """Check that *given* can be called; *what* takes it.

    Raises:
        TypeError: It cannot; it was probably called already.
    """
    if not callable(given):
        msg = f"{what} takes a function, not {type(given).__name__} {given!r:.80}; {remedy}"
        raise TypeError(msg)


def refuse_uncounted(what: str, given: object, least: int) -> None:
    """Check that *given* is a whole number of at least *least*; *what* takes it.

    Raises:
        ValueError: It is not.
    """
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        msg = f"{what} takes a whole number of {least} or more, not {given!r:.80}"
        raise ValueError(msg)

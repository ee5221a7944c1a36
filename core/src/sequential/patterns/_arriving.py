"""Branches side by side whose results are wanted in the order in which they arrive."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Generic, NamedTuple, TypeVar

from .._flow import SubFlow
from .._parallel import Branch, ParallelStep, gather
from ..errors import QuorumLost
from ._style import both_styles, close_unbegun, refuse_uncounted, steps_of

R = TypeVar("R")


class Arrived(NamedTuple, Generic[R]):
    """The result of one branch.

    Attributes:
        branch: Which one, counted from 0.
        value: What it returned.
    """

    branch: int
    value: R


class Enough(Exception):
    """What a branch raises when the others are needed no more."""


def as_completed(
    *branches: Branch[R], max_concurrency: int | None = None
) -> SubFlow[list[Arrived[R]]]:
    """Carry out all *branches* side by side; give their results in the order of their arrival.

    That is the order of their last records, the same on every replay. The first error cancels the
    other branches and is raised, as by `gather`.

    Args:
        branches: Steps, and generators or coroutines that ask for steps.
        max_concurrency: How many branches may be under way at once; None for all.

    Raises:
        TypeError: Something else was given as a branch.
        ValueError: *max_concurrency* cannot be used.
    """
    given = [steps_of("as_completed", number, branch) for number, branch in enumerate(branches)]
    arrived: list[Arrived[R]] = []
    each = [_arriving(arrived, number, branch) for number, branch in enumerate(given)]
    everyone = gather(*each, max_concurrency=max_concurrency)
    return _as_completed(given, everyone, arrived)


def quorum(needed: int, *branches: Branch[R]) -> SubFlow[list[Arrived[R]]]:
    """Carry out *branches* side by side until *needed* of them have succeeded.

    Gives the results of these in the order of their arrival. The other branches are cancelled and
    brought to their end first, as by `race`; so they are when too many have failed.

    Args:
        needed: How many must succeed: 1 to the number of branches.
        branches: Steps, and generators or coroutines that ask for steps.

    Raises:
        QuorumLost: In the flow: so many have failed that the others are too few.
        TypeError: Something else was given as a branch.
        ValueError: *needed* cannot be used.
    """
    refuse_uncounted("quorum", needed, 1)
    if needed > len(branches):
        msg = f"quorum of {needed} needs as many branches; {len(branches)} can never reach it"
        raise ValueError(msg)
    given = [steps_of("quorum", number, branch) for number, branch in enumerate(branches)]
    return _quorum(needed, given)


@both_styles
def _as_completed(
    branches: list[SubFlow[R]], everyone: ParallelStep[Any], arrived: list[Arrived[R]]
) -> Generator[Any, Any, list[Arrived[R]]]:
    try:
        yield from everyone
    finally:
        close_unbegun(branches)
    return arrived


@both_styles
def _arriving(
    arrived: list[Arrived[R]], number: int, branch: SubFlow[R]
) -> Generator[Any, Any, None]:
    arrived.append(Arrived(number, (yield from branch)))


@both_styles
def _quorum(needed: int, branches: list[SubFlow[R]]) -> Generator[Any, Any, list[Arrived[R]]]:
    arrived: list[Arrived[R]] = []
    failed: dict[int, Exception] = {}

    @both_styles
    def counted(number: int, branch: SubFlow[R]) -> Generator[Any, Any, None]:
        try:
            yield from _arriving(arrived, number, branch)
        except Exception as error:  # noqa: BLE001  (whatever a branch fails with)
            failed[number] = error
        if len(arrived) >= needed or len(branches) - len(failed) < needed:
            raise Enough

    try:
        yield from gather(*(counted(number, each) for number, each in enumerate(branches)))
    except Enough:
        if len(arrived) < needed:
            raise QuorumLost(needed, len(branches), failed) from [*failed.values()][-1]
    finally:
        close_unbegun(branches)
    return arrived[:needed]

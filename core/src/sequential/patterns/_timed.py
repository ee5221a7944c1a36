"""Asking again until something is so, and reminding until somebody has answered."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

from .._clock import seconds_of
from .._flow import SubFlow
from .._parallel import Branch, gather
from .._scope import det
from .._steps import sleep
from ..errors import PollTimedOut
from ._arriving import Enough
from ._style import both_styles, refuse_uncallable, refuse_uncounted, steps_of

R = TypeVar("R")


def poll(
    make: Callable[[], Branch[R]],
    *,
    until: Callable[[R], bool],
    every: timedelta | float,
    backoff: float = 1.0,
    longest: timedelta | float | None = None,
    timeout: timedelta | float | None = None,
) -> SubFlow[R]:
    """Carry out what *make* makes again and again, with sleeps between, until its result is right.

    Nothing runs in the sleeps. Each time adds two records to the history. An error is raised: let
    the tool's retry policy bear with the other side.

    Args:
        make: Makes a step or sub-flow, anew for each time.
        until: Whether a result is right, told by the result alone.
        every: How long to sleep after the first time, more than 0 (seconds when a number).
        backoff: What each sleep is multiplied by for the next one; 1 or more.
        longest: What no sleep exceeds; None for no limit.
        timeout: How long to go on, from the beginning; it is tried a last time then. None for ever.

    Raises:
        PollTimedOut: In the flow: the time was up.
        TypeError: *make* or *until* cannot be called, or *make* makes no branch.
        ValueError: A duration or *backoff* cannot be used.
    """
    refuse_uncallable("poll", make, "give it one that makes the step: lambda: tool(...)")
    refuse_uncallable("poll(until=)", until, "give it one that tells whether a result is right")
    if backoff < 1:
        msg = f"poll: backoff = {backoff!r} cannot be used; give 1 or more"
        raise ValueError(msg)
    most = float("inf") if longest is None else _positive("poll", "longest", longest)
    limit = None if timeout is None else seconds_of(timeout)
    return _poll(make, until, _Rests(_positive("poll", "every", every), backoff, most), limit)


def remind(
    wait: Branch[R],
    *,
    every: timedelta | float,
    remind: Callable[[int], Branch[object]],
    times: int | None = None,
) -> SubFlow[R]:
    """Carry out *wait*, and remind until it is over: after each *every*, at most *times*.

    Waiting goes on after the last reminder; the longest wait is that of *wait* itself. A reminder
    that is being sent when the answer arrives is cancelled. One that fails cancels the wait, and
    its error is raised.

    Args:
        wait: Usually a `wait_for_signal`; any branch.
        every: How long to wait before each reminder, more than 0 (seconds when a number).
        remind: Makes the step or sub-flow that reminds, given how many-th it is, from 1.
        times: How often to remind at most; None for as often as needed.

    Raises:
        TypeError: *wait* is no branch, or *remind* cannot be called.
        ValueError: *every* or *times* cannot be used.
    """
    refuse_uncallable("remind(remind=)", remind, "give it lambda number: tool(...)")
    if times is not None:
        refuse_uncounted("remind(times=)", times, 0)
    rest = _positive("remind", "every", every)
    return _remind(steps_of("remind", 0, wait), rest, remind, times)


def _positive(what: str, name: str, duration: timedelta | float) -> float:
    seconds = seconds_of(duration)
    if seconds == 0:
        msg = f"{what}: {name} = {duration!r} cannot be used; give more than 0 seconds"
        raise ValueError(msg)
    return seconds


class _Rests:
    """How long to sleep each time."""

    def __init__(self, first: float, backoff: float, most: float) -> None:
        self._next, self._backoff, self._most = first, backoff, most

    def next(self) -> float:
        rest = min(self._next, self._most)
        self._next = rest * self._backoff
        return rest


@both_styles
def _poll(
    make: Callable[[], Branch[R]], until: Callable[[R], bool], rests: _Rests, limit: float | None
) -> Generator[Any, Any, R]:
    begun = det.now().timestamp()
    for times in count(1):
        result = yield from steps_of("poll", 0, make())
        if until(result):
            return result
        rest = rests.next()
        if limit is not None:
            left = begun + limit - det.now().timestamp()
            if left <= 0:
                raise PollTimedOut(limit, times)
            rest = min(rest, left)
        yield from sleep(rest)
    raise AssertionError  # pragma: no cover  (`count` has no end)


@both_styles
def _remind(
    wait: SubFlow[R], every: float, remind: Callable[[int], Branch[object]], times: int | None
) -> Generator[Any, Any, R]:
    answers: list[R] = []

    @both_styles
    def waiting() -> Generator[Any, Any, None]:
        answers.append((yield from wait))
        raise Enough

    @both_styles
    def reminding() -> Generator[Any, Any, None]:
        for number in count(1) if times is None else range(1, times + 1):
            yield from sleep(every)
            yield from steps_of("remind", number, remind(number))

    with suppress(Enough):
        yield from gather(waiting(), reminding())
    return answers[0]

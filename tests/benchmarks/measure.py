"""What every benchmark shares: medians, rows of the table, a floor timed inside a no-op tool.

Owns how floor and subject alternate within one run. Knows no storage and no goal.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

from sequential import Registry, Sequential, tool
from sequential._flow import Flow
from sequential._registry import flow
from sequential._steps import Steps

Ready = Callable[[], Callable[[], object]]
"""Makes one operation ready, so that its values are not part of its time."""


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        what: What was measured, and what its floor is.
        floor: Median of the floor, in seconds; None without one.
        subject: Median of the subject, in seconds.
        ratio: What is compared with the goal.
        goal: None where the row only explains another.
        least: The goal is the least that the ratio may be, not the most.
    """

    what: str
    floor: float | None
    subject: float
    ratio: float
    goal: float | None = None
    least: bool = False

    @property
    def verdict(self) -> str:
        """Say whether the goal is met."""
        if self.goal is None:
            return ""
        met = self.ratio >= self.goal if self.least else self.ratio <= self.goal
        return "holds" if met else "MISSED"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes:
        operations: Single operations per median.
        processes: Fresh processes per median.
    """

    operations: int = 2_200
    processes: int = 21


WARM_UP = 50
"""Operations at the start of a run that are left out: imports, caches and plans are made there."""


def median(times: Sequence[float]) -> float:
    """Return the median of *times*."""
    return statistics.median(times)


def timed(operation: Callable[[], object]) -> float:
    """Return the seconds that *operation* takes."""
    begun = perf_counter()
    operation()
    return perf_counter() - begun


class Between:
    """The body of a no-op tool that times floors inside of itself, and the step around it.

    A step's time goes from the end of one call of the tool to the start of the next: all that the
    engine and the storage do between, and nothing of the floors.
    """

    def __init__(self, *floors: Ready) -> None:
        self.floors = floors
        self.times: list[list[float]] = [[] for _ in floors]
        self.steps: list[float] = []
        self._ended: float | None = None

    def __call__(self, number: int) -> None:
        begun = perf_counter()
        if self._ended is not None:
            self.steps.append(begun - self._ended)
        count = len(self.floors)
        # Each floor takes its turn at following the step: what comes first pays for cold caches.
        for index in range(number, number + count):
            operation = self.floors[index % count]()
            self.times[index % count].append(timed(operation))
        self._ended = perf_counter()

    def rest(self) -> None:
        """Leave out what lies between the last call and the next: another run begins."""
        self._ended = None

    def floor(self, index: int = 0) -> float:
        """Return the median of one floor."""
        return median(self.times[index][WARM_UP:])

    def step(self) -> float:
        """Return the median of a step."""
        return median(self.steps[WARM_UP:])


class Subject(NamedTuple):
    """A registry with one flow, which calls one no-op tool with one input over and over."""

    registry: Registry
    flow: Flow[..., Any]


def subject(inside: Callable[[int], object], extra: dict[str, Any] | None = None) -> Subject:
    """Return a flow of *count* steps whose tool calls *inside* with the number of the step."""
    registry = Registry()

    @tool("bench", "noop", registry=registry)
    def noop(n: int, order: dict[str, Any] | None = None) -> dict[str, int]:
        inside(n)
        return {"n": n}

    @flow(name="steps", registry=registry)
    def steps(count: int) -> Steps[int]:
        for n in range(count):
            yield noop(n) if extra is None else noop(n, extra)
        return count

    return Subject(registry, steps)


def carry(app: Sequential, made: Subject, between: Between, operations: int) -> None:
    """Carry out *operations* steps and the warm-up, in runs of a thousand."""
    left = operations + WARM_UP
    while left > 0:
        between.rest()
        app.run(made.flow, {"count": min(left, 1_000)})
        left -= 1_000

"""Choices as data: every decision of a schedule is a number that is drawn, kept, and given again.

A schedule is sections of groups of draws; a group is one event with all that was drawn for it. A
draw of 0 is always the calm answer, and calm is also what a group answers that has no more draws:
so any part of a schedule can be left out, which is what shrinking does. What is decided is not
known here.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

Schedule = dict[str, list[list[int]]]
"""By section, the groups of draws in order."""


class Choices:
    """Draws from *seed*, or the recorded draws *given*.

    Attributes:
        schedule: What was drawn so far; given to a new object, it is drawn again.
    """

    def __init__(self, seed: int, given: Schedule | None = None) -> None:
        self.schedule: Schedule = {}
        self._random = random.Random(seed).random
        self._given = given
        self._group: list[int] = []
        self._left: Iterator[int] | None = None

    def groups(self, section: str, count: int, least: int = 0) -> Iterator[int]:
        """Begin groups of *section*, one after the other: *count* of them, or as many as given.

        At least *least*, calm ones where none are given.
        """
        kept = self.schedule.setdefault(section, [])
        given = None if self._given is None else self._given.get(section, [])
        for number in range(count if given is None else max(least, len(given))):
            if given is not None:
                self._left = iter(given[number] if number < len(given) else ())
            self._group = []
            kept.append(self._group)
            yield number

    def calm(self) -> None:
        """Answer 0 from now on, and keep no record of it."""
        self._left, self._group = iter(()), []

    def below(self, limit: int) -> int:
        """Draw a whole number from 0 to *limit* - 1."""
        if self._left is None:
            value = int(self._random() * limit)
        else:
            value = min(next(self._left, 0), limit - 1)
        self._group.append(value)
        return value

    def one_of(self, options: Sequence[T]) -> T:
        """Draw one of *options*, the calmest of which stands first."""
        return options[self.below(len(options))]

    def chance(self, rate: float) -> bool:
        """Draw whether something happens that happens at *rate*; without a rate nothing is drawn.

        A schedule that is given says what happens, whatever the rate.
        """
        if not rate:
            return False
        value = self._random() < rate if self._left is None else next(self._left, 0) > 0
        self._group.append(int(value))
        return value

    def weighted(self, sums: Sequence[float]) -> int:
        """Draw an index by weights, of which *sums* are the running sums."""
        if self._left is None:
            value = bisect(sums, self._random() * sums[-1])
        else:
            value = min(next(self._left, 0), len(sums) - 1)
        self._group.append(value)
        return value


def size(schedule: Schedule) -> int:
    """Return how many draws are not calm, plus how many groups there are."""
    groups = [group for section in schedule.values() for group in section]
    return len(groups) + sum(draw > 0 for group in groups for draw in group)


Try = Callable[[Schedule], Schedule | None]


class Shrinker:
    """Makes a failing schedule smaller as long as it fails.

    Args:
        schedule: One that fails.
        fails: Plays a schedule; returns what it really drew if it fails in the same way, else None.
        tries: How often *fails* is called at most.
    """

    def __init__(self, schedule: Schedule, fails: Try, tries: int = 1_500) -> None:
        self.schedule = schedule
        self.tries = tries
        self._fails = fails

    def run(self) -> Schedule:
        """Return the smallest schedule that was found."""
        before = -1
        while before != size(self.schedule) and self.tries > 0:
            before = size(self.schedule)
            for section in list(self.schedule):
                self._drop_groups(section)
            for section in list(self.schedule):
                self._calm_groups(section)
        return self.schedule

    def _take(self, section: str, groups: list[list[int]]) -> bool:
        """Try the schedule with *groups* in *section*; keep it if it still fails."""
        if self.tries <= 0:
            return False
        self.tries -= 1
        found = self._fails({**self.schedule, section: groups})
        if found is None or size(found) > size(self.schedule):
            return False
        self.schedule = found
        return True

    def _drop_groups(self, section: str) -> None:
        block = max(1, len(self.schedule[section]) // 2)
        while block:
            end = len(self.schedule[section])
            while end > 0:
                groups = self.schedule[section]
                end = min(end, len(groups))
                begin = max(0, end - block)
                self._take(section, groups[:begin] + groups[end:])
                end = begin
            block //= 2

    def _calm_groups(self, section: str) -> None:
        for number in range(len(self.schedule[section]) - 1, -1, -1):
            self._replace(section, number, [])
            place = 0
            while place < len(group := self._group(section, number)):
                if group[place]:
                    for calmer in (0, group[place] // 2, group[place] - 1):
                        changed = [*group[:place], calmer, *group[place + 1 :]]
                        if calmer < group[place] and self._replace(section, number, changed):
                            break
                place += 1

    def _group(self, section: str, number: int) -> list[int]:
        groups = self.schedule[section]
        return groups[number] if number < len(groups) else []

    def _replace(self, section: str, number: int, group: list[int]) -> bool:
        groups = self.schedule[section]
        if number >= len(groups) or not any(groups[number]):
            return False
        return self._take(section, [*groups[:number], group, *groups[number + 1 :]])

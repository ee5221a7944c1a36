"""The repair by hand: what is stranded, and lines of the index that fell apart from heads.

Deletes nothing that somebody at work could still need.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from sequential.storage import Status

from .bucket import Bucket
from .head import Head
from .keys import Entry, Keys
from .stranded import PARTS, Stranded
from .wakes import LEFT


class Repaired(NamedTuple):
    """How much was put right; nothing is to be expected."""

    armed: int = 0
    found_again: int = 0
    lines: int = 0

    def sentences(self) -> list[str]:
        """Say it; nothing of what there was none of."""
        said = (
            f"runs that nobody would have woken: {self.armed}",
            f"runs that could not be found: {self.found_again}",
            f"lines of the index that were for no run: {self.lines}",
        )
        return [each for each, count in zip(said, self, strict=True) if count]


class Repair:
    """One look at everything under a prefix, at the time *now*."""

    def __init__(self, bucket: Bucket, keys: Keys, stranded: Stranded, now: float) -> None:
        self._bucket = bucket
        self._keys = keys
        self._stranded = stranded
        self._now = now
        self._found_again = 0
        self._rubbish = 0

    def run(self) -> Repaired:
        """Look, and put right."""
        self._listed = self._lines()
        armed = sum(map(self._look, PARTS))
        for rest in self._listed.values():
            self._rubbish += self._without(None, rest)
        return Repaired(armed, self._found_again, self._rubbish)

    def _look(self, part: str) -> int:
        """Look through *part*; return how many runs were armed."""
        look = self._stranded.look(part, self._agree)
        while True:
            try:
                next(look)
            except StopIteration as end:
                return int(end.value)

    def _agree(self, name: str, head: Head | None) -> None:
        """Make the index agree with *head*; nothing is known of one that is damaged."""
        own = self._listed.pop(name, [])
        if head is not None:
            self._found_again += self._is_listed_again(head, own)
            self._rubbish += self._without(head, own)

    def _lines(self) -> dict[str, list[tuple[Entry, float]]]:
        """Return the lines of the index by run, each with the time when it was written."""
        found: dict[str, list[tuple[Entry, float]]] = defaultdict(list)
        for prefix in {self._keys.index(status) for status in Status}:
            for key, written in self._bucket.listed(prefix):
                entry = self._keys.read_entry(prefix, key)
                if entry is not None:
                    found[entry.name].append((entry, written))
        return found

    def _is_listed_again(self, head: Head, own: list[tuple[Entry, float]]) -> bool:
        """Write the line that *head* names if it is not there; tell whether it was so."""
        if head.run is None:
            return False
        key = self._keys.entry(head.run, head.index)
        # Those that were listed may be older than the head.
        if key in {entry.key for entry, _ in own} or self._bucket.get(key) is not None:
            return False
        self._bucket.put(key, b"")
        return True

    def _without(self, head: Head | None, own: list[tuple[Entry, float]]) -> int:
        """Delete lines that no head names nor will: too old for anybody to be at work."""
        index = "" if head is None else head.index
        left = [
            entry.key
            for entry, written in own
            if entry.tag != index and written + LEFT <= self._now
        ]
        if left:
            self._bucket.delete(left)
        return len(left)

"""What no operation puts right by itself: W6, and lines of the index that fell apart from heads.

Reads every head. Deletes nothing that somebody at work could still need.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from sequential.errors import RecordCorrupt
from sequential.storage import Status

from .bucket import Bucket
from .head import Head
from .heads import Heads
from .keys import Entry, Keys
from .wakes import LEFT, Wakes

_log = logging.getLogger("sequential")


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

    def __init__(self, bucket: Bucket, keys: Keys, heads: Heads, wakes: Wakes, now: float) -> None:
        self._bucket = bucket
        self._keys = keys
        self._heads = heads
        self._wakes = wakes
        self._now = now

    def run(self) -> Repaired:
        """Look, and put right."""
        lines = self._lines()
        armed = self._wakes.first()
        counts = [0, 0, 0]
        for name in self._names():
            try:
                head = self._heads.read(name)
            except RecordCorrupt as error:
                _log.warning("left out of the repair: %s", error)
                lines.pop(name, None)
                continue
            own = lines.pop(name, [])
            counts[0] += self._wakes.rearm(head, armed.get(name))
            counts[1] += self._is_listed_again(head, own)
            counts[2] += self._without(head, own)
        for rest in lines.values():
            counts[2] += self._without(None, rest)
        return Repaired(*counts)

    def _names(self) -> Iterator[str]:
        for key in self._bucket.keys(self._keys.runs):
            if key.endswith("/head"):
                yield key.removesuffix("/head").rpartition("/")[2]

    def _lines(self) -> dict[str, list[tuple[Entry, float]]]:
        """Return the lines of the index by run, each with the time when it was written."""
        found: dict[str, list[tuple[Entry, float]]] = defaultdict(list)
        for prefix in {self._keys.index(status) for status in Status}:
            for key, written in self._bucket.listed(prefix):
                entry = self._keys.read_entry(prefix, key)
                if entry is not None:
                    found[entry.name].append((entry, written))
        return found

    def _is_listed_again(self, head: Head | None, own: list[tuple[Entry, float]]) -> bool:
        """Write the line that *head* names if it is not there; tell whether it was so."""
        if head is None or head.run is None:
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

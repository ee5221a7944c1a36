"""W6: runs that nobody would wake are found by reading every head, and armed.

No operation leaves one. Whoever deletes markers does, by hand or by a rule of the bucket.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from itertools import islice

from sequential.errors import RecordCorrupt
from sequential.storage import At

from .bucket import Bucket
from .head import Head
from .heads import Heads
from .keys import Keys, Marker, digest_of
from .wakes import RECHECK

PARTS = "0123456789abcdef"
"""Every run is in one of these parts, of about the same size."""

_PAGE = 1000
_log = logging.getLogger("sequential")

Seen = Callable[[str, Head | None], None]


class Stranded:
    """Looks through one prefix. *now* is the storage's time."""

    def __init__(
        self, bucket: Bucket, keys: Keys, heads: Heads, now: Callable[[float], float]
    ) -> None:
        self._bucket = bucket
        self._keys = keys
        self._heads = heads
        self._now = now

    def look(self, part: str, seen: Seen) -> Generator[None, None, int]:
        """Look through *part*, yielding after about every request; return how many were armed.

        *seen* is told the name and the head of each run, None for one that is damaged.
        """
        prefix = self._keys.part(part)
        markers = yield from self._first(prefix)
        suspects: dict[str, str] = {}
        for count, key in enumerate(self._bucket.keys(prefix), 1):
            if key.endswith("/head"):
                name = key.removesuffix("/head").rpartition("/")[2]
                head = self._read(name, seen)
                if head is not None and self._is_stranded(head, markers.get(name)):
                    suspects[name] = head.nonce
            if key.endswith("/head") or count % _PAGE == 0:
                yield
        if not suspects:
            return 0
        # They may have been created, woken or moved since the markers were listed.
        markers = yield from self._first(prefix)
        return sum(self._arm(name, nonce, markers.get(name)) for name, nonce in suspects.items())

    def _first(self, prefix: str) -> Generator[None, None, dict[str, float]]:
        """Return when the first marker of each run below *prefix* that has one is due."""
        found: dict[str, float] = {}
        keys = self._bucket.keys(self._keys.markers)
        while page := list(islice(keys, _PAGE)):
            for marker in filter(None, map(self._keys.read_marker, page)):
                if self._keys.run(marker.name).startswith(prefix):
                    found[marker.name] = min(marker.at, found.get(marker.name, marker.at))
            yield
        return found

    def _read(self, name: str, seen: Seen) -> Head | None:
        try:
            head = self._heads.read(name, remember=False)
        except RecordCorrupt as error:
            _log.warning("left out of the repair: %s", error)
            seen(name, None)
            return None
        if head is not None:
            seen(name, head)
        return head

    def _is_stranded(self, head: Head, at: float | None) -> bool:
        """Tell whether the first marker, due *at*, is none or too late."""
        if head.run is None or not isinstance(head.run.wake, At):
            return False
        return at is None or at > max(head.run.wake.time, self._now(0.0)) + RECHECK

    def _arm(self, name: str, nonce: str, at: float | None) -> bool:
        """Arm the run if it still has the head *nonce*, which was read before its markers."""
        head = self._heads.read(name, remember=False)
        if head is None or head.nonce != nonce or not self._is_stranded(head, at):
            return False
        run = head.run
        assert run is not None
        assert isinstance(run.wake, At)
        wake = run.wake.time
        marker = Marker(name, run.version, wake, wake, 0.0, digest_of(run.flow))
        self._bucket.put(self._keys.marker(marker), b"")
        return True

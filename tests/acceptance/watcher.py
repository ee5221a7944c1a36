"""Looks at the records while a campaign goes on: none may change, and none vanish alone."""

from __future__ import annotations

import hashlib
import threading
import time
from typing import Self

from tests.acceptance.book import Rows, Where, read_book

_Digests = dict[tuple[str, int, int], bytes]


class Watcher:
    """Looks at the records stored *where* again and again: none may change or vanish."""

    def __init__(self, where: Where) -> None:
        self.looks = 0
        self.violations: list[str] = []
        self._where = where
        self._seen: _Digests = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(90)
        assert not self._thread.is_alive()

    def _watch(self) -> None:
        took = 0.0
        while True:
            # A look gets longer with every record; the campaign needs the time too.
            stopped = self._stop.wait(max(0.2, 6 * took))
            begun = time.monotonic()
            self.look()
            took = time.monotonic() - begun
            if stopped:
                return

    def look(self) -> None:
        """Compare every record with what was seen before."""
        self.looks += 1
        now, runs = read_book(self._where, _records)
        for place, digest in self._seen.items():
            # Records may only go with their whole run; what then is left over, the checker says.
            if now.get(place) != digest and (place in now or place[0] in runs):
                self.violations.append(f"record {place} changed or vanished")
        self._seen = now


def _records(rows: Rows) -> tuple[_Digests, set[str]]:
    """Return a digest of every record, and the runs that are not purged."""
    steps = rows(
        "SELECT run_id, generation, number, position, kind, tool, fingerprint, outcome, value,"
        " input, attempts, started, ended, fence, op_id, v FROM steps"
    )
    kept = rows("SELECT run_id FROM runs WHERE status <> 'purged'")
    digests: _Digests = {
        (row[0], row[1], row[2]): hashlib.sha256(repr(row).encode()).digest() for row in steps
    }
    return digests, {run_id for (run_id,) in kept}

"""Looks at the records while a campaign goes on: none may change, and none vanish alone."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Self


class Watcher:
    """Looks at the records of *database* again and again: none may change or vanish."""

    def __init__(self, database: Path) -> None:
        self.looks = 0
        self.violations: list[str] = []
        self._database = database
        self._seen: dict[tuple[str, int, int], bytes] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _watch(self) -> None:
        with closing(sqlite3.connect(self._database, timeout=30)) as connection:
            took = 0.0
            while True:
                # A look gets longer with every record; the campaign needs the time too.
                stopped = self._stop.wait(max(0.2, 6 * took))
                begun = time.monotonic()
                self.look(connection)
                took = time.monotonic() - begun
                if stopped:
                    return

    def look(self, connection: sqlite3.Connection) -> None:
        """Compare every record with what was seen before."""
        self.looks += 1
        connection.execute("BEGIN")  # both reads see one moment
        rows = connection.execute(
            "SELECT run_id, generation, number, position, kind, tool, fingerprint, outcome, value,"
            " input, attempts, started, ended, fence, op_id, v FROM steps"
        )
        now = {row[:3]: hashlib.sha256(repr(row).encode()).digest() for row in rows}
        kept = connection.execute("SELECT run_id FROM runs WHERE status <> 'purged'")
        runs = {run_id for (run_id,) in kept}
        connection.execute("COMMIT")
        for place, digest in self._seen.items():
            # Records may only go with their whole run; what then is left over, the checker says.
            if now.get(place) != digest and (place in now or place[0] in runs):
                self.violations.append(f"record {place} changed or vanished")
        self._seen = now

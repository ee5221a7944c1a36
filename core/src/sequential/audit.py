"""Who did what to which run, when and why: a log record each, and a line in a file.

The command line and the dashboard write these rows. The one that says what is about to happen is
written first: what cannot be noted is not done.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_log = logging.getLogger("sequential.audit")

KEPT = 200
"""Rows of this process that `Audit.last` can show."""


class AuditRow(NamedTuple):
    """One row. *result* is ``asked`` before it is done; then ``done``, ``refused`` or ``failed``.

    *time* is in seconds since the epoch, by the clock of this host.
    """

    time: float
    viewer: str
    action: str
    run_id: str
    reason: str
    result: str
    note: str = ""


class Audit:
    """Writes rows, and keeps the last of this process.

    Args:
        path: File that lines of JSON are appended to; None for the log alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._rows: deque[AuditRow] = deque(maxlen=KEPT)

    def write(self, row: AuditRow) -> None:
        """Write *row*.

        Raises:
            OSError: The file cannot be written.
        """
        line = json.dumps(row._asdict(), ensure_ascii=True)
        with self._lock:
            if self._path is not None:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(f"{line}\n")
            self._rows.appendleft(row)
        # JSON escapes line ends: nobody writes a second record by his reason.
        _log.info("%s", line, extra={"audit": row._asdict()})

    def last(self) -> Sequence[AuditRow]:
        """Return the last rows of this process, the newest first."""
        with self._lock:
            return list(self._rows)


__all__ = ["KEPT", "Audit", "AuditRow"]

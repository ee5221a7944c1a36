"""Spans and log lines on their way to a span store: gathered, and written by a thread of its own.

Nobody waits for it. What finds no room, or no store, is dropped and counted, and the first time is
logged. Also drops from the store what is old. Knows the contract, and no OpenTelemetry.
"""

from __future__ import annotations

import contextvars
import logging
import math
import os
import threading
from collections.abc import Sequence

from ._clock import Clock
from ._span_store import LogRow, SpanRow, SpanStore

_log = logging.getLogger("sequential")

ROOM = 8192
"""Rows that wait at most."""

KEPT = 30 * 86_400.0
"""Seconds that spans and lines are kept."""

_BATCH = 512
_GATHERED = 1.0
"""Seconds that rows wait for others to be written with, unless a batch is full."""

_TIDIED_EVERY = 3600.0
_TIDIED_AT_ONCE, _TIDIED_AT_MOST = 10_000, 20

_TRACES = 4096

_STARTING = threading.Lock()


class Keeper:
    """Writes rows to *store*, from the first on, until it is closed.

    Attributes:
        store: Where they go.
        dropped: How many rows found no room, or met an error of the store.
    """

    def __init__(self, store: SpanStore, clock: Clock) -> None:
        self.store = store
        self.dropped = 0
        self._clock = clock
        self._traces: dict[int, None] = {}
        self._tidied = -math.inf
        self._pid = 0
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._rows: list[SpanRow | LogRow] = []
        self._put = self._done = 0
        self._hurry = self._closed = False

    # -- which traces are ours ---------------------------------------------------------------

    def see(self, trace: int) -> None:
        """Take spans of *trace*, one of the last few thousand that were seen, from now on."""
        self._own()
        with self._changed:
            self._traces.pop(trace, None)
            self._traces[trace] = None
            if len(self._traces) > _TRACES:
                del self._traces[next(iter(self._traces))]

    def sees(self, trace: int) -> bool:
        """Tell whether *trace* is one of them."""
        return trace in self._traces

    # -- rows --------------------------------------------------------------------------------

    def put(self, row: SpanRow | LogRow) -> None:
        """Leave *row* to the thread. Returns at once, and never raises."""
        self._own()
        with self._changed:
            if self._closed:
                return
            room = len(self._rows) < ROOM
            if room:
                self._rows.append(row)
                self._put += 1
                if len(self._rows) in (1, _BATCH):
                    self._changed.notify_all()
        if not room:
            self._drop(1, "too much at once")

    def flush(self, seconds: float) -> bool:
        """Wait until what was put is written or dropped, for at most *seconds*; say whether."""
        self._own()
        with self._changed:
            wanted, self._hurry = self._put, True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._done >= wanted, seconds)

    def close(self, seconds: float = 2.0) -> None:
        """Write what is left, for at most *seconds*, and let the thread end."""
        self.flush(seconds)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _own(self) -> None:
        """Make sure that there is a thread of this process."""
        if self._pid == os.getpid():
            return
        with _STARTING:
            if self._pid != os.getpid():
                self._start()

    def _start(self) -> None:
        # A forked process has rows that its parent writes, a lock that may be held, no thread.
        self._begin()
        self._pid = os.getpid()
        # In an empty context: what the driver of the store logs is not the run's that came first.
        target, run = contextvars.Context().run, self._run
        self._thread = threading.Thread(
            target=target, args=(run,), daemon=True, name="sequential-keeper"
        )
        self._thread.start()

    def _run(self) -> None:
        while not self._closed:
            with self._changed:
                self._changed.wait_for(lambda: self._rows or self._hurry or self._closed)
                self._changed.wait_for(self._is_due, _GATHERED)
                rows, self._rows, self._hurry = self._rows, [], False
            self._write(rows)
            with self._changed:
                self._done += len(rows)
                self._changed.notify_all()
            self._tidy()

    def _is_due(self) -> bool:
        return self._hurry or self._closed or len(self._rows) >= _BATCH

    def _write(self, rows: Sequence[SpanRow | LogRow]) -> None:
        for start in range(0, len(rows), _BATCH):
            some = rows[start : start + _BATCH]
            spans = [row for row in some if isinstance(row, SpanRow)]
            lines = [row for row in some if isinstance(row, LogRow)]
            try:
                self.store.add(spans, lines)
            except Exception as error:  # noqa: BLE001  (a store may fail in any way)
                self._drop(len(some), type(error).__name__)

    def _tidy(self) -> None:
        now = self._clock.monotonic()
        if now - self._tidied < _TIDIED_EVERY:
            return
        self._tidied = now
        try:
            for _ in range(_TIDIED_AT_MOST):
                if self.store.drop(self._clock.now() - KEPT, _TIDIED_AT_ONCE) < _TIDIED_AT_ONCE:
                    break
        except Exception as error:  # noqa: BLE001  (the next hour is early enough)
            _log.debug("old spans stay for another hour: %s", type(error).__name__)

    def _drop(self, rows: int, reason: str) -> None:
        self.dropped += rows
        if self.dropped == rows:
            _log.warning("spans are not kept, runs go on without: %s", reason)

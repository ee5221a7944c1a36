"""Spans and lines of logs kept in this process, for tests and for trying things out."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ._clock import Clock
from ._span_store import LogRow, SpanRow
from .errors import ConfigError


class MemorySpans:
    """Keeps spans in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: dict[tuple[str, str], SpanRow] = {}
        self._logs: list[LogRow] = []

    def add(self, spans: Sequence[SpanRow], logs: Sequence[LogRow] = ()) -> None:
        """Keep *spans*, each in place of one with its ids, and *logs*."""
        with self._lock:
            self._spans.update({(row.trace, row.span): row for row in spans})
            self._logs.extend(logs)

    def spans_of(self, trace: str, limit: int = 5000) -> Sequence[SpanRow]:
        """Return the spans of one trace, in order of their start, at most *limit*."""
        with self._lock:
            found = [row for row in self._spans.values() if row.trace == trace]
        return sorted(found, key=lambda row: (row.started, row.span))[:limit]

    def logs_of(
        self, trace: str, position: str | None = None, limit: int = 200
    ) -> Sequence[LogRow]:
        """Return the last *limit* lines of one trace in order of time; None for all positions."""
        with self._lock:
            found = [
                row for row in self._logs if row.trace == trace and position in {None, row.position}
            ]
        return sorted(found, key=lambda row: row.time)[-limit:]

    def drop(self, before: float, limit: int = 10_000) -> int:
        """Remove at most *limit* spans and lines that ended before; return how many were."""
        with self._lock:
            spans = [key for key, row in self._spans.items() if row.ended < before][:limit]
            for key in spans:
                del self._spans[key]
            old = [row for row in self._logs if row.time < before][: limit - len(spans)]
            gone = {id(row) for row in old}
            self._logs = [row for row in self._logs if id(row) not in gone]
            return len(spans) + len(old)

    def close(self) -> None:
        """Do nothing: what is kept lives as long as the object."""


def open_memory_spans(url: str, clock: Clock) -> MemorySpans:  # noqa: ARG001  (a factory's signature)
    """Return a new, empty store for ``memory://``.

    Raises:
        ConfigError: *url* says more than that.
    """
    if url not in {"memory:", "memory://"}:
        raise ConfigError("span store", url, "memory:// takes no path and no options")
    return MemorySpans()

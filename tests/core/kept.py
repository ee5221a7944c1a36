"""A span store in memory, and an application that keeps what it tells there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sequential import Registry, Sequential
from sequential.hookspecs import SpanStoreFactory, hookimpl
from sequential.spans import LogRow, SpanRow


class Shelf:
    """Keeps everything; *broken* raises, whatever is asked."""

    def __init__(self) -> None:
        self.spans: dict[tuple[str, str], SpanRow] = {}
        self.lines: list[LogRow] = []
        self.batches: list[int] = []
        self.dropped: list[float] = []
        self.broken: Exception | None = None
        self.closed = False

    def add(self, spans: Sequence[SpanRow], logs: Sequence[LogRow] = ()) -> None:
        if self.broken is not None:
            raise self.broken
        self.batches.append(len(spans) + len(logs))
        self.spans |= {(row.trace, row.span): row for row in spans}
        self.lines += logs

    def spans_of(self, trace: str, limit: int = 5000) -> Sequence[SpanRow]:
        found = sorted((row for row in self.spans.values() if row.trace == trace), key=_started)
        return found[:limit]

    def logs_of(
        self, trace: str, position: str | None = None, limit: int = 200
    ) -> Sequence[LogRow]:
        found = [row for row in self.lines if row.trace == trace]
        return [row for row in found if position in (None, row.position)][-limit:]

    def drop(self, before: float, limit: int = 10_000) -> int:
        if self.broken is not None:
            raise self.broken
        self.dropped.append(before)
        return 0

    def close(self) -> None:
        self.closed = True


class Brings:
    """The plugin that opens *shelf* under ``shelf:``, and in place of ``memory:``'s own."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    @hookimpl
    def sequential_span_stores(self) -> Mapping[str, SpanStoreFactory]:
        return dict.fromkeys(("shelf", "memory"), lambda *_: self._shelf)


def keeping(shelf: Shelf, registry: Registry, *more: object, **settings: Any) -> Sequential:
    """Return an application that keeps what it tells on *shelf*."""
    chosen = {"telemetry": "stored", "spans": "shelf:", **settings}
    return Sequential("memory:", plugins=[Brings(shelf), *more], registry=registry, **chosen)


def _started(row: SpanRow) -> float:
    return row.started

"""Rows on their way to a span store: written together, never waited for, dropped when it fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence

import pytest

from sequential._keeper import KEPT, Keeper
from sequential.spans import LogRow, SpanRow
from sequential.testing import FakeClock
from tests.core.kept import Shelf


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def keeper(shelf: Shelf) -> Iterator[Keeper]:
    made = Keeper(shelf, FakeClock())
    yield made
    made.close()


def row(number: int) -> SpanRow:
    return SpanRow("a" * 32, f"{number:016x}", "", "GET", "client", 1.0, 2.0)


LINE = LogRow("a" * 32, "0", 1.0, "INFO", "shop", "hello")


def test_rows_are_written_together(keeper: Keeper, shelf: Shelf) -> None:
    for number in range(700):
        keeper.put(row(number))
    keeper.put(LINE)
    assert keeper.flush(10.0)
    assert len(shelf.spans) == 700
    assert shelf.lines == [LINE]
    assert max(shelf.batches) <= 512
    assert len(shelf.batches) <= 3


def test_a_failing_store_loses_rows_and_says_so_once(
    keeper: Keeper, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.broken = OSError("secret of a driver")
    for number in range(3):
        keeper.put(row(number))
        assert keeper.flush(10.0)
    assert keeper.dropped == 3
    assert [each.message for each in caplog.records if each.levelno >= logging.WARNING] == [
        "spans are not kept, runs go on without: OSError"
    ]
    shelf.broken = None
    keeper.put(row(9))
    assert keeper.flush(10.0)
    assert len(shelf.spans) == 1


class Stuck(Shelf):
    """Takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def add(self, spans: Sequence[SpanRow], logs: Sequence[LogRow] = ()) -> None:
        self.gate.wait(60)
        super().add(spans, logs)


def test_a_slow_store_is_not_waited_for_and_takes_little_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sequential._keeper.ROOM", 10)
    stuck = Stuck()
    keeper = Keeper(stuck, FakeClock())
    for number in range(100):
        keeper.put(row(number))
    assert not keeper.flush(0.05)
    assert keeper.dropped >= 80
    stuck.gate.set()
    assert keeper.flush(10.0)
    assert len(stuck.spans) + keeper.dropped == 100
    keeper.close()


def test_what_is_old_is_dropped_once_an_hour(shelf: Shelf) -> None:
    clock = FakeClock()
    keeper = Keeper(shelf, clock)
    begun = clock.now()
    for hours in (0.0, 0.5, 0.6, 1.0):
        clock.advance(hours * 3600)
        keeper.put(row(1))
        assert keeper.flush(10.0)
    keeper.close()
    keeper._thread.join(10.0)
    assert shelf.dropped == [begun - KEPT, begun + 1.1 * 3600 - KEPT, begun + 2.1 * 3600 - KEPT]


def test_after_it_was_closed_nothing_is_taken(keeper: Keeper, shelf: Shelf) -> None:
    keeper.put(row(1))
    keeper.close()
    assert len(shelf.spans) == 1
    keeper.put(row(2))
    assert len(shelf.spans) == 1
    assert keeper.dropped == 0


def test_only_the_last_few_thousand_traces_are_seen(keeper: Keeper) -> None:
    keeper.see(1)
    for number in range(2, 4098):
        keeper.see(number)
        keeper.see(2)
    assert not keeper.sees(1)
    assert keeper.sees(2)
    assert keeper.sees(4097)

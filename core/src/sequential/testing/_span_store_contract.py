"""The contract kit for span stores: one class to inherit, one fixture to override.

Only the contract is used, so that the same class runs over any store. Needs pytest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from .._span_store import LogRow, SpanRow, SpanStore
from ..errors import StorageError
from ._storage_samples import ODD_TEXTS, race

TRACE, OTHER = "0" * 31 + "a", "f" * 32


def make_span(number: int = 1, trace: str = TRACE, **fields: object) -> SpanRow:
    """Return a span that began at second *number*."""
    row = SpanRow(trace, f"{number:016x}", "", "api.user", "internal", number, number + 1.0)
    return row._replace(**fields)  # type: ignore[arg-type]


def make_line(time: float, position: str = "", trace: str = TRACE, message: str = "hi") -> LogRow:
    """Return a line that was logged at *time*."""
    return LogRow(trace, position, time, "INFO", "app", message, "b" * 16)


class SpanStoreContract:
    """Everything that a span store must do, as tests. Inherit, and override `spans`.

    Example:
        >>> class TestShelfSpans(SpanStoreContract):
        ...     @pytest.fixture
        ...     def spans(self, tmp_path: Path) -> Iterator[SpanStore]:
        ...         store = open_shelf_spans(f"shelf://{tmp_path}", FakeClock())
        ...         yield store
        ...         store.close()
    """

    @pytest.fixture
    def spans(self) -> SpanStore:
        """Give an empty span store. To be overridden."""
        raise NotImplementedError(
            f"{type(self).__name__} has no span store to test: override the fixture `spans(self)`"
            " and return an empty one"
        )

    @pytest.fixture
    def again(self) -> Callable[[], SpanStore] | None:
        """Give what opens the same store once more; None if it lives in one object."""
        return None

    def test_an_empty_store_has_nothing(self, spans: SpanStore) -> None:
        assert list(spans.spans_of(TRACE)) == []
        assert list(spans.logs_of(TRACE)) == []
        assert spans.drop(1e12) == 0

    def test_what_is_kept_comes_back_as_it_was(self, spans: SpanStore) -> None:
        attributes: dict[str, str | int | float | bool] = {
            "text": "é",
            "yes": True,
            "no": False,
            "whole": 2**62,
            "part": 0.1,
            "": "",
        }
        span = SpanRow(
            TRACE, "c" * 16, "d" * 16, "GET /", "client", 1.5, 2.5, "TimeoutError", attributes,
            (("e" * 32, "f" * 16), (OTHER, "0" * 16)), "shop",
        )  # fmt: skip
        line = LogRow(TRACE, "3.1.0", 2.25, "WARNING", "app.shop", "a\nb", "c" * 16)
        spans.add([span], [line])
        (kept,) = spans.spans_of(TRACE)
        assert kept == span
        assert [type(kept.attributes[name]) for name in attributes] == [
            type(value) for value in attributes.values()
        ]
        assert list(spans.logs_of(TRACE)) == [line]

    def test_spans_are_in_order_of_their_start_and_no_more_than_asked(
        self, spans: SpanStore
    ) -> None:
        spans.add([make_span(number) for number in (3, 1, 4, 2)])
        spans.add([make_span(0)])
        assert [row.started for row in spans.spans_of(TRACE)] == [0, 1, 2, 3, 4]
        assert [row.started for row in spans.spans_of(TRACE, limit=2)] == [0, 1]

    def test_a_span_replaces_one_with_its_ids(self, spans: SpanStore) -> None:
        first, second = make_span(1, attributes={"a": 1, "b": 2}), make_span(1, started=0.5)
        spans.add([first, make_span(2)])
        spans.add([second])
        assert list(spans.spans_of(TRACE)) == [second, make_span(2)]
        third = make_span(1, ended=9.0, error="ValueError")
        spans.add([first, second, third])
        assert list(spans.spans_of(TRACE)) == [third, make_span(2)]

    def test_a_trace_is_its_own(self, spans: SpanStore) -> None:
        mine, other = make_span(1), make_span(1, OTHER)
        spans.add([mine, other], [make_line(1.0), make_line(2.0, trace=OTHER)])
        assert list(spans.spans_of(TRACE)) == [mine]
        assert list(spans.spans_of(OTHER)) == [other]
        assert list(spans.logs_of(OTHER)) == [make_line(2.0, trace=OTHER)]

    def test_logs_are_the_last_in_order_of_time(self, spans: SpanStore) -> None:
        spans.add([], [make_line(3.0), make_line(1.0), make_line(2.0)])
        spans.add([], [make_line(4.0)])
        assert [row.time for row in spans.logs_of(TRACE)] == [1.0, 2.0, 3.0, 4.0]
        assert [row.time for row in spans.logs_of(TRACE, limit=2)] == [3.0, 4.0]

    def test_lines_of_one_moment_stay_in_the_order_they_came(self, spans: SpanStore) -> None:
        spans.add([], [make_line(1.0, message=word) for word in "abcd"])
        assert [row.message for row in spans.logs_of(TRACE, limit=3)] == ["b", "c", "d"]

    def test_logs_of_a_position_are_those_of_no_other(self, spans: SpanStore) -> None:
        spans.add([], [make_line(1.0, ""), make_line(2.0, "3"), make_line(3.0, "3.1")])
        assert [row.time for row in spans.logs_of(TRACE, "3")] == [2.0]
        assert [row.time for row in spans.logs_of(TRACE, "")] == [1.0]
        assert [row.time for row in spans.logs_of(TRACE, "3.1", limit=5)] == [3.0]

    def test_what_ended_before_is_dropped(self, spans: SpanStore) -> None:
        spans.add([make_span(n) for n in range(4)], [make_line(float(n)) for n in range(4)])
        assert spans.drop(2.0) == 3  # spans that ended at 1; lines at 0 and 1
        assert [row.ended for row in spans.spans_of(TRACE)] == [2.0, 3.0, 4.0]
        assert [row.time for row in spans.logs_of(TRACE)] == [2.0, 3.0]
        assert spans.drop(2.0) == 0

    def test_no_more_is_dropped_than_asked(self, spans: SpanStore) -> None:
        spans.add([make_span(n) for n in range(5)], [make_line(float(n)) for n in range(5)])
        assert [spans.drop(100.0, limit=4) for _ in range(4)] == [4, 4, 2, 0]
        assert (list(spans.spans_of(TRACE)), list(spans.logs_of(TRACE))) == ([], [])

    @pytest.mark.parametrize("text", [*ODD_TEXTS, "\ud800", "a\udfffb", "\x1a"])
    def test_any_text_is_kept(self, spans: SpanStore, text: str) -> None:
        span = make_span(
            1, name=text, attributes={text: text, "k": text}, service=text, error=text, kind=text
        )
        line = LogRow(TRACE, "3", 1.0, text, text, text)
        spans.add([span, make_span(2)], [line])
        assert list(spans.spans_of(TRACE)) == [span, make_span(2)]
        assert list(spans.logs_of(TRACE)) == [line]
        assert list(spans.spans_of("' OR 1=1--")) == []
        assert list(spans.logs_of(TRACE, "' OR 1=1--")) == []

    def test_a_batch_is_kept_whole_or_not_at_all(self, spans: SpanStore) -> None:
        broken = make_line(1.0)._replace(time="never")  # type: ignore[arg-type]
        try:
            spans.add([make_span(1)], [make_line(0.5), broken])
        except (StorageError, TypeError, ValueError):
            assert list(spans.spans_of(TRACE)) == []
            assert list(spans.logs_of(TRACE)) == []
        else:
            assert len(spans.spans_of(TRACE)) == 1

    def test_many_add_at_once(self, spans: SpanStore) -> None:
        race(8, partial(_add_some, spans))
        found = spans.spans_of(TRACE)
        assert [row.started for row in found] == [float(n) for n in range(80)]
        assert len(spans.logs_of(TRACE)) == 80

    def test_what_is_kept_is_there_for_who_opens_it_next(
        self, spans: SpanStore, again: Callable[[], SpanStore] | None
    ) -> None:
        if again is None:
            pytest.skip("it lives in one object")
        spans.add([make_span(1)], [make_line(1.0)])
        second = again()
        assert list(second.spans_of(TRACE)) == [make_span(1)]
        second.add([make_span(2)])
        assert [row.started for row in spans.spans_of(TRACE)] == [1, 2]
        second.close()
        assert list(spans.logs_of(TRACE)) == [make_line(1.0)]


def _add_some(spans: SpanStore, thread: int) -> None:
    for turn in range(10):
        number = thread * 10 + turn
        spans.add([make_span(number)], [make_line(float(number))])

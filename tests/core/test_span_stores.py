"""Span stores of the core: the contract, stores broken on purpose, and the file beside the runs."""

from __future__ import annotations

import inspect
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sequential import _builtin
from sequential._memory_spans import MemorySpans, open_memory_spans
from sequential._plugins import Plugins
from sequential._span_rows import pack_log, pack_span, unpack_logs, unpack_spans
from sequential._sqlite.schema import APPLICATION_ID
from sequential._sqlite.spans import SPANS_ID, SqliteSpans, open_sqlite_spans
from sequential.errors import ConfigError, SchemaTooNew, StorageError, StorageForeign
from sequential.spans import LogRow, SpanRow, SpanStore
from sequential.testing import FakeClock, SpanStoreContract
from sequential.testing._span_store_contract import TRACE, make_line, make_span


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/flows.db"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "flows.db.spans"


@pytest.fixture
def spans(url: str) -> Iterator[SqliteSpans]:
    store = open_sqlite_spans(url, FakeClock())
    yield store
    store.close()


class TestMemory(SpanStoreContract):
    @pytest.fixture
    def spans(self) -> SpanStore:
        return open_memory_spans("memory:", FakeClock())


class TestSqlite(SpanStoreContract):
    @pytest.fixture
    def spans(self, url: str) -> Iterator[SpanStore]:
        store = open_sqlite_spans(url, FakeClock())
        yield store
        store.close()

    @pytest.fixture
    def again(self, url: str) -> Callable[[], SpanStore]:
        return lambda: open_sqlite_spans(url, FakeClock())


# -- stores that break one line of the contract


class KeepsTheFirst(MemorySpans):
    def add(self, spans: Sequence[SpanRow], logs: Sequence[LogRow] = ()) -> None:
        super().add([row for row in spans if (row.trace, row.span) not in self._spans], logs)


class MixesTraces(MemorySpans):
    def spans_of(self, trace: str, limit: int = 5000) -> Sequence[SpanRow]:
        return sorted(self._spans.values(), key=lambda row: row.started)[:limit]


class ForgetsLinks(MemorySpans):
    def add(self, spans: Sequence[SpanRow], logs: Sequence[LogRow] = ()) -> None:
        super().add([row._replace(links=()) for row in spans], logs)


class MakesNumbersOfTruth(MemorySpans):
    def add(self, spans: Sequence[SpanRow], logs: Sequence[LogRow] = ()) -> None:
        super().add([row._replace(attributes=_numbers(row)) for row in spans], logs)


def _numbers(row: SpanRow) -> dict[str, str | int | float | bool]:
    known = row.attributes.items()
    return {name: int(value) if value is True else value for name, value in known}


class InNoOrder(MemorySpans):
    def spans_of(self, trace: str, limit: int = 5000) -> Sequence[SpanRow]:
        return [row for row in self._spans.values() if row.trace == trace][:limit]


class TheFirstLines(MemorySpans):
    def logs_of(
        self, trace: str, position: str | None = None, limit: int = 200
    ) -> Sequence[LogRow]:
        return super().logs_of(trace, position, 10_000)[:limit]


class LinesOfPositionsBelow(MemorySpans):
    def logs_of(
        self, trace: str, position: str | None = None, limit: int = 200
    ) -> Sequence[LogRow]:
        found = super().logs_of(trace, None, limit)
        return [row for row in found if row.position.startswith(position or "")]


class LinesSortedByText(MemorySpans):
    def add(self, spans: Sequence[SpanRow], logs: Sequence[LogRow] = ()) -> None:
        super().add(spans, sorted(logs, key=lambda row: row.message, reverse=True))


class DropsNoLines(MemorySpans):
    def drop(self, before: float, limit: int = 10_000) -> int:
        kept = list(self._logs)
        count = super().drop(before, limit)
        self._logs = kept
        return count


class DropsWhatBegan(MemorySpans):
    def drop(self, before: float, limit: int = 10_000) -> int:
        return super().drop(before + 1.0, limit)


class DropsAll(MemorySpans):
    def drop(self, before: float, limit: int = 10_000) -> int:
        return super().drop(before, 10_000)


class CutsAtNul(MemorySpans):
    def add(self, spans: Sequence[SpanRow], logs: Sequence[LogRow] = ()) -> None:
        super().add([row._replace(name=row.name.partition("\0")[0]) for row in spans], logs)


class KeepsHalf(MemorySpans):
    def add(self, spans: Sequence[SpanRow], logs: Sequence[LogRow] = ()) -> None:
        super().add(spans)
        if any(not isinstance(row.time, float) for row in logs):
            raise ValueError(logs)
        super().add((), logs)


class LosesARace(MemorySpans):
    def add(self, spans: Sequence[SpanRow], logs: Sequence[LogRow] = ()) -> None:
        before = self.spans_of(TRACE)
        super().add(spans, logs)
        self._spans = {(row.trace, row.span): row for row in [*before, *spans][-50:]}


BROKEN: dict[type[MemorySpans], str] = {
    KeepsTheFirst: "test_a_span_replaces_one_with_its_ids",
    MixesTraces: "test_a_trace_is_its_own",
    ForgetsLinks: "test_what_is_kept_comes_back_as_it_was",
    MakesNumbersOfTruth: "test_what_is_kept_comes_back_as_it_was",
    InNoOrder: "test_spans_are_in_order_of_their_start_and_no_more_than_asked",
    TheFirstLines: "test_logs_are_the_last_in_order_of_time",
    LinesOfPositionsBelow: "test_logs_of_a_position_are_those_of_no_other",
    LinesSortedByText: "test_lines_of_one_moment_stay_in_the_order_they_came",
    DropsNoLines: "test_what_ended_before_is_dropped",
    DropsWhatBegan: "test_what_ended_before_is_dropped",
    DropsAll: "test_no_more_is_dropped_than_asked",
    CutsAtNul: "test_any_text_is_kept",
    KeepsHalf: "test_a_batch_is_kept_whole_or_not_at_all",
    LosesARace: "test_many_add_at_once",
}


def passes(kind: type[MemorySpans], name: str) -> bool:
    test: Callable[..., None] = getattr(SpanStoreContract(), name)
    given: dict[str, object] = {"spans": kind(), "text": "a\0b"}
    try:
        test(**{each: given[each] for each in inspect.signature(test).parameters})
    except (AssertionError, pytest.fail.Exception):
        return False
    return True


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_store_is_caught_by_the_test_meant_for_it(kind: type[MemorySpans]) -> None:
    assert passes(MemorySpans, BROKEN[kind])
    assert not passes(kind, BROKEN[kind])


# -- the file


def test_reading_and_dropping_make_no_file(spans: SqliteSpans, file: Path) -> None:
    assert (list(spans.spans_of(TRACE)), spans.drop(1e12)) == ([], 0)
    assert not file.exists()
    file.touch()  # somebody is about to make it
    assert list(spans.logs_of(TRACE)) == []
    assert file.stat().st_size == 0


def test_a_file_that_appears_later_is_read(spans: SqliteSpans, url: str) -> None:
    assert list(spans.spans_of(TRACE)) == []
    other = open_sqlite_spans(url, FakeClock())
    other.add([make_span(1)])
    assert list(spans.spans_of(TRACE)) == [make_span(1)]
    other.close()


def test_a_file_where_nobody_may_write_is_read(spans: SqliteSpans, file: Path) -> None:
    spans.add([make_span(1)], [make_line(1.0)])
    spans.close()
    # Where everybody gets to: the folders of pytest are its user's alone.
    with TemporaryDirectory() as name:
        folder = Path(name)
        copy = Path(shutil.copy(file, folder))
        copy.chmod(0o444)
        folder.chmod(0o555)
        done = _as_nobody(f"sqlite:///{folder / copy.name.removesuffix('.spans')}")
        assert done.stdout.split() == ["1", "1", "refused"], done.stderr
        assert list(folder.iterdir()) == [copy]
        folder.chmod(0o700)


def _as_nobody(url: str) -> subprocess.CompletedProcess[str]:
    """Read the store at *url*, then try to write, in a process that may write nothing."""
    code = (
        "import os, sys; from sequential._sqlite.spans import open_sqlite_spans\n"
        "from sequential.testing import FakeClock\n"
        "from sequential.errors import StorageRefused\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "store = open_sqlite_spans(sys.argv[1], FakeClock())\n"
        "print(len(store.spans_of(sys.argv[2])), len(store.logs_of(sys.argv[2])))\n"
        "try: store.add([store.spans_of(sys.argv[2])[0]])\n"
        "except StorageRefused: print('refused')\n"
    )
    command = [sys.executable, "-c", code, url, TRACE]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_file_of_somebody_else_is_left_alone(spans: SqliteSpans, url: str, file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE spans (mine)")
    before = file.read_bytes()
    for ask in (lambda: spans.add([make_span(1)]), lambda: spans.spans_of(TRACE)):
        with pytest.raises(StorageForeign, match=r"flows\.db\.spans"):
            ask()
    assert file.read_bytes() == before
    connection.close()


def test_the_file_says_whose_it_is(spans: SqliteSpans, file: Path) -> None:
    spans.add([make_span(1)])
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (SPANS_ID,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    assert SPANS_ID != APPLICATION_ID
    spans.close()
    with pytest.raises(SchemaTooNew):
        open_sqlite_spans(f"sqlite:///{str(file).removesuffix('.spans')}", FakeClock()).add([])


def test_damaged_rows_hide_no_others(
    spans: SqliteSpans, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spans.add([make_span(n) for n in range(4)], [make_line(1.0), make_line(2.0)])
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE spans SET data = '[' WHERE started = 1")
        connection.execute("UPDATE spans SET data = '{}' WHERE started = 2")
        connection.execute("UPDATE logs SET data = '[1]' WHERE time = 1")
    connection.close()
    assert [row.started for row in spans.spans_of(TRACE)] == [0, 3]
    assert [row.time for row in spans.logs_of(TRACE)] == [2.0]
    assert caplog.text.count("left out of trace") == 3


def test_a_closed_store_says_so(spans: SqliteSpans) -> None:
    spans.add([make_span(1)])
    spans.close()
    with pytest.raises(StorageError, match="closed"):
        spans.add([make_span(2)])


# -- rows, and what opens them


def test_what_is_no_attribute_is_shown_as_text() -> None:
    row = make_span(1, attributes={"a": Path("x")})
    assert unpack_spans([pack_span(row)])[0].attributes == {"a": "x"}
    assert unpack_logs([pack_log(make_line(1.0))]) == [make_line(1.0)]


@pytest.mark.parametrize("url", ["memory:x", "memory://h/p", "sqlite:///", "sqlite:///a?b=1"])
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        Plugins([_builtin], []).open_span_store(url, FakeClock())

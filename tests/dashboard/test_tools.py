"""The page of tools: what is added up of the hours that a storage has counted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sequential.spans import BUCKETS, HOUR, Rolled, Rollup, bucket_of
from sequential_dashboard.tools import WINDOWS, by_tool, heat, over_time
from tests.dashboard.pages import address, errors, said, visit
from tests.fix_dashboard import NOW, Opened

LAST = int(NOW // HOUR * HOUR - HOUR)


def rollup(hour: int, tool: str, seconds: Sequence[float], outcome: str = "value") -> Rollup:
    histogram: dict[int, int] = {}
    for each in seconds:
        histogram[bucket_of(each)] = histogram.get(bucket_of(each), 0) + 1
    count = len(seconds)
    return Rollup(
        LAST - hour * 3600, tool, outcome, count, count + 1, sum(seconds), max(seconds), histogram
    )


ROWS = (
    rollup(30, "bank.charge", [0.2] * 90),
    rollup(2, "bank.charge", [0.4] * 9 + [9.0]),
    rollup(1, "bank.charge", [0.5] * 10, "error"),
    rollup(1, "mail.send", [0.0001], "cancelled"),
    rollup(0, "mail.send", [70.0] * 2, "timeout"),
)


class Counted:
    """Rollups in place of a storage's, and what was asked of them."""

    def __init__(self, *rows: Rollup, until: float = NOW) -> None:
        self.rows = rows
        self.until = until
        self.asked: list[tuple[float, float]] = []

    def __call__(self, since: float, until: float) -> Rolled:
        self.asked.append((since, until))
        return Rolled([each for each in self.rows if since <= each.hour < until], self.until)


@pytest.fixture
def counted(demo: Opened, monkeypatch: pytest.MonkeyPatch) -> Counted:
    made = Counted(*ROWS)
    monkeypatch.setattr(demo.app.storage, "rollups", made, raising=False)
    return made


# -- adding up


def test_calls_of_a_tool_are_added_up_over_hours_and_outcomes() -> None:
    charge, mail = by_tool(ROWS)
    assert (charge.name, charge.calls, charge.failed, charge.longest) == ("bank.charge", 110, 10, 9)
    assert charge.attempts == 113
    assert charge.error_rate == pytest.approx(10 / 110)
    assert (mail.calls, mail.failed) == (3, 2)


def test_percentiles_are_right_to_a_tenth_and_never_beyond_the_slowest() -> None:
    charge, mail = by_tool(ROWS)
    assert charge.percentile(0.5) == pytest.approx(0.2, rel=0.1)
    assert charge.percentile(0.95) == pytest.approx(0.5, rel=0.1)
    assert charge.percentile(1.0) == pytest.approx(9.0, rel=0.1)
    assert mail.percentile(1.0) == 70.0
    assert by_tool([rollup(0, "a.b", [0.1])._replace(histogram={})])[0].percentile(0.5) is None


def test_hours_are_gathered_into_columns() -> None:
    found = over_time(ROWS, 4 * HOUR, "bank.charge")
    assert [(each.calls, each.failed) for each in found] == [(90, 0), (20, 10)]
    assert all(each.start % (4 * HOUR) == 0 for each in found)


def test_a_heatmap_has_few_cells_and_loses_no_call() -> None:
    rows = [
        rollup(hour, "a.b", [1e-6, *(1e-3 * 2 ** (each / BUCKETS) for each in range(200)), 1e9])
        for hour in range(720)
    ]
    window = WINDOWS["30 d"]
    found = heat(rows, window.column)
    assert sum(each.calls for each in found) == 720 * 202
    assert len(found) <= 61 * 32
    assert all(each.high == 2 * each.low for each in found)


# -- the page


def test_the_page_shows_each_tool_with_one_query(demo: Opened, counted: Counted) -> None:
    test = visit("tools")
    assert errors(test) == []
    frame = test.dataframe[0].value
    assert list(frame["Tool"]) == ["bank.charge", "mail.send"]
    assert list(frame["Calls"]) == [20, 3]
    assert list(frame["Failed"]) == ["50.0%", "66.7%"]
    assert list(frame["Open"]) == ["failures?tool=bank.charge", "failures?tool=mail.send"]
    assert len(test.get("vega_lite_chart") or test.get("arrow_vega_lite_chart")) == 2
    assert counted.asked == [((NOW - 24 * HOUR) // HOUR * HOUR, NOW)]
    assert "As of" in said(test)


def test_the_window_and_the_tool_stand_in_the_address(demo: Opened, counted: Counted) -> None:
    test = visit("tools", window="7 d", tool="mail.send")
    assert errors(test) == []
    assert list(test.dataframe[0].value["Calls"]) == [110, 3]
    assert test.selectbox(key="tools_tool").value == "mail.send"
    assert address(test) == {"window": ["7 d"], "tool": ["mail.send"]}
    test.selectbox(key="tools_tool").set_value("").run()
    assert address(test) == {"window": ["7 d"]}
    assert errors(visit("tools", window="soon", tool="no.such")) == []


def test_a_storage_without_statistics_is_said_to_have_none(demo: Opened) -> None:
    demo.board.reader.app.storage = Bare(demo.app.storage)  # type: ignore[assignment]
    test = visit("tools")
    assert errors(test) == []
    assert "sequential project" in said(test)


class Bare:
    """The storage, without what it offers beyond the contract."""

    rollups = None

    def __init__(self, storage: object) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> object:
        return getattr(self._storage, name)


@pytest.mark.parametrize("until", [0.0, NOW - 9 * HOUR])
def test_statistics_that_stand_still_are_said_to(
    demo: Opened, monkeypatch: pytest.MonkeyPatch, until: float
) -> None:
    monkeypatch.setattr(demo.app.storage, "rollups", Counted(until=until), raising=False)
    assert "sequential sweep" in said(visit("tools"))


def test_a_tool_leads_to_the_runs_that_failed_in_it(demo: Opened) -> None:
    test = visit("failures", tool="bank.refund")
    assert errors(test) == []
    assert set(test.dataframe[0].value["Flow"]) == {"refund"}
    assert address(test) == {"tool": ["bank.refund"]}
    assert "No run failed" in said(visit("failures", tool="mail.send")).replace("\\", "")

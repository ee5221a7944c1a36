"""Runs that go on while they are looked at: what was selected, scrolled and ticked stays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count

import pytest
from playwright.sync_api import Error, Locator, Page, expect

from tests.browser.served import Dashboard, call, started
from tests.browser.watched import Timeline, Watched, details

FLOWS = """
import time
from sequential import Steps, flow, tool, tool_call

@tool("clock", "tick")
def tick(number: int) -> int:
    time.sleep(0.1)
    return number

@flow
def ticking(ticks: int) -> Steps[int]:
    for number in range(ticks):
        yield tool_call("clock", "tick", {"number": number})
    return ticks
"""

NUMBERS = count()


@pytest.fixture
def flows(dashboard: Dashboard) -> Dashboard:
    """Return the dashboard, with ``ticking.py`` beside its runs."""
    (dashboard.folder / "ticking.py").write_text(FLOWS)
    return dashboard


@pytest.fixture
def worker(flows: Dashboard) -> Iterator[Dashboard]:
    """Return the same, with a worker process that carries runs on."""
    with started(flows, "worker", "--load=ticking.py"):
        yield flows


def start(dashboard: Dashboard, ticks: int) -> str:
    """Start a run of so many ticks of a tenth of a second; return its id."""
    run_id = f"ticking-{next(NUMBERS)}"
    given = f'{{"ticks": {ticks}}}'
    call(dashboard, "start", "ticking.py:ticking", "--input", given, "--run-id", run_id)
    return run_id


# -- a timeline that grows


def test_what_is_selected_and_scrolled_stays_while_a_run_grows(
    worker: Dashboard, watched: Watched
) -> None:
    run_id = start(worker, 10_000)
    try:
        watched.open(f"run?id={run_id}")
        timeline = Timeline(watched.page)
        _grows(timeline, 30)
        assert timeline.told("following") == "true"
        assert timeline.scrolled() > 0  # at its end
        timeline.scroll(0)
        timeline.click(3)
        details(watched.page, "2 · clock.tick")
        timeline.scroll(44)
        _grows(timeline, int(timeline.told("rows")) + 15)
        assert timeline.scrolled() == 44
        assert timeline.told("following") == "false"
        timeline.selected("2")
        details(watched.page, "2 · clock.tick")
        timeline.press("l")
        assert timeline.scrolled() > 44
    finally:
        call(worker, "terminate", run_id)
    expect(watched.page.get_by_text("cancelled", exact=True)).to_be_visible()


def test_a_run_that_ends_is_seen_to_end(worker: Dashboard, watched: Watched) -> None:
    run_id = start(worker, 20)
    watched.open(f"run?id={run_id}")
    expect(watched.page.get_by_text("completed", exact=True)).to_be_visible()
    expect(Timeline(watched.page).root).to_have_attribute("data-rows", "21")


def _grows(timeline: Timeline, rows: int) -> None:
    """Wait until the canvas has more than *rows* rows."""
    timeline.page.wait_for_function(
        "([rows, wanted]) => Number(rows.parentElement.dataset.rows) > wanted",
        arg=[timeline.rows.element_handle(), rows],
    )


# -- a row that is ticked, while runs arrive


def test_a_ticked_row_stays_the_same_run_while_runs_arrive(
    flows: Dashboard, watched: Watched
) -> None:
    first, second = (start(flows, 1) for _ in range(2))
    watched.open("runs")
    page = watched.page
    expect(_cell(page, 0)).to_have_text(second)
    _tick(page, 1)
    expect(page.get_by_role("heading", name="1 ticked")).to_be_visible()
    _waits_for_newer(page, [start(flows, 1) for _ in range(3)])
    assert _cell(page, 0).inner_text() == second
    assert _cell(page, 1).inner_text() == first
    _choose(page, "Action", "Terminate")
    expect(page.get_by_text("Ends it at once")).to_be_visible()  # the server knows it, too
    page.get_by_text("I mean it").click()
    page.get_by_role("button", name="Do it").click()
    expect(page.get_by_text(re.compile(f"^{first}: "))).to_be_visible()
    for run_id, status in ((first, "cancelled"), (second, "due")):
        assert re.search(f"status +{status}", call(flows, "show", run_id))


def _choose(page: Page, box: str, option: str) -> None:
    """Choose *option*; a list that a refresh of the page has closed is opened again."""
    chosen = page.get_by_role("combobox", name=box)
    for patience in (5_000, 15_000, 60_000):
        chosen.click()
        try:
            page.get_by_role("option", name=option).click(timeout=patience)
            # Closed at that very moment, the list takes the click and the box stays as it was.
            expect(chosen).to_have_value(option, timeout=patience)
        except (Error, AssertionError):
            page.keyboard.press("Escape")
        else:
            return
    raise AssertionError(f"no option {option!r} in {box!r}")


def test_runs_that_arrive_come_to_the_top_while_nothing_is_ticked(
    flows: Dashboard, watched: Watched
) -> None:
    watched.open("runs")
    expect(_cell(watched.page, 0)).not_to_be_empty()
    expect(_cell(watched.page, 0)).to_have_text(start(flows, 1))


def _waits_for_newer(page: Page, arrived: list[str]) -> None:
    """Let the page look again, which nobody needs to wait for, and see that it says so."""
    page.get_by_label("Reason").fill("look")
    page.get_by_label("Reason").press("Enter")
    expect(page.get_by_text(f"{len(arrived)} newer; shown when nothing is ticked.")).to_be_visible()


def _cell(page: Page, row: int) -> Locator:
    """Return the cell of the run's id: tables are drawn, and kept beside that as elements."""
    return page.locator(f"#glide-cell-2-{row}")


def _tick(page: Page, row: int) -> None:
    box = page.get_by_test_id("stDataFrame").locator("canvas").first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 16, box["y"] + 35 * (row + 1) + 18)

"""Pages in a real browser: text that is markup elsewhere, the gate, and that no page is broken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.runs import HOSTILE, LONG, MARKUP
from tests.browser.served import Dashboard, serving
from tests.browser.watched import Timeline, Watched, details
from tests.dashboard.pages import PAGES

TOKEN = "a-token-of-the-tests-0123456789"


def unharmed(page: Page) -> None:
    """Verify that no text was taken for code, an element or a style."""
    assert page.evaluate("window.harmed") is None
    taken = "iframe[srcdoc], img[src='x'], svg[onload], a[href^='javascript']"
    expect(page.locator(taken)).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_be_visible()


@pytest.mark.parametrize("page", PAGES)
def test_no_page_raises_anything_or_asks_another_server(page: str, watched: Watched) -> None:
    given = {"run": f"?id={HOSTILE}", "compare": f"?a={HOSTILE}&b={LONG}"}
    watched.open(("" if page == "overview" else page) + given.get(page, ""))
    expect(watched.page.get_by_test_id("stStatusWidget")).to_be_hidden()
    expect(watched.page.get_by_test_id("stException")).to_have_count(0)
    unharmed(watched.page)


def test_markup_in_names_and_errors_is_text(watched: Watched) -> None:
    watched.open(f"run?id={HOSTILE}")
    page, timeline = watched.page, Timeline(watched.page)
    expect(page.get_by_test_id("stAlert").filter(has_text=MARKUP[0])).to_be_visible()
    for number, markup in enumerate(MARKUP):
        timeline.press("ArrowDown" if number else "End", *(() if number else ("Home", "ArrowDown")))
        timeline.selected(str(number))
        details(page, f"{number} · hostile.{' '.join(markup.split())}")
        timeline.rows.hover(position={"x": 60, "y": 22 + 22 * (number + 1) + 11})
        expect(page.locator(".timeline .tip")).to_contain_text(markup)
        unharmed(page)
    page.get_by_role("tab", name="Error").click()
    page.get_by_text("The same as a table").click()
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    unharmed(page)


def test_markup_in_the_name_of_a_flow_is_text(watched: Watched) -> None:
    watched.open(f"run?id={HOSTILE}-2")
    expect(watched.page.get_by_role("heading", level=1)).to_have_text(MARKUP[1])
    unharmed(watched.page)


# -- the gate


@pytest.fixture
def guarded(dashboard: Dashboard) -> Iterator[Dashboard]:
    """Return a second dashboard over the same runs, which wants a token."""
    with serving(dashboard.folder, SEQUENTIAL_DASHBOARD_TOKEN=TOKEN) as served:
        yield served


def test_only_who_has_the_token_gets_in(guarded: Dashboard, context: BrowserContext) -> None:
    watched = Watched(context.new_page(), guarded.url)
    page = watched.page
    watched.open(f"run?id={LONG}")
    for token, inside in (("wrong", False), (TOKEN, True)):
        expect(page.get_by_role("heading", level=1)).to_have_text("Sequential")
        expect(page.locator(".timeline")).to_have_count(0)
        assert LONG not in page.get_by_role("main").inner_text()
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Go on").click()
        if not inside:
            expect(page.get_by_text("Nobody has this token")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("import_all")
    Timeline(page)
    assert TOKEN not in page.content()
    page.context.new_page().goto(f"{guarded.url}/runs")  # another session, which has to ask again
    other = page.context.pages[-1]
    expect(other.get_by_role("heading", level=1)).to_have_text("Sequential")
    watched.verify()

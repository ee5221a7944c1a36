"""The timeline in a real browser: pointer, keys, 5,000 steps, addresses, colours."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import HIGH, WIDE
from tests.browser.runs import LONG, STEPS
from tests.browser.served import Dashboard
from tests.browser.watched import Timeline, Watched, details

# -- keys


def test_arrows_move_and_close_and_open(timeline: Timeline) -> None:
    timeline.press("ArrowDown")
    timeline.selected("run")
    timeline.press("ArrowDown", "ArrowDown", "ArrowDown")
    timeline.selected("2")
    timeline.press("ArrowUp")
    timeline.selected("1")
    timeline.press("ArrowLeft")
    timeline.selected("run")
    timeline.press("ArrowLeft", "End")
    timeline.selected("run")  # all steps are closed away
    timeline.press("ArrowRight", "End")
    timeline.selected(str(STEPS - 1))
    details(timeline.page, f"{STEPS - 1} · table.write")


def test_letters_find_errors_and_waits(timeline: Timeline) -> None:
    timeline.press("e")
    timeline.selected(str(STEPS - 5))
    details(timeline.page, f"{STEPS - 5} · table.check")
    timeline.press("e")
    timeline.selected(str(STEPS - 2))
    timeline.press("w")
    timeline.selected(str(STEPS - 6))


def test_folds_open_and_close_and_zoom_goes_in_and_out(timeline: Timeline) -> None:
    whole = timeline.window()
    assert timeline.told("folded") == "2"
    timeline.press("f")
    assert timeline.told("folded") == "0"
    timeline.press("f", "+", "+")
    assert timeline.told("folded") in ("0", "1", "2")
    near = timeline.window()
    assert whole[0] < near[0] < near[1] < whole[1]
    timeline.press("-")
    wider = timeline.window()
    assert wider[0] < near[0] < near[1] < wider[1]
    timeline.press("0")
    assert timeline.window() == whole


def test_a_step_that_the_zoom_left_out_is_jumped_to(timeline: Timeline) -> None:
    timeline.click(3)
    timeline.press(*["+"] * 8)
    begin, end = timeline.window()
    assert end < 60_000
    timeline.scroll(2_000 * 22)
    timeline.click(3, 300)  # where its arrow is, at the left edge of the bars
    timeline.selected("2002")
    assert timeline.window()[0] > end
    assert timeline.window()[1] - timeline.window()[0] == pytest.approx(end - begin, abs=2)


def test_all_at_a_glance_is_painted_once(timeline: Timeline) -> None:
    for pixels in range(0, 4_000, 400):
        timeline.scroll(pixels)
    timeline.click(3)
    timeline.press("+", "+", "0")
    assert timeline.told("painted") == "1"


def test_the_selected_step_is_said(timeline: Timeline) -> None:
    timeline.press("ArrowDown", "ArrowDown")
    row = timeline.page.get_by_role("tree").get_by_role("treeitem")
    expect(row).to_contain_text("0 table.write: value")
    expect(row).to_have_attribute("aria-level", "2")
    expect(row).to_have_attribute("aria-setsize", str(STEPS + 1))
    timeline.press("ArrowLeft", "ArrowLeft")
    expect(row).to_have_attribute("aria-expanded", "false")


def test_a_search_selects_what_is_found(timeline: Timeline) -> None:
    timeline.press("/")
    timeline.page.keyboard.type("check")
    timeline.page.keyboard.press("Enter")
    timeline.selected(str(STEPS - 5))
    timeline.page.keyboard.press("Enter")
    timeline.selected(str(STEPS - 2))
    timeline.page.keyboard.press("Escape")
    timeline.page.keyboard.press("ArrowUp")
    timeline.selected(str(STEPS - 3))


def test_the_wheel_zooms_where_the_pointer_is(timeline: Timeline) -> None:
    whole = timeline.window()
    box = timeline.rows.bounding_box()
    assert box is not None
    timeline.page.mouse.move(box["x"] + 400, box["y"] + 100)
    timeline.page.keyboard.down("Control")
    timeline.page.mouse.wheel(0, -100)
    timeline.page.keyboard.up("Control")
    expect(timeline.root).not_to_have_attribute("data-window", f"{whole[0]:.0f} {whole[1]:.0f}")
    near = timeline.window()
    assert near[1] - near[0] < whole[1] - whole[0]


# -- addresses


def test_an_address_opens_a_step_and_a_click_makes_one(watched: Watched) -> None:
    watched.open(f"run?id={LONG}&step=2500")
    timeline = Timeline(watched.page)
    timeline.selected("2500")
    details(watched.page, "2500 · table.write")
    assert timeline.scrolled() > 0
    timeline.press("ArrowDown")
    details(watched.page, "2501 · table.write")
    watched.page.wait_for_url(f"**/run?id={LONG}&step=2501")
    watched.page.reload()
    Timeline(watched.page).selected("2501")
    details(watched.page, "2501 · table.write")


# -- colours


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_as_dark_as_the_page_around_it(
    scheme: str, chromium: Browser, dashboard: Dashboard
) -> None:
    context = chromium.new_context(
        viewport={"width": WIDE, "height": HIGH},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    try:
        watched = Watched(context.new_page(), dashboard.url)
        watched.open(f"run?id={LONG}&step=3")
        Timeline(watched.page).selected("3")
        paper, ink = _shades(watched.page)
        assert (paper < 80) == (scheme == "dark")
        assert abs(paper - ink) > 120  # names can be read
        watched.verify()
    finally:
        context.close()


def _shades(page: Page) -> tuple[float, float]:
    """Return how light the canvas is where nothing is, and where it differs most, of names."""
    found = page.locator(".timeline .rows canvas").evaluate(
        """canvas => {
          const { data } = canvas.getContext("2d").getImageData(0, 22, 236, 200);
          const shades = [];
          for (let at = 0; at < data.length; at += 4) {
            shades.push((data[at] + data[at + 1] + data[at + 2]) / 3);
          }
          const sorted = [...shades].sort((a, b) => a - b), paper = sorted[sorted.length >> 1];
          const far = (shade) => Math.abs(shade - paper);
          return [paper, shades.reduce((a, b) => far(b) > far(a) ? b : a, paper)];
        }"""
    )
    return float(found[0]), float(found[1])

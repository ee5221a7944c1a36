"""How fast the timeline is at 5,000 steps: measured while nothing else of ours runs."""

from __future__ import annotations

import os
from statistics import median, quantiles

from tests.browser.runs import STEPS
from tests.browser.watched import Timeline

CLICK = 300.0
"""Milliseconds from a click until the details stand there, at the 95th percentile."""

CLICKS = 24

ROUNDS = 3
"""How often a bar is measured before it counts as missed; the best counts."""

SHOWN_AFTER = """() => new Promise((done) => {
  const wanted = WANTED, begun = performance.now();
  const look = () => [...document.querySelectorAll("h3")].some((each) => each.innerText === wanted);
  const again = () => look() ? done(performance.now() - begun) : requestAnimationFrame(again);
  document.addEventListener("pointerdown", () => { again(); }, { once: true, capture: true });
})"""


def test_five_thousand_steps_are_shown_at_once(timeline: Timeline) -> None:
    assert timeline.told("rows") == str(STEPS + 1)
    drawn = []
    for pixels in range(0, 40_000, 2_000):
        timeline.scroll(pixels)
        timeline.page.evaluate("() => new Promise(requestAnimationFrame)")
        drawn.append(float(timeline.told("draw-ms")))
    assert median(drawn) < 16.0 * busy(), drawn  # a frame
    # None of the rows is an element of its own.
    assert timeline.root.evaluate("root => root.querySelectorAll('*').length") < 60


def test_a_click_shows_the_details_of_a_step_at_once(timeline: Timeline) -> None:
    rounds: list[float] = []
    while len(rounds) < ROUNDS and (not rounds or min(rounds) >= CLICK * busy()):
        rounds.append(_p95_of_clicks(timeline, len(rounds)))
    print(f"click to details, 95th percentile of {CLICKS}: {rounds} ms, load {busy():.1f}")
    assert min(rounds) < CLICK * busy()


def busy() -> float:
    """Return how many processes want each processor, from 1: what else runs here is not ours."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def _p95_of_clicks(timeline: Timeline, turn: int) -> float:
    took = []
    for number in range(CLICKS):
        step = turn * 1000 + 7 + number * 31
        timeline.scroll(step * 22)
        box = timeline.rows.bounding_box()
        assert box is not None
        # Row 0 is the run itself; the one below it is step 0.
        at = box["x"] + 60, box["y"] + 22 + 22 + 11
        wanted = f"{step} · table.write"
        handle = timeline.page.evaluate_handle(
            f"() => ({{ found: ({SHOWN_AFTER.replace('WANTED', repr(wanted))})() }})"
        )
        timeline.page.mouse.click(*at)
        took.append(float(timeline.page.evaluate("held => held.found", handle)))
    return quantiles(took, n=20)[-1]

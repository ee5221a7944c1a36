"""`nox -s browser -- --screenshots`: the pictures of the README and of the pages.

They show the demonstration, as anybody gets it with `sequential dashboard --demo`.
"""

from __future__ import annotations

import io
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from sequential_dashboard.demo import make
from tests.browser.conftest import FLAGS, PATIENCE, WIDE, path_of_chromium
from tests.browser.served import serving

LARGEST = 150_000
"""Bytes of a picture."""


class Picture(NamedTuple):
    """What a picture shows: an address, so many pixels of it from the top, by day or by night."""

    name: str
    address: str
    high: int
    scheme: Literal["light", "dark"] = "light"


def main(folder: Path) -> None:
    """Write all pictures into *folder*."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        make(Path(made) / "runs.db")
        known = _telling(Path(made) / "runs.db", "order"), _telling(Path(made) / "runs.db", "trip")
        with serving(Path(made), "--actions") as served, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=path_of_chromium(), args=list(FLAGS)
            )
            for picture in _pictures(*known):
                data = _taken(browser, served.url, picture)
                (folder / f"{picture.name}.png").write_bytes(data)
                print(f"{picture.name}.png: {len(data):,} bytes")
            browser.close()


def _pictures(order: str, trip: str) -> tuple[Picture, ...]:
    run = f"run?id={order}&step=4"
    return (
        Picture("run-light", run, 720),
        Picture("run-dark", run, 720, "dark"),
        Picture("overview", "", 860),
        Picture("runs", "runs", 720),
        Picture("attention", "attention", 720, "dark"),
        Picture("tools", "tools", 860),
        Picture("branches", f"run?id={trip}&step=0.0.1", 860),
    )


def _telling(path: Path, flow: str) -> str:
    """Return the run of *flow* that needed most attempts and ended well: it shows most."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(
            "SELECT run_id FROM steps JOIN runs USING (run_id)"
            " WHERE flow = ? AND status = 'completed'"
            " ORDER BY attempts DESC, run_id LIMIT 1",
            (flow,),
        ).fetchone()
    return str(found[0])


def _taken(browser: Browser, url: str, picture: Picture) -> bytes:
    context = browser.new_context(
        viewport={"width": WIDE, "height": picture.high}, color_scheme=picture.scheme
    )
    page = context.new_page()
    page.goto(f"{url}/{picture.address}")
    expect(page.get_by_role("heading", level=1)).to_be_visible(timeout=PATIENCE)
    page.wait_for_timeout(1_500)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0, timeout=PATIENCE)
    page.wait_for_timeout(1_500)  # charts are drawn a little later than they are there
    taken = page.screenshot()
    context.close()
    return _small(taken)


def _small(taken: bytes) -> bytes:
    """Return the picture with 256 colours, which is all that pages like these need."""
    made = io.BytesIO()
    colours = Image.open(io.BytesIO(taken)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    colours.save(made, "PNG", optimize=True)
    found = made.getvalue()
    assert len(found) <= LARGEST, f"{len(found):,} bytes are too many for a page"
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))

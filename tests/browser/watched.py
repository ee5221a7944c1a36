"""A page that is watched for errors and for what it asks for, and the timeline in it."""

from __future__ import annotations

import re

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, Response, expect

ROW, AXIS, NAMES = 22, 22, 240
"""Pixels of the canvas: a row, the axis above the rows, the names beside them."""

OF_STREAMLIT = ("/_stcore/health", "/_stcore/host-config")
"""It looks for its server below the page's address first, which is no error."""


class Watched:
    """A page of the dashboard at *url*."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.wrong: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(f"raised: {error}"))
        page.on("console", self._said)
        page.on("request", self._asked)
        page.on("response", self._answered)

    def open(self, address: str) -> None:
        """Go to *address* and wait until the page has a heading."""
        self.page.goto(f"{self.url}/{address}")
        expect(self.page.get_by_role("heading", level=1)).to_be_visible()

    def verify(self) -> None:
        """Complain of errors, and of whatever was asked of another server."""
        assert not self.wrong

    def _said(self, message: ConsoleMessage) -> None:
        # What failed to load is noted by its answer, which says what it was.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.wrong.append(f"said: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.wrong.append(f"asked for {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and not response.url.endswith(OF_STREAMLIT):
            self.wrong.append(f"{response.status} for {response.url}")


class Timeline:
    """The timeline of the run's page, which must be there."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.root: Locator = page.locator(".timeline")
        self.rows: Locator = page.locator(".timeline .rows")
        expect(self.root).to_have_attribute("data-rows", re.compile(r"\d+"))

    def told(self, name: str) -> str:
        """Return what the canvas says of itself under *name*."""
        return self.root.get_attribute(f"data-{name}") or ""

    def selected(self, key: str) -> None:
        """Wait until the row *key* is selected."""
        expect(self.root).to_have_attribute("data-selected", key)

    def click(self, place: int, x: int = 60) -> None:
        """Click the row that is the *place*th of those seen, from 0."""
        self.rows.click(position={"x": x, "y": AXIS + place * ROW + ROW // 2})

    def press(self, *keys: str) -> None:
        """Press *keys* while the timeline listens."""
        self.rows.focus()
        for key in keys:
            self.page.keyboard.press(key)

    def window(self) -> list[float]:
        """Return from when to when it shows, in milliseconds from the run's beginning."""
        return [float(each) for each in self.told("window").split()]

    def scrolled(self) -> float:
        """Return how far its rows are scrolled, in pixels."""
        return float(self.rows.evaluate("rows => rows.scrollTop"))

    def scroll(self, pixels: int) -> None:
        """Scroll its rows there."""
        self.rows.evaluate("(rows, pixels) => { rows.scrollTop = pixels; }", pixels)


def details(page: Page, text: str) -> Locator:
    """Return the inspector's heading once it says *text*."""
    found = page.get_by_role("heading", level=3, name=text)
    expect(found).to_be_visible()
    return found

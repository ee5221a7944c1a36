"""A Chromium that is here, and dashboards as processes that it looks at.

`nox -s browser` says in CHROMIUM where the browser is; without it, PATH does. None is downloaded.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from tests.browser.runs import LONG
from tests.browser.served import Dashboard, prepared, serving
from tests.browser.watched import Timeline, Watched

# The rest keeps it from asking for its maker's servers. Root has no sandbox to start it in.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

WIDE, HIGH = 1280, 1100

PATIENCE = 60_000.0
"""Milliseconds until something is there that must come; a bar on speed is another matter."""

expect.set_options(timeout=PATIENCE)


def path_of_chromium() -> str:
    """Return where the browser is."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert path, "no Chromium here: put one on PATH, or name it in CHROMIUM"
    return path


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Return a browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path_of_chromium(), args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """Return a dashboard in a process of its own, with actions, over runs of every kind."""
    folder = tmp_path_factory.mktemp("browser")
    prepared(folder, runs=60)
    with serving(folder, "--actions") as served:
        yield served


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """Return a browser that has been nowhere yet."""
    made = chromium.new_context(viewport={"width": WIDE, "height": HIGH})
    made.set_default_timeout(PATIENCE)
    yield made
    made.close()


@pytest.fixture
def watched(context: BrowserContext, dashboard: Dashboard) -> Iterator[Watched]:
    """Return a page; at the end it must have had no error, and asked nobody but the dashboard."""
    page = Watched(context.new_page(), dashboard.url)
    yield page
    page.verify()


@pytest.fixture
def timeline(watched: Watched) -> Timeline:
    """Return the timeline of the run of 5,000 steps."""
    watched.open(f"run?id={LONG}")
    return Timeline(watched.page)

"""Opens a page as a browser does, by its address, without a browser."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

import sequential_dashboard

SCRIPT = Path(sequential_dashboard.__file__).with_name("app.py")

PAGES = (
    "overview", "runs", "attention", "failures", "waiting", "run", "tools", "compare", "system",
)  # fmt: skip

PATIENCE = 60.0


def visit(page: str, **query: str) -> AppTest:
    """Run *page* at the address that *query* makes."""
    test = AppTest.from_file(SCRIPT, default_timeout=PATIENCE)
    # Pages are functions: what AppTest.switch_page takes are files.
    test._page_hash = calc_hash("" if page == "overview" else page)
    for name, value in query.items():
        test.query_params[name] = value
    return test.run()


def address(test: AppTest) -> dict[str, list[str]]:
    """Return the query of the page's address; whether one value is a list depends on Streamlit."""
    found = dict(test.query_params)
    return {name: each if isinstance(each, list) else [each] for name, each in found.items()}


def errors(test: AppTest) -> list[str]:
    """Return what was raised while the page was drawn."""
    return [f"{each.message}\n{''.join(each.stack_trace)}" for each in test.exception]


def said(test: AppTest) -> str:
    """Return all text of the page."""
    kinds = ("title", "markdown", "text", "caption", "info", "success", "warning", "error", "code",
             "subheader")  # fmt: skip
    return "\n".join(str(each.value) for kind in kinds for each in getattr(test, kind))

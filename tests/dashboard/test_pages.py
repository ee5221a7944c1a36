"""Each page, with the demonstration's runs and with none."""

from __future__ import annotations

import pytest

from tests.dashboard.pages import PAGES, errors, said, visit
from tests.fix_dashboard import Opened


@pytest.mark.parametrize("page", PAGES)
def test_each_page_shows_the_demonstration(demo: Opened, page: str) -> None:
    test = visit(page)
    assert errors(test) == []
    assert [each.value for each in test.title], said(test)


@pytest.mark.parametrize("page", PAGES)
def test_each_page_says_something_where_there_are_no_runs(empty: Opened, page: str) -> None:
    test = visit(page)
    assert errors(test) == []
    assert said(test).strip()

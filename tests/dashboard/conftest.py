"""What every test of the dashboard leaves as it was."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def own_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the process its main module back.

    Streamlit puts a page there, and processes that are spawned later would begin by running it.
    """
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])

"""Workers are killed at any instruction; no run is lost and no record changes."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.campaign import Plan, conduct


def test_more_than_two_hundred_killed_workers_lose_nothing(tmp_path: Path) -> None:
    report = conduct(Plan(kills=220), tmp_path)
    assert report.found.runs >= 100
    # A kill that hits nothing proves nothing.
    assert report.between >= report.kills / 3
    assert report.found.extra > 0

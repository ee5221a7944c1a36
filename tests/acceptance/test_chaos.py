"""The kill campaign, longer and with frozen processes. Run by the chaos session only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.campaign import Plan, conduct

MINUTES = 10.0


@pytest.mark.chaos
@pytest.mark.timeout(MINUTES * 60 + 60)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_thousand_kills_and_fifty_freezes_lose_nothing(tmp_path: Path, seed: int) -> None:
    plan = Plan(kills=1000, freezes=50, open_runs=100, processes=4, seconds=MINUTES * 60, seed=seed)
    report = conduct(plan, tmp_path)
    assert report.found.runs >= 500
    assert report.between >= report.kills / 3
    assert report.found.extra > 0
    # A process that was stopped past its lease and not overtaken would prove nothing.
    assert report.found.losses > 0

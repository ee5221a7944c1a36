# pyright: basic
from __future__ import annotations

from typing import Any

from sequential.testing import crash_everywhere, play

from .fan_out import pictures, shrink, shrink_all


def shrunk(name: str) -> int:
    if name.endswith("7"):
        raise ValueError(f"{name} is no picture")
    return 1


def tools(count: int) -> dict[Any, Any]:
    return {pictures: lambda album: [f"{album} {n}" for n in range(count)], shrink: shrunk}


def test_a_picture_that_fails_does_not_stop_the_others_wherever_the_process_is_lost() -> None:
    survived = crash_everywhere(shrink_all, {"album": "Lima"}, tools=tools(14))
    assert survived.played.result.sizes == 13
    assert "Lima 7 is no picture" in survived.played.result.failed["Lima 7"]
    # What was recorded is not done again: a crash repeats at most what was under way.
    assert all(len(crash.repeated) <= 10 for crash in survived.crashes)


def test_five_thousand_pictures() -> None:
    played = play(shrink_all, {"album": "Lima"}, tools=tools(5_000))
    assert played.result.sizes == 4_500
    assert len(played.result.failed) == 500
    assert len(played.steps) == 5_001

# pyright: basic
from __future__ import annotations

from typing import Any

from sequential.testing import crash_everywhere, play, verify_replay

from .outside_job import fetch, render, state, stop, submit

SCENE = {"scene": "sunset"}
TOOLS: dict[Any, Any] = {
    submit: lambda scene: f"job of {scene}",
    state: [*["busy"] * 4, "done"],
    fetch: lambda job: f"picture of {job}",
    stop: lambda job: None,
}


def test_a_job_is_asked_about_until_it_is_done() -> None:
    played = crash_everywhere(render, SCENE, tools=TOOLS).played
    assert played.result == "picture of job of sunset"
    assert played.slept == 5 + 10 + 20 + 40


def test_a_job_that_takes_a_day_is_stopped() -> None:
    played = play(render, SCENE, tools=TOOLS | {state: lambda job: "busy"})
    assert played.result == "took too long"
    assert played.slept == 86_400
    assert played.calls[-1].tool == "render.stop"
    assert len(played.calls) == 1 + 151 + 1


def test_a_service_that_does_not_answer_is_asked_again() -> None:
    answers = ["busy", ConnectionError("down"), "busy", "done"]
    played = verify_replay(render, SCENE, tools=TOOLS | {state: answers})
    assert played.result == "picture of job of sunset"

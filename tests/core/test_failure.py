"""Errors as data: nothing about an exception can break a run, and no class is stored."""

from __future__ import annotations

from typing import Any

import pytest

from sequential import Rejected, Steps, ToolError, flow, tool, wait_for_signal
from sequential._failure import error_json, error_value, tool_error
from sequential._outcomes import Failed
from tests.fix_stage import Stage


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message for you")


class Wrong(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307


def round_trip(error: BaseException) -> ToolError:
    return tool_error("api.a", error_json(error_value(error)), 2)


def test_an_error_comes_back_as_it_was() -> None:
    back = round_trip(Rejected("no", {"code": [1, None]}, retryable=False))
    assert (back.tool, back.type, back.message) == ("api.a", "Rejected", "no")
    assert (back.data, back.attempts, back.retryable) == ({"code": [1, None]}, 2, False)


def test_only_errors_of_ours_carry_data() -> None:
    error = ValueError("x")
    error.data = "secret"  # type: ignore[attr-defined]
    assert round_trip(error).data is None


@pytest.mark.parametrize("error", [Hostile(), Wrong()])
def test_a_message_that_cannot_be_read_is_said_to_be(error: Exception) -> None:
    assert "its message cannot be read" in round_trip(error).message


@pytest.mark.parametrize("text", ["\0", "\ud800", "é" * 3000, "x" * 10_000, "", "\n\r", '"$"'])
def test_any_message_can_be_stored_and_is_cut_at_four_kibibytes(text: str) -> None:
    message = round_trip(ValueError(text)).message
    assert len(message.encode()) <= 4096
    assert text.startswith(message) or text == "\ud800"


def test_a_secret_in_a_message_is_stored_masked_and_the_flow_sees_the_same_on_replay(
    stage: Stage,
) -> None:
    @tool("api", "fail", registry=stage.registry)
    def fail() -> None:
        raise ValueError("no answer from https://ann:hunter2@shop.example/items?token=abc123")

    @flow(registry=stage.registry)
    def failing() -> Steps[str]:
        try:
            yield from fail()
        except ToolError as error:
            seen.append(error.message)
        yield from wait_for_signal("go")
        raise ValueError("password=hunter2")

    seen: list[str] = []
    app = stage.app(warm=0)
    app.start(failing, run_id="r")
    app.execute("r")
    app.signal("r", "go")
    outcome = app.execute("r")
    assert seen == ["no answer from https://•••@shop.example/items?token=•••"] * 2
    assert isinstance(outcome, Failed)
    assert outcome.error.message == "password=•••"
    assert b"hunter2" not in repr((app.get("r"), app.steps("r"))).encode()


@pytest.mark.parametrize("data", [object(), float("nan"), "x" * 5000, {1: 2}])
def test_data_that_cannot_be_stored_is_left_out(data: Any) -> None:
    back = round_trip(Rejected("no", data))
    assert (back.data, back.message) == (None, "no")


@pytest.mark.parametrize("value", ["yes", 0, object()])
def test_retryable_is_yes_or_no_whatever_an_exception_says(value: Any) -> None:
    error = ValueError()
    error.retryable = value  # type: ignore[attr-defined]
    assert round_trip(error).retryable is bool(value)


def test_a_retryable_that_raises_does_not_break_the_run(stage: Stage) -> None:
    class Nasty(Exception):
        @property
        def retryable(self) -> bool:
            raise RuntimeError

    @tool("api", "fail", registry=stage.registry)
    def fail() -> None:
        raise Nasty("x")

    @flow(registry=stage.registry)
    def failing() -> Steps[None]:
        yield fail()

    app = stage.app()
    assert isinstance(app.execute(app.start(failing)), Failed)


def test_the_error_of_a_flow_is_told_with_its_data(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    def failing() -> Steps[None]:
        yield from ()
        raise Rejected("no", {"code": 7})

    app = any_stage.app()
    outcome = app.execute(app.start(failing))
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.message) == ("Rejected", "no")
    assert outcome.error.data is not None
    assert outcome.error.data.data == b'{"code":7}'

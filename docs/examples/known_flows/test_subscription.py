# pyright: basic
from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sequential.testing import crash_everywhere, play

from .subscription import later, renew, subscription, tell

BEGUN = datetime(2024, 1, 31, 12, tzinfo=UTC)
TOOLS: dict[Any, Any] = {
    renew: lambda customer, month: f"receipt {month}",
    tell: lambda customer, text: None,
}


def test_a_subscription_is_renewed_every_month_for_three_years() -> None:
    given = {"customer": "Ada", "months": 36}
    played = play(subscription, given, tools=TOOLS, start=BEGUN)
    assert played.result == "renewed 36 times"
    assert played.slept == (datetime(2027, 1, 31, 12, tzinfo=UTC) - BEGUN).total_seconds()
    assert [call.input["month"] for call in played.calls] == list(range(36))
    # Each year begins with an empty history.
    assert [call.generation for call in played.calls] == [0] * 12 + [1] * 12 + [2] * 12
    assert max(int(step.position.split(".")[0]) for step in played.steps) == 23


def test_a_renewal_is_made_once_wherever_the_process_is_lost() -> None:
    # Over the end of a year, where the history begins anew.
    given = {"customer": "Ada", "months": 14, "paid": 10, "begun": BEGUN}
    survived = crash_everywhere(subscription, given, tools=TOOLS, start=later(BEGUN, 10))
    assert survived.played.result == "renewed 14 times"
    assert [call.input["month"] for call in survived.played.calls] == [10, 11, 12, 13]


def test_a_customer_can_end_it() -> None:
    given = {"customer": "Ada", "months": 36}
    played = crash_everywhere(subscription, given, tools=TOOLS, signals={"end": "too dear"}).played
    assert played.result == "ended by the customer in month 0"


def test_a_card_that_is_refused_is_tried_again_for_three_days() -> None:
    answers = ["receipt", *[ConnectionError("refused")] * 3, "receipt", *[ValueError("no")] * 4]
    given = {"customer": "Ada", "months": 36}
    played = play(subscription, given, tools=TOOLS | {renew: answers}, start=BEGUN)
    assert played.result == "ended unpaid in month 2"
    assert [call.attempt for call in played.calls] == [1, 1, 2, 3, 4, 1, 2, 3, 4, 1]


def test_a_month_that_is_too_short_ends_with_its_last_day() -> None:
    days = [later(BEGUN, months) for months in range(14)]
    assert [(day.month, day.day) for day in days[:4]] == [(1, 31), (2, 29), (3, 31), (4, 30)]
    assert days[13] == datetime(2025, 2, 28, 12, tzinfo=UTC)

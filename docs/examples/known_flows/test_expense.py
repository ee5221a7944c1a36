# pyright: basic
from __future__ import annotations

from typing import Any

from sequential.testing import Played, crash_everywhere

from .expense import expense, pay, send

TOOLS: dict[Any, Any] = {pay: lambda expense: "paid", send: lambda to, text: None}
DAY = 86_400


def played(amount: int, **signals: bool) -> Played[str]:
    given = {"expense": {"id": "E1", "employee": "Ada", "amount": amount}}
    named = {name.replace("_", "-"): value for name, value in signals.items()}
    return crash_everywhere(expense, given, tools=TOOLS, signals=named).played


def mails(of: Played[str]) -> list[str]:
    said = [call.input for call in of.calls if call.tool == "mail.send"]
    return [f"{mail['to']}: {mail['text'].split(' E1')[0].split(' decide')[0]}" for mail in said]


def test_a_small_expense_is_paid_without_a_question() -> None:
    assert played(99).result == "paid"


def test_an_expense_is_paid_when_the_lead_agrees() -> None:
    agreed = played(100, decision_lead=True)
    assert agreed.result == "paid"
    assert mails(agreed) == ["lead: please"]


def test_an_expense_that_the_lead_refuses_is_not_paid() -> None:
    refused = played(100, decision_lead=False)
    assert refused.result == "refused"
    assert refused.calls[-1].input == {"to": "Ada", "text": "E1 is refused"}


def test_a_lead_who_does_not_answer_is_reminded_twice_before_the_director_is_asked() -> None:
    late = played(100, decision_director=True)
    assert late.result == "paid"
    assert late.slept == 7 * DAY
    reminders = ["lead: please", "lead: reminder 1:", "lead: reminder 2:"]
    assert mails(late) == [*reminders, "director: please"]


def test_an_expense_that_nobody_decides_on_is_refused_after_two_weeks() -> None:
    nobody = played(100)
    assert nobody.result == "refused"
    assert nobody.slept == 14 * DAY

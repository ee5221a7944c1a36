"""An expense that somebody approves, after some reminders, or that goes to their manager."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sequential import Steps, flow, tool, wait_for_signal
from sequential.patterns import remind


@dataclass
class Expense:
    id: str
    employee: str
    amount: int


@tool("mail", "send")
def send(to: str, text: str) -> None:
    raise NotImplementedError("a request to the mail service")


@tool("payroll", "pay")
def pay(expense: Expense) -> str:
    raise NotImplementedError("a request to payroll")


@flow
def expense(expense: Expense) -> Steps[str]:
    """Pay what is small; ask the team lead for the rest, for a week, and then the director."""
    if expense.amount >= 100:
        agreed = yield from asked("lead", expense)
        if agreed is None:
            agreed = yield from asked("director", expense)
        if not agreed:
            yield from send(expense.employee, f"{expense.id} is refused")
            return "refused"
    return (yield from pay(expense))


def asked(who: str, expense: Expense) -> Steps[bool | None]:
    """Ask *who*; return None if they did not answer within a week, in spite of two reminders."""
    what = f"{expense.id} of {expense.employee} over {expense.amount}"
    yield from send(who, f"please decide on {what}")
    week = timedelta(days=7)
    return (
        yield from remind(
            wait_for_signal(f"decision-{who}", bool, timeout=week, default=None),
            every=timedelta(days=2),
            remind=lambda number: send(who, f"reminder {number}: {what}"),
            times=2,
        )
    )

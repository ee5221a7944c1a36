"""A subscription that is renewed every month, for years, until the customer ends it."""

from __future__ import annotations

from calendar import monthrange
from datetime import datetime

from sequential import (
    RetryPolicy,
    ToolContext,
    ToolError,
    continue_as_new,
    det,
    flow,
    race,
    sleep_until,
    tool,
    wait_for_signal,
)

A_YEAR = 12


@tool("cards", "renew", retry=RetryPolicy(max_attempts=4, first=86_400, factor=1, jitter=False))
def renew(context: ToolContext, customer: str, month: int) -> str:
    raise NotImplementedError(f"a request to the bank under {context.idempotency_key}")


@tool("mail", "tell")
def tell(customer: str, text: str) -> None:
    raise NotImplementedError("a request to the mail service")


@flow
async def subscription(
    customer: str, months: int, paid: int = 0, begun: datetime | None = None
) -> str:
    """Charge *customer* on the same day of each month; *months* in all, of which some are paid."""
    begun = begun or det.now()
    for month in range(paid, months):
        try:
            await renew(customer=customer, month=month)
        except ToolError:
            await tell(customer, "your card was refused four days in a row")
            return f"ended unpaid in month {month}"
        then = race(sleep_until(later(begun, month + 1)), wait_for_signal("end", str))
        if (await then).winner == 1:
            return f"ended by the customer in month {month}"
        if month + 1 < months and (month + 1) % A_YEAR == 0:
            # A new history for each year, however long they stay.
            await continue_as_new(
                {"customer": customer, "months": months, "paid": month + 1, "begun": begun}
            )
    return f"renewed {months} times"


def later(begun: datetime, months: int) -> datetime:
    """Return the moment *months* later, on the last day of a month that is too short."""
    years, month = divmod(begun.month - 1 + months, 12)
    year, month = begun.year + years, month + 1
    return begun.replace(year=year, month=month, day=min(begun.day, monthrange(year, month)[1]))

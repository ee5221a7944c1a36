"""A flow to see the plugin with: the bank refuses once, then a transfer goes through."""

from __future__ import annotations

from sequential import Rejected, RetryPolicy, Steps, ToolContext, flow, tool


@tool("bank", "transfer", retry=RetryPolicy(max_attempts=3, first=0.01))
def send_money(context: ToolContext, iban: str, amount: int) -> str:
    if context.attempt == 1:
        raise Rejected(f"the account {iban} is busy")
    return f"{amount} sent"


@tool("mail", "receipt")
def send_receipt(text: str) -> bool:
    return bool(text)


@flow
def transfer(iban: str, amount: int) -> Steps[str]:
    text = yield from send_money(iban=iban, amount=amount)
    yield from send_receipt(text)
    return text

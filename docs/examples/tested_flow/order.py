"""An order: an item is reserved, and paid for once the customer agrees, or released."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sequential import RetryPolicy, ToolContext, flow, sleep, tool, wait_for_signal


@dataclass
class Item:
    name: str
    price: int


@tool("shop", "reserve", retry=RetryPolicy(max_attempts=3))
def reserve(item: Item) -> str:
    raise NotImplementedError("a request to the shop")


@tool("shop", "release")
def release(reservation: str) -> None:
    raise NotImplementedError("a request to the shop")


@tool("bank", "charge")
def charge(context: ToolContext, amount: int) -> str:
    raise NotImplementedError(f"a request to the bank under {context.idempotency_key}")


@flow
async def order(item: Item) -> str:
    reservation = await reserve(item)
    agreed = await wait_for_signal("agreed", bool, timeout=timedelta(days=3), default=False)
    if not agreed:
        await release(reservation)
        return "released"
    await sleep(timedelta(days=30))  # payable in a month
    return await charge(amount=item.price)

"""An order as a saga: what was reserved and charged is undone when a later step fails."""

from __future__ import annotations

from dataclasses import dataclass

from sequential import RetryPolicy, ToolContext, flow, gather, tool
from sequential.patterns import Saga, saga, shield

PATIENT = RetryPolicy(max_attempts=10)


@dataclass
class Order:
    items: list[str]
    price: int
    address: str


@tool("stock", "reserve")
def reserve(item: str) -> str:
    raise NotImplementedError("a request to the warehouse")


@tool("stock", "release", retry=PATIENT)
def release(reservation: str) -> None:
    raise NotImplementedError("a request to the warehouse")


@tool("cards", "charge")
def charge(context: ToolContext, amount: int) -> str:
    raise NotImplementedError(f"a request to the bank under {context.idempotency_key}")


@tool("cards", "refund", retry=PATIENT)
def refund(payment: str) -> None:
    raise NotImplementedError("a request to the bank")


@tool("parcels", "ship", retry=RetryPolicy(max_attempts=3))
def ship(reservations: list[str], address: str) -> str:
    raise NotImplementedError("a request to the carrier")


@flow
async def fulfil(order: Order) -> str:
    async def body(undo: Saga) -> str:
        async def reserved(item: str) -> str:
            reservation = await reserve(item)
            undo.undo_with(release, reservation)
            return reservation

        # Shielded: when one item is out of stock, it is known of each other whether it is reserved.
        reservations = await gather(*(shield(reserved(item)) for item in order.items))
        payment = await charge(amount=order.price)
        undo.undo_with(refund, payment)
        return await ship(list(reservations), order.address)

    return await saga(body)

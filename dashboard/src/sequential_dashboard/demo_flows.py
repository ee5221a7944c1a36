"""The flows and tools of the demonstration: one for each way in which a run can stand.

Each function makes a registry of its own, so that nothing of this reaches the user's flows. Tools
work by moving the clock that they are given.
"""

# ruff: noqa: ARG001  (the parameters of a tool are its input, whatever it does with them)

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sequential import (
    Registry,
    Rejected,
    RetryPolicy,
    Steps,
    flow,
    gather,
    save,
    sleep,
    tool,
    tool_call,
    wait_for_signal,
)
from sequential.testing import FakeClock

_A_DAY = 86_400.0


class Died(BaseException):
    """The process is gone: nobody catches this, and nothing is tidied up."""


@dataclass(frozen=True)
class Decision:
    """What the signal ``decision`` carries."""

    approve: bool
    limit: int
    comment: str = ""


def demo_registry(clock: FakeClock, chance: random.Random) -> Registry:
    """Return the demonstration's flows and tools, as they were deployed first."""
    registry = Registry()
    _tools(registry, clock, chance)
    _shop(registry)
    _office(registry)
    _travel(registry)
    _web(registry)
    return registry


def changed_registry(clock: FakeClock, chance: random.Random) -> Registry:
    """Return the same with an ``invoice`` that disagrees with the runs begun before it."""
    registry = Registry()
    _tools(registry, clock, chance)

    @flow(name="invoice", registry=registry)
    def invoice(customer: str) -> Steps[Any]:
        yield tool_call("billing", "tax", {"customer": customer})
        yield tool_call("billing", "total", {"customer": customer})
        return f"sent to {customer}"

    assert invoice.name in registry.flows
    return registry


def _shop(registry: Registry) -> None:
    @flow(name="order", registry=registry)
    def order(item: str, amount: int) -> Steps[Any]:
        held = yield tool_call("shop", "reserve", {"item": item})
        yield tool_call("bank", "charge", {"amount": amount, "card_token": f"tok-{held}"})
        yield tool_call("shop", "pack", {"item": item})
        yield sleep(1800.0)
        return (yield tool_call("shop", "ship", {"item": item}))

    @flow(name="refund", registry=registry)
    def refund(order: str) -> Steps[Any]:
        yield tool_call("bank", "find", {"order": order})
        return (yield tool_call("bank", "refund", {"order": order}))

    @flow(name="reminder", registry=registry)
    def reminder(text: str) -> Steps[Any]:
        yield sleep(_A_DAY)
        yield tool_call("mail", "send", {"text": text})
        return "sent"

    @flow(name="feed", registry=registry)
    def feed(source: str, api_key: str) -> Steps[Any]:
        return (yield tool_call("feeds", "fetch", {"source": source, "api_key": api_key}))

    assert {order.name, refund.name, reminder.name, feed.name} <= registry.flows.keys()


def _office(registry: Registry) -> None:
    @flow(name="approval", registry=registry)
    def approval(amount: int, asked_by: str) -> Steps[Any]:
        yield tool_call("mail", "send", {"text": f"{asked_by} asks for {amount}"})
        decision = yield from wait_for_signal("decision", Decision)
        if not decision.approve:
            raise PermissionError("it was refused")  # the run fails, as it should
        return f"{amount} for {asked_by}"

    @flow(name="invoice", registry=registry)
    def invoice(customer: str) -> Steps[Any]:
        yield tool_call("billing", "total", {"customer": customer})
        yield sleep(5 * _A_DAY)
        return f"sent to {customer}"

    @flow(name="statement", registry=registry)
    def statement(month: str, entries: int) -> Steps[Any]:
        booked = 0
        for number in range(entries):
            booked += yield tool_call("billing", "book", {"entry": number, "month": month})
            if number % 50 == 49:
                yield save()
        return booked

    assert {approval.name, invoice.name, statement.name} <= registry.flows.keys()


def _travel(registry: Registry) -> None:
    def booked(what: str, city: str) -> Steps[Any]:
        offers = yield tool_call("travel", "search", {"what": what, "city": city})
        return (yield tool_call("travel", "book", {"what": what, "offer": offers[0]}))

    @flow(name="ticket", registry=registry)
    def ticket(traveller: str, city: str) -> Steps[Any]:
        yield tool_call("travel", "issue", {"traveller": traveller, "city": city})
        yield tool_call("mail", "send", {"text": f"your ticket to {city}"})
        return f"{city}, {traveller}"

    @flow(name="trip", registry=registry)
    def trip(city: str, travellers: list[str]) -> Steps[Any]:
        booking = yield gather(booked("flight", city), booked("hotel", city))
        tickets = (ticket.run_child(each, city) for each in travellers)
        return [booking, (yield gather(*tickets))]

    assert {ticket.name, trip.name} <= registry.flows.keys()


def _web(registry: Registry) -> None:
    @flow(name="crawl", registry=registry)
    def crawl(page: int) -> Steps[Any]:
        yield tool_call("web", "robots", {"page": page})
        return (yield tool_call("web", "open", {"page": page}))

    @flow(name="poison", registry=registry)
    def poison(page: int) -> Steps[Any]:
        yield tool_call("web", "robots", {"page": page})
        return (yield tool_call("web", "parse", {"page": page}))

    assert {crawl.name, poison.name} <= registry.flows.keys()


# -- the tools


def _tools(registry: Registry, clock: FakeClock, chance: random.Random) -> None:
    def work(least: float, most: float) -> None:
        clock.advance(chance.uniform(least, most))

    _bank(registry, chance, work)
    _rest(registry, chance, work)
    _billing(registry, work)
    _trips(registry, clock)

    @tool("shop", "reserve", registry=registry)
    def reserve(item: str) -> str:
        work(0.05, 0.4)
        return f"{item}-{chance.randint(100, 999)}"

    @tool("shop", "pack", registry=registry)
    def pack(item: str) -> str:
        work(1.0, 9.0)
        return f"{item}, packed"

    @tool("shop", "ship", registry=registry, retry=RetryPolicy(first=20.0, max_attempts=6))
    def ship(item: str) -> str:
        work(0.3, 2.0)
        if chance.random() < 0.25:
            raise ConnectionError("the carrier does not answer")
        return f"{item}, on its way"


def _bank(registry: Registry, chance: random.Random, work: Callable[[float, float], None]) -> None:
    @tool("bank", "charge", registry=registry)
    def charge(amount: int, card_token: str) -> str:
        work(0.2, 1.5)
        if chance.random() < 0.08:
            raise Rejected(f"card {card_token} was declined for {amount}", retryable=False)
        return f"paid {amount}"

    @tool("bank", "find", registry=registry)
    def find(order: str) -> str:
        work(0.05, 0.2)
        return order

    @tool("bank", "refund", registry=registry, retry=RetryPolicy(first=5.0, max_attempts=3))
    def refund(order: str) -> str:
        work(0.5, 1.0)
        if chance.random() < 0.6:
            msg = f"the bank knows no order {order}"
            raise LookupError(msg)
        return "refunded"


def _rest(registry: Registry, chance: random.Random, work: Callable[[float, float], None]) -> None:
    @tool("mail", "send", registry=registry)
    def send(text: str) -> int:
        work(0.1, 0.5)
        return len(text)

    @tool(
        "feeds",
        "fetch",
        registry=registry,
        retry=RetryPolicy(first=600.0, longest=7200.0, max_attempts=50),
    )
    def fetch(source: str, api_key: str) -> int:
        work(2.0, 10.0)
        raise ConnectionError(f"{source} does not answer")

    @tool("web", "robots", registry=registry)
    def robots(page: int) -> bool:
        work(0.1, 0.4)
        return True

    @tool("web", "open", registry=registry)
    def open_page(page: int) -> int:
        work(1.0, 4.0)
        if chance.random() < 0.7:
            raise Died
        return 200

    @tool("web", "parse", registry=registry)
    def parse(page: int) -> int:
        work(1.0, 4.0)
        raise Died


def _billing(registry: Registry, work: Callable[[float, float], None]) -> None:
    @tool("billing", "total", registry=registry)
    def total(customer: str) -> int:
        work(0.1, 0.6)
        return len(customer) * 100

    @tool("billing", "tax", registry=registry)
    def tax(customer: str) -> float:
        return 0.19

    @tool("billing", "book", registry=registry)
    def book(entry: int, month: str) -> int:
        work(0.01, 0.3)
        return 1


def _trips(registry: Registry, clock: FakeClock) -> None:
    def work(what: str) -> None:
        # Branches work side by side: what one of them draws must not depend on the others.
        clock.advance(random.Random(what).uniform(0.3, 3.0))  # noqa: S311  (no secrets)

    @tool("travel", "search", registry=registry)
    def search(what: str, city: str) -> list[str]:
        work(f"search {what} {city}")
        return [f"{what} {number} in {city}" for number in (1, 2, 3)]

    @tool("travel", "book", registry=registry)
    def book(what: str, offer: str) -> str:
        work(f"book {offer}")
        return f"{offer}, booked"

    @tool("travel", "issue", registry=registry)
    def issue(traveller: str, city: str) -> str:
        work(f"issue {traveller} {city}")
        return f"{city} for {traveller}"

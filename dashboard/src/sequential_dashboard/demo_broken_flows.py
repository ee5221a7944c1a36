"""The flows and tools of the broken runs: as they were deployed, wrongly deployed, and mended.

Each function makes a registry of its own, so that nothing of this reaches the user's flows.
"""

# ruff: noqa: ARG001  (the parameters of a tool are its input, whatever it does with them)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sequential import (
    Registry,
    RetryPolicy,
    RunCancelled,
    Steps,
    flow,
    sleep,
    tool,
    tool_call,
    wait_for_signal,
)

_A_DAY: Final = 86_400.0


class Died(BaseException):
    """The process is gone: nobody catches this, and nothing is tidied up."""


@dataclass(frozen=True)
class Approval:
    """What the signal ``approval`` carries."""

    approve: bool
    days: int


class _World(NamedTuple):
    """What differs from one deployment to the next."""

    is_mended: bool
    contract: Callable[[str], Steps[Any]]


def broken_registry() -> Registry:
    """Return what was deployed when the runs began."""
    return _registry(_World(is_mended=False, contract=_contract))


def changed_registry() -> Registry:
    """Return the same after a deploy that changed what ``contract`` asks for."""
    return _registry(_World(is_mended=False, contract=_changed_contract))


def mended_registry() -> Registry:
    """Return what should have been deployed: every cause of trouble is gone."""
    return _registry(_World(is_mended=True, contract=_mended_contract))


def _registry(world: _World) -> Registry:
    registry = Registry()
    _printing(registry, world)
    _partners(registry, world)
    _money(registry, world)
    _images(registry, world)
    _office(registry)
    _renting(registry)
    _letters(registry)
    flow(name="contract", registry=registry)(world.contract)
    return registry


# -- the flow whose code changes


def _contract(customer: str) -> Steps[Any]:
    draft = yield tool_call("office", "draft", {"customer": customer})
    yield wait_for_signal("signed")
    return f"{draft}, signed"


def _changed_contract(customer: str) -> Steps[Any]:
    draft = yield tool_call("office", "draft", {"customer": customer, "language": "en"})
    yield wait_for_signal("signed")
    return f"{draft}, signed"


def _mended_contract(customer: str) -> Steps[Any]:
    draft = yield tool_call("office", "draft", {"customer": customer})
    yield wait_for_signal("signed")
    return f"{draft}, signed and filed"


# -- calls that fail, and those that nobody answers


def _printing(registry: Registry, world: _World) -> None:
    @tool("printer", "print", registry=registry)
    def print_label(parcel: str) -> str:
        if not world.is_mended:
            raise ConnectionError("the label printer does not answer")
        return f"label of {parcel}"

    @flow(name="label", registry=registry)
    def label(parcel: str) -> Steps[Any]:
        yield tool_call("office", "draft", {"customer": parcel})
        return (yield tool_call("printer", "print", {"parcel": parcel}))

    assert label.name in registry.flows


def _partners(registry: Registry, world: _World) -> None:
    again = RetryPolicy(max_attempts=100, first=20.0, factor=4.0, longest=4 * 3600.0, jitter=False)

    @tool("partner", "sync", registry=registry, retry=again)
    def sync_partner(day: str) -> str:
        if not world.is_mended:
            raise ConnectionError("partner.example: the password has expired")
        return f"{day} is in step"

    @flow(name="sync", registry=registry)
    def sync(day: str) -> Steps[Any]:
        return (yield tool_call("partner", "sync", {"day": day}))

    if world.is_mended:

        @tool("text", "translate", registry=registry)
        def translate_text(text: str) -> str:
            return f"{text}, translated"

    @flow(name="translate", registry=registry)
    def translate(text: str) -> Steps[Any]:
        yield tool_call("office", "draft", {"customer": text})
        return (yield tool_call("text", "translate", {"text": text}))

    assert {sync.name, translate.name} <= registry.flows.keys()


def _money(registry: Registry, world: _World) -> None:
    @tool("bank", "transfer", registry=registry)
    def transfer(account: str, amount: int) -> str:
        if not world.is_mended:
            msg = f"the bank's gate refused transfer of {amount}: our certificate has expired"
            raise ConnectionError(msg)
        return f"{amount} to {account}"

    @flow(name="payout", registry=registry)
    def payout(account: str, amount: int) -> Steps[Any]:
        return (yield tool_call("bank", "transfer", {"account": account, "amount": amount}))

    @tool("shop", "price", registry=registry)
    def price_of(item: str) -> int:
        return 30 if world.is_mended else -1

    @flow(name="quote", registry=registry)
    def quote(item: str) -> Steps[Any]:
        price = yield tool_call("shop", "price", {"item": item})
        yield tool_call("office", "draft", {"customer": item})
        if price < 0:
            msg = f"the price of {item!r} is {price}"
            raise ValueError(msg)
        return price * 2

    assert {payout.name, quote.name} <= registry.flows.keys()


# -- work that kills its process


def _images(registry: Registry, world: _World) -> None:
    @tool("image", "find", registry=registry)
    def find(name: str) -> str:
        return f"{name}.png"

    @tool("image", "shrink", registry=registry)
    def shrink(file: str) -> str:
        if not world.is_mended:
            raise Died
        return f"small {file}"

    @flow(name="thumbnail", registry=registry)
    def thumbnail(name: str) -> Steps[Any]:
        file = yield tool_call("image", "find", {"name": name})
        return (yield tool_call("image", "shrink", {"file": file}))

    @flow(name="import", registry=registry)
    def import_image(name: str) -> Steps[Any]:
        file = yield tool_call("image", "find", {"name": name})
        return (yield tool_call("image", "shrink", {"file": file}))

    assert {thumbnail.name, import_image.name} <= registry.flows.keys()


# -- waits


def _office(registry: Registry) -> None:
    @tool("office", "draft", registry=registry)
    def draft(customer: str, language: str = "") -> str:
        return f"draft for {customer}"

    @flow(name="leave", registry=registry)
    def leave(who: str) -> Steps[Any]:
        yield tool_call("office", "draft", {"customer": who})
        answer = yield from wait_for_signal("approval", Approval)
        return f"{answer.days} days for {who}" if answer.approve else "refused"

    @flow(name="ledger", registry=registry)
    def ledger(page: int) -> Steps[Any]:
        yield tool_call("office", "draft", {"customer": f"page {page}"})
        total = yield tool_call("books", "sum", {"page": page})
        yield wait_for_signal("closed")
        return total

    @tool("books", "sum", registry=registry)
    def sum_of(page: int) -> int:
        return page * 100

    assert {leave.name, ledger.name} <= registry.flows.keys()


def _renting(registry: Registry) -> None:
    @tool("depot", "reserve", registry=registry)
    def reserve(item: str) -> str:
        return f"{item} is reserved"

    @tool("depot", "release", registry=registry)
    def release(item: str) -> str:
        return f"{item} is free"

    @flow(name="rental", registry=registry)
    def rental(item: str) -> Steps[Any]:
        yield tool_call("depot", "reserve", {"item": item})
        try:
            yield wait_for_signal("returned")
        except RunCancelled:
            yield tool_call("depot", "release", {"item": item})
            raise
        return "back"

    assert rental.name in registry.flows


def _letters(registry: Registry) -> None:
    @tool("mail", "everybody", registry=registry)
    def everybody(text: str) -> int:
        return len(text)

    @flow(name="newsletter", registry=registry)
    def newsletter(text: str) -> Steps[Any]:
        while True:
            yield tool_call("mail", "everybody", {"text": text})
            try:
                yield sleep(_A_DAY)
            except RunCancelled:
                yield tool_call("mail", "everybody", {"text": "this was the last one"})
                raise

    @flow(name="nightly", registry=registry)
    def nightly(day: str) -> Steps[Any]:
        return (yield tool_call("office", "draft", {"customer": day}))

    assert {newsletter.name, nightly.name} <= registry.flows.keys()

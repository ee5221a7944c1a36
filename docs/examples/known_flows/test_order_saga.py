# pyright: basic
from __future__ import annotations

from typing import Any

import pytest

from sequential import RunCancelled
from sequential.testing import crash_everywhere, play

from .order_saga import charge, fulfil, refund, release, reserve, ship

PEAR: dict[str, Any] = {"items": ["pear"], "price": 3, "address": "Elm Street 1"}
LOST: dict[str, Any] = {"items": ["pear"], "price": 5, "address": "nowhere"}


def reserved(item: str) -> str:
    if item == "plum":
        raise ValueError("no plum left")
    return f"one {item}"


def shipped(reservations: list[str], address: str) -> str:
    if address == "nowhere":
        raise ValueError("no such address")
    return f"{', '.join(reservations)} to {address}"


TOOLS: dict[Any, Any] = {
    reserve: reserved,
    charge: lambda amount: f"payment of {amount}",
    ship: shipped,
    refund: lambda payment: None,
    release: lambda reservation: None,
}


def test_an_order_is_shipped() -> None:
    survived = crash_everywhere(fulfil, {"order": PEAR}, tools=TOOLS)
    assert survived.played.result == "one pear to Elm Street 1"
    # Nothing is undone, wherever the process is lost.
    assert not {"cards.refund", "stock.release"} & {each.split()[0] for each in survived.repeated}


def test_an_order_that_cannot_be_shipped_is_undone_the_last_first() -> None:
    played = crash_everywhere(fulfil, {"order": LOST}, tools=TOOLS).played
    assert "no such address" in str(played.error)
    undone = [(call.tool, call.input) for call in played.calls[-2:]]
    assert undone == [
        ("cards.refund", {"payment": "payment of 5"}),
        ("stock.release", {"reservation": "one pear"}),
    ]


def test_a_bank_that_is_down_for_an_hour_refunds_in_the_end() -> None:
    down = [ConnectionError("down")] * 9
    played = play(fulfil, {"order": LOST}, tools=TOOLS | {refund: [*down, None]})
    assert played.error is not None
    assert "no such address" in str(played.error)  # nothing else went wrong
    assert played.calls[-1].tool == "stock.release"


def test_what_was_reserved_beside_an_item_that_is_out_of_stock_is_released() -> None:
    order = PEAR | {"items": ["pear", "plum", "fig"]}
    played = crash_everywhere(fulfil, {"order": order}, tools=TOOLS).played
    assert "no plum left" in str(played.error)
    assert [call.input for call in played.calls if call.tool == "stock.release"] == [
        {"reservation": "one fig"},
        {"reservation": "one pear"},
    ]


@pytest.mark.parametrize("steps", range(3))
def test_an_order_that_is_cancelled_leaves_nothing_behind(steps: int) -> None:
    played = crash_everywhere(fulfil, {"order": PEAR}, tools=TOOLS, cancel_after=steps).played
    assert isinstance(played.error, RunCancelled)
    did = [call.tool for call in played.calls]
    assert did.count("stock.reserve") == did.count("stock.release")
    assert did.count("cards.charge") == did.count("cards.refund")

from __future__ import annotations

from typing import Any

from sequential.testing import crash_everywhere, play, verify_replay

from .order import Item, charge, order, release, reserve

PEAR = {"item": {"name": "pear", "price": 3}}


def reserved(item: Item) -> str:
    return f"one {item.name}"


def charged(amount: int) -> str:
    return f"charged {amount}"


TOOLS: dict[Any, Any] = {reserve: reserved, charge: charged, release: [None]}


def test_an_order_is_charged_a_month_after_the_customer_agreed() -> None:
    played = play(order, PEAR, tools=TOOLS, signals={"agreed": True})
    assert played.result == "charged 3"
    assert played.slept == 30 * 86_400


def test_an_order_that_nobody_agrees_to_is_released() -> None:
    played = play(order, PEAR, tools=TOOLS)
    assert played.result == "released"
    assert [call.tool for call in played.calls] == ["shop.reserve", "shop.release"]


def test_a_shop_that_is_down_for_a_moment_is_asked_again() -> None:
    answers = [ConnectionError("down"), ConnectionError("down"), "one pear"]
    played = play(order, PEAR, tools={**TOOLS, reserve: answers}, signals={"agreed": True})
    assert played.result == "charged 3"
    assert played.steps[0].attempts == 3


def test_an_order_that_cannot_be_reserved_fails() -> None:
    played = play(order, PEAR, tools={**TOOLS, reserve: [ConnectionError("down")] * 3})
    assert played.error is not None
    assert "shop.reserve failed after 3 attempts" in str(played.error)


def test_an_order_replays() -> None:
    verify_replay(order, PEAR, tools=TOOLS, signals={"agreed": True})


def test_an_order_survives_the_loss_of_its_process_anywhere() -> None:
    survived = crash_everywhere(order, PEAR, tools=TOOLS, signals={"agreed": True})
    # What may happen twice, so the shop and the bank must bear it: by the idempotency key.
    assert survived.repeated == {"shop.reserve at step 0", "bank.charge at step 3"}

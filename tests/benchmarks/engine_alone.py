"""The engine without a disk: a step on memory storage beside encoding and hashing its input."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from sequential import Sequential

from .measure import Between, Row, Size, carry, subject

_ITEM = {"sku": "A-4711-XL", "title": "Raincoat, dark blue", "count": 2, "price": "79.90"}
ORDER: dict[str, Any] = {
    "id": "0198f3c2-7d5e-7cc1-9f4b-3a1c5e2d7b60",
    "customer": {"id": 48151, "name": "Ada Lovelace", "email": "ada@example.org"},
    "address": {"street": "12 St James's Square", "city": "London", "country": "GB"},
    "items": [_ITEM | {"line": line} for line in range(7)],
    "notes": "Leave it with the neighbours when nobody is at home.",
}
"""About a kilobyte of JSON."""

_encode = msgspec.json.Encoder().encode


def measure(folder: Path, size: Size) -> Iterator[Row]:
    """Measure the step with an input of a kilobyte, and with a tiny one."""
    del folder
    for name, extra in (("an order of 1 KiB", ORDER), ('{"n": 1}', None)):
        floor, step = _measured(extra, size)
        yield Row(f"engine alone, {name} / encode+sha256", floor, step, step / floor, 25)


def _measured(extra: dict[str, Any] | None, size: Size) -> tuple[float, float]:
    given = {"n": 1} if extra is None else {"n": 1, "order": extra}
    between = Between(lambda: _hashing(given))
    made = subject(between, extra)
    with Sequential("memory:", registry=made.registry) as app:
        carry(app, made, between, size.operations)
    return between.floor(), between.step()


def _hashing(given: dict[str, Any]) -> Callable[[], object]:
    return lambda: hashlib.sha256(_encode(given)).hexdigest()

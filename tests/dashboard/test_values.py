"""What is shown of values: masked and cut for most, whole for those who may see payloads."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from sequential import Sequential
from sequential_dashboard.values import PREVIEW, Values, plain
from tests.fix_dashboard import Opened


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal("1.50"), "1.50"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
        (b"\0\1", "AAE="),
        ({1: (2, 3)}, {"1": [2, 3]}),
        (2**60, "1152921504606846976"),
        (float("inf"), "inf"),
        (None, None),
    ],
)
def test_any_value_becomes_plain_json(value: Any, shown: Any) -> None:
    assert plain(value) == shown
    json.dumps(plain(value), allow_nan=False)


def test_a_long_value_is_cut_for_those_who_may_not_see_payloads(demo: Opened) -> None:
    registry_app: Sequential = demo.app
    run = registry_app.get(demo.runs("completed")[0])
    values = Values(registry_app, whole=False)
    found = values._shown({"text": "x" * 10_000}, 10_012)
    assert len(found.data) == PREVIEW + 1
    assert "right to see payloads" in found.note
    assert Values(registry_app, whole=True)._shown({"text": "x" * 10_000}, 1).note == ""
    assert values.of_input(run).size > 0

"""What is shown of values: masked and cut for most, whole for those who may see payloads."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from sequential import Sequential
from sequential_dashboard.values import MASK, PREVIEW, Values, masked, masked_text, plain
from tests.fix_dashboard import Opened

SECRET = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"

UNDER_KEYS = (
    "password", "Password", "db_password", "passwd", "secret", "client_secret", "token",
    "access_token", "refreshToken", "api_key", "apikey", "API-Key", "x-api-key", "authorization",
    "Authorization", "authorisation", "cookie", "Set-Cookie", "credentials", "private_key",
    "privateKey", "session_id", "signature",
)  # fmt: skip

BY_SHAPE = (
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl",
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "Bearer abcdef0123456789",
    "basic dXNlcjpwYXNzd29yZA==",
    "sk-abcdefghijklmnopqrstuv",
    "ghp_abcdefghijklmnopqrstuvwxyz012345",
    "xoxb-123456789012-abcdefghijkl",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "5500005555555559",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
)


@pytest.mark.parametrize("key", UNDER_KEYS)
def test_what_stands_under_a_telling_key_is_masked(key: str) -> None:
    for value in (SECRET, [SECRET], {"inner": SECRET}, 12345678):
        assert masked({"deep": [{key: value}]}) == {"deep": [{key: MASK}]}


@pytest.mark.parametrize("secret", BY_SHAPE)
def test_what_looks_like_a_secret_is_masked_wherever_it_stands(secret: str) -> None:
    text = json.dumps(masked({"note": [f"see {secret} there"]}))
    assert secret not in text
    assert "see" in text
    assert secret not in masked_text(f"failed with {secret}!")


def test_user_and_password_of_an_address_are_masked() -> None:
    shown = masked_text("https://reader:hunter2@feeds.example/daily does not answer")
    assert "hunter2" not in shown
    assert "feeds.example/daily does not answer" in shown


@pytest.mark.parametrize("text", ["order 4111 1111 1111 1112", "2026-11-23", "A-1234567890", ""])
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked_text(text) == text


def test_looking_through_a_long_text_takes_no_time() -> None:
    assert len(masked_text("eyJ" * 400_000)) <= 2 * PREVIEW + 1


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

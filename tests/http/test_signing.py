from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from sequential.errors import ConfigError
from sequential_http.signing import (
    Keys,
    SignatureRefused,
    new_key,
    signed_headers,
    verify,
)
from tests.fix_http import KEY, OTHER_KEY

VECTORS = json.loads((Path(__file__).parent / "data/signatures.json").read_text("utf-8"))


def raw(text: str) -> bytes:
    return text.encode("utf-8")


def mac(key: str, message_id: str, timestamp: str, body: bytes) -> bytes:
    """Sign by the letter of the specification, without the code under test."""
    secret = base64.b64decode(key.removeprefix("whsec_"))
    data = raw(message_id) + b"." + raw(timestamp) + b"." + body
    return hmac.new(secret, data, hashlib.sha256).digest()


def message(case: dict[str, Any]) -> tuple[list[tuple[bytes, bytes]], bytes, float]:
    """Return headers, body and time of a vector."""
    body = raw(case.get("body", VECTORS["body"]))
    message_id = case.get("id", VECTORS["id"]).replace("{long}", "m" * 129)
    timestamp = str(VECTORS["now"])
    found = mac(KEY, message_id, timestamp, body)
    text, other = (
        base64.b64encode(each).decode()
        for each in (found, mac(OTHER_KEY, message_id, timestamp, body))
    )
    words = {
        "right": f"v1,{text}",
        "other": f"v1,{other}",
        "mac": text,
        "hex": found.hex(),
        "empty": "v1," + base64.b64encode(mac(KEY, message_id, timestamp, b"")).decode(),
        "urlsafe": "v1," + base64.urlsafe_b64encode(found).decode(),
        "unpadded": "v1," + text.rstrip("="),
        "half": "v1," + base64.b64encode(found[:16]).decode(),
        "eight": " ".join([f"v1,{other}"] * 7 + [f"v1,{text}"]),
        "nine": " ".join([f"v1,{other}"] * 8 + [f"v1,{text}"]),
        "many": " ".join([f"v1,{text}"] * 10_000),
    }
    headers: dict[str, Any] = {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": "{right}",
        **case.get("headers", {}),
    }
    pairs = []
    for name, given_value in headers.items():
        for value in given_value if isinstance(given_value, list) else [given_value]:
            if value is not None:
                for word, meant in words.items():
                    value = value.replace(f"{{{word}}}", meant)  # noqa: PLW2901
                pairs.append((raw(name.title() if case.get("capitals") else name), raw(value)))
    return pairs, raw(case.get("tamper", body.decode())), float(case.get("now", VECTORS["now"]))


@pytest.mark.parametrize("name", VECTORS["refused"])
def test_a_bad_signature_is_refused(name: str) -> None:
    headers, body, now = message(VECTORS["refused"][name])
    with pytest.raises(SignatureRefused):
        verify(Keys.parse(KEY), headers, body, now)


@pytest.mark.parametrize("name", VECTORS["taken"])
def test_a_good_signature_is_taken(name: str) -> None:
    headers, body, now = message(VECTORS["taken"][name])
    assert verify(Keys.parse(KEY), headers, body, now) == VECTORS["id"]


def pairs_of(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(raw(name), raw(value)) for name, value in headers.items()]


@given(body=st.binary(max_size=300), secret=st.binary(min_size=24, max_size=64))
def test_the_outside_package_verifies_what_we_sign(body: bytes, secret: bytes) -> None:
    now = datetime.now(UTC).timestamp()
    body = base64.b64encode(body)  # that package verifies text, and reads it as JSON
    body = json.dumps(body.decode()).encode()
    headers = signed_headers(Keys(secret), "msg_1", now, body)
    key = "whsec_" + base64.b64encode(secret).decode()
    assert standardwebhooks.Webhook(key).verify(body, headers) == json.loads(body)


@given(text=st.text(st.characters(codec="utf-8"), max_size=300))
def test_we_verify_what_the_outside_package_signs(text: str) -> None:
    at = datetime.fromtimestamp(VECTORS["now"], UTC)
    signature = standardwebhooks.Webhook(KEY).sign("msg_1", at, text)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(VECTORS["now"]),
        "webhook-signature": signature,
    }
    now = float(VECTORS["now"])
    assert verify(Keys.parse(KEY), pairs_of(headers), raw(text), now) == "msg_1"


@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from([b"webhook-id", b"webhook-timestamp", b"webhook-signature", b"x"]),
            st.one_of(st.binary(max_size=80), st.sampled_from([b"1700000000", b"v1,AAAA", b"m"])),
        ),
        max_size=6,
    ),
    body=st.binary(max_size=50),
)
def test_whatever_comes_is_refused_and_breaks_nothing(
    headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    with pytest.raises(SignatureRefused):
        verify(Keys.parse(KEY), headers, body, 1700000000.0)


@given(
    body=st.binary(min_size=1, max_size=60),
    at=st.integers(min_value=0, max_value=10_000),
    bit=st.integers(min_value=0, max_value=7),
)
def test_one_bit_of_the_body_is_enough(body: bytes, at: int, bit: int) -> None:
    keys = Keys.parse(KEY)
    headers = pairs_of(signed_headers(keys, "msg_1", 1e9, body))
    place = at % len(body)
    changed = bytes([*body[:place], body[place] ^ 1 << bit, *body[place + 1 :]])
    assert verify(keys, headers, body, 1e9) == "msg_1"
    with pytest.raises(SignatureRefused):
        verify(keys, headers, changed, 1e9)


# -- keys


def test_keys_are_rotated_without_refusing_anybody() -> None:
    old, new = Keys.parse(KEY), Keys.parse(OTHER_KEY)
    both, turned = Keys.parse(f"{KEY}, {OTHER_KEY}"), Keys.parse(f"{OTHER_KEY},{KEY}")
    # First every verifier learns the new key, then every sender signs with it.
    for sender, receiver in [(old, both), (both, old), (both, turned), (turned, both),
                             (turned, new), (new, turned)]:  # fmt: skip
        headers = pairs_of(signed_headers(sender, "msg_1", 1e9, b"{}"))
        assert verify(receiver, headers, b"{}", 1e9) == "msg_1"
    with pytest.raises(SignatureRefused):
        verify(new, pairs_of(signed_headers(old, "msg_1", 1e9, b"{}")), b"{}", 1e9)


def test_a_new_key_can_be_used() -> None:
    one, other = new_key(), new_key()
    assert one != other
    headers = pairs_of(signed_headers(Keys.parse(one), "msg_1", 1e9, b""))
    assert verify(Keys.parse(one), headers, b"", 1e9) == "msg_1"


@pytest.mark.parametrize(
    "text",
    [
        "", ",", "whsec_", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        "whsec_c2hvcnQ=", "whsec_" + base64.b64encode(b"s" * 65).decode(),
        "whsec_" + base64.b64encode(b"s" * 23).decode(), KEY + "!", KEY.replace("=", ""),
        "WHSEC_" + KEY[6:], ",".join([KEY] * 17), f"{KEY};{KEY}", "whsec_é",
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError, match="whsec_ and the base64") as raised:
        Keys.parse(text)
    assert text.strip(",") == "" or text not in str(raised.value).replace("whsec_ and", "")
    assert "MDEyMzQ1" not in str(raised.value)


def test_keys_are_never_shown() -> None:
    keys = Keys.parse(KEY)
    for shown in (repr(keys), str(keys), f"{keys}", repr([keys])):
        assert "0123456789" not in shown
        assert KEY[6:20] not in shown
    assert "1 keys" in repr(keys)


def test_keys_come_from_a_variable_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"{KEY}\n{OTHER_KEY}\n")
    signed = pairs_of(signed_headers(Keys.parse(OTHER_KEY), "m", 1e9, b""))
    for environ in (
        {"SEQUENTIAL_HTTP_KEYS": f"{KEY},{OTHER_KEY}"},
        {"SEQUENTIAL_HTTP_KEYS_FILE": str(path)},
    ):
        found = Keys.from_environment(environ)
        assert found is not None
        assert verify(found, signed, b"", 1e9) == "m"
    assert Keys.from_environment({"SEQUENTIAL_HTTP_KEYS": " "}) is None


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"not a key"])
def test_a_file_of_keys_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="SEQUENTIAL_HTTP_KEYS"):
        Keys.from_environment({"SEQUENTIAL_HTTP_KEYS_FILE": str(path)})


def test_what_one_purpose_signs_is_worth_nothing_for_another() -> None:
    keys = Keys.parse(KEY)
    signed = keys.for_purpose("callback").mac(b"data")
    assert keys.for_purpose("callback").is_mac(b"data", signed)
    assert not keys.is_mac(b"data", signed)
    assert not keys.for_purpose("resume").is_mac(b"data", signed)

"""What looks secret is masked, what does not stays, and no text takes long."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from sequential.redaction import MASK, is_secret_name, redacted, redacted_text

DATA = Path(__file__).parents[1] / "data"


def lines(name: str) -> list[str]:
    read = (DATA / name).read_text(encoding="utf-8").splitlines()
    return [line.replace("·", "") for line in read if not line.startswith("#")]


SECRETS = lines("secrets.txt")


def test_there_are_many_shapes_of_secrets() -> None:
    assert len(SECRETS) >= 50
    assert all("«" in line for line in SECRETS)


@pytest.mark.parametrize("line", SECRETS)
def test_a_secret_is_masked_and_what_stands_around_it_stays(line: str) -> None:
    text, wanted = re.sub("[«»]", "", line), re.sub("«[^»]*»", MASK, line)
    assert redacted_text(text) == wanted
    assert redacted_text(f"at 5:\n{text}") == f"at 5:\n{wanted}"
    assert redacted_text(wanted) == wanted


@pytest.mark.parametrize("line", lines("innocent.txt"))
def test_what_is_no_secret_stays(line: str) -> None:
    assert redacted_text(line) == line


@pytest.mark.parametrize("line", SECRETS)
def test_a_secret_in_data_is_masked_wherever_it_stands(line: str) -> None:
    text = re.sub("[«»]", "", line)
    shown = json.dumps(redacted({"deep": [{"note": text, text: 1}]}), ensure_ascii=False)
    for secret in re.findall("«([^»]*)»", line):
        assert secret not in shown


UNDER_KEYS = (
    "password", "Password", "db_password", "passwd", "secret", "client_secret", "token",
    "access_token", "refreshToken", "api_key", "apikey", "API-Key", "x-api-key", "authorization",
    "Authorization", "authorisation", "cookie", "Set-Cookie", "credentials", "private_key",
    "privateKey", "session_id", "signature",
)  # fmt: skip


@pytest.mark.parametrize("key", UNDER_KEYS)
def test_what_stands_under_a_telling_name_is_masked_whatever_it_is(key: str) -> None:
    for value in ("plain", ["plain"], {"inner": "plain"}, 12345678):
        assert redacted({"deep": [{key: value}]}) == {"deep": [{key: MASK}]}


def test_nothing_under_a_telling_name_stays_nothing() -> None:
    data = {"password": None, "token": "", "secret": False, "signature": True}
    assert redacted(data) == data


@pytest.mark.parametrize("name", ["gen_ai.usage.input_tokens", "pinned", "tokenizer", "max_tokens"])
def test_a_name_that_only_sounds_like_a_secret_tells_nothing(name: str) -> None:
    assert not is_secret_name(name)


def test_no_more_is_returned_than_asked_for() -> None:
    assert redacted_text("word " * 10_000, 100) == "word " * 20


def test_a_cut_leaves_no_half_of_a_secret() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----" + "A" * 150 + "-----END RSA PRIVATE KEY-----"
    shown = redacted_text(f"{key} password=hunter2-and-more-of-it", 115)
    assert shown == MASK


HOSTILE = (
    "eyJ", "eyJaaaaaaaa.", "://", "://a:", "4 ", "41", "token", 'token="', "token: ", "a-", '\\"',
    "-----BEGIN ", "-----BEGIN RSA PRIVATE KEY-----", "cookie:", "bearer  ", "sk-", "ghp_", "x@",
    "secret='\\", "password\\\\\\", "SG.", "AKIA", "=", "secret =>", "_token_", "1234567890:",
)  # fmt: skip


@pytest.mark.parametrize("part", HOSTILE)
def test_a_hostile_text_takes_linear_time(part: str) -> None:
    text = part * (50_000 // len(part))
    before = time.perf_counter()
    redacted_text(text, limit=50_000)
    assert time.perf_counter() - before < 2.0

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequential_http.messages import (
    RESUME_LIMIT,
    MessageForeign,
    MessageMalformed,
    read_resume,
    resume_body,
)

US = "https://flows.example/base"
RIGHT: dict[str, Any] = {"v": 1, "aud": US, "op": "resume", "run": "order-1"}


@given(run_id=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_~.\-]{0,127}", fullmatch=True))
def test_what_is_written_is_read(run_id: str) -> None:
    assert read_resume(resume_body(run_id, US), US, run_id) == run_id
    assert len(resume_body(run_id, US)) <= RESUME_LIMIT


FOREIGN: dict[str, tuple[dict[str, Any], str]] = {
    "another run in the path": ({}, "order-2"),
    "another audience": ({"aud": "https://staging.example/base"}, "order-1"),
    "an audience with a slash": ({"aud": US + "/"}, "order-1"),
    "no audience": ({"aud": ""}, "order-1"),
    "another purpose": ({"op": "signal"}, "order-1"),
    "a purpose in capitals": ({"op": "RESUME"}, "order-1"),
    "an audience of another kind": ({"aud": [US]}, "order-1"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_is_meant_for_another_is_refused(case: str) -> None:
    changes, asked = FOREIGN[case]
    with pytest.raises(MessageForeign):
        read_resume(json.dumps(RIGHT | changes).encode(), US, asked)


MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "a list": b"[]",
    "null": b"null",
    "text": b'"order-1"',
    "a number": b"1",
    "words": b"resume order-1",
    "a key twice": json.dumps(RIGHT).encode()[:-1] + b',"run":"order-1"}',
    "another version": json.dumps(RIGHT | {"v": 2}).encode(),
    "the version as text": json.dumps(RIGHT | {"v": "1"}).encode(),
    "the version as a fraction": json.dumps(RIGHT | {"v": 1.0}).encode(),
    "the version as a boolean": json.dumps(RIGHT | {"v": True}).encode(),
    "an integer of 900 digits": json.dumps(RIGHT).encode().replace(b": 1", b": " + b"1" * 900, 1),
    "NaN": json.dumps(RIGHT).encode().replace(b": 1", b": NaN", 1),
    "1e999": json.dumps(RIGHT).encode().replace(b": 1", b": 1e999", 1),
    "code": json.dumps(RIGHT | {"code": "print(1)"}).encode(),
    "state": json.dumps(RIGHT | {"state": {}}).encode(),
    "a result": json.dumps(RIGHT | {"result": 1}).encode(),
    "a flow": json.dumps(RIGHT | {"flow": "os.system"}).encode(),
    "no run": json.dumps({k: v for k, v in RIGHT.items() if k != "run"}).encode(),
    "a run that is null": json.dumps(RIGHT | {"run": None}).encode(),
    "a run that is a list": json.dumps(RIGHT | {"run": ["order-1"]}).encode(),
    "a run that is a number": json.dumps(RIGHT | {"run": 1}).encode(),
    "an empty run": json.dumps(RIGHT | {"run": ""}).encode(),
    "a run with a slash": json.dumps(RIGHT | {"run": "../x"}).encode(),
    "a run with a line break": json.dumps(RIGHT | {"run": "order-1\n"}).encode(),
    "a long run": json.dumps(RIGHT | {"run": "r" * 129}).encode(),
    "half of a character": json.dumps(RIGHT).encode().replace(b"order-1", b"\\ud800"),
    "a zero byte": json.dumps(RIGHT | {"run": "order\0"}).encode(),
    "UTF-16": json.dumps(RIGHT).encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(RIGHT).encode(),
    "bytes that are no text": b"\xff\xfe\xfd",
    "deep": b"[" * 500 + b"]" * 500,
    "too long": json.dumps(RIGHT).encode() + b" " * RESUME_LIMIT,
    "more behind it": json.dumps(RIGHT).encode() + b"{}",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_no_message_is_refused(case: str) -> None:
    with pytest.raises(MessageMalformed):
        read_resume(MALFORMED[case], US, "order-1")


@given(body=st.binary(max_size=1200), asked=st.text(max_size=20))
def test_whatever_comes_is_refused_and_breaks_nothing(body: bytes, asked: str) -> None:
    with pytest.raises((MessageMalformed, MessageForeign)):
        read_resume(body, US, asked)

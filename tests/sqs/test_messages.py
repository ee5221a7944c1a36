"""What is the body of a resume message, and that all else is one error, whatever it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sequential_sqs.messages import LONGEST, Malformed, read_body, write_body
from tests.hostile.lists import Entry, as_bytes, cases

run_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_~.\-]{0,127}", fullmatch=True)
values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

S3_EVENT = {"Records": [{"eventSource": "aws:s3", "s3": {"bucket": {"name": "b"}}}]}
SNS_WRAPPED = {"Type": "Notification", "MessageId": "1", "Message": '{"v":1,"f":"r1"}'}


@given(run_ids)
def test_what_is_written_is_read(run_id: str) -> None:
    body = write_body(run_id)
    assert read_body(body) == run_id
    assert len(body) <= 146


@pytest.mark.parametrize(
    "body",
    [
        "",
        " ",
        "null",
        "[]",
        '"r1"',
        "{}",
        '{"v":1}',
        '{"f":"r1"}',
        '{"v":2,"f":"r1"}',
        '{"v":0,"f":"r1"}',
        '{"v":"1","f":"r1"}',
        '{"v":1.0,"f":"r1"}',
        '{"v":true,"f":"r1"}',
        '{"v":null,"f":"r1"}',
        '{"v":NaN,"f":"r1"}',
        '{"v":1e999,"f":"r1"}',
        '{"v":1,"f":"r1","code":"import os"}',
        '{"v":1,"f":"r1","state":{}}',
        '{"v":1,"f":"r1","f":"r2"}',
        '{"v":1,"v":1,"f":"r1"}',
        '{"v":1,"f":["r1"]}',
        '{"v":1,"f":{"f":"r1"}}',
        '{"v":1,"f":1}',
        '{"v":1,"f":null}',
        '{"V":1,"F":"r1"}',
        '{"v":1,"f":"r1"}x',
        '{"v":1,"f":"r1"',
        '\ufeff{"v":1,"f":"r1"}',
        '{"v":1,"f":"r1\\u0000"}',
        '{"v":1,"f":"\\ud800"}',
        '{"v":1,"f":"r1"}' + " " * LONGEST,
        "[" * LONGEST,
        '{"v":' * 200,
        '{"v":' + "1" * 1000 + "}",
        json.dumps(S3_EVENT),
        json.dumps(SNS_WRAPPED),
    ],
    ids=lambda body: f"{body[:30]!a}",
)
def test_what_none_of_us_sends_is_malformed(body: str) -> None:
    with pytest.raises(Malformed):
        read_body(body)


@pytest.mark.parametrize("body", [None, b'{"v":1,"f":"r1"}', 1, {"v": 1, "f": "r1"}])
def test_what_is_no_text_is_malformed(body: object) -> None:
    with pytest.raises(Malformed):
        read_body(body)


@pytest.mark.parametrize("entry", cases("bodies"))
def test_the_bodies_of_the_list_are_malformed(entry: Entry) -> None:
    with pytest.raises(Malformed):
        read_body(as_bytes(entry.value).decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("entry", cases("ids"))
def test_an_id_of_the_list_is_read_only_where_it_can_be_one(entry: Entry) -> None:
    body = json.dumps({"v": 1, "f": entry.value})
    if entry.more.get("allowed"):
        assert read_body(body) == entry.value
        return
    with pytest.raises(Malformed):
        read_body(body)


@given(st.text() | values.map(json.dumps) | st.binary().map(lambda raw: raw.decode("latin-1")))
@example("[" * 100_000)
@example("9" * 5_000)
def test_any_text_is_a_run_id_or_malformed(body: str) -> None:
    try:
        run_id = read_body(body)
    except Malformed:
        return
    else:
        assert json.loads(body) == {"v": 1, "f": run_id}


@given(run_ids, st.dictionaries(st.text(), values, min_size=1, max_size=3))
def test_one_field_too_many_is_malformed(run_id: str, more: dict[str, Any]) -> None:
    added = {name: value for name, value in more.items() if name not in {"v", "f"}}
    if added:
        with pytest.raises(Malformed):
            read_body(json.dumps({"v": 1, "f": run_id, **added}))

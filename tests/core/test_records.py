"""Records become bytes and come back; damage is seen and named."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequential._model import (
    FORMAT,
    At,
    Attention,
    ErrorValue,
    Message,
    Open,
    Parent,
    Payload,
    Run,
    Status,
    StepKind,
    StepOutcome,
    StepRecord,
    evolve,
)
from sequential._record_payload import pack_payload, unpack_payload
from sequential._record_shapes import RUN_COLUMNS, STEP_COLUMNS
from sequential._records import pack_run, pack_state, pack_step, unpack_run, unpack_step
from sequential.errors import RecordCorrupt
from tests.core.storage_cases import full_run, make_run, make_step, plain

STATE = RUN_COLUMNS.index("state")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
times = st.floats(min_value=0, max_value=1e12)
counts = st.integers(0, 2**62)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
).map(lambda value: plain(json.dumps(value, separators=(",", ":")).encode()))
coded = st.builds(
    Payload,
    data=st.binary(max_size=20),
    codecs=st.lists(texts, min_size=1, max_size=2).map(tuple),
    ref=st.none() | texts,
    size=counts,
)
referred = st.builds(Payload, data=st.just(b""), ref=texts, size=counts)
payloads = jsons | coded | referred
opens = st.builds(
    Open,
    kind=st.sampled_from(StepKind),
    tool=texts,
    attempt=st.integers(1, 99),
    epoch=counts,
    intent=st.booleans(),
    due=st.none() | times,
    name=texts,
    schema=texts,
    error=texts,
    started=times,
)
runs = st.builds(
    Run,
    run_id=texts,
    flow=texts,
    input=payloads,
    flow_version=texts,
    generation=counts,
    status=st.sampled_from(Status),
    fence=counts,
    owner=texts,
    wake=st.none() | st.builds(At, times),
    cursor=counts,
    stalls=counts,
    open=st.dictionaries(texts, opens, max_size=2),
    inbox=st.lists(st.builds(Message, texts, texts, payloads, times), max_size=2).map(tuple),
    seen=st.lists(texts, max_size=2).map(tuple),
    attention=st.none() | st.builds(Attention, texts, texts, texts, times, counts),
    notice=st.booleans(),
    result=st.none() | payloads,
    error=st.none() | st.builds(ErrorValue, texts, texts, st.none() | payloads, st.booleans()),
    parent=st.none() | st.builds(Parent, texts, texts, st.booleans()),
    tags=st.dictionaries(texts, texts, max_size=2),
    progress=st.none() | payloads,
    trace=st.dictionaries(texts, texts, max_size=2),
    created=times,
    started=st.none() | times,
    ended=st.none() | times,
    version=st.integers(1, 2**62),
    op_id=texts,
)
steps = st.builds(
    StepRecord,
    generation=counts,
    number=counts,
    position=texts,
    kind=st.sampled_from(StepKind),
    tool=texts,
    fingerprint=texts,
    outcome=st.sampled_from(StepOutcome),
    value=payloads,
    input=st.none() | payloads,
    attempts=counts,
    started=times,
    ended=times,
    fence=counts,
    op_id=texts,
)


@given(runs)
def test_every_run_comes_back(run: Run) -> None:
    assert unpack_run(pack_run(run)) == run


@given(steps)
def test_every_step_comes_back(step: StepRecord) -> None:
    assert unpack_step("r", pack_step(step)) == step


@given(payloads)
def test_every_payload_comes_back(payload: Payload) -> None:
    assert unpack_payload(pack_payload(payload)) == payload


def test_plain_json_stands_as_it_is() -> None:
    assert pack_payload(plain(b'{"a":1}')) == b'{"a":1}'
    assert b'"input":[{"a":1}]' in pack_state(make_run(input=plain(b'{"a":1}')))


@pytest.mark.parametrize(
    "payload",
    [
        Payload(b""),
        Payload(b"1"),
        Payload(b"1", size=7),
        plain(b" 1"),
        plain(b"1\n"),
        plain(b"\x01"),
    ],
)
def test_a_payload_that_json_would_change_is_kept_apart(payload: Payload) -> None:
    assert pack_payload(payload)[:1] == b"\x01"
    assert unpack_payload(pack_payload(payload)) == payload
    run = make_run(input=payload, version=1)
    assert unpack_run(pack_run(run)).input == payload


def test_no_value_can_pass_for_a_header() -> None:
    for text in (b'[null,{"size":1,"ref":"x"}]', b'{"codecs":["x"]}', b'[null,"x"]'):
        run = make_run(input=plain(text), version=1)
        assert unpack_run(pack_run(run)).input == plain(text)


@pytest.mark.parametrize(
    "stored", [b"\x01", b"\x01{}", b"\x01{}\n", b"\x01[]\n1", b'\x01{"size":-1}\n1', b"\x01\xff\n"]
)
def test_a_damaged_payload_is_named(stored: bytes) -> None:
    row = list(pack_step(make_step(0)))
    row[STEP_COLUMNS.index("value")] = stored
    with pytest.raises(RecordCorrupt, match="step 0/0"):
        unpack_step("r", row)


def test_a_state_leaves_out_what_has_its_default() -> None:
    state = json.loads(pack_state(make_run(version=1)))
    assert sorted(state) == ["cursor", "fence", "input", "owner", "stalls", "v"]


# -- damage


def damaged(field: str, value: object, run: Run | None = None) -> tuple[object, ...]:
    """Return the row of a run in whose state *field* is *value*; `...` takes it away."""
    row = list(pack_run(run or full_run()))
    state = json.loads(bytes(row[STATE]))  # type: ignore[call-overload]
    state[field] = value
    if value is ...:
        del state[field]
    row[STATE] = json.dumps(state).encode()
    return tuple(row)


FIELDS = sorted(json.loads(pack_state(full_run())))
NUMBERS = ["v", "fence", "cursor", "stalls", "started"]
WRONG: list[Any] = [{"py/object": "os.system"}, [[1]], 1.5e300, -1, "text", True, [None, 5]]


@pytest.mark.parametrize("field", FIELDS)
def test_a_state_field_of_a_wrong_type_is_damage(field: str) -> None:
    fits: dict[str, list[object]] = {
        "owner": ["text"],
        "asked": ["text"],
        "at": ["text"],
        "notice": [True],
        "waits": [True],
        "started": [1.5e300],
        "begun": [1.5e300],
        "deadline": [1.5e300],
        "input": [[[1]]],
        "result": [[[1]]],
        "progress": [[[1]]],
        "trace": [{"py/object": "os.system"}],
    }
    for value in WRONG:
        if value in fits.get(field, []):
            continue
        with pytest.raises(RecordCorrupt) as caught:
            unpack_run(damaged(field, value))
        assert field in str(caught.value) or "state" in str(caught.value)
        assert caught.value.run_id == "full"


@pytest.mark.parametrize("field", NUMBERS)
def test_a_negative_number_is_damage(field: str) -> None:
    with pytest.raises(RecordCorrupt, match=field):
        unpack_run(damaged(field, -1))


@pytest.mark.parametrize("field", ["v", "input", "fence", "owner", "cursor", "stalls", "at"])
def test_a_lost_field_is_damage(field: str) -> None:
    with pytest.raises(RecordCorrupt, match=field):
        unpack_run(damaged(field, ...))


def test_an_unknown_field_is_damage() -> None:
    with pytest.raises(RecordCorrupt, match="code"):
        unpack_run(damaged("code", "import os"))


@pytest.mark.parametrize(
    "value", [{"3": {"kind": "robot"}}, {"3": {}}, {"3": {"kind": "tool", "attempt": 0}}]
)
def test_damage_inside_open_is_named(value: object) -> None:
    with pytest.raises(RecordCorrupt, match="open"):
        unpack_run(damaged("open", value))


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"{",
        b"\xff",
        b"null",
        b"[]",
        b"\x80\x04\x95",
        b"PK\x03\x04",
        b"[" * 100_000,
        b'{"v":' + b"9" * 5_000 + b"}",
        "text",
        None,
        5,
    ],
)
def test_a_state_that_is_none_is_damage(stored: object) -> None:
    row = (*pack_run(full_run())[:STATE], stored)
    with pytest.raises(RecordCorrupt, match="state"):
        unpack_run(row)


def test_a_newer_format_asks_for_a_newer_core() -> None:
    for extra in ({}, {"input": 5}, {"shiny": True}):
        row = damaged("v", FORMAT + 1)
        state = {**json.loads(bytes(row[STATE])), **extra}  # type: ignore[call-overload]
        with pytest.raises(RecordCorrupt, match="install a newer sequential-core"):
            unpack_run((*row[:STATE], json.dumps(state).encode()))
    step = pack_step(make_step(0))
    with pytest.raises(RecordCorrupt, match="install a newer sequential-core"):
        unpack_step("r", (*step[:-1], FORMAT + 1))


@pytest.mark.parametrize("column", RUN_COLUMNS[:-1])
def test_a_column_of_a_run_of_a_wrong_type_is_damage(column: str) -> None:
    row = list(pack_run(full_run()))
    wrong: list[object] = [b"\x00", [], -1.5, {"a": 1}]
    for value in wrong:
        row[RUN_COLUMNS.index(column)] = value
        with pytest.raises(RecordCorrupt, match=column):
            unpack_run(row)


@pytest.mark.parametrize("tags", ["", "[]", '{"a":1}', "{", '{"a":null}', "null"])
def test_damaged_tags_are_named(tags: str) -> None:
    row = list(pack_run(full_run()))
    row[RUN_COLUMNS.index("tags")] = tags
    with pytest.raises(RecordCorrupt, match="tags"):
        unpack_run(row)


@pytest.mark.parametrize("column", STEP_COLUMNS)
def test_a_column_of_a_step_of_a_wrong_type_is_damage(column: str) -> None:
    row = list(pack_step(make_step(0)))
    wrong: list[object] = [[], -1, {"a": 1}]
    for value in wrong:
        row[STEP_COLUMNS.index(column)] = value
        with pytest.raises(RecordCorrupt) as caught:
            unpack_step("r", row)
        assert column in str(caught.value)


def test_a_run_with_half_a_parent_is_damage() -> None:
    run = evolve(full_run(), parent=None)
    with pytest.raises(RecordCorrupt, match="parent"):
        unpack_run(damaged("at", "3", run))


def test_the_full_run_leaves_no_field_at_its_default() -> None:
    """A field that is added to the record and forgotten by the storages fails here first."""
    empty = Run("r", "g", Payload(b"{}"))
    full = full_run()
    assert not [
        each.name for each in fields(Run) if getattr(full, each.name) == getattr(empty, each.name)
    ]

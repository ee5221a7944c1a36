"""Recorded, new, or changed: what a replay compares, and how it says what differs."""

from __future__ import annotations

from typing import Any

import pytest

from sequential._model import Payload, StepKind, StepOutcome, StepRecord
from sequential._replay import (
    Asked,
    Check,
    agrees,
    describe_asked,
    describe_record,
    diff,
    without_input,
)

RECORD = StepRecord(
    0, 3, "3", StepKind.TOOL, "api.user", "digest", StepOutcome.VALUE,
    Payload(b"1"), Payload(b'{"id":1}'), 1, 0.0, 1.0, 1, "op",
)  # fmt: skip
ASKED = Asked("3", StepKind.TOOL, "api.user", "digest", b'{"id":1}')
ALL: list[Check] = ["inputs", "names", "off"]


@pytest.mark.parametrize("check", ALL)
def test_the_same_step_agrees(check: Check) -> None:
    assert agrees(RECORD, ASKED, check)


@pytest.mark.parametrize(
    ("changed", "strict_enough"),
    [
        ({"fingerprint": "other"}, ALL[:1]),
        ({"tool": "api.posts"}, ALL[:2]),
        ({"kind": StepKind.SLEEP}, ALL),
        ({"position": "4"}, ALL),
        ({"position": "3.0"}, ALL),
    ],
    ids=repr,
)
@pytest.mark.parametrize("check", ALL)
def test_each_check_finds_what_it_is_for(
    changed: dict[str, Any], strict_enough: list[Check], check: Check
) -> None:
    assert agrees(RECORD, ASKED._replace(**changed), check) is (check not in strict_enough)


def test_a_tool_call_is_described_with_its_input() -> None:
    assert describe_record(RECORD) == 'tool call api.user {"id":1}'
    assert describe_asked(ASKED) == 'tool call api.user {"id":1}'


def test_an_input_that_was_not_kept_is_left_out() -> None:
    assert describe_record(RECORD._replace(input=None)) == "tool call api.user"


@pytest.mark.parametrize(
    ("kind", "tool", "words"),
    [
        (StepKind.SLEEP, "", "sleep"),
        (StepKind.SAVE, "", "save point"),
        (StepKind.SIGNAL, "go", "wait for signal 'go'"),
    ],
)
def test_every_kind_of_step_has_words(kind: StepKind, tool: str, words: str) -> None:
    assert describe_asked(Asked("3", kind, tool)) == words


def test_the_end_of_the_flow_has_words() -> None:
    assert describe_asked(None) == "the end of the flow"


def test_a_long_input_is_cut_and_marked() -> None:
    shown = describe_asked(ASKED._replace(input=b"x" * 301))
    assert shown == f"tool call api.user {'x' * 300}…"
    assert not describe_asked(ASKED._replace(input=b"x" * 300)).endswith("…")


def test_bytes_that_are_no_text_do_not_break_a_diff() -> None:
    assert "\ufffd" in describe_asked(ASKED._replace(input=b"\xff\x00"))


def test_a_diff_shows_recorded_against_asked() -> None:
    lines = diff("3", describe_record(RECORD), "sleep").splitlines()
    assert lines == [
        "step 3",
        '  - recorded: tool call api.user {"id":1}',
        "  + asked:    sleep",
    ]


def test_an_input_that_went_through_codecs_is_shown_by_its_digest_on_both_sides() -> None:
    sealed = RECORD._replace(input=Payload(b"\x00sealed", ("seal",)))
    asked = without_input(ASKED)
    assert describe_record(sealed) == describe_asked(asked)
    assert "digest" in describe_record(sealed)
    assert "id" not in describe_record(sealed).replace("digest", "")


def test_without_an_input_there_is_nothing_to_hide() -> None:
    bare = Asked("3", StepKind.SLEEP)
    assert without_input(bare) is bare
    assert without_input(None) is None

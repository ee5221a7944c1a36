"""Random programs, disturbed at random, come to what they come to undisturbed."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sequential._model import ENDED_STATUSES, Run, StepRecord
from sequential.errors import RunStatusWrong
from tests.core.blocks import Block
from tests.core.disturbed import (
    PAUSES,
    PROGRAMS,
    STYLES,
    TROUBLES,
    WIDE,
    Disturber,
    Played,
    Trouble,
    begun,
    check,
    deployed,
    goes_on,
    seen,
    undisturbed,
    words,
)

SCALE = max(1, settings().max_examples // 100)
"""A profile with more examples than the usual 100 makes that many times more of each test."""

# -- what must hold ------------------------------------------------------------------------------

EVERYTHING: Block = [
    ["try", [["give", "class", 3], ["fail", 1]], [["echo"], ["sleep", 5]], [["save"], ["add", 1]]],
    ["loop", 2, [["if", [["give", "large", 1]], [["flaky", 2, 2]]], ["det"]]],
    ["call", [["wait", "a"], ["once", 3], ["wait_for", "early", 9], ["wait_for", "never", 9]]],
    ["with", [["return", 4], ["give", "set", 2], ["echo"], ["unfit", 5]]],
    [
        "gather",
        [
            [["flaky", 1, 1], ["race", [["sleep", 5], ["once", 1]]], ["wait", "a"]],
            [["map", [1, 2, 3], 2], ["try", [["fail", 2]], [["add", 9]], [["save"]]]],
            [["raise", 3]],
            [["child", "generator", [["wait", "b"], ["child", "coroutine", [["flaky", 1, 3]]]]]],
        ],
        None,
    ],
    ["child", "coroutine", [["give", "large", 3]]],
    ["echo"],
]
SMALL: list[Block] = [
    [["add", 1], ["give", "decimal", 2], ["echo"]],
    [["flaky", 1, 2], ["sleep", 20], ["give", "large", 1], ["echo"]],
    [["try", [["fail", 1]], [["wait", "a"]], [["save"], ["add", 2]]]],
    [["once", 1], ["call", [["wait_for", "never", 30], ["det"]]], ["anew"]],
    [["with", [["add", 1], ["raise", 7]]]],
    [["gather", [[["add", 1], ["sleep", 5]], [["flaky", 2, 1]], [["once", 3]]], 2], ["echo"]],
    [["race", [["gather", [[["wait", "a"]], [["add", 1], ["save"]]], None]]], ["map", [1, 2], 1]],
    [["child", "coroutine", [["add", 1], ["sleep", 5], ["raise", 2]]], ["echo"]],
]


@given(PROGRAMS, STYLES, st.sampled_from(["memory", "memory", "memory", "sqlite"]))
@settings(max_examples=30 * SCALE)
@example(EVERYTHING, "generator", "sqlite")
@example(EVERYTHING, "coroutine", "sqlite")
def test_every_pause_policy_comes_to_the_same_in_both_styles(
    program: Block, style: str, kind: str
) -> None:
    reference = undisturbed(program).played
    for pause in PAUSES:
        assert undisturbed(program, style, pause, kind).played == reference


@given(PROGRAMS, STYLES, st.sampled_from(PAUSES), TROUBLES)
@settings(max_examples=200 * SCALE)
@example(EVERYTHING, "generator", "when-waiting", Trouble([(9, "freeze"), (9, "crash")]))
def test_crashes_and_faults_change_neither_result_nor_records(
    program: Block, style: str, pause: str, trouble: Trouble
) -> None:
    check(program, style, pause, trouble)


@given(PROGRAMS, STYLES, st.sampled_from(PAUSES), TROUBLES)
@settings(max_examples=25 * SCALE)
@example(EVERYTHING, "coroutine", "budget:2steps", Trouble([(9, "freeze"), (9, "crash")]))
def test_sqlite_too_keeps_result_and_records_through_crashes_and_faults(
    program: Block, style: str, pause: str, trouble: Trouble
) -> None:
    check(program, style, pause, trouble, "sqlite")


@pytest.mark.parametrize("pause", ["every-step", "when-waiting", "budget:1steps", "budget"])
@pytest.mark.parametrize(
    ("style", "event"), [("generator", "crash"), ("coroutine", "crash"), ("generator", "freeze")]
)
def test_a_crash_at_every_single_request_changes_nothing(
    style: str, pause: str, event: str
) -> None:
    for program in SMALL:
        for moment in range(undisturbed(program, style, pause).requests):
            check(program, style, pause, Trouble([(moment, event)]))


@pytest.mark.parametrize("event", ["crash", "freeze"])
def test_two_crashes_at_any_two_requests_change_nothing(event: str) -> None:
    program: Block = [["add", 1], ["flaky", 2, 1], ["once", 3], ["give", "large", 1]]
    requests = undisturbed(program).requests
    for first in range(requests):
        for second in range(requests):
            check(
                program, "generator", "when-waiting", Trouble([(first, "crash"), (second, event)])
            )


def check_cancelled_branches(reference: Played, run: Run, records: list[StepRecord]) -> None:
    """Check that the cancel was recorded in one commit, and all before it as without a cancel."""
    marks = [step for step in records if step.outcome == "cancelled"]
    assert len({step.op_id for step in marks}) <= 1
    if run.generation != reference.state["generation"]:
        return
    known = {each[2]: each for each in reference.records}
    # What is done to clean up stands where other steps would have stood.
    for step in records[: marks[0].number] if marks else records:
        assert step.position not in known or seen(step)[3:] == known[step.position][3:]


@given(PROGRAMS, STYLES, st.sampled_from(PAUSES), st.integers(0, 40), TROUBLES)
@settings(max_examples=60 * SCALE)
def test_a_cancel_is_recorded_once_and_leaves_what_was_recorded_before(
    program: Block, style: str, pause: str, moment: int, trouble: Trouble
) -> None:
    reference, known, before = undisturbed(program).played, words(program), 0
    with deployed(pause) as (stage, faulty):
        begun(stage, program, style)
        disturber = Disturber(stage, faulty, trouble)
        while (run_id := goes_on(stage, known)) is not None:
            if stage.run().cursor + disturber.turns >= moment:
                before = before or stage.run().generation + 1
                try:
                    stage.outside.send("r", "$cancel:0", "$cancel", {})
                except RunStatusWrong:
                    assert stage.run().status in ENDED_STATUSES
            disturber.turn(run_id)
        disturber.thaw()
        disturber.close()
        run, records = stage.run(), stage.steps()
    marks = [step.number for step in records if step.outcome == "cancelled"]
    if known & WIDE:
        check_cancelled_branches(reference, run, records)
        return
    assert len(marks) <= 1
    if not marks and before == 0:
        assert [seen(step) for step in records] == reference.records
    elif marks and run.generation == reference.state["generation"]:
        kept = [seen(step) for step in records[: marks[0]]]
        assert kept == reference.records[: marks[0]]
        assert run.inbox == () or all(sent.name != "$cancel" for sent in run.inbox)


def test_the_language_has_a_word_for_everything_that_is_tried() -> None:
    tried = words([EVERYTHING, *SMALL])
    assert tried >= {"try", "loop", "if", "call", "with", "anew", "once", "det", "wait", "raise"}
    assert tried >= {"child", *WIDE}

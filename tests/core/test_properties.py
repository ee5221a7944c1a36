"""Random programs, disturbed at random, come to what they come to undisturbed.

Hypothesis makes a program with structure, the style, the pause policy, the storage and what goes
wrong; the production generators play it. The undisturbed run of the generator style under
`when-waiting` over memory is what everything else is held against.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sequential._memory import MemoryStorage
from sequential._model import ENDED_STATUSES, At, Run, Status, StepKind, StepRecord, evolve
from sequential._requests import Perform
from sequential._sqlite import open_sqlite
from sequential._storage import Storage
from sequential.errors import RunStatusWrong
from sequential.testing import FakeClock
from sequential.testing._faulty import Fault, FaultyStorage
from sequential.testing._stage import Invocation, Process, Stage
from tests.core.blocks import VALUES, Block, digest, registry

SCALE = max(1, settings().max_examples // 100)
"""A profile with more examples than the usual 100 makes that many times more of each test."""

# -- what is played ------------------------------------------------------------------------------

NUMBERS = st.integers(0, 99)
LIMITS = st.sampled_from([1, 30])
AT_ONCE = st.sampled_from([None, 1, 2])
# When a crash lets a branch wait, others get ahead of it. So in branches nothing stands that
# depends on the order of records: what is drawn, signals for anybody, who fails first.
BRANCH_LEAVES = st.one_of(
    st.tuples(st.just("give"), st.sampled_from(sorted(VALUES)), st.integers(0, 9)),
    st.tuples(st.just("add"), NUMBERS),
    st.just(("echo",)),
    st.tuples(st.just("fail"), NUMBERS),
    st.tuples(st.just("unfit"), NUMBERS),
    st.tuples(st.just("return"), NUMBERS),
    st.tuples(st.just("once"), NUMBERS),
    st.tuples(st.just("flaky"), NUMBERS, st.integers(0, 3)),
    st.tuples(st.just("sleep"), st.sampled_from([0, 1, 20])),
    st.just(("save",)),
    st.tuples(st.just("wait"), st.sampled_from(["a", "b"])),
    st.tuples(st.just("wait_for"), st.just("never"), LIMITS),
    st.tuples(st.just("wait_or_raise"), st.just("never"), LIMITS),
    st.tuples(st.just("raise"), NUMBERS),
    st.tuples(st.just("map"), st.lists(NUMBERS, max_size=4), AT_ONCE),
)
LEAVES = st.one_of(
    BRANCH_LEAVES,
    st.tuples(st.just("wait_for"), st.just("early"), LIMITS),
    st.tuples(st.just("wait_or_raise"), st.just("early"), LIMITS),
    st.just(("det",)),
    st.just(("anew",)),
)


def _branching(inner: st.SearchStrategy[Block]) -> st.SearchStrategy[Block]:
    return _blocks(inner, BRANCH_LEAVES, inner)


def _blocks(
    inner: st.SearchStrategy[Block],
    leaves: st.SearchStrategy[Any] = LEAVES,
    branch: st.SearchStrategy[Block] | None = None,
) -> st.SearchStrategy[Block]:
    branch = BRANCHES if branch is None else branch
    compound = st.one_of(
        st.tuples(st.just("gather"), st.lists(branch, max_size=3), AT_ONCE),
        st.tuples(st.just("race"), branch),
        st.tuples(st.just("loop"), st.integers(0, 3), inner),
        st.tuples(st.just("if"), inner, inner),
        st.tuples(st.just("call"), inner),
        st.tuples(st.just("try"), inner, inner, inner),
        st.tuples(st.just("with"), inner),
    )
    return st.lists(st.one_of(leaves, compound).map(list), min_size=1, max_size=4)


BRANCHES = st.recursive(
    st.lists(BRANCH_LEAVES.map(list), min_size=1, max_size=3), _branching, max_leaves=3
)
PROGRAMS = st.recursive(st.lists(LEAVES.map(list), min_size=1, max_size=4), _blocks, max_leaves=5)
WIDE = {"gather", "race", "map"}
MOST_IN_FLIGHT = 30
"""Calls at once in the programs above; they are small."""
STYLES = st.sampled_from(["generator", "coroutine"])
PAUSES = ["every-step", "when-waiting", "budget:1steps", "budget:2steps", "budget"]
OPERATIONS = ["commit", "load", "put_value", "get_value"]


@dataclass(frozen=True)
class Trouble:
    """What goes wrong: *events* are pairs of requests until then and what happens.

    A ``crash`` ends the process, a ``freeze`` leaves the invocation standing until the next
    ``thaw`` or the end of the run, a ``stop`` is a polite one, a ``beat`` renews leases. *faults*
    are what the storage does at a call of an operation. *seconds* is the budget of an invocation
    in which each tool takes one.
    """

    events: list[tuple[int, str]] = field(default_factory=list)
    faults: dict[tuple[str, int], Fault] = field(default_factory=dict)
    seconds: float = inf


TROUBLES = st.builds(
    Trouble,
    st.lists(
        st.tuples(st.integers(0, 20), st.sampled_from(["crash", "freeze", "thaw", "stop", "beat"])),
        max_size=4,
    ),
    st.dictionaries(
        st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 20)),
        st.sampled_from(list(Fault)),
        max_size=3,
    ),
    st.sampled_from([inf, 3.0]),
)


# -- how it is played ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Played:
    """What is left of a run when it is over: all that no disturbance may change."""

    state: dict[str, Any]
    result: object
    records: list[tuple[Any, ...]]


@contextmanager
def deployed(pause: str, kind: str = "memory") -> Iterator[tuple[Stage, FaultyStorage]]:
    """Give a stage of a deployment that is the same every time."""
    clock = FakeClock()
    with TemporaryDirectory() as folder:
        storage: Any = (
            MemoryStorage(clock)
            if kind == "memory"
            else open_sqlite(f"sqlite:///{Path(folder)}/f.db?synchronous=normal", clock)
        )
        storage._deployment = "always"
        yield Stage(registry(), storage, clock, pause=pause), FaultyStorage(storage)
        storage.close()


def begun(stage: Stage, program: Block, style: str) -> None:
    """Start *program*; three signals are there before it asks for any."""
    stage.start(style, json.dumps({"program": program}).encode())
    for number in range(3):
        stage.outside.send("r", f"early{number}", "early", number)


def goes_on(stage: Stage, program: Block) -> bool:
    """Let time pass until the run is due; retry a failure once. False when it is over."""
    run = stage.run()
    if run.status is Status.FAILED and not words(program) & {"once", *WIDE} and not run.tags:
        # A record of an interrupted call would be a failure of its own to go on from, and with
        # branches it depends on their order what was recorded before the failure.
        _retry(stage)
        run = stage.run()
    if run.status in ENDED_STATUSES:
        return False
    for position, found in run.open.items():
        if found.kind is StepKind.SIGNAL and found.name in {"a", "b"}:
            sent = f"{run.generation}:{position}"
            # Which of several branches that wait for a name gets the message is not to matter.
            value = 7 if "." in position else digest(sent) % 100
            stage.outside.send("r", sent, found.name, value)
    wake = stage.run().wake
    assert isinstance(wake, At)
    stage.clock.advance(max(0.0, wake.time - stage.clock.now()))
    return True


def _retry(stage: Stage) -> None:
    """Retry the run, and mark it as retried."""
    stage.outside.retry("r")
    run = stage.run()
    marked = evolve(run, tags={"retried": "once"}, op_id="retried")
    assert isinstance(stage.storage.commit(marked, run), Run)


def words(program: object) -> set[str]:
    """Return the words that stand anywhere in *program*."""
    if isinstance(program, str):
        return {program}
    inner = [words(part) for part in program] if isinstance(program, (list, tuple)) else []
    return set().union(*inner)


def told(stage: Stage) -> Played:
    """Return what is left of the run."""
    run, steps = stage.run(), stage.steps()
    names = (
        "status", "generation", "cursor", "input", "error", "open", "inbox", "seen", "attention",
        "notice", "tags", "seeds", "stalls", "asked", "owner",
    )  # fmt: skip
    state = {name: getattr(run, name) for name in names}
    # Messages say when they came, which is not the same.
    state["inbox"] = [(sent.id, sent.name, sent.value) for sent in run.inbox]
    state["seen"] = sorted(run.seen)
    result = run.result
    data = None if result is None else result.ref or result.data
    if any("." in step.position for step in steps):
        # Branches get ahead of each other.
        steps = [step._replace(number=0) for step in sorted(steps, key=lambda each: each.position)]
    return Played(state, data, [seen(step) for step in steps])


def seen(step: StepRecord) -> tuple[Any, ...]:
    """Return the part of a record that no disturbance may change."""
    where = (step.generation, step.number, step.position, step.kind, step.tool, step.fingerprint)
    if step.tool == "t.once":
        # It may have been interrupted, which is its promise; the program does not look at it.
        return where
    return (*where, step.outcome, step.value, step.input, step.attempts)


def undisturbed(
    program: Block, style: str = "generator", pause: str = "when-waiting", kind: str = "memory"
) -> tuple[Played, int, Stage]:
    """Play *program* in one process that nothing happens to; also count the requests."""
    with deployed(pause, kind) as (stage, _):
        begun(stage, program, style)
        process, requests = stage.process(), 0
        while goes_on(stage, program):
            invocation = process.invoke()
            while invocation.advance():
                requests += 1
            assert invocation.error is None
        process.forget()
        return told(stage), requests, stage


def disturbed(
    program: Block, style: str, pause: str, trouble: Trouble, kind: str = "memory"
) -> tuple[Played, Stage]:
    """Play *program* in two processes with all of *trouble*; what froze thaws at the latest now."""
    with deployed(pause, kind) as (stage, faulty):
        begun(stage, program, style)
        for (operation, number), fault in trouble.faults.items():
            faulty.plan(operation, number, fault)
        disturber = Disturber(stage, faulty, trouble)
        turns = 0
        while goes_on(stage, program):
            disturber.turn(turns)
            turns += 1
            assert turns < 1000, stage.run()
        played = told(stage)
        disturber.thaw()
        faulty.heal()
        assert told(stage) == played, "something that was overtaken changed an ended run"
        disturber.close()
        return played, stage


class Disturber:
    """Two processes, and the trouble that comes over them."""

    def __init__(self, stage: Stage, storage: Storage, trouble: Trouble) -> None:
        self.stage = stage
        self.processes = [stage.process(storage), stage.process(storage)]
        for process in self.processes:
            process.seconds = trouble.seconds
            process.order = lambda flying: flying[-1]
        self.left = list(trouble.events)
        self.frozen: list[Invocation] = []
        self.count = 0

    def turn(self, number: int) -> None:
        """Make one invocation, in the other process than the last."""
        process = self.processes[number % 2]
        process.stopping = False
        invocation = process.invoke()
        while True:
            performing = isinstance(invocation.request, Perform)
            if not invocation.advance():
                return
            self.stage.clock.advance(0.5 if performing else 0.0)
            self.count += 1
            if self.left and self.count > self.left[0][0]:
                self.count = 0
                self.happens(self.left.pop(0)[1], process, invocation)

    def happens(self, event: str, process: Process, invocation: Invocation) -> None:
        if event == "crash":
            invocation.crash()
            process.forget()
        elif event == "freeze":
            self.frozen.append(_stood(invocation))
        elif event == "thaw":
            self.thaw()
        elif event == "stop":
            process.stopping = True
        else:
            self.stage.clock.advance(self.stage.terms.lease / 2)
            process.leases.renew_due()

    def thaw(self) -> None:
        """Let everything that froze go on to its end."""
        frozen, self.frozen = self.frozen, []
        for invocation in frozen:
            invocation.over = False
            while invocation.advance():
                pass

    def close(self) -> None:
        for process in self.processes:
            process.forget()


def _stood(invocation: Invocation) -> Invocation:
    """Stop *invocation* where it stands; its lease is not renewed any more."""
    invocation.over = True
    return invocation


def keys(stage: Stage) -> set[tuple[int, str, int, str]]:
    """Return the idempotency key of each attempt that the tools saw."""
    return {(e.generation, e.position, e.attempt, e.key) for e in stage.executions}


def check(
    program: Block, style: str, pause: str, trouble: Trouble, kind: str = "memory"
) -> tuple[Played, Stage]:
    """Play *program* with and without *trouble*, and compare."""
    reference, _, alone = undisturbed(program)
    played, stage = disturbed(program, style, pause, trouble, kind)
    assert played.state == reference.state
    assert played.result == reference.result
    assert played.records == reference.records
    # G3: one more for each invocation that was lost, at most; of each call that it had in flight.
    lost = len(trouble.events) + len(trouble.faults)
    width = MOST_IN_FLIGHT if words(program) & WIDE else 1
    assert len(stage.executions) <= len(alone.executions) + lost * width
    assert keys(stage) <= keys(alone), "an attempt that is made again has the same key"
    once = Counter((e.generation, e.position) for e in stage.executions if e.tool == "t.once")
    assert all(count == 1 for count in once.values())
    return played, stage


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
        ],
        None,
    ],
]
SMALL: list[Block] = [
    [["add", 1], ["give", "decimal", 2], ["echo"]],
    [["flaky", 1, 2], ["sleep", 20], ["give", "large", 1], ["echo"]],
    [["try", [["fail", 1]], [["wait", "a"]], [["save"], ["add", 2]]]],
    [["once", 1], ["call", [["wait_for", "never", 30], ["det"]]], ["anew"]],
    [["with", [["add", 1], ["raise", 7]]]],
    [["gather", [[["add", 1], ["sleep", 5]], [["flaky", 2, 1]], [["once", 3]]], 2], ["echo"]],
    [["race", [["gather", [[["wait", "a"]], [["add", 1], ["save"]]], None]]], ["map", [1, 2], 1]],
]


@given(PROGRAMS, STYLES, st.sampled_from(["memory", "memory", "memory", "sqlite"]))
@settings(max_examples=60 * SCALE)
@example(EVERYTHING, "generator", "sqlite")
@example(EVERYTHING, "coroutine", "sqlite")
def test_every_pause_policy_comes_to_the_same_in_both_styles(
    program: Block, style: str, kind: str
) -> None:
    reference, *_ = undisturbed(program)
    for pause in PAUSES:
        assert undisturbed(program, style, pause, kind)[0] == reference


@given(PROGRAMS, STYLES, st.sampled_from(PAUSES), TROUBLES)
@settings(max_examples=300 * SCALE)
@example(EVERYTHING, "generator", "when-waiting", Trouble([(9, "freeze"), (9, "crash")]))
def test_crashes_and_faults_change_neither_result_nor_records(
    program: Block, style: str, pause: str, trouble: Trouble
) -> None:
    check(program, style, pause, trouble)


@given(PROGRAMS, STYLES, st.sampled_from(PAUSES), TROUBLES)
@settings(max_examples=40 * SCALE)
@example(EVERYTHING, "coroutine", "budget:2steps", Trouble([(9, "freeze"), (9, "crash")]))
def test_sqlite_too_keeps_result_and_records_through_crashes_and_faults(
    program: Block, style: str, pause: str, trouble: Trouble
) -> None:
    check(program, style, pause, trouble, "sqlite")


@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("style", ["generator", "coroutine"])
@pytest.mark.parametrize("event", ["crash", "freeze"])
def test_a_crash_at_every_single_request_changes_nothing(
    style: str, pause: str, event: str
) -> None:
    for program in SMALL:
        _, requests, _ = undisturbed(program, style, pause)
        for moment in range(requests):
            check(program, style, pause, Trouble([(moment, event)]))


@pytest.mark.parametrize("event", ["crash", "freeze"])
def test_two_crashes_at_any_two_requests_change_nothing(event: str) -> None:
    program: Block = [["add", 1], ["flaky", 2, 1], ["once", 3], ["give", "large", 1]]
    _, requests, _ = undisturbed(program)
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
@settings(max_examples=100 * SCALE)
def test_a_cancel_is_recorded_once_and_leaves_what_was_recorded_before(
    program: Block, style: str, pause: str, moment: int, trouble: Trouble
) -> None:
    reference, *_ = undisturbed(program)
    with deployed(pause) as (stage, faulty):
        begun(stage, program, style)
        disturber = Disturber(stage, faulty, trouble)
        turns, before = 0, 0
        while goes_on(stage, program):
            if stage.run().cursor + turns >= moment:
                before = before or stage.run().generation + 1
                try:
                    stage.outside.send("r", "$cancel:0", "$cancel", {})
                except RunStatusWrong:
                    assert stage.run().status in ENDED_STATUSES
            disturber.turn(turns)
            turns += 1
        disturber.thaw()
        disturber.close()
        run, records = stage.run(), stage.steps()
    marks = [step.number for step in records if step.outcome == "cancelled"]
    if words(program) & WIDE:
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
    assert tried >= WIDE

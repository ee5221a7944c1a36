"""Random programs, disturbed at random, come to what they come to undisturbed.

Hypothesis makes the program, the pause policy and the crash points; the flow is interpreted in both
styles by the production generators.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sequential._memory import MemoryStorage
from sequential._model import ENDED_STATUSES, At, Run, StepRecord
from sequential._requests import Perform
from sequential.errors import RunStatusWrong
from sequential.testing import FakeClock
from sequential.testing._faulty import Fault, FaultyStorage
from sequential.testing._stage import Process, Stage
from tests.simulation.programs import Program, expected, registry

NUMBERS = st.integers(0, 99)
OPS = st.one_of(
    st.tuples(st.just("add"), NUMBERS),
    st.tuples(st.just("fail"), NUMBERS),
    st.tuples(st.just("return"), NUMBERS),
    st.tuples(st.just("flaky"), NUMBERS, st.integers(0, 3)),
    st.tuples(st.just("sleep"), st.sampled_from([0, 1, 20])),
    st.tuples(st.just("save")),
    st.tuples(st.just("wait"), st.sampled_from(["a", "b"])),
    st.tuples(st.just("det")),
).map(list)
PROGRAMS = st.lists(OPS, min_size=1, max_size=8)
STYLE = st.sampled_from(["generator", "coroutine"])
PAUSES = ["every-step", "when-waiting", "budget:1steps", "budget:2steps", "budget"]
FAULTS = st.dictionaries(st.integers(0, 30), st.sampled_from(list(Fault)), max_size=4)


@dataclass(frozen=True)
class Played:
    """What is left of a run when it is over."""

    status: str
    result: object
    records: list[tuple[Any, ...]]
    executions: int


def deployed(pause: str) -> tuple[Stage, FaultyStorage]:
    """Return a stage of a deployment that is the same every time."""
    clock = FakeClock()
    memory = MemoryStorage(clock)
    memory._deployment = "always"
    return Stage(registry(), memory, clock, pause=pause), FaultyStorage(memory)


def begun(stage: Stage, program: Program, style: str) -> None:
    """Start *program*; every signal that it waits for is there before it asks."""
    stage.start(style, json.dumps(program).encode())
    for number, op in enumerate(program):
        if op[0] == "wait":
            stage.outside.send("r", f"s{number}", op[1], number)


def told(stage: Stage) -> Played:
    """Return what is left of the run."""
    run, steps = stage.run(), stage.steps()
    result = None if run.result is None else json.loads(run.result.data)
    return Played(run.status, result, [seen(step) for step in steps], len(stage.executions))


def seen(step: StepRecord) -> tuple[Any, ...]:
    """Return the part of a record that no disturbance may change."""
    return (
        step.number, step.position, step.kind, step.tool, step.fingerprint, step.outcome,
        step.value, step.input, step.attempts,
    )  # fmt: skip


def on_the_way(stage: Stage) -> Run | None:
    """Let time pass until the run is due; return it, or None when it has ended."""
    run = stage.run()
    if run.status in ENDED_STATUSES:
        return None
    assert isinstance(run.wake, At)
    stage.clock.advance(max(0.0, run.wake.time - stage.clock.now()))
    return run


def undisturbed(program: Program, style: str, pause: str) -> Played:
    """Play *program* in one process that nothing happens to."""
    stage, _ = deployed(pause)
    begun(stage, program, style)
    process = stage.process()
    while on_the_way(stage):
        process.execute()
    return told(stage)


def disturbed(
    program: Program, style: str, pause: str, crashes: list[int], faults: dict[int, Fault]
) -> Played:
    """Play *program* with a crash after each of *crashes* requests, and *faults* at commits."""
    stage, faulty = deployed(pause)
    begun(stage, program, style)
    for number, fault in faults.items():
        faulty.plan("commit", number, fault)
    processes = [stage.process(faulty), stage.process(faulty)]
    left = list(crashes)
    for turn in range(200):
        if on_the_way(stage) is None:
            return told(stage)
        carry(processes[turn % 2], left)
    raise AssertionError(f"still not at its end: {stage.run()}")


def carry(process: Process, crashes: list[int]) -> None:
    """Make one invocation, and crash it when the first of *crashes* says so."""
    invocation = process.invoke()
    while invocation.advance():
        if crashes:
            crashes[0] -= 1
            if crashes[0] < 0:
                crashes.pop(0)
                invocation.crash()
                process.forget()


@given(PROGRAMS, STYLE)
@settings(max_examples=150)
def test_every_pause_policy_comes_to_the_same_in_both_styles(program: Program, style: str) -> None:
    reference = undisturbed(program, "generator", "when-waiting")
    assert reference.status == "completed"
    for pause in PAUSES:
        assert undisturbed(program, style, pause) == reference


@given(PROGRAMS, STYLE, st.sampled_from(PAUSES), st.lists(st.integers(0, 25), max_size=6), FAULTS)
@settings(max_examples=400)
def test_crashes_and_faults_change_neither_result_nor_records(
    program: Program, style: str, pause: str, crashes: list[int], faults: dict[int, Fault]
) -> None:
    reference = undisturbed(program, style, pause)
    played = disturbed(program, style, pause, crashes, faults)
    assert (played.status, played.result) == (reference.status, reference.result)
    assert played.records == reference.records
    # One more for each process that was lost, at most, and for each commit that was refused.
    assert played.executions <= reference.executions + len(crashes) + len(faults)


@given(PROGRAMS, STYLE, st.sampled_from(PAUSES), st.integers(0, 40))
@settings(max_examples=300)
def test_a_cancel_is_met_once_and_at_the_same_place_on_replay(
    program: Program, style: str, pause: str, moment: int
) -> None:
    stage, _ = deployed(pause)
    begun(stage, program, style)
    advanced, sent = 0, False
    for _ in range(100):
        if on_the_way(stage) is None:
            break
        invocation = stage.process().invoke()
        while invocation.advance():
            advanced += 1
            if advanced > moment and not sent and not isinstance(invocation.request, Perform):
                sent = True
                try:
                    stage.outside.send("r", "$cancel:0", "$cancel", {})
                except RunStatusWrong:
                    assert stage.run().status in ENDED_STATUSES
    steps = stage.steps()
    marks = [step.number for step in steps if step.outcome == "cancelled"]
    if stage.run().status == "completed":
        assert marks == []
        result = json.loads((stage.run().result or steps[0].value).data)
        plain = [got for got, op in zip(result, program, strict=True) if op[0] != "det"]
        assert plain == expected(program, steps)
    else:
        assert stage.run().status == "cancelled"
        assert len(marks) == 1
        assert [step.tool for step in steps[marks[0] + 1 :]] == ["t.undo"]

"""Random programs, and how they are played: undisturbed, and with what goes wrong.

Hypothesis makes a program with structure, the style, the pause policy, the storage and what goes
wrong; the production generators play it. The undisturbed run of the generator style under
`when-waiting` over memory is what everything else is held against. What is tried with them, and how
often, is not known here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from hypothesis import strategies as st

from sequential._memory import MemoryStorage
from sequential._model import ENDED_STATUSES, At, Run, Status, StepKind, StepRecord, evolve
from sequential._requests import Perform
from sequential._sqlite import open_sqlite
from sequential._storage import Query, Storage
from sequential.testing import FakeClock
from sequential.testing._faulty import Fault, FaultyStorage
from sequential.testing._stage import Invocation, Process, Stage
from tests.core.blocks import VALUES, Block, digest, registry

# -- what is played ------------------------------------------------------------------------------

STYLES = st.sampled_from(["generator", "coroutine"])
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
    compound = _compound(inner, BRANCHES if branch is None else branch)
    return st.lists(st.one_of(leaves, compound).map(list), min_size=1, max_size=4)


def _compound(
    inner: st.SearchStrategy[Block], branch: st.SearchStrategy[Block]
) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.tuples(st.just("gather"), st.lists(branch, max_size=3), AT_ONCE),
        st.tuples(st.just("race"), branch),
        st.tuples(st.just("loop"), st.integers(0, 3), inner),
        st.tuples(st.just("if"), inner, inner),
        st.tuples(st.just("call"), inner),
        st.tuples(st.just("try"), inner, inner, inner),
        st.tuples(st.just("with"), inner),
        st.tuples(st.just("child"), STYLES, branch),
    )


BRANCHES = st.recursive(
    st.lists(BRANCH_LEAVES.map(list), min_size=1, max_size=3), _branching, max_leaves=3
)
PROGRAMS = st.recursive(st.lists(LEAVES.map(list), min_size=1, max_size=4), _blocks, max_leaves=5)
RICH = st.lists(_compound(PROGRAMS, BRANCHES).map(list), min_size=2, max_size=4)
"""Programs of nothing but statements that have others inside."""
WIDE = {"gather", "race", "map"}
MOST_IN_FLIGHT = 30
"""Calls at once in the programs above; they are small."""
PAUSES = ["every-step", "when-waiting", "budget:1steps", "budget:2steps", "budget"]
OPERATIONS = ["commit", "load", "put_value", "get_value", "create"]


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
    children: dict[str, Played] = field(default_factory=dict)


@contextmanager
def deployed(pause: str, kind: str = "memory") -> Iterator[tuple[Stage, FaultyStorage]]:
    """Give a stage of a deployment that is the same every time."""
    clock = FakeClock()
    if kind == "memory":
        yield _staged(pause, MemoryStorage(clock), clock)
        return
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder)}/f.db?synchronous=normal"
        storage = open_sqlite(url, clock)
        yield _staged(pause, storage, clock)
        storage.close()


def _staged(pause: str, storage: Any, clock: FakeClock) -> tuple[Stage, FaultyStorage]:
    storage._deployment = "always"
    return Stage(registry(), storage, clock, pause=pause), FaultyStorage(storage)


def begun(stage: Stage, program: Block, style: str) -> None:
    """Start *program*; three signals are there before it asks for any."""
    stage.start(style, json.dumps({"program": program}).encode())
    for number in range(3):
        stage.outside.send("r", f"early{number}", "early", number)


def goes_on(stage: Stage, known: set[str]) -> str | None:
    """Let time pass until a run is due, and return its id; retry a failure once.

    None when all are over. *known* are the words of the program.
    """
    run = stage.run()
    if run.status is Status.FAILED and not known & {"once", *WIDE} and not run.tags:
        # A record of an interrupted call would be a failure of its own to go on from, and with
        # branches it depends on their order what was recorded before the failure.
        _retry(stage)
    going = [run for run in family(stage, known) if run.notice or run.status not in ENDED_STATUSES]
    for run in going:
        _answer(stage, run)
    wakes = [(run.wake.time, run.run_id) for run in map(stage.run, [run.run_id for run in going])
             if isinstance(run.wake, At)]  # fmt: skip
    if not going:
        return None
    wake, run_id = min(wakes)
    stage.clock.advance(max(0.0, wake - stage.clock.now()))
    return run_id


def family(stage: Stage, known: set[str]) -> Sequence[Run]:
    """Return the run and its children, and theirs."""
    if "child" not in known:
        return [stage.run()]
    return stage.storage.find(Query(limit=1000)).runs


def _answer(stage: Stage, run: Run) -> None:
    """Send the signals that *run* waits for."""
    for position, found in run.open.items():
        if found.kind is StepKind.SIGNAL and found.name in {"a", "b"}:
            sent = f"{run.generation}:{position}"
            # Which of several branches that wait for a name gets the message is not to matter.
            value = 7 if "." in position else digest(sent) % 100
            stage.outside.send(run.run_id, sent, found.name, value)


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


def told(stage: Stage, known: set[str]) -> Played:
    """Return what is left of the run and of its children."""
    ids = [run.run_id for run in family(stage, known)]
    children = {run_id: _told(stage, run_id, {}) for run_id in ids if run_id != "r"}
    return _told(stage, "r", children)


def _told(stage: Stage, run_id: str, children: dict[str, Played]) -> Played:
    run, steps = stage.run(run_id), stage.steps(run_id)
    names = (
        "status", "generation", "cursor", "input", "error", "open", "inbox", "seen", "attention",
        "notice", "tags", "seeds", "stalls", "asked", "owner", "parent",
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
    return Played(state, data, [seen(step) for step in steps], children)


def seen(step: StepRecord) -> tuple[Any, ...]:
    """Return the part of a record that no disturbance may change."""
    where = (step.generation, step.number, step.position, step.kind, step.tool, step.fingerprint)
    if step.tool == "t.once":
        # It may have been interrupted, which is its promise; the program does not look at it.
        return where
    return (*where, step.outcome, step.value, step.input, step.attempts)


class Alone(NamedTuple):
    """What an undisturbed run came to: how many requests, executions and which keys it took."""

    played: Played
    requests: int
    executions: int
    keys: frozenset[tuple[Any, ...]]


def undisturbed(
    program: Block, style: str = "generator", pause: str = "when-waiting", kind: str = "memory"
) -> Alone:
    """Play *program* in one process that nothing happens to."""
    return _undisturbed(json.dumps(program), style, pause, kind)


@lru_cache(maxsize=256)
def _undisturbed(text: str, style: str, pause: str, kind: str) -> Alone:
    program = json.loads(text)
    known = words(program)
    with deployed(pause, kind) as (stage, _):
        begun(stage, program, style)
        process, requests = stage.process(), 0
        while (run_id := goes_on(stage, known)) is not None:
            invocation = process.invoke(run_id)
            while invocation.advance():
                requests += 1
            assert invocation.error is None
        process.forget()
        return Alone(told(stage, known), requests, len(stage.executions), keys(stage))


def disturbed(
    program: Block, style: str, pause: str, trouble: Trouble, kind: str = "memory"
) -> tuple[Played, Stage]:
    """Play *program* in two processes with all of *trouble*; what froze thaws at the latest now."""
    known = words(program)
    with deployed(pause, kind) as (stage, faulty):
        begun(stage, program, style)
        for (operation, number), fault in trouble.faults.items():
            faulty.plan(operation, number, fault)
        disturber = Disturber(stage, faulty, trouble)
        while (run_id := goes_on(stage, known)) is not None:
            disturber.turn(run_id)
            assert disturber.turns < 1000, stage.run()
        played = told(stage, known)
        disturber.thaw()
        faulty.heal()
        assert told(stage, known) == played, "something that was overtaken changed an ended run"
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
        self.turns = 0

    def turn(self, run_id: str) -> None:
        """Make one invocation of the run, in the other process than the last."""
        process = self.processes[self.turns % 2]
        self.turns += 1
        process.stopping = False
        invocation = process.invoke(run_id)
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


def keys(stage: Stage) -> frozenset[tuple[Any, ...]]:
    """Return the idempotency key of each attempt that the tools saw."""
    return frozenset(
        (e.run_id, e.generation, e.position, e.attempt, e.key) for e in stage.executions
    )


def check(
    program: Block, style: str, pause: str, trouble: Trouble, kind: str = "memory"
) -> tuple[Played, Stage]:
    """Play *program* with and without *trouble*, and compare."""
    alone = undisturbed(program)
    played, stage = disturbed(program, style, pause, trouble, kind)
    assert played.state == alone.played.state
    assert played.result == alone.played.result
    assert played.records == alone.played.records
    assert played.children == alone.played.children
    # G3: one more for each invocation that was lost, at most; of each call that it had in flight.
    lost = len(trouble.events) + len(trouble.faults)
    width = MOST_IN_FLIGHT if words(program) & WIDE else 1
    assert len(stage.executions) <= alone.executions + lost * width
    assert keys(stage) <= alone.keys, "an attempt that is made again has the same key"
    once = Counter((e.run_id, e.generation, e.position)
                   for e in stage.executions if e.tool == "t.once")  # fmt: skip
    assert all(count == 1 for count in once.values())
    return played, stage

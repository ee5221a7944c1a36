"""Every transition and every operation, in any order, against `tests.core.reference`.

Invocations are only the record that they knew: one that was overtaken, cloned or frozen commits
what it has, now or much later, and must change nothing. The same machine runs over each storage of
the core.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from sequential._memory import MemoryStorage
from sequential._model import (
    ENDED_STATUSES,
    At,
    Attention,
    ErrorValue,
    Message,
    Open,
    Parent,
    Run,
    Status,
    StepKind,
    StepOutcome,
    StepRecord,
    Wake,
    evolve,
)
from sequential._protocol import (
    Gain,
    Terms,
    block,
    claim,
    continue_as_new,
    end,
    give_up,
    is_mine,
    keep,
    kept_by_retry,
    message,
    notice_sent,
    park,
    redrive,
    release,
    renew,
    retry,
    terminate,
)
from sequential._sqlite import open_sqlite
from sequential._storage import STALE, Query, Stale, Storage
from sequential.errors import ValueCorrupt
from sequential.testing import FakeClock
from sequential.testing._storage_samples import NULL, found, make_run, make_step
from tests.core.reference import (
    BLOCKED_FIRST,
    BLOCKED_LONGEST,
    LEASE,
    LONGEST_BACKOFF,
    MAX_STALLS,
    RETENTION,
    Reference,
)

SCALE = max(1, settings().max_examples // 100)
TERMS = Terms(LEASE, MAX_STALLS, LONGEST_BACKOFF, BLOCKED_FIRST, BLOCKED_LONGEST, RETENTION)
IDS = st.sampled_from(["a", "a", "a", "b"])
SENT = st.sampled_from(["m1", "m2", "m3"])
NAMES = st.sampled_from(["go", "$cancel"])
OUTCOMES = st.sampled_from(list(StepOutcome))
SECONDS = st.sampled_from([0.0, 1.0, 59.0, 60.0, 400.0, 4000.0, -30.0, 7 * 86_400.0, 31 * 86_400.0])


@dataclass(frozen=True)
class Hand:
    """An invocation: the record as it knows it."""

    run: Run


@dataclass(frozen=True)
class Sent:
    """A commit as it was sent, whatever was answered."""

    run: Run
    expect: Run
    steps: Sequence[StepRecord]


class Machine(RuleBasedStateMachine):
    """Two runs, any number of invocations, one storage, one clock."""

    hands: Bundle[Hand] = Bundle("hands")
    commits: Bundle[Sent] = Bundle("commits")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(1_000.0)
        self.storage = self.open_storage(self.clock)
        # Always there, never touched: it tells the storage's time.
        self.storage.create(make_run("clock", flow="clock", wake=None))
        self.now = 1_000.0
        self.runs: dict[str, Reference] = {}
        self.stamps: dict[str, str] = {}
        self.values: dict[tuple[str, str], bytes] = {}
        self.count = 0

    def open_storage(self, clock: FakeClock) -> Storage:
        return MemoryStorage(clock)

    def teardown(self) -> None:
        self.storage.close()

    def stamp(self) -> str:
        self.count += 1
        return f"op{self.count}"

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        """Commit, and remember who wrote last."""
        answer = self.storage.commit(run, expect, steps)
        if isinstance(answer, Run):
            self.stamps[run.run_id] = run.op_id
        return answer

    # -- time --------------------------------------------------------------------------------

    @rule(seconds=SECONDS)
    def time_passes_or_steps_back(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.now = max(self.now, self.clock.now())
        assert found(self.storage.load("clock")).now == self.now

    # -- anybody -----------------------------------------------------------------------------

    @rule(run_id=IDS, child=st.booleans())
    def create(self, run_id: str, child: bool) -> None:
        parent = Parent("clock", "0") if child else None
        run = make_run(run_id, wake=At(self.now), parent=parent, op_id=self.stamp())
        stored = self.storage.create(run)
        if run_id not in self.runs:
            self.runs[run_id] = Reference(parent=child, wake=self.now)
            self.stamps[run_id] = run.op_id
        assert stored.op_id == self.stamps[run_id]

    @rule(target=hands, run_id=IDS, patient=st.booleans())
    def claim(self, run_id: str, patient: bool) -> Hand | MultipleResults[Hand]:
        owner, model = f"owner{self.count}", self.runs.get(run_id)
        if patient and model is not None and model.is_open and model.wake is not None:
            self.time_passes_or_steps_back(max(0.0, model.wake - self.clock.now()))
        claimed = self.outside(
            run_id,
            lambda run: claim(run, self.now, owner, TERMS),
            lambda model: model.claim(self.now, owner),
        )
        if claimed is None or claimed.status is Status.QUARANTINED:
            return multiple()
        return Hand(claimed)

    @rule(run_id=IDS, sent=SENT, name=NAMES)
    def message(self, run_id: str, sent: str, name: str) -> None:
        self.outside(
            run_id,
            lambda run: message(run, Message(sent, name, NULL, self.now)),
            lambda model: model.message(sent, name, self.now),
        )

    @rule(run_id=IDS)
    def terminate(self, run_id: str) -> None:
        self.outside(
            run_id,
            lambda run: terminate(run, self.now, TERMS),
            lambda model: model.terminate(self.now),
        )

    @rule(run_id=IDS)
    def redrive(self, run_id: str) -> None:
        self.outside(run_id, redrive, lambda model: model.redrive(self.now))

    @rule(run_id=IDS)
    def retry(self, run_id: str) -> None:
        loaded = self.storage.load(run_id)
        steps = [] if loaded is None else list(loaded.steps)
        copied = 0 if loaded is None else kept_by_retry(loaded.run, steps)
        copies = [step._replace(generation=step.generation + 1) for step in steps[:copied]]
        self.outside(
            run_id,
            lambda run: retry(run, copied, self.now),
            lambda model: model.retry(self.now),
            copies,
        )

    @rule(run_id=IDS)
    def tell_the_parent(self, run_id: str) -> None:
        self.outside(
            run_id,
            lambda run: notice_sent(run, TERMS),
            lambda model: model.notice_sent(self.now),
        )

    @rule(run_id=IDS)
    def purge(self, run_id: str) -> None:
        loaded, model = self.storage.load(run_id), self.runs.get(run_id)
        if loaded is None or model is None:
            return
        removed = model.status == "purged"
        assert self.storage.purge(loaded.run) == (removed or model.purge())
        assert self.storage.purge(loaded.run) is False, "what was known before is over"
        if removed:
            del self.runs[run_id], self.stamps[run_id]
        elif model.status == "purged":
            self.stamps[run_id] = found(self.storage.load(run_id)).run.op_id
            self.values = {key: data for key, data in self.values.items() if key[0] != run_id}

    def outside(
        self,
        run_id: str,
        change: Callable[[Run], Run | None],
        predict: Callable[[Reference], bool],
        steps: Sequence[StepRecord] = (),
    ) -> Run | None:
        """Make *change* as somebody who read the record just now; *predict* says if it is one."""
        loaded, model = self.storage.load(run_id), self.runs.get(run_id)
        if loaded is None or model is None:
            assert loaded is None
            assert model is None
            return None
        wanted = change(loaded.run)
        assert (wanted is not None) == predict(model)
        if wanted is None:
            return None
        answer = self.commit(evolve(wanted, op_id=self.stamp()), loaded.run, steps)
        assert isinstance(answer, Run)
        return answer

    # -- whoever holds, or held, the run -----------------------------------------------------

    @rule(target=hands, hand=hands)
    def clone(self, hand: Hand) -> Hand:
        return hand

    @rule(hand=consumes(hands))
    def crash(self, hand: Hand) -> None:
        """Forget the invocation: it commits nothing more."""

    @rule(
        target=hands,
        hand=hands,
        outcomes=st.lists(OUTCOMES, max_size=2),
        take=st.booleans(),
        again=st.booleans(),
    )
    def keep(
        self, hand: Hand, outcomes: list[StepOutcome], take: bool, again: bool
    ) -> Hand | MultipleResults[Hand]:
        taken = self.oldest(hand) if take else None
        steps = self.steps(hand, outcomes)
        gain = Gain(len(steps), None, () if taken is None else (taken,))

        def predict(model: Reference) -> None:
            model.gain(_pairs(steps), taken)
            model.keep(self.now)

        answer = self.held(
            hand, lambda run: keep(run, gain, self.now, TERMS), predict, steps, again
        )
        return Hand(answer) if answer else multiple()

    @rule(
        hand=hands,
        outcomes=st.lists(OUTCOMES, max_size=1),
        seconds=st.sampled_from([None, 0.0, 50.0]),
        looked=st.booleans(),
        again=st.booleans(),
    )
    def park(
        self,
        hand: Hand,
        outcomes: list[StepOutcome],
        seconds: float | None,
        looked: bool,
        again: bool,
    ) -> None:
        steps = self.steps(hand, outcomes)
        known = {sent.id for sent in hand.run.inbox} if looked else set()
        moment = None if seconds is None else self.now + seconds
        wake: Wake = None if moment is None else At(moment)
        waits = {"9": Open(StepKind.SIGNAL, name="go", due=moment)}
        gain = Gain(len(steps), waits)

        def predict(model: Reference) -> None:
            model.gain(_pairs(steps), None)
            model.park(moment, known, self.now)

        self.held(hand, lambda run: park(run, gain, wake, known), predict, steps, again)

    @rule(
        hand=hands,
        status=st.sampled_from([Status.COMPLETED, Status.FAILED, Status.CANCELLED]),
        step=st.integers(0, 3),
        again=st.booleans(),
    )
    def end(self, hand: Hand, status: Status, step: int, again: bool) -> None:
        failed = status is Status.FAILED
        error = ErrorValue("E", "no", position=str(step)) if failed else None
        self.held(
            hand,
            lambda run: end(run, status, self.now, TERMS, error=error),
            lambda model: model.end(status.value, self.now, str(step) if failed else ""),
            (),
            again,
        )

    @rule(target=hands, hand=hands, again=st.booleans())
    def renew(self, hand: Hand, again: bool) -> Hand | MultipleResults[Hand]:
        answer = self.held(
            hand, lambda run: renew(run, TERMS), lambda model: model.renew(self.now), (), again
        )
        return Hand(answer) if answer else multiple()

    @rule(hand=hands, again=st.booleans())
    def continue_as_new(self, hand: Hand, again: bool) -> None:
        self.held(
            hand,
            lambda run: continue_as_new(run, NULL, self.now),
            lambda model: model.continue_as_new(self.now),
            (),
            again,
        )

    @rule(hand=hands, again=st.booleans())
    def release(self, hand: Hand, again: bool) -> None:
        self.held(hand, release, lambda model: model.release(self.now), (), again)

    @rule(hand=hands, again=st.booleans())
    def give_up(self, hand: Hand, again: bool) -> None:
        self.held(
            hand, lambda run: give_up(run, TERMS), lambda model: model.give_up(self.now), (), again
        )

    @rule(hand=hands, reason=st.sampled_from(["changed", "input"]), again=st.booleans())
    def block(self, hand: Hand, reason: str, again: bool) -> None:
        why = Attention(reason, "no", since=self.now)
        self.held(
            hand,
            lambda run: block(run, why, TERMS),
            lambda model: model.block(reason, self.now),
            (),
            again,
        )

    def held(
        self,
        hand: Hand,
        change: Callable[[Run], Run],
        predict: Callable[[Reference], None],
        steps: Sequence[StepRecord],
        again: bool,
    ) -> Run | None:
        """Commit *change* as *hand* would: on what it knows, or *again* on what is stored now."""
        known, run_id = hand.run, hand.run.run_id
        model = self.runs.get(run_id)
        base, mine = known, self.stamps.get(run_id) == known.op_id
        if again:
            loaded = self.storage.load(run_id)
            mine = model is not None and model.is_held(
                known.generation, known.fence, known.owner, known.cursor
            )
            assert mine == (loaded is not None and is_mine(loaded.run, known))
            base = loaded.run if loaded is not None and mine else known
        op_id = self.stamp()
        own = [step._replace(op_id=op_id) for step in steps]
        answer = self.commit(evolve(change(base), op_id=op_id), base, own)
        assert (answer is not STALE) == mine
        if isinstance(answer, Run):
            assert model is not None
            predict(model)
            return answer
        return None

    def oldest(self, hand: Hand) -> str | None:
        return hand.run.inbox[0].id if hand.run.inbox else None

    def steps(self, hand: Hand, outcomes: Sequence[StepOutcome]) -> list[StepRecord]:
        run = hand.run
        return [
            make_step(run.cursor + count, run.generation, outcome=outcome, fence=run.fence)
            for count, outcome in enumerate(outcomes)
        ]

    # -- what chance alone comes to too rarely -----------------------------------------------

    @rule(run_id=IDS)
    def its_invocations_die(self, run_id: str) -> None:
        for _ in range(MAX_STALLS + 1):
            self.claim(run_id, patient=True)

    @rule(run_id=IDS, sent=SENT, name=NAMES, status=st.sampled_from(sorted(ENDED_STATUSES)))
    def it_is_told_and_ends(self, run_id: str, sent: str, name: str, status: Status) -> None:
        self.message(run_id, sent, name)
        outcomes = [StepOutcome.VALUE, StepOutcome.CANCELLED]
        hand = self.claim(run_id, patient=True)
        if isinstance(hand, Hand):
            hand = self.keep(hand, outcomes, take=True, again=True)
        self.message(run_id, sent, name)
        if isinstance(hand, Hand):
            self.end(hand, status, 3, again=True)

    @rule(run_id=IDS, reasons=st.lists(st.sampled_from(["changed", "input"]), max_size=3))
    def it_is_blocked(self, run_id: str, reasons: list[str]) -> None:
        for reason in reasons:
            hand = self.claim(run_id, patient=True)
            if isinstance(hand, Hand):
                self.block(hand, reason, again=False)

    # -- a commit that comes again -----------------------------------------------------------

    @rule(target=commits, hand=hands)
    def send_a_commit_whose_answer_is_lost(self, hand: Hand) -> Sent:
        steps = self.steps(hand, [StepOutcome.VALUE])
        op_id = self.stamp()
        own = [step._replace(op_id=op_id) for step in steps]
        target = evolve(keep(hand.run, Gain(1), self.now, TERMS), op_id=op_id)
        mine = self.stamps.get(hand.run.run_id) == hand.run.op_id
        answer = self.commit(target, hand.run, own)
        assert (answer is not STALE) == mine
        if mine:
            model = self.runs[hand.run.run_id]
            model.gain(_pairs(own), None)
            model.keep(self.now)
        return Sent(target, hand.run, own)

    @rule(sent=commits)
    def the_same_commit_comes_again(self, sent: Sent) -> None:
        assert self.commit(sent.run, sent.expect, sent.steps) is STALE

    # -- what is asked -----------------------------------------------------------------------

    @rule()
    def due(self) -> None:
        # Nothing is held back by a hold that is over.
        self.clock.advance(1.0)
        self.now = max(self.now, self.clock.now())
        wanted = [
            (model.wake, run_id)
            for run_id, model in self.runs.items()
            if model.wake is not None and model.wake <= self.now
        ]
        answered = self.storage.due(10, ["f"], -1.0)
        assert sorted(answered) == sorted(run_id for _, run_id in wanted)
        assert [self.runs[run_id].wake for run_id in answered] == sorted(wake for wake, _ in wanted)

    @rule(status=st.sampled_from(list(Status)))
    def find(self, status: Status) -> None:
        page = self.storage.find(Query(flow="f", statuses=[status]))
        wanted = {run_id for run_id, model in self.runs.items() if model.status == status.value}
        assert {run.run_id for run in page.runs} == wanted
        assert page.next is None

    @rule(run_id=IDS, data=st.binary(max_size=3))
    def put_value(self, run_id: str, data: bytes) -> None:
        if run_id in self.runs and self.runs[run_id].status != "purged":
            digest = self.storage.put_value(run_id, data)
            assert digest == hashlib.sha256(data).hexdigest()
            self.values[run_id, digest] = data

    @rule(run_id=IDS, data=st.binary(max_size=3))
    def get_value(self, run_id: str, data: bytes) -> None:
        digest = hashlib.sha256(data).hexdigest()
        if (run_id, digest) in self.values:
            assert self.storage.get_value(run_id, digest) == data
        else:
            with pytest.raises(ValueCorrupt):
                self.storage.get_value(run_id, digest)

    # -- what always holds -------------------------------------------------------------------

    @invariant()
    def what_is_stored_is_what_the_reference_says(self) -> None:
        for run_id in ("a", "b"):
            loaded, model = self.storage.load(run_id), self.runs.get(run_id)
            if model is None:
                assert loaded is None
                continue
            run, steps = found(loaded).run, found(loaded).steps
            assert _of_record(run) == _of_reference(model)
            assert _pairs(steps) == model.records
            assert [step.number for step in steps] == list(range(run.cursor))
            assert {step.generation for step in steps} <= {run.generation}
            assert run.op_id == self.stamps[run_id]

    @invariant()
    def nothing_is_stranded(self) -> None:
        for run_id in self.runs:
            run = found(self.storage.load(run_id)).run
            waits = any(each.kind is StepKind.SIGNAL for each in run.open.values())
            assert run.wake is not None or waits or run.status is Status.QUARANTINED


def _of_record(run: Run) -> dict[str, object]:
    wake = run.wake
    assert wake is None or isinstance(wake, At)
    return {
        "status": run.status.value, "generation": run.generation, "fence": run.fence,
        "owner": run.owner, "wake": None if wake is None else wake.time, "cursor": run.cursor,
        "stalls": run.stalls, "inbox": [(sent.id, sent.name) for sent in run.inbox],
        "seen": list(run.seen), "notice": run.notice,
        "attention": None if run.attention is None else (run.attention.reason, run.attention.tries),
    }  # fmt: skip


def _of_reference(model: Reference) -> dict[str, object]:
    return {
        "status": model.status, "generation": model.generation, "fence": model.fence,
        "owner": model.owner, "wake": model.wake, "cursor": len(model.records),
        "stalls": model.stalls, "inbox": model.inbox, "seen": model.seen, "notice": model.notice,
        "attention": (model.reason, model.tries) if model.reason else None,
    }  # fmt: skip


def _pairs(steps: Sequence[StepRecord]) -> list[tuple[str, str]]:
    return [(step.position, step.outcome.value) for step in steps]


class SqliteMachine(Machine):
    """The same over a file."""

    def open_storage(self, clock: FakeClock) -> Storage:
        self.folder = TemporaryDirectory()
        return open_sqlite(f"sqlite:///{Path(self.folder.name)}/f.db?synchronous=normal", clock)

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


TestMemory = Machine.TestCase
TestMemory.settings = settings(max_examples=120 * SCALE, stateful_step_count=60)
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = settings(max_examples=12 * SCALE, stateful_step_count=60)

"""Seeded schedules over the production generators: crashes, lost replies, zombies, meddlers.

One seed is one schedule: processes, runs, fault rates and every choice come from it, time is
virtual, and the invariants of the protocol are checked after every event. After the faults stop,
every run must come to its end. ``python -m tests.simulation.simulator 0 10000`` plays a range.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from sequential._memory import MemoryStorage
from sequential._model import (
    ENDED_STATUSES,
    OPEN_STATUSES,
    At,
    Run,
    Status,
    StepKind,
    StepOutcome,
    StepRecord,
)
from sequential._outcomes import Lost
from sequential._protocol import Terms, is_mine
from sequential._requests import Perform
from sequential.errors import RunStatusWrong, StorageError
from sequential.testing import FakeClock
from sequential.testing._faulty import Fault, FaultyStorage
from sequential.testing._stage import Invocation, Process, Stage
from tests.simulation.programs import STYLES, Program, expected, registry

TERMS = Terms(lease=5.0, max_stalls=4, longest_backoff=30.0)
_FAULTS = (Fault.UNAVAILABLE, Fault.LOST, Fault.UNCONFIRMED, Fault.LATE)
_NAMES = ("a", "b")


class Watched:
    """What has been seen of one run so far, and whether what is seen next may follow."""

    def __init__(self, run_id: str, program: Program) -> None:
        self.run_id = run_id
        self.program = program
        self.run: Run | None = None
        self.steps: Sequence[StepRecord] = ()
        self.losses = 0
        self.claims = 0
        self.owners: dict[int, str] = {}
        self.accepted: set[str] = set()

    def see(self, run: Run, steps: Sequence[StepRecord]) -> None:
        """Check *run* and *steps* against what was seen before."""
        before = self.run
        if before is not None and before.version == run.version:
            return
        self._history(before, run, steps)
        self._claims(before, run)
        self._messages(run)
        if before is not None and before.status in ENDED_STATUSES:
            outcome = (run.status, run.result, run.error, run.ended)
            same = outcome == (before.status, before.result, before.error, before.ended)
            assert same or run.generation > before.generation, "I8 an outcome changed"
        if run.status in OPEN_STATUSES:
            waits = any(each.due is None and each.name for each in run.open.values())
            paused = run.status is Status.PAUSED
            assert isinstance(run.wake, At) or (paused and waits), "I9 a run is stranded"
        self.run, self.steps = run, steps

    def _history(self, before: Run | None, run: Run, steps: Sequence[StepRecord]) -> None:
        assert [step.number for step in steps] == list(range(run.cursor)), "I2 numbers"
        if before is None:
            return
        assert run.version == before.version + 1, "an event is at most one commit"
        if before.generation == run.generation:
            assert steps[: before.cursor] == self.steps, "I1 a record changed"
        else:
            assert run.generation == before.generation + 1, "I2 generations"

    def _claims(self, before: Run | None, run: Run) -> None:
        if before is None:
            return
        assert run.fence >= before.fence, "I3 a fence went back"
        if run.cursor > before.cursor or run.generation > before.generation:
            self.claims = 0
        if run.owner and run.owner != before.owner:
            assert run.fence == before.fence + 1, "I3 a claim without a new fence"
            assert self.owners.setdefault(run.fence, run.owner) == run.owner, "I3 a fence twice"
            self.claims += 1
        if run.status is Status.QUARANTINED and before.status in OPEN_STATUSES:
            assert self.claims >= TERMS.max_stalls, "I13 quarantined too early"
        if before.status is Status.QUARANTINED:
            self.claims = 0

    def _messages(self, run: Run) -> None:
        waiting = [message.id for message in run.inbox]
        there = waiting + list(run.seen)
        assert len(set(there)) == len(there), "I12 a message is there twice"
        assert self.accepted <= set(there), "I12 an accepted message is gone"


class Simulation:
    """One schedule, made from *seed*."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = rng = random.Random(seed)
        self.clock = FakeClock()
        self.memory = MemoryStorage(self.clock)
        self.memory._deployment = "simulated"
        pause = rng.choice(["every-step", "when-waiting", "budget:2steps", "budget:3s"])
        self.stage = Stage(
            registry(), self.memory, self.clock, pause=pause, terms=TERMS, seed=seed + 1
        )
        self.crash_rate = rng.choice([0.0, 0.01, 0.08])
        self.fault_rate = rng.choice([0.0, 0.03, 0.15])
        self.jump = rng.choice([0.3, 1.0, 4.0])
        self.meddle_rate = rng.choice([0.0, 0.02, 0.08])
        self.faulty = True
        self.processes = [self._process() for _ in range(rng.randint(1, 4))]
        self.live: list[Invocation] = []
        self.watched = {f"r{n}": self._started(f"r{n}") for n in range(rng.randint(1, 3))}
        self.sent = 0
        self.executed = 0
        self.tally: Counter[tuple[str, int, str, int]] = Counter()
        self.keys: dict[str, tuple[str, int, str, int]] = {}
        self.events = 0
        self.trace = hashlib.sha256()

    def play(self) -> str:
        """Play the schedule, faults first, then to the end; return the digest of its trace."""
        for _ in range(self.rng.randint(40, 220)):
            self._event()
            self._check()
        self._heal()
        self._to_the_end()
        for watched in self.watched.values():
            self._check_end(watched)
        self.trace.update(
            repr(sorted((w.run and w.run.op_id) or "" for w in self.watched.values())).encode()
        )
        for process in self.processes:
            process.forget()
        return self.trace.hexdigest()

    # -- the beginning -----------------------------------------------------------------------

    def _process(self) -> Process:
        storage = FaultyStorage(self.memory)
        storage.always(lambda run, steps: self._fault())
        process = self.stage.process(storage)
        process.keeps = self.rng.random() < 0.7
        process.seconds = self.rng.choice([3.0, 60.0, float("inf")])
        return process

    def _fault(self) -> Fault | None:
        if not self.faulty or self.rng.random() >= self.fault_rate:
            return None
        return self.rng.choice(_FAULTS)

    def _started(self, run_id: str) -> Watched:
        rng = self.rng
        program = [self._op() for _ in range(rng.randint(1, 6))]
        self.stage.start(rng.choice(STYLES), json.dumps(program).encode(), run_id)
        return Watched(run_id, program)

    def _op(self) -> list[object]:
        rng, number = self.rng, self.rng.randint(1, 99)
        return rng.choice(
            [
                ["add", number],
                ["add", number],
                ["fail", number],
                ["return", number],
                ["flaky", number, rng.randint(0, 3)],
                ["once", number],
                ["sleep", rng.choice([0, 1, 20])],
                ["save"],
                ["wait", rng.choice(_NAMES)],
                ["wait_for", rng.choice(_NAMES), rng.choice([1, 30])],
                ["det"],
            ]
        )

    # -- events ------------------------------------------------------------------------------

    def _event(self) -> None:
        self.events += 1
        rng, roll = self.rng, self.rng.random()
        if self.live and roll < 0.78:
            self._advance(rng.choice(self.live))
        elif roll < 0.78 + self.meddle_rate:
            self._meddle(rng.choice(list(self.watched.values())))
        elif roll < 0.90:
            self.clock.advance(rng.expovariate(1 / self.jump))
        elif roll < 0.92:
            rng.choice(self.processes).leases.renew_due()
        elif roll < 0.93:
            process = rng.choice(self.processes)
            process.time.drift = rng.choice([0.5, 1.0, 3.0])
        elif roll < 0.94 and self.crash_rate:
            self._kill(rng.choice(self.processes))
        else:
            self._hint(rng.choice(list(self.watched)))

    def _hint(self, run_id: str) -> None:
        self.live.append(self.rng.choice(self.processes).invoke(run_id))

    def _advance(self, invocation: Invocation) -> None:
        if self.rng.random() < self.crash_rate:
            self._crash(invocation)
            return
        performing = isinstance(invocation.request, Perform)
        if not invocation.advance():
            self.live.remove(invocation)
            error = invocation.error
            assert error is None or isinstance(error, StorageError), repr(error)
            if error is not None or isinstance(invocation.outcome, Lost):
                self.watched[invocation.run_id].losses += 1
        self.trace.update(b"%d%d" % (performing, invocation.over))

    def _crash(self, invocation: Invocation) -> None:
        invocation.crash()
        self.live.remove(invocation)
        self.watched[invocation.run_id].losses += 1

    def _kill(self, process: Process) -> None:
        for invocation in [each for each in self.live if each.process is process]:
            self._crash(invocation)
        process.forget()

    def _meddle(self, watched: Watched) -> None:
        outside, run_id = self.stage.outside, watched.run_id
        roll = self.rng.random()
        with suppress(RunStatusWrong):
            if roll < 0.7:
                self._signal(watched, self.rng.choice(_NAMES))
            elif roll < 0.8:
                sent_id = f"$cancel:{self.memory._runs[run_id].generation}"
                outside.send(run_id, sent_id, "$cancel", {})
                watched.accepted.add(sent_id)
            elif roll < 0.84:
                outside.terminate(run_id)
            elif roll < 0.92:
                outside.redrive(run_id)
            else:
                outside.retry(run_id)

    def _signal(self, watched: Watched, name: str) -> None:
        # A duplicate now and then: it is accepted once.
        self.sent += self.rng.random() < 0.8
        sent_id = f"s{self.sent}"
        accepted = self.stage.outside.send(watched.run_id, sent_id, name, self.sent)
        assert accepted is (sent_id not in watched.accepted), "I12 accepted twice"
        watched.accepted.add(sent_id)

    # -- the end -----------------------------------------------------------------------------

    def _heal(self) -> None:
        self.faulty = False
        self.crash_rate = 0.0
        for process in self.processes:
            process.seconds = float("inf")
            process.time.drift = 1.0
            assert isinstance(process.storage, FaultyStorage)
            process.storage.land()
            self._check()
        for invocation in list(self.live):
            while not invocation.over:
                self._advance(invocation)
                self._check()
        self.live = [each for each in self.live if not each.over]

    def _to_the_end(self) -> None:
        until = self.clock.monotonic() + 3_600.0
        for _ in range(400):
            going = [w for w in self.watched.values() if self._going(w)]
            if not going:
                return
            assert self.clock.monotonic() < until, "I11 it takes too long"
            for watched in going:
                run = self.memory._runs[watched.run_id]
                if run.wake is None:
                    (waiting,) = run.open.values()
                    self._signal(watched, waiting.name)
                    self._check()
            self._wait_for_one(going)
            for watched in going:
                self._hint(watched.run_id)
                while self.live:
                    self._advance(self.live[0])
                    self._check()
        raise AssertionError("I11 liveness: a run does not come to its end")

    def _going(self, watched: Watched) -> bool:
        return self.memory._runs[watched.run_id].status in OPEN_STATUSES

    def _wait_for_one(self, going: list[Watched]) -> None:
        runs = [self.memory._runs[watched.run_id] for watched in going]
        wakes = [run.wake.time for run in runs if isinstance(run.wake, At)]
        self.clock.advance(max(0.0, min(wakes, default=0.0) - self.clock.now()))

    # -- what must hold ----------------------------------------------------------------------

    def _check(self) -> None:
        for watched in self.watched.values():
            run = self.memory._runs[watched.run_id]
            before = watched.run
            if before is None or before.version != run.version:
                loaded = self.memory.load(watched.run_id)
                assert loaded is not None
                watched.see(run, list(loaded.steps))
        self._check_executions()
        mine: Counter[str] = Counter()
        for invocation in self.live:
            request = invocation.request
            if isinstance(request, Perform):
                mine[invocation.run_id] += is_mine(
                    self.memory._runs[invocation.run_id], request.run
                )
        assert max(mine.values(), default=0) <= 1, "I10 two invocations may write"

    def _check_executions(self) -> None:
        executions = self.stage.executions
        while self.executed < len(executions):
            done = executions[self.executed]
            self.executed += 1
            attempt = (done.run_id, done.generation, done.position, done.attempt)
            self.tally[attempt] += 1
            # An overtaken invocation may have begun this one, and not yet have noticed.
            live = sum(each.run_id == done.run_id for each in self.live)
            allowed = 1 + self.watched[done.run_id].losses + live
            assert self.tally[attempt] <= allowed, "I5 executed too often"
            place = (done.run_id, done.generation, done.position, done.epoch)
            assert self.keys.setdefault(done.key, place) == place, "I6 a key twice"
            if done.tool == "t.once":
                assert self.tally[attempt] == 1, "an at-most-once tool was run twice"

    def _check_end(self, watched: Watched) -> None:
        run = watched.run
        assert run is not None
        values = [s.value.data for s in watched.steps if s.kind is StepKind.SIGNAL
                  and s.outcome is StepOutcome.VALUE]  # fmt: skip
        assert len(set(values)) == len(values), "I12 a signal was consumed twice"
        ran = {(e.run_id, e.position, e.fence) for e in self.stage.executions}
        for step in watched.steps:
            if step.kind is StepKind.TOOL and step.outcome is StepOutcome.VALUE:
                assert (run.run_id, step.position, step.fence) in ran, "I4 recorded, never run"
        if run.status is Status.COMPLETED:
            assert run.result is not None
            result = json.loads(run.result.data)
            plain = [got for got, op in zip(result, watched.program, strict=True)
                     if op[0] != "det"]  # fmt: skip
            assert plain == expected(watched.program, watched.steps), "I7 the result"
        else:
            assert run.status in {Status.CANCELLED, Status.QUARANTINED}


def play(seed: int) -> str:
    """Play one schedule; a failure names its seed. Return the digest of its trace."""
    simulation = Simulation(seed)
    try:
        return simulation.play()
    except BaseException as error:
        error.add_note(f"seed {seed}, event {simulation.events}:"
                       f" python -m tests.simulation.simulator {seed}")  # fmt: skip
        raise


def main(arguments: Sequence[str]) -> None:
    """Play the seeds from the first argument up to the second, or only the first."""
    first = int(arguments[0]) if arguments else 0
    last = int(arguments[1]) if len(arguments) > 1 else first + 1
    for seed in range(first, last):
        play(seed)
    sys.stdout.write(f"{last - first} schedules from seed {first}: nothing found\n")


if __name__ == "__main__":
    main(sys.argv[1:])

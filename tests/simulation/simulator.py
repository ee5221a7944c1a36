"""Seeded schedules over the production generators, with all that can go wrong.

One seed is one schedule: processes, runs, fault rates and every choice come from it, time is
virtual, and the invariants of the protocol are checked after every event. After the faults stop,
every run must come to its end. What an event does stands in `happenings`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import accumulate

from sequential import _protocol
from sequential._model import OPEN_STATUSES, At, Run, Status
from sequential._protocol import holds, is_due
from tests.simulation.choices import Choices, Schedule
from tests.simulation.deadlines import LATE, is_told
from tests.simulation.happenings import Happenings
from tests.simulation.invariants import check_end
from tests.simulation.traffic import ROOM

LONGEST = 7_200.0
"""Seconds of virtual time within which every run must end once the faults have stopped."""


class Simulation(Happenings):
    """One schedule, made from *seed*, or the *given* one."""

    def __init__(self, seed: int, given: Schedule | None = None, *, traced: bool = False) -> None:
        super().__init__(seed, Choices(seed, given), traced=traced)
        self.events = 0
        self.seen = 0

    def play(self) -> str:
        """Play the schedule, faults first, then to the end; return the digest of its trace."""
        _protocol._ROOM = self.room
        try:
            return self._play()
        finally:
            _protocol._ROOM = ROOM

    def _play(self) -> str:
        acts = [act for act, _ in self.menu]
        sums = list(accumulate(weight for _, weight in self.menu))
        choices = self.choices
        for _ in choices.groups("events", self.length):
            acts[choices.weighted(sums)]()
            self._check()
        self._heal()
        self._to_the_end()
        self.repair_the_ended()
        self._to_the_end()
        for watched in self.memory.watched.values():
            check_end(watched, self.executions, self.memory.values.opened)
        self.memory.families.check_end()
        self.memory.values.check_end()
        self._much_later()
        self.forget()
        return self._digest()

    def totals(self) -> Counter[str]:
        """Return what happened, and how often."""
        statuses = [watched.past[-1].run.status for watched in self.memory.watched.values()]
        known = Counter({"schedules": 1, "runs": len(statuses), "events": self.events})
        known["values gone"] = self.memory.values.gone
        known["values apart"] = len(self.memory.values.kept)
        known["executions"] = len(self.stage.executions)
        known["commits"] = sum(run.version for run in self.memory._runs.values())
        known += self.counts + self.memory.counts
        return known + Counter(f"runs {status}" for status in statuses)

    def _digest(self) -> str:
        last = [
            (w.past[-1].run.op_id, w.past[-1].run.version) for w in self.memory.watched.values()
        ]
        seen = (last, self.events, sorted(self.counts.items()), self.clock.now())
        return hashlib.sha256(repr(seen).encode()).hexdigest()

    # -- the end -----------------------------------------------------------------------------

    def _heal(self) -> None:
        self.say("", "", "from here on nothing goes wrong any more")
        self.choices.calm()
        self.stop_faults()
        while self.troubles.letters:
            self.letter_arrives()
            self._check()
        self._finish_live()
        self.repeat_interrupted()
        self._check()

    def _finish_live(self) -> None:
        while self.live:
            self.advance(self.live[0])
            self._check()

    def _to_the_end(self) -> None:
        until = self.clock.monotonic() + LONGEST + self.ahead
        healed = self.memory.time()
        looks: Counter[str] = Counter()
        for _ in range(400):
            going = [run_id for run_id in self.memory.watched if self._goes_on(run_id)]
            if not going:
                return
            assert self.clock.monotonic() < until, "I11 it takes too long"
            for run_id in going:
                self._is_in_time(self.memory.stored(run_id), healed)
                self._give_what_it_waits_for(run_id)
            self._until_one_is_due(going)
            for run_id in going:
                if self._is_due(self.memory.stored(run_id)):
                    # Each time another process, so that the right code has a look as well.
                    looks[run_id] += 1
                    process = self.processes[looks[run_id] % len(self.processes)]
                    self.live.append(process.invoke(run_id))
                    self._finish_live()
        msg = "I11 liveness: a run does not come to its end"
        raise AssertionError(msg)

    def _goes_on(self, run_id: str) -> bool:
        run = self.memory.stored(run_id)
        return run.notice or run.status in {*OPEN_STATUSES, Status.QUARANTINED}

    def _is_in_time(self, run: Run, healed: float) -> None:
        if run.status in OPEN_STATUSES and run.deadline is not None and not is_told(run):
            late = self.memory.time() - max(run.deadline, healed)
            assert late < LATE + self.ahead, "I21 it is not told that its deadline is over"

    def _is_due(self, run: Run) -> bool:
        now = self.memory.time()
        tells = run.notice and isinstance(run.wake, At) and run.wake.time <= now
        return tells or is_due(run, now)

    def _give_what_it_waits_for(self, run_id: str) -> None:
        run = self.memory.stored(run_id)
        if run.status is Status.QUARANTINED:
            self.memory.watched[run_id].cured = True
            self.say("", run_id, "redrive, with the poison gone")
            self.outside.redrive(run_id)
        elif run.wake is None:
            self.give(run)
        self._check()

    def _until_one_is_due(self, going: list[str]) -> None:
        runs = [self.memory.stored(run_id) for run_id in going]
        wakes = [run.wake.time for run in runs if isinstance(run.wake, At)]
        self.clock.advance(max(0.0, min(wakes, default=0.0) - self.memory.time()))

    def _much_later(self) -> None:
        """Deliver the messages that are still under way: ended runs stay as they are."""
        if not self.mail:
            return
        self.clock.advance(max(0.0, max(self.mail)[0] - self.memory.time()))
        before = {run_id: self.memory.stored(run_id) for run_id in self.memory.watched}
        for purged in (False, True):
            for run_id in sorted({run_id for _, run_id in self.mail if run_id in before}):
                if purged and before[run_id].status is not Status.PURGED:
                    assert self.memory.purge(before[run_id]), "an ended run is not purged"
                    before[run_id] = self.memory.stored(run_id)
                self.live.append(self.processes[0].invoke(run_id))
                self._finish_live()
                assert self.memory.stored(run_id) is before[run_id], "I8 a late message moved a run"

    # -- what must hold ----------------------------------------------------------------------

    def _check(self) -> None:
        self.events += 1
        if self.memory.broken is not None:
            raise self.memory.broken
        if len(self.live) < 2:
            return
        writers = set()
        for invocation in self.live:
            held = invocation.held
            if held is not None and holds(self.memory.stored(invocation.run_id), held):
                assert invocation.run_id not in writers, "I10 two invocations may write"
                writers.add(invocation.run_id)


def play(seed: int, given: Schedule | None = None) -> str:
    """Play one schedule; a failure names its seed. Return the digest of its trace."""
    simulation = Simulation(seed, given)
    try:
        return simulation.play()
    except BaseException as error:
        error.add_note(f"seed {seed}, event {simulation.events}: python -m tests.simulation {seed}")
        raise

"""What can go wrong in a schedule: crashes, frozen processes, deploys, lost commits, people.

Each happening draws what it needs and changes the fleet; which comes when, and what must hold
afterwards, is not known here.
"""

from __future__ import annotations

from contextlib import suppress

from sequential._model import Run
from sequential._protocol import CANCEL
from sequential._requests import Commit, Wait
from sequential.errors import RunStatusWrong, StorageError
from sequential.testing._stage import Invocation
from tests.simulation.drawn import NAMES
from tests.simulation.fleet import Channel, Letter
from tests.simulation.operators import Operators
from tests.simulation.people import People
from tests.simulation.programs import Code
from tests.simulation.traffic import INFINITE, PASSING, Menu, code_of, name_of


class Happenings(People, Operators):
    """A fleet, and all that can happen to it."""

    def menu_of(self, deploys: float, failovers: float, clocks: float) -> Menu:
        """Return what can happen, by weight: first, going on as if nothing were wrong."""
        draw = self.choices.one_of
        self._meddling = draw((0.0, 2.0, 6.0))
        self._afterwards = draw(("", "", "retry", "retry", "fork", "purge", "purge"))
        return (
            (self._go_on, 76.0),
            (self._deliver, 6.0),
            (self._pass_time, 5.0),
            (self._sweep, draw((0.5, 1.0, 3.0))),
            (self._renew, 2.0),
            (self._crash, self.crash_rate * 30),
            (self._kill, draw((0.0, 0.0, 0.5, 2.0))),
            (self._freeze, draw((0.0, 0.0, 1.0))),
            (self._meddle, self._meddling),
            (self.operate, draw((0.0, 1.0, 4.0))),
            (self.let_go, draw((0.0, 0.0, 1.0, 4.0))),
            (self._deploy, deploys),
            (self._fail_over, failovers),
            (self.letter_arrives, 3.0 if self.troubles.rate else 0.0),
            (self._value_arrives, 1.0 if self.troubles.rate else 0.0),
            (self._neighbour, 1.0 if self.memory.values.neighbour else 0.0),
            (self._clone, draw((0.0, 0.0, 0.0, 1.5))),
            (self._disturb_clock, clocks),
            (self._forged, 0.3),
            (self._talk, draw((0.0, 2.0, 8.0))),
        )

    # -- what goes wrong ---------------------------------------------------------------------

    def _crash(self) -> None:
        if self.live:
            self._stop(self.choices.one_of(self.live), "crashes")

    def _kill(self) -> None:
        self._kill_process(self.choices.one_of(self.processes), "killed")

    def _freeze(self) -> None:
        process = self.choices.one_of(self.processes)
        now = sum(len(section) for section in self.choices.schedule.values())
        self.frozen[process] = now + 10 + self.choices.below(40)
        if self.choices.chance(0.5):
            # A machine that is suspended does not count the time meanwhile.
            process.time.is_now(process.time.now() - self.choices.one_of(PASSING))
        self.counts["freezes"] += 1
        self.say(name_of(process), "", "frozen")

    def _deploy(self) -> None:
        place = self.choices.below(len(self.processes))
        code = self.choices.one_of(self._codes)
        old = self.processes[place]
        if self.choices.chance(0.3):
            self._kill_process(old, "killed by a deploy")
        old.stopping = True
        self.processes[place] = new = self._process(code)
        self._all.append(new)
        self.counts["deploys"] += 1
        self.say(name_of(new), "", f"takes the place of {name_of(old)}, with {code} code")

    def _fail_over(self) -> None:
        run_id = self._some_run()
        families, watched = self.memory.families, self.memory.watched[run_id]
        gives = b'"hold"' in self.memory.stored(run_id).input.data
        if gives or watched.purged or families.has_relatives(run_id):
            # What one run told another may be lost with a commit that was confirmed: no promise.
            return
        run = self.memory.roll_back(run_id, 1 + self.choices.below(5))
        self.counts["rollbacks"] += 1
        self.say("", run_id, f"the storage loses commits, back to version {run.version}")

    def _some_run(self) -> str:
        """Draw a run, most often one that somebody works on: that is where it is dangerous."""
        live = [each.run_id for each in self.live if each.run_id in self.memory.watched]
        return self.choices.one_of((*live, *live, *live, *self.memory.watched))

    def letter_arrives(self) -> None:
        """Let a commit that was under way arrive."""
        letters = self.troubles.letters
        if letters:
            run, expect, steps, code = letters.pop(self.choices.below(len(letters)))
            channel = Channel(self.memory, self.troubles, "late", code, self._zero)
            answer = channel.apply(run, expect, steps)
            if self.trace is not None:
                done = "done" if isinstance(answer, Run) else "refused: stale"
                self.say("late", run.run_id, f"a commit arrives, over {expect.version} → {done}")

    def _value_arrives(self) -> None:
        """Let a value arrive that was to be kept."""
        late = self.memory.values.late
        if late:
            run_id, data = late.pop(self.choices.below(len(late)))
            self.memory.values.storage.put_value(run_id, data)
            self.say("late", run_id, "a value arrives")

    def _neighbour(self) -> None:
        neighbour = self.memory.values.neighbour
        if neighbour is not None:
            neighbour.keep_or_purge(self._some_run())

    def _clone(self) -> None:
        """Let a copy of a process, with the same memory, send what it is about to commit."""
        for invocation in self.live:
            request = invocation.request
            if type(request) is Commit:
                code = code_of(invocation.process)
                letter = Letter(request.run, request.expect, request.steps, code)
                self.troubles.letters.append(letter)
                self.counts["clones"] += 1
                self.say(name_of(invocation.process), invocation.run_id, "is cloned")
                if not self.choices.below(2):
                    self.letter_arrives()
                return

    def _disturb_clock(self) -> None:
        self.counts["clocks"] += 1
        act = self.choices.below(3)
        if act == 0:
            time = self.choices.one_of(self.processes).time
            time.is_now(time.now())  # what has passed, has passed at the old pace
            time.drift = self.choices.one_of((1.0, 0.5, 3.0))
        elif act == 1:
            process = self.choices.one_of(self.processes)
            process.time.is_now(process.time.now() - self.choices.one_of(PASSING))
        else:
            self.say("", "", "the storage's clock steps back")
            self.memory.step_back(10.0)
            self.clock.advance(-10.0)

    # -- people ------------------------------------------------------------------------------

    def _meddle(self) -> None:
        run_id, outside = self._some_run(), self.outside
        acts = (*[self.signal_somebody] * 4,
                self._cancel, outside.terminate, outside.redrive, outside.retry)  # fmt: skip
        act = self.choices.one_of(acts)
        self.say("out", run_id, act.__name__.strip("_"))
        with suppress(RunStatusWrong, StorageError):
            act(run_id)

    def _talk(self) -> None:
        run_id = self._some_run()
        act = self.choices.one_of((self.signal_somebody, self.answer_somebody))
        self.say("out", run_id, act.__name__.strip("_"))
        with suppress(RunStatusWrong, StorageError):
            act(run_id)

    def advance(self, invocation: Invocation) -> None:
        """Let *invocation* take one step, perhaps after a signal that comes in between."""
        # Between an answer that was lost and the look at what became of it.
        waits = type(invocation.request) is Wait
        if waits and self.choices.chance(self._meddling / 20):
            # Meanwhile this one itself must not go on.
            rate, self.between_rate = self.between_rate, 0.0
            with suppress(RunStatusWrong, StorageError):
                self.signal(invocation.run_id, self.choices.one_of(NAMES))
            self.between_rate = rate
        super().advance(invocation)

    def _cancel(self, run_id: str) -> None:
        sent_id = f"{CANCEL}:{self.memory.stored(run_id).generation}"
        self._said(run_id, sent_id, lambda: self.outside.send(run_id, sent_id, CANCEL, {}))

    # -- the end -----------------------------------------------------------------------------

    def stop_faults(self) -> None:
        """Let nothing go wrong from now on, and let code of every version be there."""
        self.troubles.rate = self.crash_rate = self.mail_rate = self.between_rate = 0.0
        self.frozen = {}
        if len(self._codes) > 1:
            codes = (Code.OLD, Code.PATCHED if Code.PATCHED in self._codes else Code.CHANGED)
            last = [self._process(code) for code in codes]
            self.processes, self._all = self.processes + last, self._all + last
        for process in self._all:
            process.seconds = INFINITE
            process.time.drift = 1.0
            process.time.is_now(self.memory.time())

"""Runs, processes, the messages between them, and how an invocation goes on.

Messages get lost, are late, and come several times. What else can go wrong stands in
`happenings`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence

from sequential import _protocol
from sequential._model import At, Run, Status, evolve
from sequential._outcomes import Lost
from sequential._outside import Outside
from sequential._protocol import NOW, Terms, claimed, holds
from sequential._requests import Commit, Create, CreateAll, Perform, Start
from sequential.errors import StorageError
from sequential.testing import FakeClock
from sequential.testing._stage import Invocation, Process, Stage
from tests.simulation.choices import Choices
from tests.simulation.desk import Desk, Window
from tests.simulation.drawn import CANARY, drawn_program
from tests.simulation.fleet import Channel, Troubles, WatchedMemory
from tests.simulation.invariants import Executions
from tests.simulation.programs import BREAKING, PATCHING, STYLES, Code, registry, restart_tokens
from tests.simulation.trace import Trace, told_request
from tests.simulation.turns import ANSWERS, add_turns

_TERMS = tuple(
    Terms(
        lease, stalls, longest_backoff=30.0, blocked_first=4.0, blocked_longest=32.0,
    )
    for lease, stalls in ((5.0, 4), (20.0, 3), (1.0, 6))
)  # fmt: skip
_PAUSES = ("when-waiting", "every-step", "budget:2steps", "budget:3s")
_DAY = 86_400.0
PASSING = (0.1, 0.3, 0.3, 1.0, 1.0, 2.0, 2.0, 5.0, 5.0, 10.0, 20.0, 40.0, 3_600.0, 15 * _DAY)
_LATE = (1.0, 10.0, 60.0, 3_600.0, 15 * _DAY)
_OFFSETS = (0.0, 30.0, -30.0, _DAY, -_DAY)
_HOLD = 5.0
_DEADLINES = (*[None] * 9, 3.0, 40.0, 600.0)
INFINITE = float("inf")
ROOM = _protocol._ROOM


class _NoSecrets(logging.Handler):
    """Reads what the core logs, in place of a person."""

    def emit(self, record: logging.LogRecord) -> None:
        """Look for the secret."""
        assert CANARY not in record.getMessage(), "I15 a secret is in the log"


logging.getLogger("sequential").addHandler(_NoSecrets())


Menu = Sequence[tuple[Callable[[], object], float]]
"""Acts and their weights."""


class Traffic:
    """A fleet, and what can happen to it.

    Attributes:
        menu: Acts and their weights; the first goes on as if nothing were wrong.
        mail: Messages under way: when each arrives, and for which run.
        live: Invocations under way.
        counts: What happened, and how often.
        ahead: Seconds by which a fast clock may have put off a wake.
        room: What an inbox holds of the ends of children.
    """

    def __init__(self, seed: int, choices: Choices, *, traced: bool) -> None:
        restart_tokens()
        self.choices = choices
        self.clock = FakeClock()
        zero = self.clock.now()
        self.trace = Trace(lambda: self.memory.time() - zero) if traced else None
        self.live: list[Invocation] = []
        self.mail: list[tuple[float, str]] = []
        self.frozen: dict[Process, int] = {}
        self._held: dict[Invocation, Run] = {}
        self.executions = Executions()
        self.troubles = Troubles(choices)
        self.counts = self.troubles.counts
        self.ahead = 0.0
        self._zero = zero
        self._executed = self._signals = self._made = 0
        for _ in choices.groups("setup", 1, least=1):
            self._set_up(seed)
        self.processes = [self._process(Code.OLD)]
        for _ in choices.groups("processes", choices.below(6)):
            self.processes.append(self._process(choices.one_of(self._codes)))
        self._all = list(self.processes)
        for number in choices.groups("runs", self._runs, least=1):
            self._start(f"r{number}")

    # -- the beginning -----------------------------------------------------------------------

    def _set_up(self, seed: int) -> None:
        draw = self.choices.one_of
        self.terms = draw(_TERMS)
        self.memory = WatchedMemory(self.clock, self.terms)
        self.stage = Stage(
            registry(), self.memory, self.clock,
            pause=draw(_PAUSES), terms=self.terms, seed=seed + 1,
        )  # fmt: skip
        self.stage.on_send = self.post
        outside = Window(self.memory, self.troubles, "out", None, self._zero)
        outside.meanwhile = self._meanwhile
        outside.tell = None if self.trace is None else self.say
        self.outside = Outside(self.stage.engine, outside, self.clock, self.stage.token)
        self.desk = Desk(self.stage.engine, outside, self.outside)
        self.troubles.rate = draw((0.0, 0.02, 0.06, 0.15))
        self.crash_rate = draw((0.0, 0.0, 0.01, 0.05))
        self.mail_rate = draw((0.0, 0.0, 0.2, 0.6))
        self.twice_rate = draw((0.0, 0.0, 0.3))
        self.between_rate = draw((0.0, 0.0, 0.3))
        deploys = draw((0.0, 0.0, 1.0, 3.0))
        self._codes = draw((BREAKING, PATCHING)) if deploys else (Code.OLD,)
        self.memory.patching.there = Code.PATCHED in self._codes
        failovers, clocks = draw((0.0, 0.0, 0.0, 0.5, 2.0)), draw((0.0, 0.0, 1.0))
        self._clocks = bool(clocks)
        self.memory.steady = not clocks
        self.room = draw((ROOM, 1, 1))
        if draw((False, True, True)):
            self.memory.values.move_elsewhere()
        self._runs = 1 + draw((0, 0, 0, 0, 1, 1, 1, 2, 3, 7))
        self.length = 20 + self.choices.below(121)
        self.menu = self.menu_of(deploys, failovers, clocks)

    def menu_of(self, deploys: float, failovers: float, clocks: float) -> Menu:
        """Return what can happen, by weight."""
        raise NotImplementedError

    def _process(self, code: Code) -> Process:
        self._made += 1
        channel = Channel(self.memory, self.troubles, f"p{self._made}", code, self._zero)
        channel.tell = None if self.trace is None else self.say
        process = self.stage.process(channel, registry(code))
        process.keeps = not self.choices.chance(0.3)
        process.seconds = self.choices.one_of((INFINITE, 60.0, 3.0))
        process.order = self._lands
        process.together = lambda: self.choices.chance(0.5)
        if self._clocks:
            process.time.is_now(self.clock.now() + self.choices.one_of(_OFFSETS))
        return process

    def _lands(self, flying: Sequence[str]) -> str:
        """Draw who lands first; now and then nobody does for a while."""
        if len(flying) > 1:
            self.counts["several in flight"] += 1
        if self.choices.below(8) == 7:
            return ""
        return self.choices.one_of(flying) if len(flying) > 1 else flying[0]

    def _start(self, run_id: str) -> None:
        choices = self.choices
        program = drawn_program(choices)
        if self.memory.patching.there:
            add_turns(choices, program)
        flow, data = choices.one_of(STYLES), json.dumps(program).encode()
        self.say("", run_id, f"created as {flow}: {' '.join(op[0] for op in program)}")
        payload, digest = self.stage.outside.input_payload(run_id, data)
        run = Run(run_id, flow, payload, wake=NOW, asked=digest, created=self.clock.now())
        seconds = choices.one_of(_DEADLINES)
        if seconds is not None:
            run = evolve(run, deadline=run.created + seconds)
        if choices.chance(0.3):
            self._begin(run)
        else:
            self.stage.outside.create(run)
            self.post(run_id, 0.0)

    def _begin(self, run: Run) -> None:
        """Create *run* already claimed, as `app.run` does."""
        process = self.processes[0]
        held = claimed(run, process.time.now(), self.stage.token(), self.terms)
        stored, _ = self.stage.outside.create(held)
        invocation = process.begin(stored)
        self._held[invocation] = stored
        self.live.append(invocation)

    # -- messages ----------------------------------------------------------------------------

    def post(self, run_id: str, delay: float) -> None:
        """Send a resume message, which may be lost, late, or there several times."""
        assert CANARY not in run_id, "I15 a secret is in a message"
        at = self.memory.time() + delay
        if not self.choices.chance(self.mail_rate):
            self.mail.append((at, run_id))
            return
        fate = self.choices.one_of(("late", "lost", "copied"))
        self.counts[f"message {fate}"] += 1
        self.say("", run_id, f"the message is {fate}")
        for _ in range({"late": 1, "lost": 0, "copied": 2 + self.choices.below(4)}[fate]):
            self.mail.append((at + self.choices.one_of(_LATE), run_id))

    def _deliver(self) -> bool:
        """Deliver a message that has arrived, whichever; return whether there was one."""
        now = self.memory.time()
        arrived = [place for place, (at, _) in enumerate(self.mail) if at <= now]
        if not arrived:
            return False
        _, run_id = self.mail.pop(self.choices.one_of(arrived))
        self._receive(run_id)
        if self.choices.chance(self.twice_rate):
            self.counts["message to two at once"] += 1
            self._receive(run_id)
        return True

    def _receive(self, run_id: str) -> None:
        process = self.choices.one_of(self.processes)
        self.live.append(process.invoke(run_id))
        self.say(name_of(process), run_id, "a message comes")

    def _forged(self) -> None:
        """Deliver a message that nobody sent, perhaps for a run that does not exist."""
        self._receive(self.choices.one_of((*self.memory.watched, "nobody")))

    def _sweep(self) -> None:
        flows = self.choices.one_of(self.processes).engine.registry.flows
        found = self.memory.due(1 + self.choices.below(8), set(flows), _HOLD)
        if self.choices.chance(self.crash_rate):
            self.say("", "", "a sweeper dies before it sends")
            return
        for run_id in found:
            self.say("", run_id, "found by a sweeper")
            self.post(run_id, 0.0)

    # -- going on ----------------------------------------------------------------------------

    def _go_on(self) -> None:
        live = self.live
        if self.frozen:
            now = sum(len(section) for section in self.choices.schedule.values())
            self.frozen = {p: until for p, until in self.frozen.items() if until > now}
            live = [each for each in live if each.process not in self.frozen]
        if live:
            self.advance(live[0] if len(live) == 1 else self.choices.one_of(live))
        elif not self._deliver():
            self._idle()

    def _idle(self) -> None:
        """Let time pass until something is due, and let a sweeper look."""
        now, stored = self.memory.time(), self.memory.stored
        wakes = [stored(run_id).wake for run_id in self.memory.watched]
        times = [wake.time for wake in wakes if isinstance(wake, At)]
        times += [at for at, _ in self.mail]
        soon = [time for time in times if time > now and time < now + _DAY]
        self._let_pass(min(soon, default=now + 1.0) - now)
        self._sweep()

    def _let_pass(self, seconds: float) -> None:
        """Let time pass; a process whose clock is fast may put off a wake by what it runs ahead."""
        fastest = max(process.time.drift for process in self._all)
        self.ahead += seconds * max(0.0, fastest - 1.0)
        self.clock.advance(seconds)

    def advance(self, invocation: Invocation) -> None:
        """Let *invocation* take one step, and look at what it did."""
        request, run_id = invocation.request, invocation.run_id
        performs, starts = type(request) is Perform, type(request) is Start
        begins = starts or (performs and invocation._performing is None)
        if self.trace is not None and not isinstance(request, Commit):
            came_back = " came back" if performs and not begins else ""
            self.say(name_of(invocation.process), run_id, told_request(request) + came_back)
        if (starts or (performs and not begins)) and self._is_poison(invocation):
            return
        self._look_at_holding(invocation)
        goes_on = invocation.advance()
        if ANSWERS:
            self.memory.patching.hear(self._held.get(invocation), code_of(invocation.process))
        if not goes_on:
            self._over(invocation)
        elif begins:
            assert isinstance(request, (Perform, Start))
            self._look_at_executions(invocation, request.run.owner)

    def _look_at_holding(self, invocation: Invocation) -> None:
        """Remember what *invocation* holds, and note the children of one that holds no more.

        Nobody may know of them.
        """
        request, held = invocation.request, self._held.get(invocation)
        if isinstance(request, (Create, CreateAll)):
            runs = request.runs if isinstance(request, CreateAll) else (request.run,)
            if held is None or not holds(self.memory.stored(held.run_id), held):
                self.memory.families.strays.update(run.run_id for run in runs)
        elif isinstance(request, (Perform, Start, Commit)):
            # A commit may be to the record of another run: to tell it something.
            own = request.run.run_id == invocation.run_id
            if own and request.run.owner:
                self._held[invocation] = request.run

    def _over(self, invocation: Invocation) -> None:
        self.live.remove(invocation)
        held = self._held.pop(invocation, None)
        run_id, error, outcome = invocation.run_id, invocation.error, invocation.outcome
        if self.trace is not None:
            said = repr(error) if error is not None else type(outcome).__name__
            self.say(name_of(invocation.process), run_id, f"over: {said}")
        if error is not None:
            if not isinstance(error, StorageError):
                raise error
            assert CANARY not in str(error), "I15 a secret is in an error"
        if error is not None or type(outcome) is Lost:
            if error is None and held is not None:
                self._check_lost(held)
            self._lost(run_id)
            self.counts["gave up" if error is not None else "overtaken"] += 1

    def _check_lost(self, held: Run) -> None:
        """Check that who says that its claim is lost does not leave a run that it holds."""
        stored = self.memory.stored(held.run_id)
        excused = self.counts["clones"] or self.memory.watched[held.run_id].rollbacks
        if not excused and stored.status is Status.RUNNING:
            assert (stored.fence, stored.owner) != (held.fence, held.owner), "I9 a run was left"

    def _look_at_executions(self, invocation: Invocation, owner: str) -> None:
        executions, channel = self.stage.executions, invocation.process.storage
        assert isinstance(channel, Channel)
        while self._executed < len(executions):
            done = executions[self._executed]
            self._executed += 1
            live = sum(each.run_id == done.run_id for each in self.live)
            assert channel.code is not None
            self.memory.patching.ran(done, owner, channel.code)
            self.executions.see(done, self.memory.watched[done.run_id], channel.code, live, owner)
            self.memory.repairs.executed(done)

    def _is_poison(self, invocation: Invocation) -> bool:
        request, watched = invocation.request, self.memory.watched[invocation.run_id]
        assert isinstance(request, (Perform, Start))
        if request.call.name != "poison" or watched.cured:
            return False
        self.counts["poisoned"] += 1
        self._kill_process(invocation.process, "killed by poison")
        return True

    def _meanwhile(self) -> None:
        """Let an invocation go on, between two requests of somebody else."""
        live = [each for each in self.live if each.process not in self.frozen]
        if live and self.choices.chance(self.between_rate):
            self.counts["meanwhile"] += 1
            self.advance(self.choices.one_of(live))

    def _pass_time(self) -> None:
        seconds = self.choices.one_of(PASSING)
        self.say("", "", f"{seconds:g} s pass")
        self._let_pass(seconds)

    def _renew(self) -> None:
        process = self.choices.one_of(self.processes)
        process.leases.renew_due()

    def _stop(self, invocation: Invocation, how: str) -> None:
        self.say(name_of(invocation.process), invocation.run_id, how)
        invocation.crash()
        self.live.remove(invocation)
        self._held.pop(invocation, None)
        self._lost(invocation.run_id)
        self.counts["crashes"] += 1

    def _lost(self, run_id: str) -> None:
        watched = self.memory.watched.get(run_id)
        if watched is not None:
            watched.losses += 1

    def _kill_process(self, process: Process, how: str) -> None:
        for invocation in [each for each in self.live if each.process is process]:
            self._stop(invocation, how)
        process.forget()

    def forget(self) -> None:
        """Discard what the processes keep in memory."""
        for process in self._all:
            process.forget()

    def say(self, process: str, run_id: str, text: str) -> None:
        """Add a line to the trace, if there is one."""
        if self.trace is not None:
            self.trace.add(process, run_id, text)


def name_of(process: Process) -> str:
    """Return the name of *process*."""
    assert isinstance(process.storage, Channel)
    return process.storage.name


def code_of(process: Process) -> Code | None:
    """Return the code of *process*."""
    assert isinstance(process.storage, Channel)
    return process.storage.code

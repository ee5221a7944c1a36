"""One run, the processes around it, and whoever acts next: what a failpoint is played on.

A `Scene` is a deployment over any storage, with one run. A failpoint is a place in it: before or
after an operation of the storage, inside a tool or the flow; there `Scene.point` counts the hit and
lets the concurrent duplicate act, and `Scene.die` loses the process. What happens where is not
known here, nor what must hold for one failpoint only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

from .._leases import Lease
from .._model import ENDED_STATUSES, At, Run, Status, StepRecord
from .._outcomes import Outcome
from .._protocol import Terms
from .._storage import RECORD_ONLY, Loaded, Storage
from ..errors import RunStatusWrong, StorageError
from ._clock import FakeClock
from ._engine_flows import Places, ProcessLost, make_registry
from ._faulty import FaultyStorage
from ._stage import Invocation, Stage
from ._staged_time import Execution
from ._storage_samples import plain

Actor = Literal["retry", "lease", "duplicate", "sweeper"]
ACTORS: dict[Actor, str] = {
    "retry": "the same process tries again at once, started again if it was lost",
    "lease": "nobody for as long as the lease holds, then another process",
    "duplicate": "another process at the very point, and two at once from then on",
    "sweeper": "only those that a sweeper tells of what is due",
}
TERMS = Terms(lease=60.0, max_stalls=3, longest_backoff=8.0, step_timeout=150.0)
LEASE_OVER = TERMS.lease + TERMS.longest_backoff + 1.0
"""Seconds after which no claim holds any more."""
HOLD = 30.0
"""Seconds for which a sweeper does not tell of a run again."""

_RUN = "r"
_WATCH = "watch"
_MOST_TURNS = 40
_MOST_REQUESTS = 1000


class Worker:
    """One process, with a way to the storage of its own."""

    def __init__(self, scene: Scene, stage: Stage) -> None:
        self.scene = scene
        self.storage = FaultyStorage(scene.storage)
        self.process = stage.process(self.storage)
        self.process.time.is_now(scene.clock.now() + scene.clock.skew())
        self._answered = 0

    def invoke(self) -> Invocation:
        """Return a new invocation that has asked for nothing yet."""
        return self.process.invoke(_RUN)

    def execute(self) -> Outcome | None:
        """Make one whole invocation; return what it came to, None if it came to nothing."""
        return self.carry(self.invoke())

    def carry(self, invocation: Invocation) -> Outcome | None:
        """Answer *invocation* to its end, or to the end of this process."""
        while self.advance(invocation):
            pass
        return invocation.outcome

    def advance(self, invocation: Invocation) -> bool:
        """Answer one request; return whether there is another."""
        if invocation.over:
            return False
        self._answered += 1
        assert self._answered < _MOST_REQUESTS, "an invocation goes round in circles"
        try:
            more = invocation.advance()
        except ProcessLost:
            self.lose(invocation)
            return False
        if isinstance(invocation.error, ProcessLost):
            self.lose(invocation)
        elif invocation.error is not None and not isinstance(invocation.error, StorageError):
            raise invocation.error
        return more

    def lose(self, invocation: Invocation) -> None:
        """Lose the process, with all that it has in memory."""
        invocation.crash()
        self.scene.losses += 1
        self.restart()

    def leases(self) -> list[Lease]:
        """Return the leases that are kept alive."""
        return list(self.process.leases._table.values())  # noqa: SLF001  (as the stage fills it)

    def thaw(self, lease: Lease) -> None:
        """Put *lease* back where a thread that was frozen had it, and let the thread look."""
        table = self.process.leases._table  # noqa: SLF001  (as the stage fills it)
        table[id(lease)] = lease
        self.process.leases.renew_due()

    def restart(self) -> None:
        """Begin anew with nothing in memory."""
        for lease in self.leases():
            self.process.leases.remove(lease)
        self.process.forget()


class Scene:
    """A deployment with one run.

    Attributes:
        hits: How often each failpoint was reached.
        losses: How often an invocation died, froze, or lost its answers: so many executions more
            than needed there may be.
        code: What newly started processes run.
        spoil: What is done to the storage of each process that starts.
    """

    def __init__(
        self, storage: Storage, clock: FakeClock, actor: Actor = "lease", pause: str = "every-step"
    ) -> None:
        self.storage = storage
        self.clock = clock
        self.actor = actor
        self.pause = pause
        self.places = Places()
        self.hits: Counter[str] = Counter()
        self.losses = 0
        self.code = ""
        self.flow = "errand"
        self.spoil: Callable[[FaultyStorage], object] = lambda _: None
        self.executions: list[Execution] = []
        self.sent: list[str] = []
        self.waited = 0.0
        self._inside = False
        self._stages: dict[str, Stage] = {}
        self.client = FaultyStorage(storage)
        self._tell_the_time()
        self.stage = self._stage()
        self.first = self.worker()

    # -- the deployment ----------------------------------------------------------------------

    def _stage(self) -> Stage:
        found = self._stages.get(self.code)
        if found is None:
            registry = make_registry(self.places, self.code)
            found = Stage(registry, self.client, self.clock, pause=self.pause, terms=TERMS)
            found.executions, found.sent = self.executions, self.sent
            found.rng.seed(f"{self.code}:{len(self._stages)}")
            self._stages[self.code] = found
        return found

    def worker(self) -> Worker:
        """Start a process that runs the code deployed now."""
        worker = Worker(self, self._stage())
        self.spoil(worker.storage)
        return worker

    def start(self, flow: str = "errand") -> None:
        """Start the run; starting it again finds it."""
        self.flow = flow
        self.stage.start(flow, run_id=_RUN)

    # -- time --------------------------------------------------------------------------------

    def _tell_the_time(self) -> None:
        """Let the clock of this host show the time of the storage, which may be a server's."""
        # A run that nothing ever happens to: with it the storage tells the time.
        self.storage.create(Run(_WATCH, "watch", plain(b"{}"), op_id="watch"))
        self.clock.advance(self.now() - self.clock.now() - self.clock.skew())

    def now(self) -> float:
        """Return the storage's time."""
        return _there(self.storage.load(_WATCH, RECORD_ONLY)).now

    def let_pass(self, seconds: float) -> None:
        """Let *seconds* pass here and there, whether or not the storage follows this clock."""
        before = self.now()
        self.clock.advance(seconds)
        missing = seconds - (self.now() - before)
        if abs(missing) > 0.5:
            self.clock.set_skew(self.clock.skew() + missing)
        self.waited += seconds

    def to_wake(self) -> None:
        """Let time pass until anybody may act on the run; send what it waits for, if it does."""
        self._let_wake(_there(self.look()))

    def _let_wake(self, found: Loaded) -> None:
        wake = found.run.wake
        if isinstance(wake, At):
            if wake.time > found.now:
                self.let_pass(wake.time - found.now + 1.0)
        elif found.run.status is Status.PAUSED:
            self.signal()

    # -- looking -----------------------------------------------------------------------------

    def look(self) -> Loaded | None:
        """Return the stored record and the time, if there is any; each look is a request."""
        return self.storage.load(_RUN, RECORD_ONLY)

    @property
    def run(self) -> Run:
        """The stored record."""
        return _there(self.look()).run

    @property
    def steps(self) -> Sequence[StepRecord]:
        """The stored steps."""
        return _there(self.storage.load(_RUN)).steps

    @property
    def exists(self) -> bool:
        """Whether there is anything under the run's id."""
        return self.look() is not None

    def calls(self, tool: str) -> int:
        """Return how often *tool* was executed."""
        return sum(each.tool == f"t.{tool}" for each in self.executions)

    # -- the failpoint -----------------------------------------------------------------------

    def point(self, name: str) -> None:
        """Be at the failpoint *name*: a concurrent duplicate acts right here."""
        self.hits[name] += 1
        if self.actor == "duplicate" and not self._inside:
            self._inside = True
            try:
                self.worker().execute()
            finally:
                self._inside = False

    def at(self, name: str) -> Callable[[], None]:
        """Return what is `point`, to be planned."""
        return lambda: self.point(name)

    def die(self, name: str) -> Callable[[], None]:
        """Return what is `point` and loses the process, to be planned."""

        def die() -> None:
            self.point(name)
            raise ProcessLost(name)

        return die

    def drive(self, there: Callable[[Run], bool]) -> None:
        """Let the first process carry the run on until it is *there*."""
        for _ in range(_MOST_TURNS):
            if there(self.run):
                return
            self.first.execute()
        raise AssertionError(f"the run does not get there: {self.run}")

    def until(self, wanted: Callable[[Any], bool]) -> Invocation:
        """Return an invocation of the first process that stands at the request *wanted*."""
        invocation = self.first.invoke()
        invocation.until(lambda request: bool(wanted(request)))
        return invocation

    # -- whoever acts next -------------------------------------------------------------------

    def signal(self, signal_id: str = "s1") -> bool:
        """Send the signal that flows wait for here; return whether it was accepted."""
        return self.stage.outside.send(_RUN, signal_id, "go", 7)

    def turn(self) -> Outcome | None:
        """Let the next actor act once; return what an invocation of it came to, if there was one.

        Where there is no run they look for one in vain.
        """
        return self._turn(self.look())

    def _turn(self, found: Loaded | None) -> Outcome | None:
        if self.actor == "retry":
            outcome = self.first.execute()
            again = None if found is None else self.look()
            if found is not None and again is not None and again.run.version == found.run.version:
                self._let_wake(again)
            return outcome
        if found is not None:
            self._let_wake(found)
        if self.actor == "lease":
            return self.worker().execute()
        if self.actor == "duplicate":
            return self._two_at_once()
        return self._swept()

    def _two_at_once(self) -> Outcome | None:
        pair = [(worker, worker.invoke()) for worker in (self.worker(), self.worker())]
        alternate(pair)
        return pair[0][1].outcome or pair[1][1].outcome

    def _swept(self) -> Outcome | None:
        due = [each for each in self.storage.due(100, None, HOLD) if each == _RUN]
        if not due:
            self.let_pass(HOLD + 1)
            return None
        return self.worker().execute()

    def carry_on(self) -> None:
        """Let the next actor act until the run has ended, or is quarantined."""
        for _ in range(_MOST_TURNS):
            found = _there(self.look())
            if found.run.status in {*ENDED_STATUSES, Status.QUARANTINED, Status.PURGED}:
                return
            self._turn(found)
        raise AssertionError(f"the run is stranded: {self.run}")

    def refused(self, act: Callable[[], object]) -> bool:
        """Tell whether *act* is refused because the run has ended."""
        try:
            act()
        except RunStatusWrong:
            return True
        return False


def alternate(several: Sequence[tuple[Worker, Invocation]]) -> None:
    """Carry *several* invocations to their ends, one request each in turn."""
    going = list(several)
    while going:
        going = [(worker, each) for worker, each in going if worker.advance(each)]


def _there(loaded: Loaded | None) -> Loaded:
    assert loaded is not None, "the run is gone"
    return loaded

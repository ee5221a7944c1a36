"""A campaign of kills: runs proceed, workers die, and at the end everything must be there.

Half of the kills are aimed: the campaign reads the effects log and kills a process that has just
said that a tool starts. The others hit at a random moment. What must hold afterwards is said by
`history_check`.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from sequential._model import OPEN_STATUSES, Status
from sequential.errors import OutcomeUnknown, StorageUnavailable
from tests.acceptance.effects import Line, Tail, read
from tests.acceptance.history_check import Checker, Findings, Told, where_hit
from tests.acceptance.kill_flows import FLOWS
from tests.acceptance.nursery import House, Nursery, Order
from tests.acceptance.watcher import Watcher

_ENDINGS = "Error|Exception|Exit|Unavailable|Unknown|Refused"  # of names of exceptions

T = TypeVar("T")
PAUSES = ("budget", "every-step", "when-waiting")


@dataclass(frozen=True, slots=True)
class Plan:
    """How many of what.

    Attributes:
        kills: Processes killed with SIGKILL.
        freezes: Processes stopped past their leases, and let go on.
        open_runs: Runs kept open while there are kills left.
        processes: Workers alive at a time.
        aimed: Share of kills that follow the start of a tool.
        seconds: The campaign has failed if it is not over by then.
        seed: Of the killer's choices; the processes have their own mind.
    """

    kills: int
    freezes: int = 0
    open_runs: int = 60
    processes: int = 3
    aimed: float = 0.6
    seconds: float = 85.0
    seed: int = 1


@dataclass
class Report:
    """What came of it."""

    title: str
    seconds: float
    looks: int
    quarantined: int
    exits: list[int]
    found: Findings
    lines: list[Line]
    told: Told
    violations: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return len(self.told.killed)

    @property
    def freezes(self) -> int:
        return len(self.told.frozen)

    @property
    def hits(self) -> Counter[str]:
        """Kills by what the process was at."""
        return where_hit(self.lines, self.told.killed, self.found.recorded)

    @property
    def between(self) -> int:
        """Kills between the start of a tool and the commit of its result."""
        return self.hits["tool running"] + self.hits["effect done, not recorded"]

    def __str__(self) -> str:
        found = self.found
        share = self.between / max(1, self.kills)
        lines = [
            f"{self.title}: {self.kills} kills, {self.freezes} freezes, {self.seconds:.1f} s",
            f"{found.runs} runs ({found.purged} purged), {found.steps} records",
            f"{self.looks} looks at all of them, {len(self.violations)} violations",
            f"{self.between} kills ({share:.0%}) between a tool's start and its commit",
            *bars(self.hits),
            f"{found.executions} executions, {found.extra} of them extra, because",
            *bars(found.causes),
        ]
        return "\n".join(lines)


def bars(counts: Counter[str]) -> list[str]:
    """Draw *counts* as lines, the greatest first."""
    width = max(map(len, counts), default=0)
    whole = max(1, counts.total())
    return [
        f"  {name:<{width}} {count:5} {'#' * round(60 * count / whole)}"
        for name, count in counts.most_common()
    ]


class Campaign:
    """Carries out *plan* in *house*. What is struck and how is a subclass's."""

    def __init__(self, plan: Plan, house: House) -> None:
        self.plan = plan
        self.house = house
        self.random = random.Random(plan.seed)
        self.frozen: dict[int, float] = {}
        self.stopped: set[int] = set()
        self.ordered = 0
        self.started: list[str] = []
        self.purged: set[str] = set()

    def run(self) -> Report:
        """Start, strike, wait for the end, and check."""
        begun = time.monotonic()
        self.until = begun + self.plan.seconds
        with self.house.open() as app, Nursery(self.house) as nursery:
            self.app, self.nursery, self.tail = app, nursery, Tail(self.house.log)
            with Watcher(self.house.book) as watcher:
                self.feed()
                self.strike()
                self.settle()
                exits = nursery.end_all()
            self.tail.close()
            return self._report(time.monotonic() - begun, watcher, exits)

    def strike(self) -> None:
        """Kill as many as the plan says."""
        raise NotImplementedError

    # -- runs --------------------------------------------------------------------------------

    def feed(self) -> None:
        """Keep as many runs open as the plan says."""
        for _ in range(self.plan.open_runs - self._open()):
            self.begin(self.order(FLOWS[self.ordered % len(FLOWS)]))

    def order(self, flow: str, **more: object) -> Order:
        """Return the order to start one more run of *flow*."""
        self.ordered += 1
        run_id = f"{flow}-{self.ordered}"
        self.started.append(run_id)
        return Order(flow=flow, run_id=run_id, number=self.ordered, **more)  # type: ignore[arg-type]

    def begin(self, order: Order) -> None:
        """Start the run of *order* if it is not there."""
        self.ask(lambda: order.begin(self.app))

    def ask(self, work: Callable[[], T]) -> T:
        """Return what *work* returns; a server that does not answer is asked again."""
        while True:
            try:
                return work()
            except (StorageUnavailable, OutcomeUnknown):
                if not self.house.server or time.monotonic() > self.until:
                    raise

    def _open(self) -> int:
        return self._count(*OPEN_STATUSES)

    def _count(self, *statuses: Status) -> int:
        return len(self.ask(lambda: self.app.find(status=statuses, limit=1000)).runs)

    def settle(self) -> None:
        """Wait until every run has ended, with everybody awake."""
        for pid in list(self.frozen):
            self.thaw(pid)
        while self._open():
            self.in_time()
            time.sleep(0.05)

    def in_time(self) -> None:
        """Fail if the campaign takes longer than planned."""
        said = f"{len(self.nursery.killed)} kills in time, {self._open()} runs have not ended"
        assert time.monotonic() < self.until, said

    # -- processes ---------------------------------------------------------------------------

    def fork(self) -> None:
        """Send out a worker of any kind."""
        self.nursery.worker(self.random.choice(PAUSES), self.random.choice((1, 3)))

    def freeze(self, pid: int) -> None:
        """Stop *pid*, until some time after its leases have run out."""
        self.nursery.freeze(pid)
        self.stopped.add(pid)
        self.frozen[pid] = time.monotonic() + self.house.lease * self.random.uniform(1.2, 3.0)

    def thaw(self, pid: int) -> None:
        """Let *pid* go on."""
        del self.frozen[pid]
        self.nursery.thaw(pid)

    # -- the end -----------------------------------------------------------------------------

    def _report(self, seconds: float, watcher: Watcher, exits: list[int]) -> Report:
        lines = read(self.house.log)
        told = Told(self.nursery.killed, self.stopped, self.started, self.purged)
        found = Checker(self.house.book, lines, told).check()
        quarantined = self._count(Status.QUARANTINED)
        violations = [*found.violations, *watcher.violations]
        title = f"{type(self).__name__}, seed {self.plan.seed}"
        return Report(
            title, seconds, watcher.looks, quarantined, exits, found, lines, told, violations
        )


class RandomKills(Campaign):
    """Kills at random moments, most of them while a tool runs; freezes some processes instead."""

    def strike(self) -> None:
        for _ in range(self.plan.processes):
            self.fork()
        fed = 0
        while len(self.nursery.killed) < self.plan.kills:
            self.strike_once()
            fed += 1
            # Who stands still may hold the only write lock, and nobody but this thread thaws it.
            if fed >= 10 and not self.frozen:
                self.in_time()
                self.feed()
                fed = 0

    def strike_once(self) -> None:
        """Kill or freeze somebody, and send out another."""
        pid = self._aim() if self.random.random() < self.plan.aimed else self._choose()
        for cold in [cold for cold, end in self.frozen.items() if time.monotonic() > end]:
            self.thaw(cold)
        if pid in self.frozen:
            return
        froze = len(self.stopped)
        due = self.plan.freezes * len(self.nursery.killed) >= self.plan.kills * froze
        # One is stopped once, so that pids count freezes.
        if froze < self.plan.freezes and due and pid not in self.stopped:
            self.freeze(pid)
        else:
            self.nursery.kill(pid)
        self.fork()

    def _choose(self) -> int:
        """Return any process, after any while."""
        time.sleep(self.random.uniform(0.0, 0.1))
        return self.random.choice(sorted(self.nursery.alive))

    def _aim(self) -> int:
        """Return a process that was in a tool up to some milliseconds ago."""
        self.tail.new()
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            fresh = [line.pid for line in self.tail.new() if line.kind in {"start", "effect"}]
            hot = [pid for pid in fresh if pid in self.nursery.alive and pid not in self.frozen]
            if hot:
                time.sleep(self.random.uniform(0.0, 0.01))
                return hot[-1]
            time.sleep(0.0005)
        return self._choose()


def conduct(campaign: Campaign) -> Report:
    """Carry out *campaign* and assert what every campaign must come to."""
    report = campaign.run()
    print(f"\n{report}")  # noqa: T201  (the figures are what `pytest -s` is run for)
    assert not report.violations, "\n".join(report.violations[:20])
    assert report.kills >= campaign.plan.kills
    assert report.freezes == campaign.plan.freezes
    assert report.quarantined == 0
    assert report.exits == [0] * len(report.exits)
    assert report.looks > 1
    return report


def said_nothing(house: House, *broken: str) -> None:
    """Assert that no process of *house* failed in a way that it should not.

    Invocations may have broken off with those errors of ours that *broken* names.
    """
    head, *breaks = house.said.read_text(encoding="utf-8").split("the invocation broke off")
    assert "Traceback" not in head, head[-4000:]
    for text in breaks:
        raised = re.findall(rf"^[\w.]+(?:{_ENDINGS})\b", text, re.MULTILINE)
        assert raised[-1] in {f"sequential.errors.{name}" for name in broken}, text[-8000:]

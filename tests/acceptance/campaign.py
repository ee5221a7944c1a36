"""A campaign of kills: runs proceed, workers die, and at the end everything must be there.

Half of the kills are aimed: the campaign reads the effects log and kills a process that has just
said that a tool starts. The others hit at a random moment. What must hold afterwards is said by
`history_check`.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sequential._model import OPEN_STATUSES, Status
from sequential._storage import Query
from tests.acceptance.effects import Tail, read
from tests.acceptance.history_check import Checker, Findings, Watcher, where_hit
from tests.acceptance.kill_flows import FLOWS
from tests.acceptance.nursery import House, Nursery

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

    seconds: float
    kills: int
    freezes: int
    looks: int
    quarantined: int
    exits: list[int]
    found: Findings
    hits: Counter[str]
    violations: list[str] = field(default_factory=list)

    @property
    def between(self) -> int:
        """Kills between the start of a tool and the commit of its result."""
        return self.hits["tool running"] + self.hits["effect done, not recorded"]

    def __str__(self) -> str:
        share = self.between / max(1, self.kills)
        found = self.found
        lines = [
            f"{self.kills} kills and {self.freezes} freezes in {self.seconds:.1f} s",
            f"{found.runs} runs, {found.steps} records, {self.looks} looks at all of them",
            f"{self.between} kills ({share:.0%}) between a tool's start and its commit",
            f"{found.executions} executions, {found.extra} extra, {found.losses} overtaken alive",
        ]
        width = max(map(len, self.hits), default=0)
        for place, count in self.hits.most_common():
            lines.append(f"  {place:<{width}} {count:5} {'#' * round(60 * count / self.kills)}")
        return "\n".join(lines)


class Campaign:
    """Carries out *plan* in *folder*."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.house = House(str(folder))
        self.random = random.Random(plan.seed)
        self.frozen: dict[int, float] = {}
        self.started = 0
        self.freezes = 0

    def run(self) -> Report:
        """Start, kill, wait for the end, and check."""
        begun = time.monotonic()
        self.until = begun + self.plan.seconds
        with self.house.open() as app, Nursery(self.house) as nursery:
            self.app, self.nursery, self.tail = app, nursery, Tail(self.house.log)
            with Watcher(self.house.database) as watcher:
                self._feed()
                for _ in range(self.plan.processes):
                    self._fork()
                self._strike()
                self._settle()
                exits = nursery.end_all()
            self.tail.close()
            return self._report(time.monotonic() - begun, watcher, exits)

    # -- runs --------------------------------------------------------------------------------

    def _open(self) -> int:
        return len(self.app.find(status=list(OPEN_STATUSES), limit=1000).runs)

    def _feed(self) -> None:
        """Keep as many runs open as the plan says."""
        for _ in range(self.plan.open_runs - self._open()):
            name = FLOWS[self.started % len(FLOWS)]
            run_id = f"{name}-{self.started}"
            self.app.start(name, {"number": self.started}, run_id=run_id)
            if name == "ask":
                # Early as often as late, and always twice.
                for _ in range(2):
                    self.app.signal(run_id, "go", f"signal-{self.started}", signal_id="only")
            self.started += 1

    def _settle(self) -> None:
        """Wait until every run has ended, with everybody awake."""
        for pid in list(self.frozen):
            self._thaw(pid)
        while self._open():
            assert time.monotonic() < self.until, f"{self._open()} runs have not ended in time"
            time.sleep(0.05)

    # -- processes ---------------------------------------------------------------------------

    def _fork(self) -> None:
        self.nursery.worker(self.random.choice(PAUSES), self.random.choice((1, 3)))

    def _strike(self) -> None:
        fed = 0
        while len(self.nursery.killed) < self.plan.kills:
            assert time.monotonic() < self.until, f"{len(self.nursery.killed)} kills in time"
            pid = self._aim() if self.random.random() < self.plan.aimed else self._choose()
            for cold in [cold for cold, end in self.frozen.items() if time.monotonic() > end]:
                self._thaw(cold)
            if pid in self.frozen:
                continue
            due = self.plan.freezes * len(self.nursery.killed) >= self.plan.kills * self.freezes
            if self.freezes < self.plan.freezes and due:
                self._freeze(pid)
            else:
                self.nursery.kill(pid)
            self._fork()
            fed += 1
            # Who stands still may hold the only write lock, and nobody but this thread thaws it.
            if fed >= 5 and not self.frozen:
                self._feed()
                fed = 0

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

    def _freeze(self, pid: int) -> None:
        self.nursery.freeze(pid)
        self.freezes += 1
        self.frozen[pid] = time.monotonic() + self.house.lease * self.random.uniform(1.2, 3.0)

    def _thaw(self, pid: int) -> None:
        del self.frozen[pid]
        self.nursery.thaw(pid)

    # -- the end -----------------------------------------------------------------------------

    def _report(self, seconds: float, watcher: Watcher, exits: list[int]) -> Report:
        lines, killed = read(self.house.log), self.nursery.killed
        found = Checker(self.app.storage, lines, killed).check()
        hits = where_hit(lines, killed, found.recorded)
        quarantined = len(
            self.app.storage.find(Query(statuses=(Status.QUARANTINED,), limit=1000)).runs
        )
        violations = [*found.violations, *watcher.violations]
        return Report(
            seconds, len(killed), self.freezes, watcher.looks, quarantined, exits, found, hits,
            violations,
        )  # fmt: skip


def conduct(plan: Plan, folder: Path) -> Report:
    """Carry out *plan* and assert what every campaign must come to."""
    report = Campaign(plan, folder).run()
    print(f"\n{report}")  # noqa: T201  (the figures are what `pytest -s` is run for)
    said = (folder / "stderr.txt").read_text(encoding="utf-8")
    assert not report.violations, "\n".join(report.violations[:20])
    assert "Traceback" not in said, said[-4000:]
    assert report.kills >= plan.kills
    assert report.freezes == plan.freezes
    assert report.quarantined == 0
    assert report.exits == [0] * len(report.exits)
    assert report.looks > 1
    return report

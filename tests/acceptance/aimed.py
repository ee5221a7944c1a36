"""Kills at named points: a process is told where to die before it begins to work.

Every point is hit as often as the plan says. Each process starts a run that comes by its point and
then works like any other; whoever does not come by in time is ended and another is sent. The runs
that the dead had to start are started again, as their clients would.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence

from sequential._model import Status
from tests.acceptance.campaign import Campaign, Plan, Report, conduct
from tests.acceptance.failpoints import ALWAYS, NEVER, POINTS, Point
from tests.acceptance.nursery import STOPPED, House, Order

_PATIENCE = 6.0
"""Seconds after which a process that did not come by its point is ended."""


class AimedKills(Campaign):
    """Kills *each* times at every one of *points*."""

    def __init__(
        self, plan: Plan, house: House, each: int, points: Sequence[Point] = POINTS
    ) -> None:
        super().__init__(plan, house)
        self.each = each
        self.points = points
        self.waiting = list(points) * each
        self.random.shuffle(self.waiting)
        self.out: dict[int, tuple[Point, Order, float]] = {}
        self.missed: Counter[str] = Counter()
        self.gone_on: list[int] = []

    def strike(self) -> None:
        fed = time.monotonic()
        while self.waiting or self.out:
            while self.waiting and len(self.out) < self.plan.processes:
                self._send_out(self.waiting.pop())
            for pid, code in self.nursery.ended().items():
                self._fell(pid, code)
            for pid, (_, _, until) in list(self.out.items()):
                if time.monotonic() > until:
                    self._fell(pid, self.nursery.end(pid))
            if time.monotonic() > fed + 0.25:
                self.in_time()
                self.feed()
                fed = time.monotonic()
            time.sleep(0.003)
        for _ in range(2):
            self.fork()

    def _send_out(self, point: Point, *, stops: bool = False) -> None:
        order = self.order(
            point.flow, pause=point.pause, concurrency=1, point=point.name, stops=stops,
            hit=self.random.randint(1, point.hits), purges=point.purges,
        )  # fmt: skip
        pid = self.nursery.send_out(order)
        self.out[pid] = point, order, time.monotonic() + _PATIENCE

    def _fell(self, pid: int, code: int) -> None:
        point, order, _ = self.out.pop(pid)
        if code == -signal.SIGKILL:
            self.nursery.killed.add(pid)
        else:
            assert code == 0, f"{pid} ended by itself at {point.name}: {code}"
            self.missed[point.name] += 1
            self.waiting.append(point)
        self.begin(order)
        if order.purges:
            self._purge(order.run_id)

    def _purge(self, run_id: str) -> None:
        """Purge what its purger left whole: it must be all there, or all gone."""
        self.purged.add(run_id)
        run = self.ask(lambda: self.app.get(run_id))
        if run.status is Status.COMPLETED:
            assert self.ask(lambda: self.app.purge(run_id))


class AimedStops(AimedKills):
    """Stops them there instead, past their leases, and lets them go on as if nothing had been.

    Many at a time, and nothing is written from here while one stands: it may hold the write lock.
    """

    def strike(self) -> None:
        for _ in range(2):  # who overtakes them
            self.fork()
        while self.waiting:
            for _ in range(min(len(self.waiting), self.plan.processes)):
                self._send_out(self.waiting.pop(), stops=True)
            orders = [order for _, order, _ in self.out.values()]
            stood = len(self.gone_on)
            while self.out or self.frozen:
                self._look()
                time.sleep(0.003)
            for pid in self.gone_on[stood:]:
                assert self.nursery.end(pid) == 0
            for order in orders:
                self.begin(order)
            self.in_time()
            self.feed()

    def _look(self) -> None:
        """Note who stands, let those go on whose time has come, end those who came not by."""
        for pid, code in self.nursery.ended().items():
            point = self.out.pop(pid)[0]
            if code == STOPPED:
                self.stopped.add(pid)
                wait = self.house.lease * self.random.uniform(1.2, 2.5)
                self.frozen[pid] = time.monotonic() + wait
            else:
                assert code == 0, f"{pid} ended by itself: {code}"
                self.missed[point.name] += 1
                self.waiting.append(point)
        for pid in [cold for cold, end in self.frozen.items() if time.monotonic() > end]:
            self.thaw(pid)
            self.gone_on.append(pid)
        if self.frozen:
            return
        for pid, (point, order, until) in list(self.out.items()):
            if time.monotonic() > until:
                # Not waited for: it may come by its point even now.
                os.kill(pid, signal.SIGTERM)
                self.out[pid] = point, order, math.inf


def conduct_stops(campaign: AimedStops) -> Report:
    """Carry out *campaign*; assert in addition that they stood at each point."""
    report = conduct(campaign)
    lost = {line.pid for line in report.lines if line.kind == "lost"}
    stood = {line.pid: line.token for line in report.lines if line.kind == "stood"}
    stops = Counter(stood.values())
    overtaken = Counter(name for pid, name in stood.items() if pid in lost)
    rows = [
        f"  {point.name:<20} {point.row:<8} {stops[point.name]:>5} {overtaken[point.name]:>9}"
        for point in campaign.points
    ]
    print("\n".join([f"  {'point':<20} {'row':<8} stops overtaken", *rows]))  # noqa: T201
    assert all(stops[point.name] >= campaign.each for point in campaign.points)
    return report


def conduct_aimed(campaign: AimedKills) -> Report:
    """Carry out *campaign*; assert in addition what must come of each point."""
    report = conduct(campaign)
    kills, again = _deaths(report)
    print(_table(campaign, kills, again))  # noqa: T201  (as the report)
    assert not judge(campaign.points, campaign.each, kills, again)
    return report


def judge(
    points: Sequence[Point], each: int, kills: Counter[str], again: Counter[str]
) -> list[str]:
    """Say where too few died, or a tool was executed again too often or not at all."""
    wrong = []
    for point in points:
        died, executed = kills[point.name], again[point.name]
        if died < each:
            wrong.append(f"{died} died at {point.name}")
        if executed > (0 if point.again == NEVER else died):
            wrong.append(f"{executed} executions again for {died} deaths at {point.name}")
        if point.again == ALWAYS and executed < died:
            wrong.append(f"only {executed} executions again for {died} deaths at {point.name}")
    return wrong


def _deaths(report: Report) -> tuple[Counter[str], Counter[str]]:
    """Count the deaths at each point, and the executions that each made necessary."""
    died = {line.pid: line.token for line in report.lines if line.kind == "died"}
    kills = Counter(died[pid] for pid in report.told.killed if pid in died)
    causes = report.found.causes
    return kills, Counter({name: causes[f"killed at {name}"] for name in kills})


def _table(campaign: AimedKills, kills: Counter[str], again: Counter[str]) -> str:
    """Say for each point how often it was hit, and what came of it."""
    rows = [("point", "row", "kills", "executed again", "must be", "missed")]
    rows += [
        (point.name, point.row, str(kills[point.name]), str(again[point.name]), point.again,
         str(campaign.missed[point.name]))
        for point in campaign.points
    ]  # fmt: skip
    return "\n".join(
        f"  {name:<20} {row:<8} {dead:>5} {more:>14}  {must:<8} {missed:>6}"
        for name, row, dead, more, must, missed in rows
    )

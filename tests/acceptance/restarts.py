"""A campaign of kills in which the server dies too, again and again, without a word."""

from __future__ import annotations

import time
from collections import Counter
from typing import Protocol

from tests.acceptance.campaign import Plan, RandomKills, Report, conduct, said_nothing
from tests.acceptance.nursery import House

_ASKED = 3.0  # seconds
_UNANSWERED = {"OutcomeUnknown", "StorageUnavailable"}


class Server(Protocol):
    """What keeps on disk what it confirms, and can be killed."""

    def kill(self) -> None:
        """End it at whatever instruction it is."""

    def start(self) -> None:
        """Start it on what it has on disk."""


class Restarts(RandomKills):
    """Random kills, while the server too is killed, *restarts* times, and started again."""

    def __init__(self, plan: Plan, house: House, server: Server, restarts: int) -> None:
        super().__init__(plan, house)
        self.server = server
        self.restarts = restarts
        self.restarted = 0

    def strike_once(self) -> None:
        super().strike_once()
        if self.restarted * self.plan.kills < len(self.nursery.killed) * self.restarts:
            self._restart()

    def _restart(self) -> None:
        self.server.kill()
        # Who dies or is sent out meanwhile has no storage.
        pid = self._choose()
        if pid not in self.frozen:
            self.nursery.kill(pid)
            self.fork()
        self._wait_for_a_refusal()
        self.server.start()
        self.restarted += 1

    def _wait_for_a_refusal(self) -> None:
        """Let somebody ask the server that is gone, for some seconds at most."""
        before, end = self._refusals(), time.monotonic() + _ASKED
        while self._refusals() == before and time.monotonic() < end:
            time.sleep(0.02)

    def _refusals(self) -> int:
        return self.house.log.read_bytes().count(b"refused ")


def conduct_restarts(campaign: Restarts) -> Report:
    """Carry out *campaign*; assert in addition that the server died as often as planned."""
    report = conduct(campaign)
    refused = Counter(line.token for line in report.lines if line.kind == "refused")
    print(f"  {campaign.restarted} restarts; workers were answered {dict(refused)}")  # noqa: T201
    assert campaign.restarted >= campaign.restarts
    assert set(refused) <= _UNANSWERED
    # A server that dies while nobody asks it proves nothing.
    assert refused
    said_nothing(campaign.house, *_UNANSWERED)
    return report

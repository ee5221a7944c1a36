"""A queue that loses, doubles, delays and mixes up messages, and lets others in; all by a seed."""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sequential.storage import Clock
from sequential_sqs.queue import Outgoing, Received
from tests.sqs.memory_queue import Kept, MemoryQueue

HALF_A_MONTH = 15 * 86_400
COPIES = 5
MALFORMED = (
    "",
    "null",
    "[" * 900,
    '{"v":2,"f":"r1"}',
    '{"v":1,"f":"r1","state":{"cursor":9}}',
    '{"v":1,"f":"../r1"}',
    '{"Records":[{"eventSource":"aws:s3"}]}',
    "x" * 2000,
)


class HostileQueue(MemoryQueue):
    """Half of the messages are lost; the rest arrive five times, in any order, some weeks late.

    One delivery in ten is of a message that nobody sent.
    """

    def __init__(self, clock: Clock, chance: random.Random) -> None:
        super().__init__(clock, dead=True)
        self.chance = chance
        self.waiting: list[tuple[float, str]] = []
        self.ready: list[str] = []
        self.lost = 0
        self.kept = 0
        self.strangers = 0
        self.delivered_ones = 0

    def send(self, batch: Sequence[Outgoing]) -> Mapping[int, str]:
        for outgoing in batch:
            if self.chance.random() < 0.5:
                self.lost += 1
                continue
            self.kept += 1
            for _ in range(COPIES):
                self.put(replace(outgoing, delay=outgoing.delay + self._late()))
        return {}

    def _late(self) -> int:
        kind = self.chance.random()
        if kind < 0.05:
            return HALF_A_MONTH
        return self.chance.randrange(90) if kind < 0.3 else 0

    def receive(self, limit: int) -> Sequence[Received]:
        taken: list[Kept] = []
        while len(taken) < limit and self.look():
            if self.chance.random() < 0.1:
                self.strangers += 1
                name = self.put(self.chance.choice(MALFORMED))
            else:
                name = self._any()
            taken.append(self.messages[name])
        self.delivered_ones += len(taken)
        return [self.delivered(kept) for kept in taken]

    def look(self) -> bool:
        """Tell whether anything can be received now."""
        while self.waiting and self.waiting[0][0] <= self.clock.now():
            moment, name = heapq.heappop(self.waiting)
            kept = self.messages.get(name)
            if kept is not None and kept.visible == moment:
                self.ready.append(name)
        return bool(self.ready)

    def next_moment(self) -> float | None:
        """Return when something can be received, now or later."""
        return self.clock.now() if self.look() else next((at for at, _ in self.waiting), None)

    def _any(self) -> str:
        """Take one of those that can be received: no order means anything."""
        place = self.chance.randrange(len(self.ready))
        self.ready[place], self.ready[-1] = self.ready[-1], self.ready[place]
        return self.ready.pop()

    # -- whatever changes when a message can be received

    def put(self, outgoing: Outgoing | str) -> str:
        name = super().put(outgoing)
        if isinstance(outgoing, Outgoing):
            heapq.heappush(self.waiting, (self.messages[name].visible, name))
        return name

    def delivered(self, kept: Kept) -> Received:
        received = super().delivered(kept)
        heapq.heappush(self.waiting, (kept.visible, kept.message_id))
        return received

    def put_off(self, receipts: Sequence[str], seconds: int) -> None:
        super().put_off(receipts, seconds)
        for receipt in receipts:
            if (kept := self.found(receipt)) is not None:
                heapq.heappush(self.waiting, (kept.visible, kept.message_id))

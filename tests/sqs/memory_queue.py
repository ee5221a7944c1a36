"""A queue in memory that keeps SQS's rules by the clock it is given, and says what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sequential.storage import Clock
from sequential_sqs.queue import Outgoing, QueueFailed, Received


@dataclass
class Kept:
    message_id: str
    outgoing: Outgoing
    visible: float
    receives: int = 0
    receipt: str = ""


@dataclass
class Deed:
    """Something that was asked of the queue."""

    what: str
    message_id: str
    seconds: float = 0.0


@dataclass
class MemoryQueue:
    """Keeps messages; *failing* names the methods that find no server."""

    clock: Clock
    visibility: int = 60
    dead: bool = False
    failing: set[str] = field(default_factory=set)
    messages: dict[str, Kept] = field(default_factory=dict)
    set_aside_ones: list[tuple[str, str]] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    sent: list[Sequence[Outgoing]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.news = threading.Condition(self.lock)
        self.made = 0

    # -- the contract

    def send(self, batch: Sequence[Outgoing]) -> Mapping[int, str]:
        self._ask("send")
        assert 0 < len(batch) <= 10
        with self.news:
            self.sent.append(batch)
            for outgoing in batch:
                self.put(outgoing)
            self.news.notify_all()
        return {}

    def receive(self, limit: int) -> Sequence[Received]:
        self._ask("receive")
        with self.news:
            # Woken by what is sent; the rest is the clock's, which stands still meanwhile.
            self.news.wait_for(self.visible, 0.01)
            return [self.delivered(kept) for kept in self.visible()[:limit]]

    def delete(self, receipt: str) -> None:
        self._ask("delete")
        with self.lock:
            if (kept := self.found(receipt)) is not None:
                del self.messages[kept.message_id]
                self.deeds.append(Deed("delete", kept.message_id))

    def put_off(self, receipts: Sequence[str], seconds: int) -> None:
        self._ask("put_off")
        assert receipts
        assert 0 <= seconds <= 43_200
        with self.news:
            for receipt in receipts:
                if (kept := self.found(receipt)) is not None:
                    kept.visible = self.clock.now() + seconds
                    self.deeds.append(Deed("put_off", kept.message_id, seconds))
            self.news.notify_all()

    def set_aside(self, received: Received, reason: str) -> bool:
        self._ask("set_aside")
        if self.dead:
            self.set_aside_ones.append((received.body, reason))
        return self.dead

    # -- for tests

    def put(self, outgoing: Outgoing | str) -> str:
        """Keep a message, and return what it is called."""
        message = Outgoing(outgoing) if isinstance(outgoing, str) else outgoing
        self.made += 1
        name = f"m{self.made}"
        self.messages[name] = Kept(name, message, self.clock.now() + message.delay)
        return name

    def visible(self) -> list[Kept]:
        now = self.clock.now()
        return [kept for kept in self.messages.values() if kept.visible <= now]

    def delivered(self, kept: Kept) -> Received:
        kept.receives += 1
        kept.receipt = f"{kept.message_id}/{kept.receives}"
        kept.visible = self.clock.now() + self.visibility
        trace = kept.outgoing.attributes
        return Received(kept.message_id, kept.receipt, kept.outgoing.body, kept.receives, trace)

    def found(self, receipt: str) -> Kept | None:
        name, _, _ = receipt.partition("/")
        kept = self.messages.get(name)
        return kept if kept is not None and kept.receipt == receipt else None

    def did(self, what: str) -> list[Deed]:
        return [deed for deed in self.deeds if deed.what == what]

    def _ask(self, what: str) -> None:
        if what in self.failing:
            raise QueueFailed(f"sqs://memory: {what} found no server")

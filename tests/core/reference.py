"""What a run must become, written from the protocol's table of transitions and nothing else.

Small and slow on purpose, with plain numbers: no line and no constant comes from `_protocol`. A
method returns whether the transition is allowed, and then has made it. Records and storages are
not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

LEASE = 60.0
MAX_STALLS = 2
LONGEST_BACKOFF = 300.0
BLOCKED_FIRST, BLOCKED_LONGEST = 60.0, 3600.0
RETENTION = 7 * 86_400.0
TOMBSTONE = 30 * 86_400.0

ENDED = ("completed", "failed", "cancelled")


def backoff(stalls: int) -> float:
    """Return the wait after that many claims without progress."""
    return min(2.0**stalls, LONGEST_BACKOFF) if stalls else 0.0


@dataclass
class Reference:
    """One run as it must be. *records* are pairs of position and how the step ended."""

    parent: bool = False
    status: str = "paused"
    generation: int = 0
    fence: int = 0
    owner: str = ""
    wake: float | None = None
    stalls: int = 0
    records: list[tuple[str, str]] = field(default_factory=list)
    inbox: list[tuple[str, str]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    reason: str = ""
    tries: int = 0
    notice: bool = False
    failed_at: str = ""
    ended: float = 0.0

    @property
    def is_open(self) -> bool:
        return self.status in {"paused", "running"}

    def is_held(self, generation: int, fence: int, owner: str, cursor: int) -> bool:
        """Tell whether the invocation that knows these still has the run."""
        mine = (self.generation, self.fence, self.owner, len(self.records))
        return self.status == "running" and mine == (generation, fence, owner, cursor)

    # -- anybody -----------------------------------------------------------------------------

    def claim(self, now: float, owner: str) -> bool:
        if not self.is_open or self.wake is None or self.wake > now:
            return False
        if self.stalls >= MAX_STALLS:
            self.status, self.wake, self.owner = "quarantined", None, ""
        else:
            self.wake = now + LEASE + backoff(self.stalls)
            self.status, self.owner = "running", owner
            self.fence += 1
            self.stalls += 1
        return True

    def message(self, sent: str, name: str, now: float) -> bool:
        known = sent in self.seen or any(sent == other for other, _ in self.inbox)
        if known or self.status in {*ENDED, "purged"}:
            return False
        self.inbox.append((sent, name))
        # Who is due stays due since then.
        if self.status == "paused" and not (self.wake is not None and self.wake <= now):
            self.wake = now
        return True

    def terminate(self, now: float) -> bool:
        if not self.is_open and self.status != "quarantined":
            return False
        self.end("cancelled", now)
        self.fence += 1
        return True

    def redrive(self, now: float) -> bool:
        if self.status == "quarantined":
            self.status, self.stalls = "paused", 0
            self.fence += 1
        elif self.status != "paused" or not self.reason:
            return False
        self.wake = now
        return True

    def kept(self) -> int:
        """Return how many records a retry keeps: those before the one that failed the run."""
        wanted = {"cancelled": "cancelled"}.get(self.status)
        for number, (position, outcome) in enumerate(self.records):
            failing = self.status == "failed" and position == self.failed_at
            if outcome == wanted or failing:
                return number
        if self.status == "failed" and self.records and self.records[-1][1] != "value":
            return len(self.records) - 1
        return len(self.records)

    def retry(self, now: float) -> bool:
        if self.status not in {"failed", "cancelled", "quarantined"}:
            return False
        self.records = self.records[: self.kept()]
        self.fence += 1
        self._over_again(now)
        self.notice, self.failed_at = False, ""
        return True

    def notice_sent(self, now: float) -> bool:
        if not self.notice:
            return False
        self.notice, self.wake = False, now + RETENTION
        return True

    def purge(self) -> bool:
        """Make a tombstone of an ended run; the tombstone itself is removed by the caller."""
        if self.status not in ENDED:
            return False
        self.status, self.owner, self.wake = "purged", "", self.ended + TOMBSTONE
        self.records, self.inbox, self.seen, self.notice = [], [], [], False
        return True

    # -- whoever holds the run ---------------------------------------------------------------

    def gain(self, records: list[tuple[str, str]], taken: str | None) -> None:
        self.records += records
        self.reason, self.tries = "", 0
        if records:
            self.stalls = 0
        if taken is not None:
            self.inbox = [each for each in self.inbox if each[0] != taken]
            self.seen.append(taken)

    def keep(self, now: float) -> None:
        assert self.wake is not None
        if self.wake - now < LEASE * 2 / 3:
            self.wake = now + LEASE

    def renew(self, now: float) -> None:
        self.wake = now + LEASE

    def park(self, wake: float | None, known: set[str], now: float) -> None:
        self.status, self.owner, self.stalls = "paused", "", 0
        self.wake = now if any(sent not in known for sent, _ in self.inbox) else wake

    def release(self, now: float) -> None:
        self.status, self.owner, self.wake = "paused", "", now
        self.stalls = max(0, self.stalls - 1)

    def give_up(self, now: float) -> None:
        self.status, self.owner, self.wake = "paused", "", now + backoff(self.stalls)

    def block(self, reason: str, now: float) -> None:
        self.tries = self.tries + 1 if self.reason == reason else 1
        self.reason = reason
        self.release(now)
        self.wake = now + min(BLOCKED_FIRST * 2 ** (self.tries - 1), BLOCKED_LONGEST)

    def end(self, status: str, now: float, failed_at: str = "") -> None:
        self.status, self.owner, self.stalls, self.ended = status, "", 0, now
        self.reason, self.tries, self.failed_at = "", 0, failed_at
        self.seen += [sent for sent, name in self.inbox if name == "$cancel"]
        self.inbox = [each for each in self.inbox if each[1] != "$cancel"]
        self.notice = self.parent
        self.wake = now if self.parent else now + RETENTION

    def continue_as_new(self, now: float) -> None:
        self.records = []
        self._over_again(now)

    def _over_again(self, now: float) -> None:
        self.generation += 1
        self.status, self.owner, self.wake, self.stalls = "paused", "", now, 0
        self.reason, self.tries = "", 0

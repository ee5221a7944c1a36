"""The record that an invocation holds: claimed, committed to, settled when an answer was lost.

Every commit of the runner goes through `Holding.commit`: a pure change of the record, sent again
on top of what others added meanwhile, and never sent twice. Which change is made, and why, is not
known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ._model import Message, Run, Status, StepRecord, evolve
from ._protocol import claim, is_mine
from ._requests import Commit, Engine, Load, Requests, Wait, World
from ._storage import STALE, Loaded
from .errors import LeaseLost, OutcomeUnknown, StorageError, StorageUnavailable

PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between tries while the storage cannot be reached or does not confirm; then it fails."""

_MOMENT = 0.05
"""Seconds that an invocation waits for more messages, where they come one after another."""


class Claim(NamedTuple):
    """Whether the run was taken, and what was read again on the way."""

    held: bool
    reread: Loaded | None


class Holding:
    """The record as this invocation knows it.

    Attributes:
        run: The record, as of the last answer of the storage.
        known: Ids of the messages that the invocation has looked at.
        gained: Records added, and children begun, since the claim.
        beside: Makes, of the record, the one to commit to: what the flow has said meanwhile.
        way: Adds to a record with steps of the flow which way it goes: without any, other code may
            still go another.
        newest: The ``op_id`` of the newest step record, empty if there is none. Where it stands, so
            does the whole history before it.
    """

    def __init__(self, engine: Engine, world: World, run: Run) -> None:
        self.engine = engine
        self.world = world
        self.run = run
        self.known: frozenset[str] = frozenset()
        self.gained = 0
        self.newest = ""
        self.beside: Callable[[Run], Run] = lambda run: run
        self.way: Callable[[Run], Run] = lambda run: run
        self._looked: tuple[Message, ...] = ()
        self._indexed: tuple[Message, ...] = ()
        self._named: dict[str, list[Message]] = {}

    def first(self, name: str) -> Message | None:
        """Return the oldest message *name* in the inbox, or None."""
        return next(iter(self.named(name)), None)

    def named(self, name: str) -> Sequence[Message]:
        """Return the messages *name* in the inbox, oldest first."""
        if not self.run.inbox:
            return ()
        if self._indexed is not self.run.inbox:
            # Thousands may be there, and be asked for one after the other.
            self._indexed, self._named = self.run.inbox, {}
            for message in self._indexed:
                self._named.setdefault(message.name, []).append(message)
        return self._named.get(name, ())

    def look(self) -> None:
        """Remember which messages have been looked at, before deciding to wait."""
        if self.run.inbox is not self._looked:
            self.known = frozenset([message.id for message in self.run.inbox])
            self._looked = self.run.inbox

    def has_news(self) -> bool:
        """Tell whether messages are there that have not been looked at."""
        inbox = self.run.inbox
        return inbox is not self._looked and any(each.id not in self.known for each in inbox)

    def claim(self, after: int) -> Requests[Claim]:
        """Try to take the run; `self.run` is then the stored record: claimed, or as it stands.

        When an answer is lost or stale, the record is read again, with its steps numbered from
        *after*: what the caller read before is then not to be trusted.
        """
        owner, op_id = self.world.token(), self.world.token()
        again: Loaded | None = None
        pauses = iter(PAUSES)
        while True:
            wanted = claim(self.run, self.world.now(), owner, self.engine.terms)
            if wanted is None:
                return Claim(False, again)
            try:
                answer = yield Commit(evolve(wanted, op_id=op_id), self.run, ())
            except (OutcomeUnknown, StorageUnavailable) as error:
                yield from pause(pauses, error)
            else:
                if answer is not STALE:
                    self.run = answer
                    return Claim(answer.owner == owner, again)
            again = yield from self._reload(after)
            self.run = again.run
            if self.run.owner == owner or self.run.op_id == op_id:
                return Claim(self.run.owner == owner, again)

    def commit(
        self,
        change: Callable[[Run], Run],
        op_id: str | None = None,
        records: Sequence[StepRecord] = (),
    ) -> Requests[None]:
        """Commit *change* and append *records*, once, whatever becomes of the answers.

        When somebody else's commit came between (a signal, a renewal), the same pure change is
        applied to the newer record, as long as the claim and the cursor still stand.

        Raises:
            LeaseLost: Another invocation has the run. Nothing of this commit was written, or it
                was written and the run went on from it.
            StorageError: The storage could not be reached, or refused.
        """
        op_id = op_id or self.world.token()
        held, unknown = self.run, False
        pauses = iter(PAUSES)
        while True:
            wanted = change(self.beside(self.run))
            wanted = evolve(self.way(wanted) if records or wanted.open else wanted, op_id=op_id)
            try:
                answer = yield Commit(wanted, self.run, records)
            except StorageUnavailable as error:
                yield from pause(pauses, error)
                continue
            except OutcomeUnknown as error:
                unknown = True
                yield from pause(pauses, error)
            else:
                if answer is not STALE:
                    return self._stored(answer, records)
            found = yield from self._reload(held.cursor)
            if unknown and _applied(found, op_id):
                return self._adopt(found.run, wanted, records)
            if not is_mine(found.run, held):
                raise LeaseLost(held.run_id)
            self.run = found.run

    def gather(self) -> Requests[None]:
        """Wait a moment for messages, and read the record again: one by one each costs a commit.

        Raises:
            LeaseLost: Another invocation has the run.
        """
        yield Wait(_MOMENT)
        yield from self.refresh()

    def refresh(self) -> Requests[None]:
        """Read the record again, for messages that came meanwhile, if the storage answers.

        Raises:
            LeaseLost: Another invocation has the run.
        """
        try:
            found: Loaded | None = yield Load(self.run.run_id, self.run.cursor)
        except StorageUnavailable:
            return
        if found is None or not is_mine(found.run, self.run):
            raise LeaseLost(self.run.run_id)
        if found.run.version > self.run.version:
            self.run = found.run

    def _stored(self, run: Run, records: Sequence[StepRecord]) -> None:
        self.run = run
        self.gained += len(records)
        if records:
            self.newest = records[-1].op_id

    def _adopt(self, found: Run, wanted: Run, records: Sequence[StepRecord]) -> None:
        # The commit was applied. If the run went on from it, nothing here stands where the record
        # stands any more: neither the claim, nor the flow, which may be kept in memory.
        there = (found.generation, found.fence, found.cursor)
        stands = there == (wanted.generation, wanted.fence, wanted.cursor)
        if not stands or (wanted.status is Status.RUNNING and found.owner != wanted.owner):
            raise LeaseLost(found.run_id)
        self._stored(found, records)

    def _reload(self, after: int) -> Requests[Loaded]:
        pauses = iter(PAUSES)
        while True:
            try:
                found: Loaded | None = yield Load(self.run.run_id, after)
            except StorageUnavailable as error:
                yield from pause(pauses, error)
                continue
            if found is None or found.run.status is Status.PURGED:
                raise LeaseLost(self.run.run_id)
            return found


def _applied(found: Loaded, op_id: str) -> bool:
    # A run-level id is not enough: a signal may have overwritten it since. The steps keep theirs.
    return found.run.op_id == op_id or any(step.op_id == op_id for step in found.steps)


def pause(pauses: Iterator[float], error: StorageError) -> Requests[None]:
    """Wait before another try; raise *error*, the storage's own, when the tries are used up."""
    seconds = next(pauses, None)
    if seconds is None:
        raise error
    yield Wait(seconds)

"""S3Storage: the storage contract in one bucket.

Every change of a run is one conditional PUT of its head. What a head refers to is written before
it; what it no longer refers to is deleted after it. Waking is in `wakes`, finding in `index`.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from sequential.errors import (
    RecordCorrupt,
    SchemaTooNew,
    StorageError,
    StorageForeign,
    StorageRefused,
    StorageUnavailable,
    ValueCorrupt,
)
from sequential.storage import (
    STALE,
    Clock,
    Loaded,
    Page,
    Probe,
    Query,
    Run,
    Stale,
    Status,
    StepRecord,
    StorageTime,
    as_created,
    evolve,
    refuse_repeat,
    resolve_wake,
    tombstone,
)

from .bucket import Bucket
from .head import SEAL, Head, Segment, pack_lines, seal, unpack_lines, unseal
from .heads import Heads
from .index import Index, new_tag
from .keys import Keys, name_of
from .repair import Repair, Repaired
from .rounds import Rounds
from .stranded import Stranded
from .url import S3Settings
from .wakes import Arm, Wakes, is_needed

_FORMAT = 1
_BEHIND = 2.0
"""Seconds that two processes' views of the server's time can be apart."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


class S3Storage:
    """Keeps runs in one bucket. The first request is made with the first operation.

    Args:
        settings: Where, and how.
        clock: Does the waiting; its skew is added to the server's time.
    """

    def __init__(self, settings: S3Settings, clock: Clock) -> None:
        self.bucket = Bucket(settings, clock)
        self._keys = Keys(settings.prefix)
        self._time = StorageTime(self.bucket.time)
        self._lock = threading.Lock()
        self._deployment = ""
        self._heads = Heads(self.bucket, self._keys)
        self._index = Index(self.bucket, self._keys, self._heads)
        self._stranded = Stranded(self.bucket, self._keys, self._heads, self._now)
        rounds = Rounds(self.bucket, self._keys, self._stranded, self._now)
        self._wakes = Wakes(
            self.bucket, self._keys, self._heads, self._now, self._clear, rounds.go_on
        )

    @property
    def deployment(self) -> str:
        """Random id made when the prefix was first used."""
        if not self._deployment:
            with self._lock:
                self._deployment = self._set_up()
        return self._deployment

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        """Store *run* if its id is free; return what is stored under the id either way."""
        name = name_of(run.run_id)
        now = self._now()
        run = as_created(run, now)
        head = Head(run, index=new_tag(run), at=now)
        head, sealed = self._appended(name, head, steps)
        entry = self._keys.entry(run, head.index)
        self._index.add(entry)
        over: Head | None = None
        while True:
            arm = self._wakes.arm(run, needed=run.wake is not None)
            written, stored = self._heads.write(name, head, over, arm.put)
            if written or (stored is not None and stored.run is not None):
                break
            over = stored  # somebody took an earlier creator for dead: the id is free
        assert stored is not None
        assert stored.run is not None
        if not written:
            self._forget(arm, [*sealed, entry])
        return stored.run

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        """Return one consistent snapshot, or None if there is no such run."""
        name = name_of(run_id)
        head = self._heads.read(name)
        while head is not None and (run := head.run) is not None:
            try:
                steps = self._steps(name, head, after)
            except RecordCorrupt:
                # A purge deletes segments once it has written the head: then it is another.
                again = self._heads.read(name)
                if again is not None and again.nonce == head.nonce:
                    raise
                head = again
            else:
                return Loaded(run, steps, self._now(head.at))
        return None

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        """Write *run* and append *steps*, all or nothing, if *expect* is what is stored."""
        over = self._heads.known(evolve(expect, run_id=run.run_id))
        if over is None or over.run is None:
            return STALE
        old, now = over.run, self._now(over.at)
        wake = resolve_wake(run.wake, now)
        run = evolve(run, version=expect.version + 1, wake=wake, created=old.created)
        head = replace(over, run=run, index=self._tag(run, over), at=now)
        if run.generation != old.generation:
            head = replace(head, lines=(), segments=())
        name = name_of(run.run_id)
        head, sealed = self._appended(name, head, steps)
        return self._replace(name, head, over, sealed, needed=is_needed(old, run, now))

    def _replace(
        self, name: str, head: Head, over: Head, sealed: Sequence[str], *, needed: bool
    ) -> Run | Stale:
        """Write *head* if *over* is stored, and what has to stand before it and go after it."""
        run, old = head.run, over.run
        assert run is not None
        assert old is not None
        entries = []
        if head.index != over.index:
            entries = [self._keys.entry(run, head.index)]
            self._index.add(entries[0])
        arm = self._wakes.arm(run, needed=needed)
        written, _ = self._heads.write(name, head, over, arm.put)
        if not written:
            self._forget(arm, [*sealed, *entries])
            return STALE
        if entries:
            self._drop([self._keys.entry(old, over.index)])
        return run

    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        """Return ids of runs whose wake time has passed, longest due first."""
        return self._wakes.due(limit, flows, hold)

    def find(self, query: Query) -> Page:
        """Return one page of the runs that match *query*, newest first, without their steps."""
        return self._index.find(query)

    def count(self, query: Query) -> Mapping[tuple[str, Status], int]:
        """Return how many runs match *query*, by flow and status; slow, it reads each of them."""
        return self._index.count(query)

    def put_value(self, run_id: str, data: bytes) -> str:
        """Keep *data* for the run and return its SHA-256 digest in hex. Durable on return."""
        digest = hashlib.sha256(data).hexdigest()
        self.bucket.put(self._keys.value(name_of(run_id), digest), data)
        return digest

    def get_value(self, run_id: str, digest: str) -> bytes:
        """Return the bytes kept under *digest* for the run."""
        found = None
        if _DIGEST.fullmatch(digest):
            found = self.bucket.get(self._keys.value(name_of(run_id), digest))
        if found is None:
            raise ValueCorrupt(run_id, digest, "it is missing")
        if hashlib.sha256(found.data).hexdigest() != digest:
            raise ValueCorrupt(run_id, digest, "its bytes have another digest")
        return found.data

    def drop_values(self, run_id: str) -> None:
        """Delete all values of the run: for runs that live in another storage."""
        self.bucket.delete(list(self.bucket.keys(self._keys.run(name_of(run_id)) + "value/")))

    def purge(self, expect: Run) -> bool:
        """Shrink an ended run to a tombstone; remove a tombstone. Return whether it did."""
        over = self._heads.known(expect)
        if over is None or over.run is None:
            return False
        name, rest = name_of(expect.run_id), tombstone(over.run)
        if rest is not None:
            return self._bury(name, over, rest)
        return over.run.status is Status.PURGED and self._remove(name, over)

    def _bury(self, name: str, over: Head, rest: Run) -> bool:
        """Write the tombstone; should this die before all else is deleted, a sweeper does it."""
        head = Head(rest, index=new_tag(rest), at=self._now(over.at))
        soon = self._wakes.soon(rest)
        self.bucket.put(self._keys.marker(soon), b"")
        if self._replace(name, head, over, (), needed=True) is STALE:
            self._drop([self._keys.marker(soon)])
            return False
        self._clear(name)
        self._drop([self._keys.marker(soon)])
        return True

    def _remove(self, name: str, over: Head) -> bool:
        assert over.run is not None
        self._clear(name)
        written, stored = self._heads.write(name, Head(None), over, lambda: None)
        if not written:
            return False
        self._drop([self._keys.entry(over.run, over.index)])
        if stored is not None and self.deletes_if:
            # Without the condition this could delete what somebody creates meanwhile.
            with suppress(StorageError):
                self.bucket.delete_if(self._keys.head(name), stored.etag)
        return True

    @property
    def deletes_if(self) -> bool:
        """Whether the server honours conditions on DELETE: tried out, once."""
        from .probe import deletes_conditionally

        if self._deletes_if is None:
            self._deletes_if = deletes_conditionally(self.bucket, self._keys)
        return self._deletes_if

    _deletes_if: bool | None = None

    def probe(self) -> Probe:
        """Verify, by trying, that the contract holds here, and say what it cannot do."""
        from .probe import probe

        return probe(self, self.bucket, self._keys)

    def repair(self) -> Sequence[str]:
        """Look at every run, put right what nobody else would, and say what it was.

        Nothing is to be expected. Runs that nobody would wake are also found by `due`, in a day.
        """
        return self._repair().sentences()

    def _repair(self) -> Repaired:
        return Repair(self.bucket, self._keys, self._stranded, self._now()).run()

    def close(self) -> None:
        """Close all connections. The storage may not be used afterwards."""
        self.bucket.close()

    # -- the parts

    def _now(self, told: float = 0.0) -> float:
        """Return the time, no less than what another process has *told* that it is.

        Who has just begun may be a second behind: a run that somebody parked until now is due.
        """
        if not self.bucket.time.known:
            with self._lock:
                self._deployment = self._set_up()
        now = self._time.now()
        return self._time.now(told) if now < told <= now + _BEHIND else now

    def _set_up(self) -> str:
        """Return the deployment; write what the prefix says of itself if it is new."""
        found = self.bucket.get(self._keys.meta)
        if found is None:
            says = {"format": _FORMAT, "deployment": secrets.token_hex(16)}
            self.bucket.put_if(self._keys.meta, json.dumps(says).encode(), None)
            found = self.bucket.get(self._keys.meta)  # ours, or that of who was first
        if found is None:
            raise StorageUnavailable(self.bucket.name, "what was just written is not there yet")
        if not self.bucket.time.known:
            raise StorageRefused(self.bucket.name, "its answers have no Date header")
        try:
            says = json.loads(found.data)
            number, deployment = int(says["format"]), str(says["deployment"])
        except (ValueError, LookupError, TypeError) as error:
            raise StorageForeign(self.bucket.name, f"{self._keys.meta}: {error}") from error
        if number > _FORMAT:
            raise SchemaTooNew(self.bucket.name, number, _FORMAT)
        return deployment

    def _tag(self, run: Run, over: Head) -> str:
        """Return the tag of the line of the index: another one where the line must move."""
        assert over.run is not None
        same = self._keys.index(run.status) == self._keys.index(over.run.status)
        same = same and (run.flow, run.parent) == (over.run.flow, over.run.parent)
        return over.index if same else new_tag(run)

    def _steps(self, name: str, head: Head, after: int) -> list[StepRecord]:
        found: list[StepRecord] = []
        for segment in head.segments:
            if segment.end > after:
                found += self._unsealed(name, segment)
        found += unpack_lines(name, head.lines)
        return sorted(
            (step for step in found if step.number >= after), key=lambda step: step.number
        )

    def _unsealed(self, name: str, segment: Segment) -> list[StepRecord]:
        stored = self.bucket.get(self._keys.segment(name, segment.rest))
        if stored is None:
            raise RecordCorrupt(name, f"its segment {segment.rest} is missing")
        return unseal(name, segment, stored.data)

    def _appended(
        self, name: str, head: Head, steps: Sequence[StepRecord]
    ) -> tuple[Head, list[str]]:
        """Return *head* with *steps*, and the keys of what was sealed for it."""
        if not steps:
            return head, []
        recent = unpack_lines(name, head.lines)
        taken = {step.position for step in recent}
        for step in steps:
            if step.position in taken or self._is_sealed(name, head, step.position):
                refuse_repeat(name, step.position)
            taken.add(step.position)
        lines = (*head.lines, *pack_lines(steps, self.bucket.name))
        if sum(map(len, lines)) <= SEAL:
            return replace(head, lines=lines), []
        segment, data = seal(lines, [*recent, *steps])
        key = self._keys.segment(name, segment.rest)
        self.bucket.put(key, data)
        return replace(head, lines=(), segments=(*head.segments, segment)), [key]

    def _is_sealed(self, name: str, head: Head, position: str) -> bool:
        return any(
            position == step.position
            for segment in head.segments
            if segment.may_hold(position)
            for step in self._unsealed(name, segment)
        )

    def _clear(self, name: str) -> None:
        """Delete all of a purged run but its head."""
        prefix = self._keys.run(name)
        rest = [key for key in self.bucket.keys(prefix) if key != self._keys.head(name)]
        if rest:
            self.bucket.delete(rest)

    def _forget(self, arm: Arm, keys: Sequence[str]) -> None:
        """Delete what was written for a head that lost: nobody can refer to it."""
        self._drop([*arm.keys, *keys])

    def _drop(self, keys: Sequence[str]) -> None:
        """Delete what nobody needs; what cannot be deleted now is only rubbish."""
        for key in keys:
            with suppress(StorageError):
                self.bucket.delete([key])

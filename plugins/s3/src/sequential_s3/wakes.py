"""Wake markers: how runs that are due are found without reading every head.

The rules, each checked by a model: W1 a marker stands before a head that creates a run or wakes it
earlier. W2 a sweeper arms anew before it deletes. W3 a marker is deleted only if the head has its
version or a later one. W4 every writer's marker has a name of its own. W5 where there is a marker
and no head, the id is taken first, so that a late creator notices. W6, in `stranded`: now and then
all heads are looked at.
"""

from __future__ import annotations

import heapq
import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from sequential.errors import RecordCorrupt, StorageError
from sequential.storage import MAX_PAGE, At, Run, Status, check_limit, is_asked_for

from .bucket import Bucket
from .head import Head, new_nonce
from .heads import Heads
from .keys import Keys, Marker, digest_of, name_of

RECHECK = 60.0
"""Seconds within which a run that was handed out is looked at again, whatever the hold."""
FRESH = 5.0
"""Seconds for which a marker may be ahead of its head: the writer is at work."""
LEFT = 3_600.0
"""Seconds after which nobody can still write the head that a marker was for."""
SLACK = 5.0
"""Seconds that a wake which is yet to come may be moved ahead without a marker."""

_LISTED = 10_000
_REARM = 600.0
_log = logging.getLogger("sequential")


def is_needed(old: Run, new: Run, now: float) -> bool:
    """Tell whether a head *new* over *old* needs a marker: W1."""
    if not isinstance(new.wake, At):
        return False
    if not isinstance(old.wake, At):
        return True
    before, after = old.wake.time, new.wake.time
    if before <= now:  # it may be handed out, and its marker moved
        return after < now + RECHECK
    return after < before and (after <= now or after < before - SLACK)


class Arm:
    """The marker that a writer puts before a head. One for every head; W4."""

    def __init__(self, bucket: Bucket, key: str | None) -> None:
        self._bucket = bucket
        self._key = key
        self._put: float | None = None

    @property
    def keys(self) -> list[str]:
        """What was written."""
        return [self._key] if self._key is not None and self._put is not None else []

    def put(self) -> None:
        """Write it, and again if the process was frozen since: by then it may be deleted."""
        if self._key is None:
            return
        if self._put is None or time.monotonic() - self._put > _REARM:
            self._bucket.put(self._key, b"")
            self._put = time.monotonic()


class Wakes:
    """The markers of one storage.

    Args:
        bucket: Where they are.
        keys: Their layout.
        heads: What they are for.
        now: The storage's time.
        clear: Deletes all of a purged run but its head.
        signs: Told what stands before the markers, and since when, each time they are listed.
    """

    def __init__(
        self,
        bucket: Bucket,
        keys: Keys,
        heads: Heads,
        now: Callable[[float], float],
        clear: Callable[[str], None],
        signs: Callable[[Mapping[str, float]], None],
    ) -> None:
        self._bucket = bucket
        self._keys = keys
        self._heads = heads
        self._now = now
        self._clear = clear
        self._signs = signs

    def arm(self, run: Run, *, needed: bool) -> Arm:
        """Return what puts a marker for *run*, or does nothing if none is needed."""
        if not needed or not isinstance(run.wake, At):
            return Arm(self._bucket, None)
        marker = self._marker(run, run.wake.time, f"m{new_nonce()}")
        return Arm(self._bucket, self._keys.marker(marker))

    def soon(self, run: Run) -> Marker:
        """Return a marker for what has to be finished should this process die."""
        return self._marker(run, self._now(0.0) + RECHECK, f"m{new_nonce()}")

    def _marker(self, run: Run, at: float, tag: str) -> Marker:
        wake = run.wake.time if isinstance(run.wake, At) else at
        born = self._now(0.0)
        name, flow = name_of(run.run_id), digest_of(run.flow)
        return Marker(name, run.version, at, wake, born, flow, tag)

    # -- sweeping

    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        """Return ids of runs whose wake time has passed, longest due first."""
        limit = check_limit(min(limit, MAX_PAGE))
        groups = self._ripe(flows)
        now = self._now(0.0)
        waiting = [(min(each.wake for each in group), name) for name, group in groups.items()]
        heapq.heapify(waiting)
        found: list[str] = []
        while waiting and len(found) < limit:
            wake, name = heapq.heappop(waiting)
            try:
                run = self._visit(name, groups[name], now)
            except RecordCorrupt as error:
                _log.warning("left out of what is due: %s", error)
                continue
            if run is None or not is_asked_for(run, flows):
                continue
            assert isinstance(run.wake, At)
            if run.wake.time > wake:
                heapq.heappush(waiting, (run.wake.time, name))
            elif self._take(run, groups[name], now, hold):
                found.append(run.run_id)
        return found

    def _ripe(self, flows: Collection[str] | None) -> dict[str, list[Marker]]:
        """Return the markers whose time has come, by run."""
        wanted = None if flows is None else {digest_of(flow) for flow in flows}
        groups: dict[str, list[Marker]] = defaultdict(list)
        if wanted is not None and not wanted:
            return groups
        signs: dict[str, float] = {}
        for count, (key, written) in enumerate(self._bucket.listed(self._keys.markers)):
            marker = self._keys.read_marker(key)
            if marker is None:
                signs[key] = written
                continue
            now = self._now(marker.born)
            if marker.at // 60 > now // 60 or count > _LISTED:
                break
            if marker.at <= now and (wanted is None or marker.flow in wanted):
                groups[marker.name].append(marker)
        self._signs(signs)
        return groups

    def _visit(self, name: str, group: Sequence[Marker], now: float) -> Run | None:
        """Return the run if it is due; put right whatever else its markers are there for."""
        head = self._heads.read(name)
        if head is None or head.run is None:
            self._give_up(name, group, head, now)
            return None
        run = head.run
        behind = [each for each in group if each.version <= run.version]
        self._postpone([each for each in group if each.version > run.version], now)
        if isinstance(run.wake, At) and run.wake.time <= now:
            return run
        if run.status is Status.PURGED and behind:
            self._clear(name)
        if isinstance(run.wake, At) and behind:
            self._move(run, behind, run.wake.time)
        else:
            self._delete(behind)
        return None

    def _give_up(self, name: str, group: Sequence[Marker], head: Head | None, now: float) -> None:
        """Delete markers of a creation that never came: W5."""
        old = [each for each in group if each.born + FRESH <= now]
        if not old:
            return
        if head is None:
            written, _ = self._heads.write(name, Head(None), None, lambda: None)
            if not written:
                return
        self._delete(old)

    def _postpone(self, ahead: Sequence[Marker], now: float) -> None:
        """Look again later at markers whose heads were not written, or not yet: W3."""
        for marker in ahead:
            if marker.born + LEFT <= now:
                self._delete([marker])
            elif marker.born + FRESH <= now:
                self._put(marker._replace(at=now + RECHECK))
                self._delete([marker])

    def _take(self, run: Run, group: Sequence[Marker], now: float, hold: float) -> bool:
        """Tell whether the caller is the one who may be told of *run*."""
        key = self._keys.handed(name_of(run.run_id))
        stored = self._bucket.get(key)
        if stored is not None and _is_held(stored.data, run, now - hold):
            return False
        says = {"version": run.version, "op_id": run.op_id, "at": now, "nonce": new_nonce()}
        answer = self._bucket.put_if(key, json.dumps(says).encode(), stored and stored.etag)
        if not isinstance(answer, str):
            return False
        behind = [each for each in group if each.version <= run.version]
        self._move(run, behind, now + min(hold, RECHECK))
        return True

    def _move(self, run: Run, seen: Sequence[Marker], at: float) -> None:
        """Arm *run* at another time, then delete what was *seen*: W2."""
        armed = self._marker(run, at, "s")._replace(born=0.0)
        if armed not in seen:
            self._put(armed)
        self._delete([each for each in seen if each != armed])

    def _put(self, marker: Marker) -> None:
        self._bucket.put(self._keys.marker(marker), b"")

    def _delete(self, markers: Sequence[Marker]) -> None:
        with suppress(StorageError):  # they are found again
            if markers:
                self._bucket.delete([self._keys.marker(each) for each in markers])


def _is_held(data: bytes, run: Run, since: float) -> bool:
    """Tell whether *data* says that this version of the run was handed out after *since*."""
    try:
        says = json.loads(data)
        same = (says["version"], says["op_id"]) == (run.version, run.op_id)
        return same and float(says["at"]) > since
    except (ValueError, LookupError, TypeError):
        return False

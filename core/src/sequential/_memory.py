"""MemoryStorage: the storage contract kept by one lock and dicts; gone with the process.

For tests, for trying things out, and the floor that the engine is measured against. Records are
immutable, so they are kept as they come: nothing is packed, and nothing is checked for damage.
"""

from __future__ import annotations

import hashlib
import heapq
import secrets
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice

from ._clock import SYSTEM_CLOCK, Clock
from ._model import At, Run, Status, StepRecord, evolve
from ._rollups import ROLLUPS_KEPT, Part, first_hour, fold, part_of
from ._span_store import Rolled
from ._storage import STALE, Loaded, Page, Probe, Query, Stale
from ._storage_probe import try_contract
from ._storage_rules import (
    MAX_PAGE,
    StorageTime,
    as_created,
    check_limit,
    is_asked_for,
    is_same,
    matches,
    page_of,
    refuse_repeat,
    resolve_wake,
    tombstone,
)
from .errors import ConfigError, ValueCorrupt

_Steps = dict[str, StepRecord]  # by position, in order of recording


class MemoryStorage:
    """Keeps runs in this process.

    Args:
        clock: Whose time it tells.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._time = StorageTime(clock)
        self._lock = threading.Lock()
        self._deployment = secrets.token_hex(16)
        self._runs: dict[str, Run] = {}
        self._steps: dict[tuple[str, int], _Steps] = {}
        self._values: dict[tuple[str, str], bytes] = {}
        self._nudged: dict[str, float] = {}
        self._rolled = Rolled((), 0.0)

    @property
    def deployment(self) -> str:
        """Random id of this object."""
        return self._deployment

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        """Store *run* if its id is free; return what is stored under the id either way."""
        with self._lock:
            if run.run_id in self._runs:
                return self._runs[run.run_id]
            now = self._time.now()
            stored = as_created(run, now)
            self._append(run.run_id, steps)
            self._runs[run.run_id] = stored
            return stored

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        """Return one consistent snapshot, or None if there is no such run."""
        with self._lock:
            run = self._runs.get(run_id)
            if run is None:
                return None
            steps = self._steps.get((run_id, run.generation), {})
            rest = tuple(islice(steps.values(), max(after, 0), None))
            return Loaded(run, rest, self._time.now())

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        """Write *run* and append *steps*, all or nothing, if *expect* is what is stored."""
        run_id = run.run_id
        with self._lock:
            stored = self._runs.get(run_id)
            if stored is None or not is_same(stored, expect):
                return STALE
            wake = run.wake
            if wake is not None and type(wake) is not At:
                wake = resolve_wake(wake, self._time.now())
            if steps:
                self._append(run_id, steps)
            run = evolve(run, version=stored.version + 1, wake=wake)
            self._runs[run_id] = run
            if self._nudged:
                self._nudged.pop(run_id, None)
            return run

    def _append(self, run_id: str, steps: Sequence[StepRecord]) -> None:
        """Append all of *steps*, or none of them."""
        added: list[tuple[_Steps, str]] = []
        for step in steps:
            place = (run_id, step.generation)
            recorded = self._steps.get(place)
            if recorded is None:
                recorded = self._steps[place] = {}
            position = step.position
            if position in recorded:
                for there, earlier in added:
                    del there[earlier]
                refuse_repeat(run_id, position)
            recorded[position] = step
            added.append((recorded, position))

    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        """Return ids of open runs whose wake time has passed, longest due first."""
        limit = check_limit(min(limit, MAX_PAGE))
        with self._lock:
            now = self._time.now()
            found = heapq.nsmallest(limit, self._waiting(now, flows, hold))
            for _, run_id in found:
                self._nudged[run_id] = now
            return [run_id for _, run_id in found]

    def _waiting(
        self, now: float, flows: Collection[str] | None, hold: float
    ) -> Iterator[tuple[float, str]]:
        for run_id, run in self._runs.items():
            if not isinstance(run.wake, At):
                continue
            nudged = self._nudged.get(run_id)
            held = nudged is not None and nudged > now - hold
            if run.wake.time <= now and not held and is_asked_for(run, flows):
                yield run.wake.time, run_id

    def find(self, query: Query) -> Page:
        """Return one page of the runs that match *query*, newest first, without their steps."""
        with self._lock:
            matching = [run for run in self._runs.values() if matches(run, query)]
        return page_of(matching, query)

    def count(self, query: Query) -> Mapping[tuple[str, Status], int]:
        """Return how many runs match *query*, by flow and status."""
        with self._lock:
            runs = [run for run in self._runs.values() if matches(run, query)]
        return Counter((run.flow, run.status) for run in runs)

    def put_value(self, run_id: str, data: bytes) -> str:
        """Keep *data* for the run and return its SHA-256 digest in hex."""
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            self._values[run_id, digest] = data
        return digest

    def get_value(self, run_id: str, digest: str) -> bytes:
        """Return the bytes kept under *digest* for the run."""
        with self._lock:
            data = self._values.get((run_id, digest))
        if data is None:
            raise ValueCorrupt(run_id, digest, "it is missing")
        return data

    def purge(self, expect: Run) -> bool:
        """Shrink an ended run to a tombstone; remove a tombstone. Return whether it did."""
        run_id = expect.run_id
        with self._lock:
            run = self._runs.get(run_id)
            if run is None or not is_same(run, expect):
                return False
            if run.status is Status.PURGED:
                del self._runs[run_id]
                self._forget(run_id)
                return True
            rest = tombstone(run)
            if rest is None:
                return False
            self._runs[run_id] = rest
            self._forget(run_id)
            return True

    def _forget(self, run_id: str) -> None:
        self._nudged.pop(run_id, None)
        for place in [place for place in self._steps if place[0] == run_id]:
            del self._steps[place]
        self._forget_values(run_id)

    def _forget_values(self, run_id: str) -> None:
        for key in [key for key in self._values if key[0] == run_id]:
            del self._values[key]

    def drop_values(self, run_id: str) -> None:
        """Delete all values of the run."""
        with self._lock:
            self._forget_values(run_id)

    def roll_up(self) -> float:
        """Fold what was recorded into rollups."""
        with self._lock:
            now = self._time.now()
            first = first_hour(self._rolled.until, now)
            made = fold(part for part in self._parts() if part.hour >= first)
            kept = [row for row in self._rolled.rows if now - ROLLUPS_KEPT <= row.hour < first]
            self._rolled = Rolled((*kept, *made), now)
            return now

    def _parts(self) -> Iterator[Part]:
        for (run_id, generation), steps in self._steps.items():
            before = self._steps.get((run_id, generation - 1), {})
            for position, step in steps.items():
                part = part_of(step, before.get(position))
                if part is not None:
                    yield part

    def rollups(self, since: float, until: float) -> Rolled:
        """Return the rollups of the hours that begin from *since* on, and before *until*."""
        rolled = self._rolled
        return rolled._replace(rows=[row for row in rolled.rows if since <= row.hour < until])

    def probe(self) -> Probe:
        """Verify, by trying, that the contract holds, and say what it cannot do."""
        return Probe(
            "memory://",
            try_contract(self, "memory://"),
            ("keeps nothing when the process ends", "serves one process only"),
        )

    def close(self) -> None:
        """Do nothing: what is kept lives as long as the object."""


def open_memory(url: str, clock: Clock) -> MemoryStorage:
    """Return a new, empty storage for ``memory://``.

    Raises:
        ConfigError: *url* says more than that.
    """
    if url not in {"memory:", "memory://"}:
        raise ConfigError("storage", url, "memory:// takes no path and no options")
    return MemoryStorage(clock)

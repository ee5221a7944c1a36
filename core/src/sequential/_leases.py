"""Leases that outlive a third of their time, kept alive by one thread per process.

Only while a tool runs or a short wait is slept is a lease in the table; after an invocation the
table is empty, so a process that is frozen and thawed later renews nothing. The transition is
`_protocol.renew`; what a lost lease means is the runner's.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from ._calls import Hold
from ._clock import Clock
from ._model import Run, evolve
from ._protocol import Terms, holds, renew
from ._storage import STALE, Storage
from .errors import StorageError

_log = logging.getLogger("sequential")


class Lease:
    """One lease in the table: *run* is the record as last renewed."""

    __slots__ = ("beats", "hold", "renewed", "run", "since")

    def __init__(self, run: Run, hold: Hold, now: float) -> None:
        self.run = run
        self.hold = hold
        self.since = now
        self.renewed = now
        self.beats = 0


class Leases:
    """The table, and the thread that looks at it."""

    def __init__(
        self, storage: Storage, terms: Terms, clock: Clock, token: Callable[[], str]
    ) -> None:
        self._storage = storage
        self._terms = terms
        self._clock = clock
        self._token = token
        self._table: dict[int, Lease] = {}
        self._stop = threading.Event()
        self._pid = 0
        self._starting = threading.Lock()

    def add(self, run: Run, hold: Hold) -> Lease:
        """Keep the lease of *run* alive until `remove`."""
        lease = Lease(run, hold, self._clock.monotonic())
        self._table[id(lease)] = lease
        # A forked child has the object and not the thread.
        if self._pid != os.getpid():
            self._start()
        return lease

    def moved(self, run: Run) -> None:
        """Take *run*, just committed by its owner, as what its leases are renewed on top of."""
        if self._table:
            for lease in list(self._table.values()):
                if lease.run.version < run.version and _is_same_claim(lease.run, run):
                    lease.run = run

    def remove(self, lease: Lease) -> None:
        """Let the lease run out, unless the invocation commits."""
        self._table.pop(id(lease), None)

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()
        self._pid = 0

    def _start(self) -> None:
        with self._starting:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            self._stop = threading.Event()
            threading.Thread(
                target=self._look, args=(self._stop,), daemon=True, name="sequential-leases"
            ).start()

    def _look(self, stop: threading.Event) -> None:
        # A twelfth: a lease due for renewal at a third is seen well before a half.
        while not stop.wait(self._terms.lease / 12):
            self.renew_due()

    def renew_due(self) -> None:
        """Renew every lease that is a third over. Called by the thread, and by tests."""
        now = self._clock.monotonic()
        for lease in list(self._table.values()):
            if lease.beats != lease.hold.beats:
                lease.beats, lease.since = lease.hold.beats, now
            old = now - lease.renewed >= self._terms.lease / 3
            if old and not lease.hold.lost and now - lease.since < self._terms.step_timeout:
                self._renew(lease, now)

    def _renew(self, lease: Lease, now: float) -> None:
        try:
            target = evolve(renew(lease.run, self._terms), op_id=self._token())
            answer = self._storage.commit(target, lease.run)
            if answer is STALE:
                found = self._storage.load(lease.run.run_id, lease.run.cursor)
                if found is None or not holds(found.run, lease.run):
                    lease.hold.lost = True
                else:
                    # Somebody sent a message; the next look, in a moment, renews on top of it.
                    self.moved(found.run)
                return
            assert isinstance(answer, Run)
            self._renewed(answer, now)
        except StorageError as error:
            _log.warning("lease of run %s not renewed: %s", lease.run.run_id, error)

    def _renewed(self, run: Run, now: float) -> None:
        self.moved(run)
        # One claim may stand behind several attempts: it is renewed once for all of them.
        for lease in list(self._table.values()):
            if _is_same_claim(lease.run, run):
                lease.renewed = now


def _is_same_claim(run: Run, other: Run) -> bool:
    return (run.run_id, run.fence, run.owner) == (other.run_id, other.fence, other.owner)

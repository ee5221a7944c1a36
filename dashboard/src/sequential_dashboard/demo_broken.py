"""Runs that are broken in every way there is, one or a few of each: to learn to repair them on.

Part of the demonstration. Each run is carried by the engine into its trouble, and is called
``broken-`` and the kind of it, which is its tag ``broken`` too. *docs/how-to/find-what-is-wrong.md*
has a line for each kind.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sequential import Registry, Sequential
from sequential.outcomes import Blocked, Paused, Quarantined
from sequential.storage import At, Storage
from sequential.testing import FakeClock

from .demo_broken_flows import Died, broken_registry, changed_registry

ALIKE = 4
"""Runs of the group that failed alike."""

TOOK = 5400.0
"""Seconds before the end of the demonstration at which this must begin."""

FLOWS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "failed": ("label", {"parcel": "P-7"}),
    "failed-alike": ("payout", {"account": "A-1", "amount": 10}),
    "changed-code": ("contract", {"customer": "Ada"}),
    "tool-missing": ("translate", {"text": "hello"}),
    "quarantined": ("thumbnail", {"name": "huge"}),
    "stalled": ("import", {"name": "cat"}),
    "overdue": ("nightly", {"day": "Monday"}),
    "wrong-signal": ("leave", {"who": "Grace"}),
    "unfit-signal": ("leave", {"who": "Alan"}),
    "wrong-result": ("quote", {"item": "lamp"}),
    "to-cancel": ("rental", {"item": "ladder"}),
    "to-terminate": ("newsletter", {"text": "news"}),
    "damaged": ("ledger", {"page": 12}),
    "retrying": ("sync", {"day": "Monday"}),
}
"""Each kind of trouble, with the flow that gets into it and its input."""


def make_broken(storage: Storage, path: Path, clock: FakeClock) -> None:
    """Start one run of each kind in *storage*, and carry each into its trouble.

    Args:
        storage: Where they go.
        path: Of the same as a file of SQLite: damage is done past the storage.
        clock: Is moved by less than `TOOK`.
    """
    _Breaker(storage, path, clock).everything()


class _Breaker:
    def __init__(self, storage: Storage, path: Path, clock: FakeClock) -> None:
        self._storage, self._path, self._clock = storage, path, clock
        self._app = self._deployed(broken_registry())

    def _deployed(self, registry: Registry) -> Sequential:
        return Sequential(self._storage, plugins=[], registry=registry, clock=self._clock)

    def everything(self) -> None:
        ids = [self._start(kind) for kind in FLOWS if kind not in ("failed-alike", "overdue")]
        ids += [self._start("failed-alike", number) for number in range(ALIKE)]
        # Nobody looks at this one.
        self._start("overdue")
        for run_id in ids:
            self._look(run_id)
        self._tell()
        self._damage("broken-damaged", "1")
        self._look_until_it_retries("broken-retrying")
        self._look_until_quarantined("broken-quarantined")

    def _start(self, kind: str, number: int | None = None) -> str:
        name, given = FLOWS[kind]
        chosen: dict[str, Any] = dict(given)
        if number is not None:
            chosen |= {"account": f"A-{number}", "amount": 10 + number}
        run_id = f"broken-{kind}" + ("" if number is None else f"-{number}")
        self._clock.advance(1.0)
        tags = {"demo": "yes", "broken": kind}
        return self._app.start(name, chosen, run_id=run_id, tags=tags)

    def _look(self, run_id: str) -> object:
        self._clock.advance(1.0)
        try:
            return self._app.execute(run_id)
        except Died:
            return None

    def _tell(self) -> None:
        """Send signals, and let them be looked at: three of them do harm."""
        self._app.signal("broken-wrong-signal", "aproval", {"approve": True, "days": 5})
        unfit = {"approve": "yes", "days": 5}
        self._app.signal("broken-unfit-signal", "approval", unfit, checked=False)
        for run_id in ("broken-wrong-signal", "broken-unfit-signal"):
            self._look(run_id)
        self._app.signal("broken-changed-code", "signed", "by Ada")
        outcome = self._deployed(changed_registry()).execute("broken-changed-code")
        assert isinstance(outcome, Blocked), outcome

    def _damage(self, run_id: str, position: str) -> None:
        """Spoil the result of a step, as a bad disk or a careless hand does."""
        with closing(sqlite3.connect(self._path)) as connection, connection:
            done = connection.execute(
                "UPDATE steps SET value = ? WHERE run_id = ? AND position = ?",
                (b'[{"total":12', run_id, position),
            )
            assert done.rowcount == 1
        self._app.signal(run_id, "closed", "yes")
        # Another process: this one still has the flow as it was before the damage.
        outcome = self._deployed(broken_registry()).execute(run_id)
        assert isinstance(outcome, Blocked), outcome

    def _look_until_it_retries(self, run_id: str) -> None:
        while self._app.get(run_id).open["0"].attempt < 6:
            self._wait(run_id)
            outcome = self._look(run_id)
            assert isinstance(outcome, Paused), outcome

    def _look_until_quarantined(self, run_id: str) -> None:
        while not isinstance(self._look(run_id), Quarantined):
            self._wait(run_id)

    def _wait(self, run_id: str) -> None:
        wake = self._app.get(run_id).wake
        assert isinstance(wake, At), wake
        self._clock.advance(max(0.0, wake.time - self._clock.now()))

"""Projector: brings a projection up to date with the storage that its runs are in.

Asks the source for nothing but `find` and `load`, so it works with any. A pass may end anywhere:
how far it came is written last, and each run is copied whole or not at all.

What a pass looks at, and why that is enough:

* Every run that is open at the source, by status. A retried run is one of them.
* What was open here and is not there any more: it has ended, or is gone.
* What was created since the last whole pass, in whatever way it ended meanwhile.
* Ended runs whose time to be purged has come, and a tombstone's time to go.
* The newest of those that went wrong: somebody may retry one, and it has ended again by now.

Left are ended runs that somebody purges by hand, and old failed ones that were retried and ended
between two passes. They are found when all runs are compared, once a day.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from .._model import ENDED_STATUSES, Run, Status, StepRecord
from .._storage import RECORD_ONLY, Loaded, Query, Storage
from .._storage_rules import MAX_PAGE
from ..errors import RecordCorrupt
from .file import FIRST, LAST, Known, Place, ProjectionFile

_log = logging.getLogger("sequential")

MARGIN = 60.0
"""Seconds before the last pass that are looked at again: two processes' times may be apart."""

WHOLE_EVERY = 86_400.0
"""Seconds after which all runs are compared again."""

LOOKED_AGAIN = 50
"""How many ended runs of each sort are looked at again in a pass, at most."""

_UNSETTLED = (Status.PAUSED, Status.RUNNING, Status.QUARANTINED)
_SETTLED = (*sorted(ENDED_STATUSES), Status.PURGED)


class Copied(NamedTuple):
    """What a pass did: how many runs it looked at, wrote and removed."""

    looked: int = 0
    written: int = 0
    removed: int = 0


class Projector:
    """Copies runs from *source* into a projection. Used by one thread.

    Args:
        source: The storage that the runs are in.
        into: The projection.
    """

    def __init__(self, source: Storage, into: ProjectionFile) -> None:
        self._source = source
        self._into = into
        self._counts: Counter[str] = Counter()

    def go_on(self) -> Copied:
        """Make a pass: compare all runs if that is due, else those that may have changed."""
        upto, compared = self._into.marks()
        now = self._time()
        if now is None or compared is None or now - compared >= WHOLE_EVERY:
            return self._pass(now, self._compare_all, compared=now)
        since = None if upto is None else upto - MARGIN
        return self._pass(now, partial(self._catch_up, since, now))

    def compare_all(self) -> Copied:
        """Make a pass that compares every run."""
        now = self._time()
        return self._pass(now, self._compare_all, compared=now)

    def _pass(
        self, now: float | None, look: Callable[[], None], compared: float | None = None
    ) -> Copied:
        self._counts.clear()
        look()
        if now is not None:
            self._into.mark(now, compared)
        self._into.roll_up()
        return Copied(**self._counts)

    # -- what to look at

    def _catch_up(self, since: float | None, now: float) -> None:
        were_open = self._into.still_open()
        looked: set[str] = set()
        for query in (Query(statuses=_UNSETTLED), Query(statuses=_SETTLED, since=since)):
            for runs in self._pages(query):
                self._follow(runs)
                looked.update(run.run_id for run in runs)
        over = self._into.over(now, LOOKED_AGAIN)
        wrong = self._into.went_wrong(LOOKED_AGAIN)
        self._look_up({*were_open, *over, *wrong} - looked)

    def _compare_all(self) -> None:
        begin = FIRST
        for runs in self._pages(Query()):
            self._follow(runs)
            end = Place(runs[-1].created, runs[-1].run_id)
            self._look_up(set(self._into.between(begin, end)) - {run.run_id for run in runs})
            begin = end
        self._look_up(self._into.between(begin, LAST))

    def _look_up(self, run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            self._look(run_id, self._into.known(run_id))

    def _pages(self, query: Query) -> Iterator[list[Run]]:
        after: str | None = None
        while True:
            page = self._source.find(replace(query, after=after, limit=MAX_PAGE))
            if page.runs:
                yield list(page.runs)
            after = page.next
            if after is None:
                return

    # -- one run

    def _follow(self, runs: Iterable[Run]) -> None:
        """Copy those of *runs*, just found at the source, that are others than here."""
        for run in runs:
            known = self._into.known(run.run_id)
            if _is_known(run, known):
                self._counts["looked"] += 1
            elif run.cursor:
                self._look(run.run_id, known)
            else:  # a record without steps is all of it: it need not be read twice
                self._counts["looked"] += 1
                self._put(run, (), 0, known)

    def _look(self, run_id: str, known: Known | None) -> None:
        """Look at the run itself, and do here what has happened to it there."""
        self._counts["looked"] += 1
        try:
            loaded, begin = self._load(run_id, None if known is None else known.last)
        except RecordCorrupt as error:
            _log.warning("left as it was projected: %s", error)
            return
        if loaded is None:
            if known is not None:
                self._counts["removed"] += self._into.remove(run_id, known)
        elif not _is_known(loaded.run, known):
            self._put(loaded.run, loaded.steps, begin, known)

    def _load(self, run_id: str, last: StepRecord | None) -> tuple[Loaded | None, int]:
        """Return a snapshot of the run, and from which number on it has the steps."""
        if last is None:
            return self._source.load(run_id), 0
        loaded = self._source.load(run_id, last.number)
        if loaded is None or not loaded.run.cursor:
            return loaded, 0
        # Who has the newest step record has all before it; else this is another history.
        if loaded.run.generation == last.generation and list(loaded.steps[:1]) == [last]:
            return loaded, last.number
        return self._source.load(run_id), 0

    def _put(self, run: Run, steps: Sequence[StepRecord], begin: int, known: Known | None) -> None:
        self._counts["written"] += self._into.put(run, steps, begin, known)

    def _time(self) -> float | None:
        """Return the source's time, which only a loaded run tells; None if there is no run."""
        newest = self._into.newest()
        loaded = None if newest is None else self._source.load(newest, RECORD_ONLY)
        if loaded is None:
            for run in self._source.find(Query(limit=1)).runs:
                loaded = self._source.load(run.run_id, RECORD_ONLY)
        return None if loaded is None else loaded.now


def _is_known(run: Run, known: Known | None) -> bool:
    return known is not None and (known.version, known.op_id) == (run.version, run.op_id)

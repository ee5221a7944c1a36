"""What pages ask of the storage: one page of rows, one run, counts. Never a whole table.

Reads only: the application it is given stands on a `ReadOnlyStorage`. Knows no Streamlit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

from sequential import Sequential
from sequential.errors import RunMissing
from sequential.spans import HOUR, LogRow, Rolled, SpanRow, SpanStore
from sequential.storage import Loaded, Page, Query, Run, Status

from .words import STORED, state_of, trace_of

PAGE = 50
"""Runs of one page."""

BLOCKED_WITHIN = 3600.0
"""Seconds from now within which every blocked run wakes: no backoff of theirs is longer."""

LOOKED_THROUGH = 500
"""Runs that are looked at for one page at most, when few of them have the wanted state."""

HALVES = 48
"""Questions that find the oldest runs, at most: enough to tell milliseconds apart since 1970."""

MOST_SPANS = 5_000
"""Spans of one trace that are read at most, beside the records."""

LAST_STEPS = 20
"""Steps that are read of a run to find the one that failed it."""

Counts = Mapping[tuple[str, Status], int]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs a page shows; it is what a saved view's address holds.

    Attributes:
        flow: Name of the flow; empty for all.
        states: Words of `words.STORED`; empty for all.
        tags: All of these, exactly.
        since: Created at or after, in seconds since the epoch.
        search: What the id begins with.
    """

    flow: str = ""
    states: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    since: float | None = None
    search: str = ""


def is_by_wake(wanted: Filter) -> bool:
    """Tell whether runs of *wanted* are found by their wake time, and come in that order."""
    return bool(wanted.states) and set(wanted.states) <= {"due", "stalled", "blocked"}


class RunPage(NamedTuple):
    """One page of runs.

    Attributes:
        runs: In order.
        next: Where the next page begins; None at the end.
        now: The time that their states were told by.
        looked: How many runs were looked at for it.
    """

    runs: Sequence[Run]
    next: str | None
    now: float
    looked: int


class Reader:
    """Answers what pages ask.

    Args:
        app: An application that cannot write.
        spans: What is known of runs beyond their records; None for nothing.
    """

    def __init__(self, app: Sequential, spans: SpanStore | None = None) -> None:
        self.app = app
        self.spans = spans

    def now(self) -> float:
        """Return the storage's time, as far as it is known here."""
        return self.app.driver.time.now()

    def page(self, wanted: Filter, after: str | None = None, limit: int = PAGE) -> RunPage:
        """Return one page of the runs that *wanted* describes, newest first.

        What is due, stalled or blocked is found by its wake time, the earliest first. A state is
        no column of any storage: pages are looked through for it, at most `LOOKED_THROUGH` runs
        at a time, so that one page may hold few or none and still have a next.
        """
        statuses = {STORED[each] for each in wanted.states}
        narrowed = {each for each in STORED if STORED[each] in statuses} != set(wanted.states)
        found: list[Run] = []
        looked, now = 0, self.now()
        query = self._query(wanted, now, limit)
        while True:
            answer = self.app.storage.find(replace(query, after=after))
            looked, after = looked + len(answer.runs), answer.next
            found += [
                run for run in answer.runs if not narrowed or state_of(run, now) in wanted.states
            ]
            if len(found) >= limit or after is None or not narrowed or looked >= LOOKED_THROUGH:
                # All of the last page are kept, a few more than asked: its end is the next's begin.
                return RunPage(found, after, now, looked)

    def _query(self, wanted: Filter, now: float, limit: int) -> Query:
        wakes = None
        if is_by_wake(wanted):
            wakes = now + (BLOCKED_WITHIN if "blocked" in wanted.states else 0.0)
        return Query(
            flow=wanted.flow or None,
            statuses=sorted({STORED[each] for each in wanted.states}),
            tags=wanted.tags, since=wanted.since, search=wanted.search or None, limit=limit,
            wakes_before=wakes,
        )  # fmt: skip

    def by_wake(
        self, statuses: Sequence[Status], before: float, after: str | None, limit: int
    ) -> Page:
        """Return runs of *statuses* that wake before then, the earliest first."""
        query = Query(statuses=statuses, wakes_before=before, after=after, limit=limit)
        return self.app.storage.find(query)

    def oldest(self, status: Status, limit: int = PAGE) -> Sequence[Run]:
        """Return the runs of *status* that were created first: *limit*, or down to half as many.

        Storages list the newest first. So a time is looked for before which few enough were
        created, by halves: `HALVES` short questions at most.
        """
        low, high, found = 0.0, self.now() + 1.0, tuple[Run, ...]()
        middle = high
        for _ in range(HALVES):
            query = Query(statuses=(status,), before=middle, limit=limit)
            page = self.app.storage.find(query)
            if page.next is None:
                low, found = middle, tuple(page.runs)
                if middle == high or 2 * len(found) >= limit:
                    break
            else:
                high = middle
            middle = (low + high) / 2
        return found

    def loaded(self, run_id: str, known: Loaded | None = None) -> Loaded:
        """Return the run with all steps of its generation.

        Args:
            run_id: The run.
            known: What was returned before: its steps are taken if the record is the same.

        Raises:
            RunIdInvalid: No run can have this id.
            RunMissing: There is no such run.
        """
        run = self.app.get(run_id)
        if known is not None and (run.version, run.op_id) == (known.run.version, known.run.op_id):
            return known._replace(now=self.now())
        loaded = self.app.storage.load(run_id)
        if loaded is None:
            raise RunMissing(run_id)
        self.app.driver.time.is_now(loaded.now)
        return loaded

    def spans_of(self, run: Run) -> Sequence[SpanRow]:
        """Return what the span store has of the run's trace; nothing without a store."""
        return () if self.spans is None else self.spans.spans_of(trace_of(run), MOST_SPANS)

    def logs_of(self, run: Run, position: str | None) -> Sequence[LogRow]:
        """Return the last lines that the step at *position* logged, or for None the whole run.

        Nothing without a store.
        """
        return () if self.spans is None else self.spans.logs_of(trace_of(run), position)

    def tool_at(self, run_id: str, position: str) -> str:
        """Return what was called at *position*, if it is one of the last steps; else nothing."""
        run = self.app.get(run_id)
        loaded = self.app.storage.load(run_id, max(0, run.cursor - LAST_STEPS))
        steps = () if loaded is None else loaded.steps
        return next((step.tool for step in steps if step.position == position), "")

    def children(self, run_id: str, limit: int = PAGE) -> Sequence[Run]:
        """Return the runs that the run started as its children, newest first."""
        return self.app.storage.find(Query(parent=run_id, limit=limit)).runs

    def counts(self, since: float | None = None) -> Counts:
        """Return how many runs there are by flow and status, of those created since."""
        return self.app.count(since=_time(since))

    def rollups(self, seconds: float) -> Rolled | None:
        """Return the statistics of tools of the last *seconds*, from the beginning of an hour on.

        None where the storage makes none.
        """
        read = getattr(self.app.storage, "rollups", None)
        now = self.now()
        rolled: Rolled | None = read and read((now - seconds) // HOUR * HOUR, now)
        return rolled


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

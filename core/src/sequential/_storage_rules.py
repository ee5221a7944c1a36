"""What every storage does alike: queries, page tokens, limits, tombstones, time.

A plugin author may use it or do the same. Knows the contract in `_storage` and no storage.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import math
import threading
from collections.abc import Collection, Iterable
from typing import NoReturn

from ._clock import Clock
from ._model import ENDED_STATUSES, At, In, Payload, Run, Status, Wake, evolve
from ._storage import OfVersions, Page, Query
from .errors import ConfigError, RecordCorrupt

MAX_PAGE = 1_000
"""The most runs that one page may hold."""

_WAKES = "wake:"
"""Begins the place in a token of pages in the order of wakes."""

TOMBSTONE = 30 * 86_400.0
"""Seconds from its end that a run's id stays taken; the oldest message (SQS) lives 14 days."""


class StorageTime:
    """The time of a storage: the host's clock plus its skew, never going backwards.

    *raised* is also told what other processes wrote, so that all of them agree.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._mark = 0.0

    def now(self, stored: float = 0.0) -> float:
        """Return seconds since the epoch, no less than ever before and than *stored*."""
        time = self._clock.now() + self._clock.skew()
        with self._lock:
            self._mark = max(self._mark, stored, time)
            return self._mark


def resolve_wake(wake: Wake, now: float) -> At | None:
    """Return *wake* as a moment, counting `In` from *now*."""
    return At(now + wake.seconds) if isinstance(wake, In) else wake


def is_same(stored: Run, expect: Run) -> bool:
    """Tell whether *expect*, as a writer knows it, is what is *stored*: version and ``op_id``."""
    return stored.version == expect.version and stored.op_id == expect.op_id


def as_created(run: Run, now: float) -> Run:
    """Return *run* as it is first stored: version 1, created *now* unless it says when."""
    return evolve(run, version=1, wake=resolve_wake(run.wake, now), created=run.created or now)


def tombstone(run: Run) -> Run | None:
    """Return what is left of *run* after a purge, or None if it may not be purged.

    The id, the flow, the generation and the times stay; whatever a user brought is gone. It is due
    again, to be removed, when no message for the run can be under way any more.
    """
    if run.status not in ENDED_STATUSES:
        return None
    return Run(
        run_id=run.run_id,
        flow=run.flow,
        input=Payload(b"null", size=4),
        flow_version=run.flow_version,
        generation=run.generation,
        status=Status.PURGED,
        fence=run.fence,
        wake=At((run.ended or run.created) + TOMBSTONE),
        created=run.created,
        started=run.started,
        ended=run.ended,
        asked=run.asked,
        version=run.version + 1,
    )


def check_limit(limit: int) -> int:
    """Return *limit* if it can be the length of a page.

    Raises:
        ConfigError: It is not a number from 1 to `MAX_PAGE`.
    """
    if type(limit) is not int or not 1 <= limit <= MAX_PAGE:
        raise ConfigError("limit", limit, f"use a whole number from 1 to {MAX_PAGE:,}")
    return limit


def matches(run: Run, query: Query) -> bool:
    """Tell whether *run* is one of those that *query* asks for, on whatever page."""
    return (
        query.flow in {None, run.flow}
        and (not query.statuses or run.status in query.statuses)
        and (query.since is None or run.created >= query.since)
        and (query.before is None or run.created < query.before)
        and (query.parent is None or (run.parent is not None and run.parent.run_id == query.parent))
        and (not query.search or run.run_id.startswith(query.search))
        and (query.wakes_before is None or _wakes(run) < query.wakes_before)
        and query.tags.items() <= run.tags.items()
    )


def end_of_prefix(prefix: str) -> str | None:
    """Return the least text above all that begin with *prefix*, by code points; None for no end.

    ``prefix <= text < end_of_prefix(prefix)`` is a stretch of any index that compares UTF-8 byte
    by byte.
    """
    head = prefix.rstrip("\U0010ffff")
    if not head:
        return None
    # What lies between these two is no character.
    following = 0xE000 if head[-1] == "\ud7ff" else ord(head[-1]) + 1
    return head[:-1] + chr(following)


def page_of(runs: Iterable[Run], query: Query) -> Page:
    """Return the page that *query* asks for of *runs* that match it, which come in any order.

    Raises:
        ConfigError: Its ``limit`` or its ``after`` cannot be used.
    """
    limit = check_limit(query.limit)
    begin = read_page_token(query)
    if begin is not None:
        # What stands there is only where to go on: the run may be gone.
        last = (begin[0] if query.wakes_before is not None else -begin[0], begin[1])
        runs = (run for run in runs if _order(run, query) > last)
    found = heapq.nsmallest(limit + 1, runs, lambda run: _order(run, query))
    page = tuple(found[:limit])
    return Page(page, page_token(page[-1], query) if len(found) > limit else None)


def _order(run: Run, query: Query) -> tuple[float, str]:
    """Return what pages of *query* are sorted by: the newest first, or the earliest wake."""
    return (-run.created if query.wakes_before is None else _wakes(run), run.run_id)


def _wakes(run: Run) -> float:
    return run.wake.time if isinstance(run.wake, At) else math.inf


def page_token(run: Run, query: Query) -> str:
    """Return the token of the page of *query* that begins after *run*."""
    place = f"{run.created!r}" if query.wakes_before is None else f"{_WAKES}{_wakes(run)!r}"
    return base64.urlsafe_b64encode(f"{place} {run.run_id}".encode()).decode()


def read_page_token(query: Query) -> tuple[float, str] | None:
    """Return the time and the id that the token ``after`` of *query* was made of; None for none.

    The time is that of the creation, or of the wake if the query asks for wakes.

    Raises:
        ConfigError: It is no token, or one of pages in the other order.
    """
    token = query.after
    if token is None:
        return None
    try:
        text = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode()
        place, space, run_id = text.partition(" ")
        time = float(place.removeprefix(_WAKES))
    except (AttributeError, ValueError, binascii.Error):
        _refuse_token(token)
    if not space or not run_id or not math.isfinite(time):
        _refuse_token(token)
    if place.startswith(_WAKES) != (query.wakes_before is not None):
        remedy = "it is of pages in another order; ask for what that page was asked for"
        raise ConfigError("after", token[:80], remedy)
    return time, run_id


def _refuse_token(token: object) -> NoReturn:
    shown = token[:80] if isinstance(token, str) else token
    raise ConfigError("after", shown, "use the `next` of the page before, or leave it out")


def refuse_repeat(run_id: str, position: str) -> NoReturn:
    """Raise because a step that is to be appended stands in the record already."""
    raise RecordCorrupt(run_id, f"step {position} is recorded already; nothing was written")


def is_asked_for(run: Run, flows: Collection[str] | None) -> bool:
    """Tell whether `due` was asked for runs of the flow of *run*, and of its version."""
    return flows is None or any(
        run.flow == each and (not isinstance(each, OfVersions) or run.flow_version in each.versions)
        for each in flows
    )


def flows_and_versions(flows: Collection[str]) -> list[tuple[str, str | None]]:
    """Return what `due` was asked for as pairs; the version is None where all are wanted."""
    pairs = list[tuple[str, str | None]]()
    for each in flows:
        name = str.__str__(each)
        if isinstance(each, OfVersions):
            pairs.extend((name, version) for version in sorted(each.versions))
        else:
            pairs.append((name, None))
    return pairs

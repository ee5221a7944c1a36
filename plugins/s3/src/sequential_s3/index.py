"""Finding runs: index objects by status and time of creation, newest first.

A line stands before the head that it is for, and is deleted after the head that it is no longer
for; heads name their line, so that a line too many is left out. Lines tell flow and parent by a
digest; all else is in the head, which is read.
"""

from __future__ import annotations

import heapq
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from sequential.errors import RecordCorrupt
from sequential.storage import (
    MAX_PAGE,
    Page,
    Query,
    Run,
    Status,
    check_limit,
    matches,
    page_of,
    page_token,
    read_page_token,
)

from .bucket import Bucket
from .head import Head, new_nonce
from .heads import Heads
from .keys import Entry, Keys, digest_of, may_begin

_log = logging.getLogger("sequential")


def new_tag(run: Run) -> str:
    """Return what tells a new line of *run* from all others."""
    return f"v{run.version}.{new_nonce()}"


class Index:
    """The index of one storage."""

    def __init__(self, bucket: Bucket, keys: Keys, heads: Heads) -> None:
        self._bucket = bucket
        self._keys = keys
        self._heads = heads

    def add(self, key: str) -> None:
        """Write a line. It says nothing by itself: the head must name it."""
        self._bucket.put(key, b"")

    def find(self, query: Query) -> Page:
        """Return one page of the runs that match *query*, newest first."""
        limit = check_limit(query.limit)
        begin = read_page_token(query)
        if query.wakes_before is not None:
            # No line tells of wakes, and the markers may be late for one that was moved ahead:
            # the heads of all runs of these statuses are read.
            return page_of(self._matching(replace(query, limit=MAX_PAGE), None), query)
        runs: list[Run] = []
        for run in self._matching(query, begin):
            if len(runs) == limit:
                return Page(runs, page_token(runs[-1], query))
            runs.append(run)
        return Page(runs)

    def count(self, query: Query) -> Mapping[tuple[str, Status], int]:
        """Return how many runs match *query*, by flow and status; reads the head of each."""
        runs = self._matching(replace(query, limit=MAX_PAGE), None)
        return Counter((run.flow, run.status) for run in runs)

    def _matching(self, query: Query, begin: tuple[float, str] | None) -> Iterator[Run]:
        flow = None if query.flow is None else digest_of(query.flow)
        parent = None if query.parent is None else digest_of(query.parent)
        for entry in self._entries(query, begin):
            if flow not in {None, entry.flow} or parent not in {None, entry.parent}:
                continue
            if not may_begin(entry.name, query.search or ""):
                continue
            head = self._readable(entry)
            if head is None or head.run is None or head.index != entry.tag:
                continue
            run = head.run
            if query.since is not None and run.created < query.since:
                return
            if matches(run, query):
                yield run

    def _entries(self, query: Query, begin: tuple[float, str] | None) -> Iterator[Entry]:
        """Yield lines of all statuses asked for, newest first."""
        statuses = query.statuses or Status
        prefixes = {self._keys.index(status): status for status in statuses}
        # One more than a page and no more: what is listed has to be read, too.
        page = min(1000, query.limit + 1)
        sources = []
        for prefix, status in prefixes.items():
            after = "" if begin is None else self._keys.after(status, *begin)
            keys = self._bucket.keys(prefix, after, page)
            sources.append(self._lines(prefix, keys))
        for _, entry in heapq.merge(*sources):
            yield entry

    def _lines(self, prefix: str, keys: Iterator[str]) -> Iterator[tuple[str, Entry]]:
        for key in keys:
            entry = self._keys.read_entry(prefix, key)
            if entry is not None:
                yield key.removeprefix(prefix), entry

    def _readable(self, entry: Entry) -> Head | None:
        """Return the head of *entry*; None, said in the log, if it is damaged."""
        try:
            return self._heads.read(entry.name)
        except RecordCorrupt as error:
            _log.warning("left out of what is found: %s", error)
            return None

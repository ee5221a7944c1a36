"""Where a worker of these tests can be told to die: around its storage, transport and codec.

Production code has no hooks for it. A storage that hands on to the real one says which commit is
which, SQLite itself says which statement of it is next, and a payload codec and a transport stand
where any plugin may. What was refused is written into the effects log.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from sequential._model import ENDED_STATUSES, Run, Status, StepKind, StepRecord
from sequential._payload import PayloadCodec, Place
from sequential._polling import PollingTransport
from sequential._sqlite.storage import SqliteStorage
from sequential._storage import STALE, Loaded, Page, Probe, Query, Stale, Storage
from sequential._transport import ResumeMessage
from sequential.errors import StorageError
from sequential.hookspecs import hookimpl
from tests.acceptance.book import open_storage
from tests.acceptance.effects import Effects, Line
from tests.acceptance.failpoints import reach

T = TypeVar("T")
_TOKEN_JSON = 34
"""Bytes of a tool's token as JSON text; only these results are made again after a death."""
_MANY = 1 << 30
_STATEMENTS = {
    "INSERT INTO steps": "steps",
    "DELETE FROM steps": "steps",
    "DELETE FROM stored_values": "values",
    "UPDATE runs": "run",
    "COMMIT": "commit",
}
_OBJECTS = {"/w/0/": "marker", "/i/": "line", "/handed": "handed", "/seg/": "segment"}


def kind_of(run: Run, expect: Run, steps: Sequence[StepRecord]) -> str:  # noqa: PLR0911
    """Name the transition that turns *expect* into *run*."""
    if run.status in ENDED_STATUSES:
        return "end"
    if run.status is Status.RUNNING and run.fence > expect.fence:
        return "claim"
    if steps:
        return _kind_of_record(run, steps[0])
    if len(run.inbox) > len(expect.inbox):
        return "message"
    if run.status is Status.PAUSED:
        return "park"
    if run.open != expect.open:
        announced = any(found.intent for found in run.open.values())
        return "intent" if announced else "attempt"
    return "renew"


def _kind_of_record(run: Run, step: StepRecord) -> str:
    if step.kind is not StepKind.TOOL or step.tool == "kill.once":
        return "record"
    return "step" if run.status is Status.RUNNING else "last-step"


class SeamedStorage:
    """The storage *inner*, each operation of it between two failpoints."""

    def __init__(self, inner: Storage, log: Effects) -> None:
        self._log = log
        self._inner = inner

    @property
    def deployment(self) -> str:
        return self._inner.deployment

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        return self._at("create", run.run_id, lambda: self._inner.create(run, steps))

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        return self._at("load", run_id, lambda: self._inner.load(run_id, after))

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        kind = kind_of(run, expect, steps)
        return self._at(kind, run.run_id, lambda: self._inner.commit(run, expect, steps))

    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        return self._at("due", "-", lambda: self._inner.due(limit, flows, hold))

    def find(self, query: Query) -> Page:
        return self._at("find", "-", lambda: self._inner.find(query))

    def count(self, query: Query) -> Mapping[tuple[str, Status], int]:
        return self._at("count", "-", lambda: self._inner.count(query))

    def put_value(self, run_id: str, data: bytes) -> str:
        return self._at("value", run_id, lambda: self._inner.put_value(run_id, data))

    def get_value(self, run_id: str, digest: str) -> bytes:
        return self._at("fetch", run_id, lambda: self._inner.get_value(run_id, digest))

    def purge(self, expect: Run) -> bool:
        return self._at("purge", expect.run_id, lambda: self._inner.purge(expect))

    def probe(self) -> Probe:
        return self._inner.probe()

    def close(self) -> None:
        self._inner.close()

    def _at(self, kind: str, run_id: str, operation: Callable[[], T]) -> T:
        reach(f"{kind}.before", run_id)
        try:
            answer = self._operate(kind, run_id, operation)
        except StorageError as error:
            self._log.write(Line("refused", os.getpid(), type(error).__name__, run_id))
            raise
        if answer is not STALE:
            reach(f"{kind}.after", run_id)
        return answer

    def _operate(self, kind: str, run_id: str, operation: Callable[[], T]) -> T:
        return operation()


class SeamedSqlite(SeamedStorage):
    """SQLite, whose statements are failpoints too.

    While *quota* is there, its connections get no pages beyond those that the database has.
    """

    _inner: SqliteStorage

    def __init__(self, inner: SqliteStorage, log: Effects, quota: Path) -> None:
        super().__init__(inner, log)
        self._quota = quota
        self._local = threading.local()
        connections = inner._connections
        connect = connections._connect

        def traced() -> sqlite3.Connection:
            connection = connect()
            connection.set_trace_callback(self._statement)
            return connection

        connections._connect = traced  # type: ignore[method-assign]
        connections.close()
        connections._closed = False

    def _operate(self, kind: str, run_id: str, operation: Callable[[], T]) -> T:
        self._local.within = kind, run_id
        self._keep_quota()
        try:
            return operation()
        finally:
            self._local.within = None

    def _keep_quota(self) -> None:
        connection = self._inner._connections._slot().connection
        full = self._quota.exists()
        if connection is not None and full != getattr(self._local, "full", False):
            # Fewer than there are is taken for as many as there are.
            connection.execute(f"PRAGMA max_page_count = {1 if full else _MANY}")
            self._local.full = full

    def _statement(self, text: str) -> None:
        within = getattr(self._local, "within", None)
        if within is None:
            return
        for beginning, name in _STATEMENTS.items():
            if text.startswith(beginning):
                reach(f"{within[0]}.{name}", within[1])


class SeamedObjects(SeamedStorage):
    """Objects in S3, each request that changes one being a failpoint too."""

    def __init__(self, inner: Storage, log: Effects) -> None:
        super().__init__(inner, log)
        self._local = threading.local()
        bucket: Any = inner.bucket  # type: ignore[attr-defined]
        bucket.client.meta.events.register("before-send.s3", self._request)

    def _operate(self, kind: str, run_id: str, operation: Callable[[], T]) -> T:
        self._local.within = kind, run_id
        try:
            return operation()
        finally:
            self._local.within = None

    def _request(self, request: Any, **_: object) -> None:
        within = getattr(self._local, "within", None)
        if within is None or request.method == "GET":
            return
        path = urlsplit(request.url).path
        if request.method == "PUT":
            names = [name for part, name in _OBJECTS.items() if part in path]
            reach(f"{within[0]}.{names[0] if names else path.rpartition('/')[2]}", within[1])
        else:
            reach(f"{within[0]}.drop", within[1])


def seamed(url: str, log: Effects, quota: Path) -> SeamedStorage:
    """Open the storage at *url* with every seam that it can have."""
    storage = open_storage(url)
    if isinstance(storage, SqliteStorage):
        return SeamedSqlite(storage, log, quota)
    if url.startswith("s3:"):
        return SeamedObjects(storage, log)
    return SeamedStorage(storage, log)


class SeamedTransport(PollingTransport):
    """Polling, each message of it between two failpoints."""

    def send(self, messages: Sequence[ResumeMessage]) -> None:
        for message in messages:
            reach("send.before", message.run_id)
        super().send(messages)
        for message in messages:
            reach("send.after", message.run_id)


class Marks:
    """A payload codec that changes nothing, and is a failpoint for a tool's result."""

    id = "mark"

    def encode(self, data: bytes, place: Place) -> bytes:
        if len(data) == _TOKEN_JSON and place.part.endswith(":value"):
            reach("encode", place.run_id)
        return data

    def decode(self, data: bytes, place: Place) -> bytes:
        return data


class BringsMarks:
    """The plugin that brings it."""

    @hookimpl
    def sequential_payload_codecs(self) -> Sequence[PayloadCodec]:
        return [Marks()]

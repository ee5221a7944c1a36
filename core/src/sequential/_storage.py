"""The storage contract: versioned records, each with an append-only list of step records.

A storage knows nothing of leases, signals or flows: those are pure functions from record to
record in `_protocol`. A plugin author implements `Storage` and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, Self

from ._model import Run, Status, StepRecord

RECORD_ONLY = 1 << 30
"""No generation has as many steps: asked for those after it, `load` reads the record alone."""


class Loaded(NamedTuple):
    """One consistent snapshot of a run.

    Attributes:
        run: The record; its ``wake`` is an `At` or None.
        steps: Records of its generation numbered from what was asked, in order of number.
        now: The storage's time, in seconds since the epoch.
    """

    run: Run
    steps: Sequence[StepRecord]
    now: float


class Stale:
    """The answer of a commit that found another version: nothing was written."""

    def __repr__(self) -> str:
        """Say what it is."""
        return "STALE"


STALE: Final = Stale()


class OfVersions(str):
    """The name of a flow, of which only runs of *versions* are wanted.

    Equal to the plain name: a storage that does not know it hands out what others may carry on.
    """

    __slots__ = ("versions",)

    def __new__(cls, name: str, versions: Collection[str]) -> Self:
        """Make one."""
        made = super().__new__(cls, name)
        made.versions = frozenset(versions)
        return made

    versions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Query:
    """Which runs to find; every given part must match. Newest created first.

    Attributes:
        flow: Name of the flow.
        statuses: Any of these.
        tags: All of these, exactly.
        since: Created at or after, in seconds since the epoch.
        before: Created before.
        wakes_before: The wake time is before this, in seconds since the epoch. The earliest wake
            comes first then, and `Page.next` goes on in that order.
        search: The id begins with these characters, large and small ones told apart. Not text
            anywhere in it: a beginning is a stretch of an index in every storage. What is to be
            found otherwise is a tag.
        parent: Id of the parent run.
        after: Where the page before ended, from `Page.next`.
        limit: At most this many, 1 to 1,000.
    """

    flow: str | None = None
    statuses: Collection[Status] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    since: float | None = None
    parent: str | None = None
    after: str | None = None
    limit: int = 50
    before: float | None = None
    search: str | None = None
    wakes_before: float | None = None


class Page(NamedTuple):
    """One page of runs, and where the next begins: None at the end."""

    runs: Sequence[Run]
    next: str | None = None


class Probe(NamedTuple):
    """What a storage found out about itself, by trying.

    Attributes:
        storage: Address for people, without secrets.
        checks: What was tried and held, one sentence each.
        cannot: What this storage cannot do, one sentence each.
        max_steps: The most records one generation may have.
    """

    storage: str
    checks: Sequence[str]
    cannot: Sequence[str] = ()
    max_steps: int = 50_000


class Storage(Protocol):
    """Where runs live. Safe for use by several threads.

    Every operation may raise `StorageUnavailable` (nothing was written), `StorageRefused` (nothing
    was written and will not be until somebody acts) and, where it writes, `OutcomeUnknown`.
    Drivers' own errors never leave a storage.
    """

    @property
    def deployment(self) -> str:
        """Random id made when the storage was first set up; part of every idempotency key."""

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        """Store *run* if its id is free; return what is stored under the id either way.

        The caller sees by ``op_id`` whether it is its own. *steps* are stored with it, all or
        nothing. The returned version is 1 for a new record; ``created`` is the storage's time if
        it was 0, and never changes again, nor do ``flow`` and ``parent``.
        """

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        """Return one consistent snapshot, or None if there is no such run.

        Args:
            run_id: Id of the run.
            after: Leave out records of the generation numbered below this.
        """

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        """Write *run* and append *steps*, all or nothing, if *expect* is what is stored.

        *expect* is stored if the stored record has its version and its ``op_id``: a version alone
        can come again, with another history, on a storage that lost its last commits in a
        failover. Durable on return. The returned record has the version after it and its ``wake``
        resolved to an `At` by the storage's clock. Anything else stored: `STALE`, nothing is
        written.

        Raises:
            RecordCorrupt: A position is recorded already; nothing was written.
        """

    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        """Return ids of runs whose wake time has passed, longest due first.

        Open runs, and ended ones that have a parent to tell or are to be purged. A hint: it may
        repeat and may be stale. A run that was handed out and not committed to since is left out
        for *hold* seconds.

        Args:
            limit: At most this many, and at most 1,000.
            flows: Only runs of these flows; None for all. Where one is an `OfVersions`, only its
                runs of those versions.
            hold: Seconds.
        """

    def find(self, query: Query) -> Page:
        """Return one page of the runs that match *query*, newest first, without their steps."""

    def count(self, query: Query) -> Mapping[tuple[str, Status], int]:
        """Return how many runs match *query*, by flow and status, those with any only.

        All pages are counted: its ``after`` and ``limit`` are not looked at. The counts are of one
        moment where the storage can say so at no price, else of some while.
        """

    def put_value(self, run_id: str, data: bytes) -> str:
        """Keep *data* for the run and return its SHA-256 digest in hex. Durable on return."""

    def get_value(self, run_id: str, digest: str) -> bytes:
        """Return the bytes kept under *digest* for the run.

        Raises:
            ValueCorrupt: They are missing, or do not have that digest.
        """

    def purge(self, expect: Run) -> bool:
        """Shrink an ended run to a tombstone; remove a tombstone. Return whether it did.

        A tombstone keeps the id, the flow, the status `purged` and the times; inputs, results,
        records and values are gone. It is due again 30 days after the end. Does nothing and returns
        False if *expect* is not what is stored, as for `commit`, or the run is open or quarantined.
        """

    def probe(self) -> Probe:
        """Verify, by trying, that the contract holds here, and say what it cannot do.

        Raises:
            StorageError: It does not hold; the message says which part.
        """

    def close(self) -> None:
        """Give connections back. The storage may not be used afterwards."""


class CreatesAll(Protocol):
    """What a storage may do besides: create many runs at the price of about one."""

    def create_all(self, runs: Sequence[Run]) -> Sequence[Run]:
        """Do as `Storage.create` for each of *runs*, in order; return what that returns.

        All are durable on return. After an error some may be stored: creating them again is safe.
        """


class ValuePlace(Protocol):
    """A storage that can also hold the large values of runs that live in another one."""

    def put_value(self, run_id: str, data: bytes) -> str:
        """As `Storage.put_value`; the run has no record here."""

    def get_value(self, run_id: str, digest: str) -> bytes:
        """As `Storage.get_value`."""

    def drop_values(self, run_id: str) -> None:
        """Delete all values of the run, and nothing else; that there are none is no error."""

    def probe(self) -> Probe:
        """As `Storage.probe`."""

    def close(self) -> None:
        """As `Storage.close`."""

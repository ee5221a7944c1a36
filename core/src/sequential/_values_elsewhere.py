"""Large values in another place than the records: `Sequential(storage, values=...)`.

Values are written before the commit that refers to them and deleted after the purge that was the
last to, so both places may fail apart from each other and no record loses a value. A place may be
shared: what a run keeps there has the deployment of its records in its name, so that a run of the
same id elsewhere neither reads nor drops it. Knows no storage by name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from itertools import chain

from ._model import Run, Status, StepRecord
from ._storage import RECORD_ONLY, Loaded, Page, Probe, Query, Stale, Storage, ValuePlace
from ._storage_probe import try_contract
from ._storage_rules import is_same
from .errors import ValueCorrupt


class ValuesElsewhere:
    """The records of *runs* with the values of *values*. Closes both."""

    def __init__(self, runs: Storage, values: ValuePlace) -> None:
        self._runs = runs
        self._values = values

    @property
    def deployment(self) -> str:
        """That of the runs."""
        return self._runs.deployment

    @property
    def schema(self) -> object:
        """That of the runs, or None."""
        return getattr(self._runs, "schema", None)

    @property
    def upto(self) -> float | None:
        """That of the runs, if they are a projection."""
        return getattr(self._runs, "upto", None)

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        """Store *run* if its id is free; return what is stored under the id either way."""
        return self._runs.create(run, steps)

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        """Return one consistent snapshot, or None if there is no such run."""
        return self._runs.load(run_id, after)

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        """Write *run* and append *steps*, all or nothing, if *expect* is what is stored."""
        return self._runs.commit(run, expect, steps)

    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        """Return ids of runs whose wake time has passed, longest due first."""
        return self._runs.due(limit, flows, hold)

    def find(self, query: Query) -> Page:
        """Return one page of the runs that match *query*, newest first, without their steps."""
        return self._runs.find(query)

    def count(self, query: Query) -> Mapping[tuple[str, Status], int]:
        """Return how many runs match *query*, by flow and status."""
        return self._runs.count(query)

    def put_value(self, run_id: str, data: bytes) -> str:
        """Keep *data* for the run and return its SHA-256 digest in hex. Durable on return."""
        return self._values.put_value(self._owner(run_id), data)

    def get_value(self, run_id: str, digest: str) -> bytes:
        """Return the bytes kept under *digest* for the run.

        Those of runs that are older than this setting are still beside the records; those that were
        written before places could be shared are under the bare id.
        """
        try:
            return self._values.get_value(self._owner(run_id), digest)
        except ValueCorrupt as error:
            for place in (self._values, self._runs):
                with suppress(ValueCorrupt):
                    return place.get_value(run_id, digest)
            raise ValueCorrupt(run_id, digest, error.reason) from error

    def purge(self, expect: Run) -> bool:
        """Shrink an ended run to a tombstone, or remove a tombstone, and drop its values.

        A tombstone goes last: should this die with the values still there, they are found by it,
        when it is due 30 days after the end or purged by hand. What is under the bare id stays: it
        may be that of another deployment's run.
        """
        if expect.status is Status.PURGED:
            loaded = self._runs.load(expect.run_id, RECORD_ONLY)
            if loaded is None or not is_same(loaded.run, expect):
                return False
            self._values.drop_values(self._owner(expect.run_id))
            return self._runs.purge(expect)
        done = self._runs.purge(expect)
        if done:
            self._values.drop_values(self._owner(expect.run_id))
        return done

    @property
    def create_all(self) -> object:
        """That of the runs, or None."""
        return getattr(self._runs, "create_all", None)

    @property
    def roll_up(self) -> object:
        """That of the runs, or None."""
        return getattr(self._runs, "roll_up", None)

    @property
    def rollups(self) -> object:
        """That of the runs, or None."""
        return getattr(self._runs, "rollups", None)

    def probe(self) -> Probe:
        """Try each, and both together."""
        runs, values = self._runs.probe(), self._values.probe()
        name = f"{runs.storage}, values in {values.storage}"
        held = dict.fromkeys((*runs.checks, *try_contract(self, name)))
        return runs._replace(
            storage=name, checks=(*held, *(f"values: {each}" for each in values.checks))
        )

    def repair(self) -> Sequence[str]:
        """Repair both, as far as they can be."""
        found = (getattr(each, "repair", None) for each in (self._runs, self._values))
        return list(chain.from_iterable(repair() for repair in found if repair is not None))

    def _owner(self, run_id: str) -> str:
        """Return under what the values of the run are kept."""
        return f"{self._runs.deployment}.{run_id}"

    def close(self) -> None:
        """Close both."""
        try:
            self._runs.close()
        finally:
            self._values.close()

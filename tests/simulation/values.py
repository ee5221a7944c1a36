"""What must hold of large values that are kept apart from records, after every commit.

I26: what is recorded refers to a value that is there, and is what that step's own tool returned;
nothing refers to a value that no record has kept. I27: what is read is what the `Ref` stands for;
it is gone only when the run that kept it was purged, and no other run takes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sequential import _codec
from sequential._memory import MemoryStorage
from sequential._model import Payload, Run, Status, StepOutcome, StepRecord
from sequential._ref import Address, address_of, held_by
from sequential._storage import Storage
from sequential._values_elsewhere import ValuesElsewhere
from sequential.errors import ValueCorrupt
from sequential.refs import Ref
from sequential.testing import FakeClock
from tests.simulation.invariants import Watched
from tests.simulation.references import digest_of, refs_of, sha256


class Values:
    """All values of a schedule that are kept apart.

    Attributes:
        storage: Where values are kept and runs purged: the runs' own, or one with another place.
        kept: Where the values are that records have kept.
        late: Values that are still under way, with the run that they are kept for.
        gone: How often a value was not there any more.
        neighbour: Who else keeps values in that other place, if there is one.
    """

    def __init__(self, runs: Storage, clock: FakeClock, watched: Mapping[str, Watched]) -> None:
        self.storage = runs
        self.gone = 0
        self.late: list[tuple[str, bytes]] = []
        self.neighbour: Neighbour | None = None
        self._clock = clock
        self._watched = watched
        self.kept: set[Address] = set()
        self._results: dict[str, Any] = {}

    def move_elsewhere(self) -> None:
        """Keep values in another place than records, which another deployment uses as well."""
        place = MemoryStorage(self._clock)
        self.storage = ValuesElsewhere(self.storage, place)
        self.neighbour = Neighbour(place, self._clock)

    def see(self, before: Run | None, run: Run, steps: Sequence[StepRecord]) -> None:
        """Check what was committed over *before*."""
        goes_on = before is not None and before.generation == run.generation
        for step in steps[before.cursor if before is not None and goes_on else 0 :]:
            if goes_on:
                self._recorded(run, step)
            self._check_there(step.value.data)
        if run.result is not None and (before is None or before.result is None):
            self._ended(run, run.result)

    def opened(self, data: bytes) -> Any:
        """Return the encoded result *data* as plain JSON, read where it is kept apart."""
        result = json.loads(data)
        apart = isinstance(result, dict) and result["$"] == "ref"
        return self._results[result["v"]["digest"]] if apart else result

    def check_kept(self) -> None:
        """Check that what a purge did, or did not, is all that is gone."""
        for address in self.kept:
            self._data(address)

    def check_end(self) -> None:
        """Check all that is there once every run has come to its end."""
        for watched in self._watched.values():
            run, steps, _ = watched.past[-1]
            if watched.purged:
                continue
            parts = [run.input, *([] if run.result is None else [run.result])]
            for payload in (*parts, *(step.value for step in steps)):
                self._check_there(payload.data)
        if self.neighbour is not None:
            self.neighbour.check_end()

    # -- what is kept ------------------------------------------------------------------------

    def _recorded(self, run: Run, step: StepRecord) -> None:
        if step.tool == "t.big" and step.outcome is StepOutcome.VALUE:
            text = self._own(run, step.position, _codec.decode(step.value.data))
            owner = [run.run_id, str(run.generation), step.position, str(step.fence)]
            assert text.split()[:4] == owner, "I26 the value is not what its tool returned"
        elif step.tool in {"t.use", "sequential.load"}:
            self._read(step)

    def _own(self, run: Run, part: str, ref: Ref[Any]) -> Any:
        """Return the value of *ref*, which must be one that the run keeps for its *part*."""
        address = address_of(ref)
        if address is None:
            return held_by(ref)
        assert address[:2] == (run.run_id, run.generation), "I26 a value is kept as another's"
        assert address.part.startswith(f"{part}:"), "I26 a value is kept as that of another step"
        data = self._data(address)
        assert data is not None, "I26 a run is purged that goes on"
        self.kept.add(address)
        return json.loads(data)

    def _ended(self, run: Run, result: Payload) -> None:
        ref = _codec.decode(result.data)
        if isinstance(ref, Ref):
            self._own(run, "result", ref)
            address = address_of(ref)
            assert address is not None, "I26 a large value is not kept apart"
            data = self._data(address)
            assert data is not None
            self._results[address.digest] = json.loads(data)[:-1]
            self._check_there(data)
        self._check_there(result.data)

    # -- what is referred to ------------------------------------------------------------------

    def _check_there(self, data: bytes) -> None:
        for ref in refs_of(data):
            address = address_of(ref)
            if address is not None:
                assert address in self.kept, "I26 a value that no record has kept"
                self._data(address)

    def _data(self, address: Address) -> bytes | None:
        """Return what is kept at *address*; None if the run that kept it is purged."""
        try:
            data = self.storage.get_value(address.run_id, address.digest)
        except ValueCorrupt:
            purged = self._watched[address.run_id].purged
            assert purged, "I26 a value that a record refers to is not there"
            return None
        assert len(data) == address.size, "I26 another value"
        return data

    def _read(self, step: StepRecord) -> None:
        assert step.input is not None
        ref = _codec.decode(step.input.data)["ref"]
        address, value = address_of(ref), json.loads(step.value.data)
        if step.outcome is StepOutcome.ERROR:
            if value["type"] == "RefGone":
                self.gone += 1
                gone = address is not None and self._watched[address.run_id].purged
                assert gone, "I27 a value is said to be gone that is there"
            else:
                assert value["type"] == "StorageUnavailable", "I27 a value could not be read"
                assert step.tool == "t.use", "I27 a step failed that could wait"
        elif step.outcome is StepOutcome.VALUE:
            digest = address.digest if address is not None else digest_of(held_by(ref))
            found = value if step.tool == "t.use" else sha256(step.value.data)
            assert found == digest, "I27 another value was read"


class Neighbour:
    """Another deployment, which keeps values for runs of the same ids in the same *place*."""

    def __init__(self, place: MemoryStorage, clock: FakeClock) -> None:
        self._storage = ValuesElsewhere(MemoryStorage(clock), place)
        self._kept: dict[str, tuple[Run, str]] = {}

    def keep_or_purge(self, run_id: str) -> None:
        """Keep a value for its own run of that id; or purge that run, if it has one."""
        storage = self._storage
        if run_id not in self._kept:
            run = storage.create(Run(run_id, "f", Payload(b"null"), status=Status.COMPLETED))
            self._kept[run_id] = run, storage.put_value(run_id, b"a neighbour's")
            return
        run, _ = self._kept.pop(run_id)
        assert storage.purge(run)
        left = storage.load(run_id)
        assert left is not None
        assert storage.purge(left.run)

    def check_end(self) -> None:
        """Check that it has what it did not purge."""
        for run_id, (_, digest) in self._kept.items():
            try:
                self._storage.get_value(run_id, digest)
            except ValueCorrupt as error:
                raise AssertionError("I27 a value of another deployment is gone") from error

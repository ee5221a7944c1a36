"""What the floors share: a connection with bare statements, and operations made ready.

The tables, columns, indexes and kinds of values are those of the storage; what is left out is
everything else: guards, clocks, packing, the record of the run. Knows no storage by name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Protocol

from sequential._model import Payload, Run, StepKind, StepOutcome, StepRecord, evolve
from sequential._protocol import Gain, Terms, claimed, keep
from sequential._storage_rules import as_created
from sequential.storage import Storage

RUN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
TERMS = Terms()

Operation = Callable[[], object]


class Bare(Protocol):
    """One connection to the tables of a storage, with the storage's own settings."""

    def create(self, run: Run) -> None:
        """Put *run* into the table."""
        ...

    def insert(self, run_id: str, step: StepRecord) -> Operation:
        """Make one INSERT of a step's columns ready, with its commit."""
        ...

    def update(self, run: Run, after: Run) -> Operation:
        """Make one UPDATE of a run's columns ready, with its commit, to those of *after*."""
        ...

    def load(self, run_id: str) -> None:
        """Send what the storage sends to read a run and its steps."""
        ...

    def values(self, run_id: str) -> list[bytes]:
        """Return the values of a run's steps, read by one SELECT of all their columns."""
        ...

    def save(self, run: Run, step: StepRecord | None = None) -> Run:
        """Send what the storage sends to commit; return what is stored then."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def record(number: int) -> StepRecord:
    """Return a step record as the no-op flow makes them."""
    value = b'{"n":%d}' % number
    now = time.time()
    return StepRecord(
        0,
        number,
        str(number),
        StepKind.TOOL,
        "bench.noop",
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        StepOutcome.VALUE,
        Payload(value, (), None, len(value)),
        Payload(value, (), None, len(value)),
        1,
        now,
        now,
        1,
        os.urandom(16).hex(),
    )


def new_run(run_id: str = RUN_ID) -> Run:
    """Return a run as it is created already claimed."""
    made = Run(run_id, "steps", Payload(b'{"count":1000}', (), None, 14), asked="0" * 64)
    return claimed(made, time.time(), os.urandom(16).hex(), TERMS)


class InsertFloor:
    """One INSERT of a step's columns, and its commit."""

    def __init__(self, bare: Bare) -> None:
        self.bare = bare
        self.number = 0

    def ready(self) -> Operation:
        """Return the operation, its values made before it is timed."""
        step = record(self.number)
        self.number += 1
        return self.bare.insert(RUN_ID, step)


class CommitFloor:
    """The storage's own `commit` of one step, without an engine around it."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.run = storage.create(new_run())
        self.number = 0

    def ready(self) -> Operation:
        """Return the operation, its values made before it is timed."""
        step = record(self.number)
        kept = evolve(keep(self.run, Gain(), time.time(), TERMS), op_id=step.op_id)
        self.number += 1
        return lambda: self._commit(kept, step)

    def _commit(self, kept: Run, step: StepRecord) -> None:
        answer = self.storage.commit(kept, self.run, (step,))
        assert isinstance(answer, Run)
        self.run = answer


class ClaimFloor:
    """One UPDATE of a run's columns, and its commit: what a claim cannot do without."""

    def __init__(self, bare: Bare) -> None:
        self.bare = bare
        self.run = as_created(new_run(), time.time())
        bare.create(self.run)

    def ready(self) -> Operation:
        """Return the operation, its values made before it is timed."""
        before = self.run
        self.run = evolve(before, version=before.version + 1, op_id=os.urandom(16).hex())
        return self.bare.update(before, self.run)

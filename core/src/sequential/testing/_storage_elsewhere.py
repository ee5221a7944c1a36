"""What the storage kit does in other processes: each opens the storage by its URL.

The functions that end in *there* run over there; they take and return what can be pickled. Knows
the contract and how plugins are found, and not pytest.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import TypeVar

from .. import _builtin
from .._model import Run, StepRecord, evolve
from .._plugins import Plugins
from .._storage import STALE, Storage
from ._clock import FakeClock
from ._storage_samples import found, make_run, make_step

T = TypeVar("T")

_PATIENCE = 60.0  # seconds until the others must have been started
_gate: list[Barrier] = []


def elsewhere(count: int, work: Callable[[str, int, int], T], url: str, rounds: int) -> list[T]:
    """Call ``work(url, number, rounds)`` in *count* processes at once; return their answers."""
    # Spawned, not forked: nothing of this process's storage may be alive over there.
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(count)
    with ProcessPoolExecutor(count, context, _enter, (gate,)) as pool:
        tasks = [pool.submit(_gated, work, url, number, rounds) for number in range(count)]
        return [task.result() for task in tasks]


def _enter(gate: Barrier) -> None:
    _gate.append(gate)


def _gated(work: Callable[[str, int, int], T], url: str, number: int, rounds: int) -> T:
    _gate[0].wait(_PATIENCE)
    return work(url, number, rounds)


@contextmanager
def opened(url: str) -> Iterator[Storage]:
    """Open *url* as an application would, with the kit's clock."""
    storage = Plugins([_builtin]).open_storage(url, FakeClock())
    try:
        yield storage
    finally:
        storage.close()


def look_there(url: str, number: int, rounds: int) -> tuple[str, Run, list[StepRecord]]:  # noqa: ARG001
    """Return the deployment, and the run ``full`` with its steps."""
    with opened(url) as storage:
        loaded = found(storage.load("full"))
        return storage.deployment, loaded.run, list(loaded.steps)


def create_there(url: str, number: int, rounds: int) -> list[str]:
    """Do `create_here` over there."""
    with opened(url) as storage:
        return create_here(storage, rounds, number)


def append_there(url: str, number: int, rounds: int) -> int:
    """Do `append_here` over there."""
    with opened(url) as storage:
        return append_here(storage, rounds, number)


def sweep_there(url: str, number: int, rounds: int) -> list[str]:
    """Do `sweep_here` over there."""
    with opened(url) as storage:
        return sweep_here(storage, rounds, number)


def create_here(storage: Storage, rounds: int, number: int) -> list[str]:
    """Create the same runs as the others; return whose creation each of them became."""
    runs = [make_run(f"c{turn}", op_id=f"by {number}") for turn in range(rounds)]
    return [storage.create(run).op_id for run in runs]


def append_here(storage: Storage, rounds: int, number: int) -> int:
    """Append that many steps to ``r1``, each after looking; return how many were refused."""
    done = refused = 0
    while done < rounds:
        run = found(storage.load("r1")).run
        step = make_step(run.cursor, op_id=f"by {number}")
        changed = evolve(run, cursor=run.cursor + 1, op_id=f"by {number}")
        if storage.commit(changed, run, (step,)) is STALE:
            refused += 1
        else:
            done += 1
    return refused


def sweep_here(storage: Storage, rounds: int, number: int) -> list[str]:  # noqa: ARG001
    """Ask for what is due, *rounds* at a time, until there is nothing; return all of it."""
    taken: list[str] = []
    while given := storage.due(rounds, None, 3600.0):
        taken += given
    return taken

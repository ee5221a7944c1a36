"""Tries the contract on a living storage: what `Storage.probe` of any plugin can begin with.

Makes one run of its own, ended from the start so that nobody claims it, and removes it again.
Knows the contract only.
"""

from __future__ import annotations

import secrets

from ._model import Payload, Run, Status, StepKind, StepOutcome, StepRecord, evolve
from ._storage import STALE, Storage
from .errors import StorageError

_NULL = Payload(b"null", size=4)


def try_contract(storage: Storage, name: str) -> tuple[str, ...]:
    """Create, commit, commit against an old version, read and purge; say what held.

    Args:
        storage: What to try.
        name: Its address for people.

    Raises:
        StorageError: Something did not hold; the message says what.
    """
    run_id = f"probe-{secrets.token_hex(8)}"
    run = Run(run_id, "$probe", _NULL, status=Status.COMPLETED, cursor=1, ended=0.0)
    created = storage.create(run)
    _require(name, created.version == 1, "a new run does not have version 1")
    try:
        _try_commits(storage, name, created)
    finally:
        _remove(storage, run_id)
    _require(name, storage.load(run_id) is None, "a purged run is still there")
    return (
        "a commit against what is stored is applied, one against an older version is not",
        "a version number of another history is another version",
        "what was committed is read back",
        "its clock does not go backwards",
    )


def _try_commits(storage: Storage, name: str, run: Run) -> None:
    first = storage.commit(run, run, (_step(0),))
    _require(name, first is not STALE, "a commit against the stored version was refused")
    _require(name, storage.commit(run, run, (_step(1),)) is STALE, "an old version was accepted")
    fork = evolve(run, version=2, op_id="lost in a failover")
    _require(name, storage.commit(run, fork, ()) is STALE, "a commit does not compare op_id")
    loaded = storage.load(run.run_id)
    if loaded is None:
        raise StorageError(f"{name} does not keep the contract: a committed run is not there")
    _require(name, loaded.run.version == 2, "a commit did not raise the version by one")
    _require(name, len(loaded.steps) == 1, "the steps read are not those that were committed")
    later = storage.load(run.run_id)
    _require(name, later is not None and later.now >= loaded.now, "its clock went backwards")


def _remove(storage: Storage, run_id: str) -> None:
    """Purge twice: to a tombstone, then altogether."""
    for _ in range(2):
        loaded = storage.load(run_id)
        if loaded is not None:
            storage.purge(loaded.run)


def _step(number: int) -> StepRecord:
    return StepRecord(
        generation=0,
        number=number,
        position=str(number),
        kind=StepKind.SAVE,
        tool="",
        fingerprint="",
        outcome=StepOutcome.VALUE,
        value=_NULL,
        input=None,
        attempts=1,
        started=0.0,
        ended=0.0,
        fence=0,
        op_id="probe",
    )


def _require(name: str, held: bool, failure: str) -> None:
    if not held:
        raise StorageError(f"{name} does not keep the contract: {failure}")

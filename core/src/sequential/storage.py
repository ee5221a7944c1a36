"""What the author of a storage needs: the contract, the stored nouns, and how they are packed."""

from __future__ import annotations

from ._clock import Clock
from ._model import At, In, Payload, Run, Status, StepKind, StepOutcome, StepRecord, Wake, evolve
from ._record_payload import pack_payload, unpack_payload
from ._record_shapes import RUN_COLUMNS, STEP_COLUMNS
from ._records import (
    pack_run,
    pack_state,
    pack_step,
    pack_tags,
    unpack_run,
    unpack_step,
    unpack_tags,
)
from ._storage import STALE, Loaded, Page, Probe, Query, Stale, Storage
from ._storage_probe import try_contract
from ._storage_rules import StorageTime, as_created, is_same, resolve_wake, tombstone

__all__ = [
    "RUN_COLUMNS",
    "STALE",
    "STEP_COLUMNS",
    "At",
    "Clock",
    "In",
    "Loaded",
    "Page",
    "Payload",
    "Probe",
    "Query",
    "Run",
    "Stale",
    "Status",
    "StepKind",
    "StepOutcome",
    "StepRecord",
    "Storage",
    "StorageTime",
    "Wake",
    "as_created",
    "is_same",
    "evolve",
    "pack_payload",
    "pack_run",
    "pack_state",
    "pack_step",
    "pack_tags",
    "resolve_wake",
    "tombstone",
    "try_contract",
    "unpack_payload",
    "unpack_run",
    "unpack_step",
    "unpack_tags",
]

"""What the author of a storage needs: the contract, the stored nouns, and how they are packed."""

from __future__ import annotations

from ._clock import Clock
from ._codec import decode as decode_value
from ._codec import decode_plain
from ._codec import encode as encode_value
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
from ._storage import STALE, Loaded, OfVersions, Page, Probe, Query, Stale, Storage, ValuePlace
from ._storage_probe import try_contract
from ._storage_rules import (
    MAX_PAGE,
    StorageTime,
    as_created,
    check_limit,
    end_of_prefix,
    flows_and_versions,
    is_asked_for,
    is_same,
    matches,
    page_of,
    page_token,
    read_page_token,
    refuse_repeat,
    resolve_wake,
    tombstone,
)

__all__ = [
    "MAX_PAGE",
    "RUN_COLUMNS",
    "STALE",
    "STEP_COLUMNS",
    "At",
    "Clock",
    "In",
    "Loaded",
    "OfVersions",
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
    "ValuePlace",
    "Wake",
    "as_created",
    "check_limit",
    "decode_plain",
    "decode_value",
    "encode_value",
    "end_of_prefix",
    "evolve",
    "flows_and_versions",
    "is_asked_for",
    "is_same",
    "matches",
    "pack_payload",
    "pack_run",
    "pack_state",
    "pack_step",
    "pack_tags",
    "page_of",
    "page_token",
    "read_page_token",
    "refuse_repeat",
    "resolve_wake",
    "tombstone",
    "try_contract",
    "unpack_payload",
    "unpack_run",
    "unpack_step",
    "unpack_tags",
]

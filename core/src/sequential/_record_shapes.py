"""The shapes of stored records, strict enough that damage is seen when they are read.

Only data: the columns, and the structs that `_records` fills and reads. A wrong type, a negative
count, a lost or an unknown field does not fit, and msgspec's sentence says which.
"""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec

from ._model import Status, StepKind, StepOutcome

RUN_COLUMNS = (
    "run_id",
    "generation",
    "version",
    "op_id",
    "flow",
    "flow_version",
    "status",
    "wake",
    "tags",
    "parent",
    "created",
    "ended",
    "state",
)
"""Columns of a run, in the order of `pack_run` and `unpack_run`."""

STEP_COLUMNS = (
    "generation",
    "number",
    "position",
    "kind",
    "tool",
    "fingerprint",
    "outcome",
    "value",
    "input",
    "attempts",
    "started",
    "ended",
    "fence",
    "op_id",
    "v",
)
"""Columns of a step record, in the order of `pack_step` and `unpack_step`; the run id is extra."""

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Time = Annotated[float, msgspec.Meta(ge=0, le=sys.float_info.max)]  # no infinity
# [value] when the payload is plain JSON, [null, header] when it is not: no value, whatever it
# holds, can be taken for a header.
Packed = Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=2)]


class _Struct(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What a state is made of. A field that this version does not know is never dropped."""


class HeaderShape(_Struct):
    """Of a payload that is not plain JSON; *data* is used inside a state only."""

    size: _Count
    codecs: tuple[str, ...] = ()
    ref: str | None = None
    data: bytes = b""


class OpenShape(_Struct):
    kind: StepKind
    tool: str = ""
    attempt: _Positive = 1
    epoch: _Count = 0
    intent: bool = False
    due: _Time | None = None
    name: str = ""
    schema: str = ""
    error: str = ""
    started: _Time = 0.0
    fingerprint: str = ""


class MessageShape(_Struct):
    id: str
    name: str
    value: Packed
    sent: _Time = 0.0


class AttentionShape(_Struct):
    reason: str
    message: str
    diff: str = ""
    since: _Time = 0.0
    tries: _Count = 1


class ErrorShape(_Struct):
    type: str
    message: str
    data: Packed | None = None
    retryable: bool = True
    position: str = ""


class StateShape(_Struct):
    """The first six are always written, so that their loss is seen."""

    v: _Positive
    input: Packed
    fence: _Count
    owner: str
    cursor: _Count
    stalls: _Count
    started: _Time | None = None
    open: dict[str, OpenShape] = {}
    inbox: tuple[MessageShape, ...] = ()
    seen: tuple[str, ...] = ()
    attention: AttentionShape | None = None
    notice: bool = False
    result: Packed | None = None
    error: ErrorShape | None = None
    at: str | None = None  # position of the parent
    progress: Packed | None = None
    trace: dict[str, str] = {}
    asked: str = ""
    begun: _Time | None = None
    seeds: tuple[tuple[_Count, str], ...] = ()
    deadline: _Time | None = None
    patches: tuple[str, ...] = ()
    waits: bool = True  # whether the parent does
    children: _Count = 0
    unneeded: _Count = 0


class RunRow(msgspec.Struct, array_like=True):
    """`RUN_COLUMNS` without the state."""

    run_id: str
    generation: _Count
    version: _Positive
    op_id: str
    flow: str
    flow_version: str
    status: Status
    wake: _Time | None
    tags: str
    parent: str | None
    created: _Time
    ended: _Time | None


class StepRow(msgspec.Struct, array_like=True):
    """`STEP_COLUMNS`."""

    generation: _Count
    number: _Count
    position: str
    kind: StepKind
    tool: str
    fingerprint: str
    outcome: StepOutcome
    value: bytes
    input: bytes | None
    attempts: _Count
    started: _Time
    ended: _Time
    fence: _Count
    op_id: str
    v: _Positive


class VersionShape(msgspec.Struct):
    v: int = 0

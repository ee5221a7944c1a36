"""The shapes of an exported history, strict enough that damage is seen when a file is read.

Only data: the structs that `_history` fills and reads.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from ._model import Status, StepKind, StepOutcome

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Time = Annotated[float, msgspec.Meta(ge=0, le=1e11)]
_Text = Annotated[str, msgspec.Meta(max_length=4096)]
NOTHING = msgspec.Raw(b"")
"""No value at all, which is not the value null."""


class _Lines(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A field that this version does not know is an error: it may change what the rest means."""


class OpenLines(_Lines):
    kind: StepKind
    tool: _Text = ""
    name: _Text = ""


class ErrorLines(_Lines):
    type: _Text
    message: str = ""
    position: _Text = ""
    data: msgspec.Raw = NOTHING


class RunLines(_Lines):
    run_id: _Text
    flow: _Text
    flow_version: _Text
    status: Status
    created: _Time
    input: msgspec.Raw
    generation: _Count = 0
    begun: _Time | None = None
    ended: _Time | None = None
    seeds: tuple[tuple[_Count, str], ...] = ()
    open: dict[str, OpenLines] = {}
    result: msgspec.Raw = NOTHING
    error: ErrorLines | None = None
    patches: tuple[_Text, ...] = ()


class StepLines(_Lines):
    position: _Text
    kind: StepKind
    outcome: StepOutcome
    tool: _Text = ""
    attempts: _Positive = 1
    started: _Time = 0.0
    ended: _Time = 0.0
    fingerprint: _Text = ""
    input: msgspec.Raw = NOTHING
    value: msgspec.Raw = NOTHING
    together: bool = False
    """Whether it was recorded in one commit with the step before it."""


class FileLines(_Lines):
    format: str
    v: int
    deployment: _Text
    run: RunLines
    steps: list[StepLines]


class VersionLines(msgspec.Struct):
    format: str = ""
    v: int = 0

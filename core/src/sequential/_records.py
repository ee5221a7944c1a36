"""How records become bytes and columns, for every storage that cannot keep objects.

`RUN_COLUMNS` and `STEP_COLUMNS` stand outside, where a storage may index them; all else of a run is
one opaque ``state``: JSON with the version of the format. Knows no storage. What it reads it
does not trust: whatever cannot have been written here is `RecordCorrupt`, naming the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from ._model import (
    FORMAT,
    At,
    Attention,
    ErrorValue,
    Message,
    Open,
    Parent,
    Run,
    StepRecord,
)
from ._record_payload import pack_inside, pack_payload, unpack_inside, unpack_payload
from ._record_shapes import (
    RUN_COLUMNS,
    STEP_COLUMNS,
    AttentionShape,
    ErrorShape,
    MessageShape,
    OpenShape,
    RunRow,
    StateShape,
    StepRow,
    VersionShape,
)
from .errors import NotEncodable, RecordCorrupt

_write = msgspec.json.Encoder().encode
_decode_state = msgspec.json.Decoder(StateShape).decode
_decode_tags = msgspec.json.Decoder(dict[str, str]).decode
_BYTES = (bytes,)  # told so, convert does not take a text for bytes in base64
_decode_version = msgspec.json.Decoder(VersionShape).decode
# msgspec looks into a class at its first use, and two threads that do so at once crash the
# interpreter: these are used here, while the import lock is held.
msgspec.json.Decoder(tuple[RunRow, StepRow])


def _encode(value: object) -> bytes:
    try:
        return _write(value)
    except UnicodeEncodeError as error:
        # The name of a signal or a tag, say. Values were looked at by the codec.
        text = f"{error.object[:40]!a} has half of a surrogate pair; send whole characters"
        raise NotEncodable("a name of the run", "str", text) from None


# -- runs


def pack_state(run: Run) -> bytes:
    """Return all of *run* that has no column of its own."""
    error = run.error
    attention = run.attention
    return _encode(
        StateShape(
            FORMAT,
            pack_inside(run.input),
            run.fence,
            run.owner,
            run.cursor,
            run.stalls,
            run.started,
            {position: _pack_open(open_) for position, open_ in run.open.items()}
            if run.open
            else {},
            tuple([MessageShape(m.id, m.name, pack_inside(m.value), m.sent) for m in run.inbox])
            if run.inbox
            else (),
            run.seen,
            None if attention is None else _pack_attention(attention),
            run.notice,
            None if run.result is None else pack_inside(run.result),
            None if error is None else _pack_error(error),
            None if run.parent is None else run.parent.position,
            None if run.progress is None else pack_inside(run.progress),
            dict(run.trace),
            run.asked,
            run.begun,
            run.seeds,
            run.deadline,
            run.patches,
            run.parent is None or run.parent.waits,
            run.children,
            run.unneeded,
        )
    )


def _pack_open(open_: Open) -> OpenShape:
    return OpenShape(
        open_.kind,
        open_.tool,
        open_.attempt,
        open_.epoch,
        open_.intent,
        open_.due,
        open_.name,
        open_.schema,
        open_.error,
        open_.started,
        open_.fingerprint,
    )


def _pack_attention(found: Attention) -> AttentionShape:
    return AttentionShape(found.reason, found.message, found.diff, found.since, found.tries)


def _pack_error(error: ErrorValue) -> ErrorShape:
    data = None if error.data is None else pack_inside(error.data)
    return ErrorShape(error.type, error.message, data, error.retryable, error.position)


def pack_tags(tags: Mapping[str, str]) -> str:
    """Return *tags* as the JSON text of their column."""
    return _encode(dict(tags)).decode() if tags else "{}"


def unpack_tags(run_id: str, text: str) -> Mapping[str, str]:
    """Return the tags that `pack_tags` made *text* of.

    Raises:
        RecordCorrupt: It did not.
    """
    if text == "{}":
        return {}
    try:
        return _decode_tags(text)
    except (msgspec.MsgspecError, UnicodeError, TypeError) as error:
        raise RecordCorrupt(run_id, f"tags: {error}") from error


def pack_run(run: Run) -> tuple[object, ...]:
    """Return *run* as values for `RUN_COLUMNS`; its wake must be resolved."""
    wake = run.wake
    assert wake is None or isinstance(wake, At)
    return (
        run.run_id,
        run.generation,
        run.version,
        run.op_id,
        run.flow,
        run.flow_version,
        run.status._value_,
        None if wake is None else wake.time,
        pack_tags(run.tags),
        None if run.parent is None else run.parent.run_id,
        run.created,
        run.ended,
        pack_state(run),
    )


def unpack_run(row: Sequence[object]) -> Run:
    """Return the run that `pack_run` made *row* of.

    Raises:
        RecordCorrupt: It did not, or a newer version of Sequential did.
    """
    *columns, stored = row
    try:
        found = msgspec.convert(columns, RunRow, builtin_types=_BYTES)
    except (msgspec.ValidationError, UnicodeError) as error:
        raise RecordCorrupt(str(row[0]), _name_column(str(error), RUN_COLUMNS)) from error
    tags = unpack_tags(found.run_id, found.tags)
    state = _read_state(found.run_id, stored)
    try:
        return _fill_run(found, tags, state)
    except (msgspec.MsgspecError, ValueError) as error:
        raise RecordCorrupt(found.run_id, f"state: {error}") from error


def _read_state(run_id: str, stored: object) -> StateShape:
    if not isinstance(stored, bytes):
        raise RecordCorrupt(run_id, f"state: expected bytes, got {type(stored).__name__}")
    try:
        state = _decode_state(stored)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RecordCorrupt(run_id, _newer(stored) or f"state: {error}") from error
    if state.v != FORMAT:
        raise RecordCorrupt(run_id, _name_format(state.v))
    return state


def _newer(stored: bytes) -> str:
    """Return the sentence about a newer format, empty if that is not why it cannot be read."""
    try:
        version = _decode_version(stored).v
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""
    return _name_format(version) if version > FORMAT else ""


def _name_format(version: int) -> str:
    return (
        f"v: it is written in format {version}, this version knows up to {FORMAT};"
        " install a newer sequential-core"
    )


def _name_column(sentence: str, columns: Sequence[str]) -> str:
    """Put the column's name where msgspec says only its number: ``$[3]``."""
    return re.sub(r"\$\[(\d+)\]", lambda found: columns[int(found[1])], sentence)


def _fill_run(row: RunRow, tags: Mapping[str, str], state: StateShape) -> Run:
    return Run(
        run_id=row.run_id,
        flow=row.flow,
        input=unpack_inside(state.input),
        flow_version=row.flow_version,
        generation=row.generation,
        status=row.status,
        fence=state.fence,
        owner=state.owner,
        wake=None if row.wake is None else At(row.wake),
        cursor=state.cursor,
        stalls=state.stalls,
        open={position: _unpack_open(shape) for position, shape in state.open.items()},
        inbox=tuple([Message(m.id, m.name, unpack_inside(m.value), m.sent) for m in state.inbox]),
        seen=state.seen,
        attention=_unpack_attention(state.attention),
        notice=state.notice,
        result=None if state.result is None else unpack_inside(state.result),
        error=_unpack_error(state.error),
        parent=_unpack_parent(row.parent, state.at, state.waits),
        tags=tags,
        progress=None if state.progress is None else unpack_inside(state.progress),
        trace=state.trace,
        asked=state.asked,
        begun=state.begun,
        seeds=state.seeds,
        deadline=state.deadline,
        patches=state.patches,
        children=state.children,
        unneeded=state.unneeded,
        created=row.created,
        started=state.started,
        ended=row.ended,
        version=row.version,
        op_id=row.op_id,
    )


def _unpack_parent(run_id: str | None, position: str | None, waits: object) -> Parent | None:
    if run_id is None and position is None:
        return None
    if run_id is None or position is None:
        raise ValueError("parent and its position `at` are not both there")
    return Parent(run_id, position, bool(waits))


def _unpack_open(s: OpenShape) -> Open:
    return Open(
        s.kind,
        s.tool,
        s.attempt,
        s.epoch,
        s.intent,
        s.due,
        s.name,
        s.schema,
        s.error,
        s.started,
        s.fingerprint,
    )


def _unpack_attention(shape: AttentionShape | None) -> Attention | None:
    if shape is None:
        return None
    return Attention(shape.reason, shape.message, shape.diff, shape.since, shape.tries)


def _unpack_error(shape: ErrorShape | None) -> ErrorValue | None:
    if shape is None:
        return None
    data = None if shape.data is None else unpack_inside(shape.data)
    return ErrorValue(shape.type, shape.message, data, shape.retryable, shape.position)


# -- steps


def pack_step(step: StepRecord) -> tuple[object, ...]:
    """Return *step* as values for `STEP_COLUMNS`."""
    return (
        step.generation,
        step.number,
        step.position,
        step.kind._value_,
        step.tool,
        step.fingerprint,
        step.outcome._value_,
        pack_payload(step.value),
        None if step.input is None else pack_payload(step.input),
        step.attempts,
        step.started,
        step.ended,
        step.fence,
        step.op_id,
        FORMAT,
    )


def unpack_step(run_id: str, row: Sequence[object]) -> StepRecord:
    """Return the step record that `pack_step` made *row* of.

    Raises:
        RecordCorrupt: It did not, or a newer version of Sequential did.
    """
    try:
        found = msgspec.convert(row, StepRow, builtin_types=_BYTES)
        if found.v != FORMAT:
            raise RecordCorrupt(run_id, _name_format(found.v))
        return _fill_step(found)
    except (msgspec.MsgspecError, ValueError) as error:
        reason = _name_column(str(error), STEP_COLUMNS)
        raise RecordCorrupt(run_id, f"step {_place(row)}: {reason}") from error


def _place(row: Sequence[object]) -> str:
    return f"{row[0]!r}/{row[1]!r}" if len(row) > 1 else "?"


def _fill_step(row: StepRow) -> StepRecord:
    return StepRecord(
        row.generation,
        row.number,
        row.position,
        row.kind,
        row.tool,
        row.fingerprint,
        row.outcome,
        unpack_payload(row.value),
        None if row.input is None else unpack_payload(row.input),
        row.attempts,
        row.started,
        row.ended,
        row.fence,
        row.op_id,
    )

"""Exported histories: one run and its steps as one JSON file, for git, for CI and for people.

Owns the form of the file, both ways. Values stand in it as plain JSON, whatever codecs they went
through in the storage, and a step whose input is there has no digest beside it: a text that is
replaced everywhere in the file leaves it whole. What is read is not trusted, and nothing in it is
looked up or imported. Knows neither storages nor flows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from . import _codec
from ._history_lines import (
    NOTHING,
    ErrorLines,
    FileLines,
    OpenLines,
    RunLines,
    StepLines,
    VersionLines,
)
from ._model import (
    ENDED_STATUSES,
    ErrorValue,
    Open,
    Payload,
    Run,
    Status,
    StepOutcome,
    StepRecord,
    evolve,
)
from ._payload import Place, input_place, result_place, value_place
from ._requests import Engine
from ._storage import Loaded
from .errors import HistoryUnreadable, RecordCorrupt, RunStatusWrong, ValuesError

FORM = "sequential-history"
VERSION = 1

MOST = 256 * 1024 * 1024
"""Bytes of a file that are read."""


class History(NamedTuple):
    """What a file holds: a run with its steps, all values plain, and whence its ids derive."""

    deployment: str
    run: Run
    steps: Sequence[StepRecord]


# Made while the import lock is held: two threads at msgspec's first look into a class crash.
_decode_file = msgspec.json.Decoder(FileLines).decode
_decode_version = msgspec.json.Decoder(VersionLines).decode
_encode = msgspec.json.Encoder().encode


# -- from a storage


def plain(engine: Engine, loaded: Loaded, data_of: Callable[[Payload, Place], bytes]) -> History:
    """Return the history of *loaded* with every value taken out of its codecs and references.

    Args:
        engine: Of the application that has the run.
        loaded: The record with all its steps.
        data_of: Gives the encoded value of a payload at its place.

    Raises:
        RunStatusWrong: The run was purged.
        RecordCorrupt: Steps are missing.
        ValuesError: A value cannot be opened here.
    """
    run, steps = loaded.run, loaded.steps
    if run.status is Status.PURGED:
        raise RunStatusWrong(run.run_id, run.status, "export", "a run whose history is kept")
    if [step.number for step in steps] != list(range(run.cursor)):
        reason = f"{len(steps)} of {run.cursor} step records are there"
        raise RecordCorrupt(run.run_id, reason)

    def opened(payload: Payload, place: Place) -> Payload:
        return Payload(data_of(payload, place))

    result = None if run.result is None else opened(run.result, result_place(run))
    error = run.error
    if error is not None:
        error = engine.payloads.open_error(error, run)
    given = opened(run.input, input_place(run.run_id))
    records = [
        step._replace(
            value=opened(step.value, value_place(run, step.position)),
            input=None if step.input is None else opened(step.input, input_of(run, step.position)),
        )
        for step in steps
    ]
    return History(engine.deployment, evolve(run, input=given, result=result, error=error), records)


def input_of(run: Run, position: str) -> Place:
    """Return the place of the input of the step at *position*."""
    return Place(run.run_id, run.generation, f"{position}:input")


def write(history: History) -> bytes:
    """Return *history* as the text of a file: the same bytes for the same history."""
    run = history.run
    shape = FileLines(
        FORM,
        VERSION,
        history.deployment,
        RunLines(
            run.run_id,
            run.flow,
            run.flow_version,
            run.status,
            run.created,
            msgspec.Raw(run.input.data),
            run.generation,
            run.begun,
            run.ended,
            run.seeds,
            {at: OpenLines(found.kind, found.tool, found.name) for at, found in run.open.items()},
            NOTHING if run.result is None else msgspec.Raw(run.result.data),
            None if run.error is None else _write_error(run.error),
            run.patches,
        ),
        [
            _write_step(step, before)
            for step, before in zip(history.steps, (None, *history.steps), strict=False)
        ],
    )
    return msgspec.json.format(_encode(shape), indent=1) + b"\n"


def _write_error(error: ErrorValue) -> ErrorLines:
    data = NOTHING if error.data is None else msgspec.Raw(error.data.data)
    return ErrorLines(error.type, error.message, error.position, data)


def _write_step(step: StepRecord, before: StepRecord | None) -> StepLines:
    # A digest made with a key says nothing where the key is not.
    derived = step.input is not None and (
        ":" in step.fingerprint or step.fingerprint == _digest(step.input.data)
    )
    return StepLines(
        step.position,
        step.kind,
        step.outcome,
        step.tool,
        step.attempts,
        step.started,
        step.ended,
        "" if derived else step.fingerprint,
        NOTHING if step.input is None else msgspec.Raw(step.input.data),
        NOTHING if step.value.data == b"null" else msgspec.Raw(step.value.data),
        together=before is not None and before.op_id == step.op_id,
    )


# -- from a file


def read(path: Path) -> History:
    """Return the history that the file at *path* holds.

    Raises:
        HistoryUnreadable: It holds none, or not a whole one; the message says where.
    """
    try:
        size = path.stat().st_size
        if size > MOST:
            reason = f"it has {size:,} bytes, and {MOST:,} is the most that is read"
            raise HistoryUnreadable(str(path), reason)
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise HistoryUnreadable(str(path), getattr(error, "strerror", None) or "no file") from None
    return parse(data, str(path))


def parse(data: bytes, source: str) -> History:
    """Return the history in *data*; *source* names it in errors.

    Raises:
        HistoryUnreadable: As for `read`.
    """
    _refuse_other_form(data, source)
    try:
        shape = _decode_file(data)
        return History(shape.deployment, _read_run(shape), _read_steps(shape))
    except RecursionError:
        reason = "it is nested too deep"
    except (msgspec.MsgspecError, UnicodeError, ValuesError) as error:
        reason = str(error)
    raise HistoryUnreadable(source, reason)


def _refuse_other_form(data: bytes, source: str) -> None:
    try:
        found = _decode_version(data)
    except RecursionError:
        raise HistoryUnreadable(source, "it is nested too deep") from None
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise HistoryUnreadable(source, str(error)) from None
    if found.format != FORM:
        raise HistoryUnreadable(source, f"its `format` is {found.format[:40]!r}, not {FORM!r}")
    if found.v != VERSION:
        reason = f"it has form {found.v}, this version knows {VERSION}; install a newer one"
        raise HistoryUnreadable(source, reason)


def _read_run(shape: FileLines) -> Run:
    run = shape.run
    if run.status is Status.PURGED:
        raise msgspec.ValidationError("a purged run has no history - at `$.run.status`")
    if (run.status is Status.COMPLETED) != bool(bytes(run.result)):
        raise msgspec.ValidationError("only a completed run has a result - at `$.run.result`")
    if (run.status is Status.FAILED) != (run.error is not None):
        raise msgspec.ValidationError("only a failed run has an error - at `$.run.error`")
    return Run(
        run.run_id,
        run.flow,
        _value(run.input, "$.run.input"),
        run.flow_version,
        run.generation,
        run.status,
        cursor=len(shape.steps),
        open={at: Open(found.kind, found.tool, name=found.name) for at, found in run.open.items()},
        result=_optional(run.result, "$.run.result"),
        error=None if run.error is None else _read_error(run.error),
        created=run.created,
        begun=run.begun,
        ended=run.ended if run.status in ENDED_STATUSES else None,
        seeds=_seeds(run.seeds),
        patches=run.patches,
    )


def _seeds(seeds: tuple[tuple[int, str], ...]) -> tuple[tuple[int, str], ...]:
    if seeds and seeds[0][0] != 0:
        raise msgspec.ValidationError("the first seed must count from 0 - at `$.run.seeds`")
    return seeds


def _read_error(error: ErrorLines) -> ErrorValue:
    data = _optional(error.data, "$.run.error.data")
    return ErrorValue(error.type, error.message, data, position=error.position)


def _read_steps(shape: FileLines) -> list[StepRecord]:
    read: list[StepRecord] = []
    for number, step in enumerate(shape.steps):
        # Commits are told apart by the number of the step that each begins with.
        op_id = read[-1].op_id if step.together and read else f"commit {number}"
        read.append(_read_step(step, number, shape.run.generation, op_id))
    return read


def _read_step(step: StepLines, number: int, generation: int, op_id: str) -> StepRecord:
    way = f"$.steps[{number}]"
    given = _optional(step.input, f"{way}.input")
    fingerprint = step.fingerprint
    if given is not None:
        given = Payload(_codec.encode_canonical(_codec.decode(given.data)))
        fingerprint = fingerprint or _digest(given.data)
    value = _optional(step.value, f"{way}.value") or Payload(b"null")
    if step.outcome is StepOutcome.ERROR and not _is_error(value):
        raise msgspec.ValidationError(f"it is no error with its four parts - at `{way}.value`")
    return StepRecord(
        generation,
        number,
        step.position,
        step.kind,
        step.tool,
        fingerprint,
        step.outcome,
        value,
        given,
        step.attempts,
        step.started,
        step.ended,
        0,
        op_id,
    )


def _is_error(value: Payload) -> bool:
    found = _codec.decode(value.data)
    return (
        isinstance(found, dict)
        and found.keys() == {"type", "message", "data", "retryable"}
        and isinstance(found["type"], str)
        and isinstance(found["message"], str)
    )


def _value(raw: msgspec.Raw, way: str) -> Payload:
    try:
        _codec.decode(bytes(raw))
    except ValuesError as error:
        raise msgspec.ValidationError(f"{error} - at `{way}`") from None
    return Payload(bytes(raw), size=len(bytes(raw)))


def _optional(raw: msgspec.Raw, way: str) -> Payload | None:
    return _value(raw, way) if bytes(raw) else None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def files_in(places: Sequence[Path]) -> Iterator[Path]:
    """Yield the files that *places* name; of a folder every ``.json`` file in it, by name.

    Raises:
        HistoryUnreadable: A folder has none, so that nothing would be checked.
    """
    for place in places:
        if not place.is_dir():
            yield place
            continue
        found = sorted(place.glob("*.json"))
        if not found:
            raise HistoryUnreadable(str(place), "the folder has no .json file")
        yield from found

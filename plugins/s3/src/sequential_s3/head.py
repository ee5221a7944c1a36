"""What stands in the head of a run and in its segments, as bytes. Pure.

The first line of a head is a JSON object with the record and the list of segments; each line after
it is a step record that is not sealed yet. A segment is lines of step records.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sequential.errors import RecordCorrupt, StorageRefused
from sequential.storage import Run, StepRecord, pack_run, pack_step, unpack_run, unpack_step

FORMAT = 1
SEAL = 256 * 1024
"""Bytes of step records that a head holds at most."""

_LARGEST = 1 << 63


class Segment(NamedTuple):
    """Sealed step records.

    Attributes:
        begin: Number of the first.
        end: Number after the last.
        rest: What its key ends in.
        digest: SHA-256 of its bytes.
        odd: Checksums, eight letters each, of the positions that are not their number.
    """

    begin: int
    end: int
    rest: str
    digest: str
    odd: str

    def may_hold(self, position: str) -> bool:
        """Tell whether a record with that position may be in here."""
        if position.isdecimal() and self.begin <= int(position) < self.end:
            return True
        return bool(self.odd) and _checksum(position) in {
            self.odd[at : at + 8] for at in range(0, len(self.odd), 8)
        }


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a run.

    Attributes:
        run: The record; None where a run was given up or removed, and its id is free.
        lines: Step records that are not sealed.
        segments: Those that are.
        index: What tells its line of the index from others.
        at: The writer's time, so that no reader is behind it.
        nonce: Of the write: no two bodies, and so no two entity tags, are the same.
        etag: Of the object; empty before it is written.
    """

    run: Run | None
    lines: tuple[bytes, ...] = ()
    segments: tuple[Segment, ...] = ()
    index: str = ""
    at: float = 0.0
    nonce: str = ""
    etag: str = ""


def new_nonce() -> str:
    """Return 64 random bits, from the operating system."""
    return secrets.token_hex(8)


def pack_head(head: Head, storage: str) -> bytes:
    """Return the bytes of *head*.

    Raises:
        StorageRefused: A number or a text that cannot be kept; *storage* is named in it.
    """
    run = head.run
    try:
        row = None if run is None else _checked(pack_run(run))
        first = {
            "v": FORMAT,
            "nonce": head.nonce,
            "index": head.index,
            "at": head.at,
            "segments": [list(segment) for segment in head.segments],
            "run": row,
        }
        return b"\n".join((_dump(first), *head.lines))
    except (UnicodeError, OverflowError) as error:
        raise StorageRefused(storage, f"it cannot keep that text or number: {error}") from error


def _checked(row: tuple[object, ...]) -> tuple[object, ...]:
    for value in row:
        if isinstance(value, int) and value >= _LARGEST:
            raise OverflowError(f"{value} has more than 63 bits")
        if isinstance(value, str):
            value.encode()
    return row


def unpack_head(name: str, data: bytes, etag: str) -> Head:
    """Return the head that `pack_head` made *data* of.

    Raises:
        RecordCorrupt: It did not.
    """
    first, *lines = data.split(b"\n")
    found = _load(name, first)
    try:
        if found["v"] > FORMAT:
            reason = f"its head has format {found['v']}; install a newer sequential-s3"
            raise RecordCorrupt(name, reason)
        row = found["run"]
        run = None if row is None else unpack_run(row)
        segments = tuple(Segment(*segment) for segment in found["segments"])
        index, at, nonce = found["index"], float(found["at"]), found["nonce"]
        return Head(run, tuple(lines), segments, index, at, nonce, etag)
    except (LookupError, TypeError, ValueError) as error:
        raise RecordCorrupt(name, f"its head cannot be read: {error}") from error


def pack_lines(steps: Sequence[StepRecord], storage: str) -> tuple[bytes, ...]:
    """Return *steps* as lines.

    Raises:
        StorageRefused: A number or a text that cannot be kept; *storage* is named in it.
    """
    try:
        return tuple([_dump(_checked(pack_step(step))) for step in steps])
    except (UnicodeError, OverflowError) as error:
        raise StorageRefused(storage, f"it cannot keep that text or number: {error}") from error


def unpack_lines(name: str, lines: Sequence[bytes]) -> list[StepRecord]:
    """Return the step records that `pack_lines` made *lines* of.

    Raises:
        RecordCorrupt: It did not.
    """
    return [unpack_step(name, _load(name, line)) for line in lines]


def position_of(name: str, line: bytes) -> str:
    """Return the position of the step record in *line*."""
    return unpack_lines(name, (line,))[0].position


def seal(lines: Sequence[bytes], steps: Sequence[StepRecord]) -> tuple[Segment, bytes]:
    """Return the segment that *steps*, packed as *lines*, are, and its bytes."""
    data = b"\n".join(lines)
    begin, end = steps[0].number, steps[-1].number + 1
    odd = [_checksum(step.position) for step in steps if step.position != str(step.number)]
    rest = f"{begin}-{end}.{steps[-1].fence}.{new_nonce()}"
    return Segment(begin, end, rest, hashlib.sha256(data).hexdigest(), "".join(odd)), data


def unseal(name: str, segment: Segment, data: bytes) -> list[StepRecord]:
    """Return the step records of *segment*.

    Raises:
        RecordCorrupt: These are not its bytes.
    """
    if hashlib.sha256(data).hexdigest() != segment.digest:
        raise RecordCorrupt(name, f"segment {segment.rest} has other bytes than were written")
    return unpack_lines(name, data.split(b"\n"))


def _checksum(position: str) -> str:
    return f"{zlib.crc32(position.encode()):08x}"


def _dump(value: object) -> bytes:
    """Return *value* as a line of JSON; bytes as a text that people can read, too."""
    return json.dumps(
        value, separators=(",", ":"), default=lambda data: {"b": data.decode("latin-1")}
    ).encode()


def _load(name: str, line: bytes) -> Any:
    try:
        return json.loads(line, object_hook=_bytes)
    except (ValueError, LookupError, AttributeError, RecursionError) as error:
        raise RecordCorrupt(name, f"a line of its record cannot be read: {error}") from error


def _bytes(found: dict[str, Any]) -> object:
    return found["b"].encode("latin-1") if found.keys() == {"b"} else found

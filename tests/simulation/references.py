"""What programs do with large values: keep them apart, hand them on, read them.

A program says which of the `Ref`s that its flow has so far is meant; here it is found, in what the
flow has, and again in what its records say that it had.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from sequential import _codec
from sequential._model import StepRecord
from sequential.refs import Ref

Op = list[Any]
Program = list[Op]

PAD = "x" * 4_096
"""Makes a value so large that it is kept apart."""
STEPLESS = frozenset({"det", "hold", "apart"})
"""Operations that are no steps."""
_PROGRAMS = {"child": 2, "start": 2, "continue": 1}
"""Where the program stands that another run, or this one, is given."""


def filled(op: Op, got: Sequence[Any]) -> Op:
    """Return *op* with the `Ref` that it means in what the flow has *got*."""
    kind = op[0]
    if kind in {"use", "load"}:
        found = list(_refs_in(got))
        return [kind, found[op[1] % len(found)] if found else Ref(op[1])]
    place = _PROGRAMS.get(kind)
    if place is None or op[place][0][0] != "hold":
        return op
    found = list(_refs_in(got))
    given = [["hold", found[-1] if found else None], *op[place][1:]]
    return [*op[:place], given, *op[place + 1 :]]


def filled_by(op: Op, got: Sequence[Any]) -> Op:
    """Return the same where *got* is what the records say, as plain JSON."""
    if op[0] not in {"use", "load"}:
        return op
    return filled(op, _codec.decode(json.dumps(got, default=lambda _: None).encode()))


def asked(data: bytes) -> Program:
    """Return the program of a run's encoded input, as the program of its parent has it."""
    program: Program = json.loads(data)
    return [["hold", None], *program[1:]] if program[0][0] == "hold" else program


def is_given(data: bytes) -> bool:
    """Tell whether the run of that encoded input was given a `Ref`."""
    given: Program = json.loads(data)
    return asked(data) != given


def returned(program: Program, got: list[Any]) -> Any:
    """Return what the flow of *program* returns: what it *got*, or a `Ref` to that."""
    return Ref([*got, PAD]) if program[-1][0] == "apart" else got


def check_read(op: Op, record: StepRecord) -> None:
    """Check that the step read what *op* means."""
    assert record.input is not None
    assert _codec.decode(record.input.data)["ref"] == op[1], "I27 another value was read"


def _refs_in(value: Any) -> Iterator[Ref[Any]]:
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _refs_in(each)


def refs_of(data: bytes) -> list[Ref[Any]]:
    """Return the `Ref`s in an encoded value whose values are kept apart."""
    if b'"$":"ref"' not in data:
        return []
    return list(_all_in(_codec.decode(data)))


def _all_in(value: Any) -> Iterator[Ref[Any]]:
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _all_in(each)


def digest_of(value: object) -> str:
    """Return the digest of *value* as it is stored."""
    return sha256(_codec.encode(value))


def sha256(data: bytes) -> str:
    """Return the digest of what is stored."""
    return hashlib.sha256(data).hexdigest()

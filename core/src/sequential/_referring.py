"""Values that a `Ref` stands for: put apart when they are recorded, read when they are loaded.

Generators of requests, for invocations and for clients. What is kept is found by its address alone,
which only the engine writes: what a client sends as JSON cannot be one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, TypeVar, cast

from . import _codec, _ref, _typed
from ._model import Payload, Run, Status
from ._payload import RECORD_LIMIT, Place
from ._ref import Address, LoadStep, Ref
from ._requests import Engine, Fetch, Load, Requests, Store
from ._steps import ToolStep
from ._storage import RECORD_ONLY, Loaded
from .errors import RefGone, ValueCorrupt

T = TypeVar("T")


def apart(engine: Engine, run: Run, part: str, data: bytes) -> Requests[bytes]:
    """Return the encoded value *data*; of each `Ref` in it that holds much, where it is kept now.

    Args:
        engine: Of the invocation.
        run: Whose value it is, and who keeps it.
        part: Of the run's generation: what it is the value of.
        data: An encoded value of any type.
    """
    if len(data) <= RECORD_LIMIT or not _codec.may_hold(data):
        return data
    held = _codec.held(data)
    if held is not None:
        return _codec.encode(_ref.at((yield from _kept(engine, run, part, held))))
    value, moved = _codec.decode(data), False
    for number, ref in enumerate(_refs_in(value)):
        held = b"" if _ref.address_of(ref) else _codec.encode(_ref.held_by(ref))
        if len(held) > RECORD_LIMIT:
            _ref.move(ref, (yield from _kept(engine, run, f"{part}.{number}", held)))
            moved = True
    return _codec.encode(value) if moved else data


def _kept(engine: Engine, run: Run, part: str, held: bytes) -> Requests[Address]:
    payload = engine.payloads.wrap(held, Place(run.run_id, run.generation, part))
    digest = yield Store(run.run_id, payload.data)
    return Address(run.run_id, run.generation, part, digest, len(held), tuple(payload.codecs))


def _refs_in(value: object) -> Iterator[Ref[Any]]:
    """Yield each `Ref` in *value*, which was decoded, always in the same order.

    Sets have none, so those in them are left where they are.
    """
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _refs_in(item)


def encoded(engine: Engine, ref: Ref[Any]) -> Requests[bytes]:
    """Return the encoded value of *ref*, wherever it is kept.

    Raises:
        RefGone: The run that it was kept for was purged.
        ValuesError: It is damaged, or cannot be opened here.
        StorageError: It could not be fetched.
    """
    address = _ref.address_of(ref)
    if address is None:
        return _codec.encode(_ref.held_by(ref))
    run_id, generation, part, digest, size, codecs = address
    try:
        data = yield Fetch(run_id, digest)
    except ValueCorrupt:
        found: Loaded | None = yield Load(run_id, RECORD_ONLY)
        if found is None or found.run.status is Status.PURGED:
            raise RefGone(run_id, address.words) from None
        raise
    payload = Payload(data, codecs, None, size)
    return engine.payloads.unwrap(payload, Place(run_id, generation, part))


def as_kept(value: object, stored: object) -> object:
    """Return *value* with each `Ref` in it kept where *stored* says, as far as both are the same.

    Raises:
        NotEncodable: *value* cannot be stored.
    """
    kept = list(_refs_in(stored))
    if not kept:
        return value
    found = _codec.decode(_codec.encode(value))
    for ref, other in zip(_refs_in(found), kept, strict=False):
        address = _ref.address_of(other)
        if address is not None and _is_kept(ref, address):
            _ref.move(ref, address)
    return found


def _is_kept(ref: Ref[Any], address: Address) -> bool:
    """Tell whether what *ref* holds is kept at *address*.

    A digest with a key cannot be made again: there the size has to do.
    """
    if _ref.address_of(ref) is not None:
        return False
    data = _codec.encode(_ref.held_by(ref))
    same = bool(address.codecs) or hashlib.sha256(data).hexdigest() == address.digest
    return same and len(data) == address.size


def loaded(engine: Engine, ref: Ref[T]) -> Requests[T]:
    """Return the value of *ref*, read as the annotation says that it came by.

    Raises:
        ValuesError: As for `encoded`; or it does not fit the annotation.
        StorageError: It could not be fetched.
    """
    data = yield from encoded(engine, ref)
    return cast("T", _shape(ref).read(_codec.decode(data)))


def shape_of(step: ToolStep[Any]) -> _typed.Shape | None:
    """Return by what the result of *step* is read, which no registered tool answers."""
    return _shape(step.ref) if isinstance(step, LoadStep) else None


def _shape(ref: Ref[Any]) -> _typed.Shape:
    return _typed.shape_of(_ref.annotation_of(ref), where=repr(ref))

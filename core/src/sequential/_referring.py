"""Values that a `Ref` stands for: put apart when they are recorded, read when they are loaded.

Generators of requests, for invocations and for clients. What is kept is found by its address alone,
which only the engine writes: what a client sends as JSON cannot be one.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar, cast

from . import _codec, _ref, _typed
from ._model import Payload, Run, Status
from ._payload import RECORD_LIMIT, Place
from ._ref import LoadStep, Ref
from ._requests import Engine, Fetch, Load, Requests, Store
from ._steps import ToolStep
from ._storage import RECORD_ONLY, Loaded
from .errors import RefGone, ValueCorrupt

T = TypeVar("T")


def apart(engine: Engine, run: Run, part: str, data: bytes) -> Requests[bytes]:
    """Return the encoded value *data*; if that is a `Ref` holding much, where it is kept now.

    Args:
        engine: Of the invocation.
        run: Whose value it is, and who keeps it.
        part: Of the run's generation: what it is the value of.
        data: An encoded value of any type.
    """
    held = _codec.held(data) if len(data) > RECORD_LIMIT else None
    if held is None:
        return data
    payload = engine.payloads.wrap(held, Place(run.run_id, run.generation, part))
    digest = yield Store(run.run_id, payload.data)
    address = _ref.Address(
        run.run_id, run.generation, part, digest, len(held), tuple(payload.codecs)
    )
    return _codec.encode(_ref.at(address))


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


def is_kept(value: object, stored: object) -> bool:
    """Tell whether *stored* is what is recorded where a `Ref` holds what *value* does.

    A digest with a key cannot be made again: there the size has to do.
    """
    if not (isinstance(value, Ref) and isinstance(stored, Ref)):
        return False
    address = _ref.address_of(stored)
    if address is None or _ref.address_of(value) is not None:
        return False
    data = _codec.encode(_ref.held_by(value))
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

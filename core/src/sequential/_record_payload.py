"""Payloads as bytes: of a column of their own, and inside the state of a run.

The codecs and the reference stand outside the value, where no value can imitate them. A payload
without them is JSON and stands as it is, not escaped and not in base64.
"""

from __future__ import annotations

import msgspec

from ._model import Payload
from ._record_shapes import HeaderShape, Packed

_encode = msgspec.json.Encoder().encode
_decode_header = msgspec.json.Decoder(HeaderShape).decode
_NULL = msgspec.Raw(b"null")
_HEADER = b"\x01"  # cannot begin a JSON text


def pack_payload(payload: Payload) -> bytes:
    """Return *payload* as the bytes of one column.

    Plain JSON stands as it is, readable by anybody. Where there are codecs or a reference, a
    header goes before: the byte 1, a JSON object, a newline, the data. Without codecs the data
    must be JSON: it is not looked at here.
    """
    if _is_plain(payload):
        return payload.data
    header = _encode(HeaderShape(payload.size, payload.codecs, payload.ref))
    return b"".join((_HEADER, header, b"\n", payload.data))


def unpack_payload(stored: bytes) -> Payload:
    """Return the payload that `pack_payload` made *stored* of.

    Raises:
        ValueError: It did not.
    """
    if not stored.startswith(_HEADER):
        return _plain(stored)
    header, newline, data = stored[1:].partition(b"\n")
    if not newline:
        raise ValueError("the header of a payload has no end")
    found = _decode_header(header)
    return Payload(data, found.codecs, found.ref, found.size)


def _is_plain(payload: Payload) -> bool:
    """Say whether the data alone bring the payload back, within JSON too."""
    data = payload.data
    return (
        payload.size == len(data)
        and not payload.codecs
        and payload.ref is None
        # Space around a JSON text would be lost inside a state; an empty one is none.
        and data[:1] > b" "
        and data[-1:] > b" "
    )


def _plain(data: bytes) -> Payload:
    return Payload(data, (), None, len(data))


def pack_inside(payload: Payload) -> Packed:
    """Return *payload* as a part of a state: ``[value]``, or ``[null, header with data]``."""
    if _is_plain(payload):
        return [msgspec.Raw(payload.data)]
    header = HeaderShape(payload.size, payload.codecs, payload.ref, payload.data)
    return [_NULL, msgspec.Raw(_encode(header))]


def unpack_inside(packed: Packed) -> Payload:
    """Return the payload that `pack_inside` made *packed* of.

    Raises:
        msgspec.MsgspecError: It did not.
    """
    if len(packed) == 1:
        return _plain(bytes(packed[0]))
    found = _decode_header(packed[1])
    return Payload(found.data, found.codecs, found.ref, found.size)

"""Errors as data: an exception becomes a type name, a message and plain data, and comes back.

No class is stored and none is looked up: what a flow catches on replay is a `ToolError` with the
same fields as on the first run. What looks secret in a message is masked before it is stored: the
flow sees the masked one too, first and on every replay.
"""

from __future__ import annotations

from . import _codec
from ._model import ErrorValue, Payload
from ._redaction import redacted_text
from .errors import (
    ChildCancelled,
    ChildFailed,
    NotDecodable,
    Rejected,
    RunCancelled,
    SequentialError,
    StepError,
    ToolError,
)

_MESSAGE_LIMIT = 4 * 1024
"""Bytes of a message that are kept."""


def error_value(error: BaseException) -> ErrorValue:
    """Return *error* as data; its message is redacted, cut at 4 KiB, and always storable."""
    data = getattr(error, "data", None) if isinstance(error, Rejected | StepError) else None
    return ErrorValue(
        type=type(error).__name__,
        message=_message(error),
        data=_encoded(data),
        retryable=_retryable(error),
    )


def _retryable(error: BaseException) -> bool:
    try:
        return bool(getattr(error, "retryable", not isinstance(error, SequentialError)))
    except Exception:  # noqa: BLE001  (a hostile property must not stop the run)
        return True


def error_json(error: ErrorValue) -> bytes:
    """Return *error* as the JSON that stands in a step record."""
    data = None if error.data is None else _codec.decode(error.data.data)
    return _codec.encode(
        {
            "type": error.type,
            "message": error.message,
            "data": data,
            "retryable": error.retryable,
        }
    )


def brief(error: ErrorValue, *, sealed: bool) -> str:
    """Return *error* in a line for people, without its message where values are *sealed*."""
    return f"{error.type}: {'(sealed)' if sealed else error.message}"[:500]


def child_error(flow: str, run_id: str, stored: bytes) -> ChildFailed | ChildCancelled:
    """Return the exception that a flow gets for a child run that did not complete.

    Raises:
        NotDecodable: *stored* is no error.
    """
    found = tool_error(flow, stored, 1)
    # No flow fails with it: what raises it ends as cancelled.
    if found.type == RunCancelled.__name__:
        return ChildCancelled(flow, run_id)
    return ChildFailed(flow, run_id, found.type, found.message, found.data)


def tool_error(tool: str, stored: bytes, attempts: int) -> ToolError:
    """Return the exception that a flow gets for the error *stored* by `error_json`.

    Raises:
        NotDecodable: It was stored by something else.
    """
    parts = _codec.decode(stored)
    if not isinstance(parts, dict) or parts.keys() != {"type", "message", "data", "retryable"}:
        raise NotDecodable("it is not an error as a step record holds one")
    retryable = bool(parts["retryable"])
    return ToolError(
        tool,
        str(parts["type"]),
        str(parts["message"]),
        parts["data"],
        attempts,
        retryable=retryable,
    )


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001  (a hostile __str__ must not stop the run)
        text = f"<its message cannot be read: {type(broken).__name__}>"
    # Lone surrogates cannot be stored as UTF-8; the cut may not leave half a character.
    text = redacted_text(text, _MESSAGE_LIMIT)
    return text.encode("utf-8", "replace")[:_MESSAGE_LIMIT].decode("utf-8", "ignore")


def _encoded(data: object) -> Payload | None:
    if data is None:
        return None
    try:
        return Payload(_codec.encode(data, limit=_MESSAGE_LIMIT))
    except SequentialError:
        return None

"""The ids of runs: what is allowed, and how new ones are made."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import time
import uuid

from ._model import Run
from .errors import RunIdInvalid

_LONGEST = 128

_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_~.\-]{0,127}\Z", re.ASCII)


def check_run_id(run_id: object) -> str:
    """Return *run_id* if it can be one.

    Raises:
        RunIdInvalid: It is not text, is too long, or has a character that is not allowed.
    """
    # The first character is never a dot, so "." and ".." are out as well.
    if not isinstance(run_id, str) or not _ALLOWED.match(run_id):
        raise RunIdInvalid(run_id)
    return run_id


def new_run_id() -> str:
    """Return a UUID of version 7 (RFC 9562): it sorts by time, and 74 bits of it are random."""
    milliseconds = time.time_ns() // 1_000_000
    bits = int.from_bytes(os.urandom(10))
    value = (milliseconds & (1 << 48) - 1) << 80 | bits
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def child_run_id(parent: Run, position: str, chosen: str | None = None) -> str:
    """Return the id of the child that *parent* begins at *position*: *chosen*, or always the same.

    What a later generation begins is another run.
    """
    if chosen is not None:
        return chosen
    later = f"~g{parent.generation}" if parent.generation else ""
    whole = f"{parent.run_id}~{position}{later}"
    if len(whole) <= _LONGEST:
        return whole
    digest = base64.b32encode(hashlib.sha256(whole.encode()).digest()).decode().rstrip("=").lower()
    return f"{parent.run_id[: _LONGEST - 1 - len(digest)]}~{digest}"

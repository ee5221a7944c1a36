"""The body of a resume message: which run, and nothing else. Reads and writes text; no I/O.

Whoever may send to the queue may send anything: what is not exactly such a body is malformed, and
nothing of it is used.
"""

from __future__ import annotations

import json
import re

from sequential.errors import NotDecodable
from sequential.storage import decode_plain

VERSION = 1
LONGEST = 1024
"""Bytes of a body; one of ours has at most 146."""

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_~.\-]{0,127}", re.ASCII)


class Malformed(ValueError):
    """A message that none of us sent; its text says what is wrong, and quotes nothing of it."""


def write_body(run_id: str) -> str:
    """Return the body of a message for the run."""
    return json.dumps({"v": VERSION, "f": run_id}, separators=(",", ":"))


def read_body(body: object) -> str:
    """Return the id of the run that *body* asks for.

    Raises:
        Malformed: It is not the body of a resume message.
    """
    if not isinstance(body, str):
        raise Malformed("the body is no text")
    # Looked at first: nothing large is parsed.
    if len(body) > LONGEST:
        raise Malformed(f"the body has more than {LONGEST} bytes")
    try:
        found = decode_plain(body)
    except NotDecodable:
        raise Malformed("the body is no JSON") from None
    if not isinstance(found, dict):
        raise Malformed("the body is no JSON object")
    if set(found) != {"v", "f"}:
        raise Malformed("the body has other fields than v and f")
    if type(found["v"]) is not int or found["v"] != VERSION:
        raise Malformed(f"the version is not {VERSION}")
    run_id = found["f"]
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
        raise Malformed("the run id is none")
    return run_id

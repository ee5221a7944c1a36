"""The body of a resume message: which run, for whom, and nothing else.

Read only after its signature was verified over the same bytes; no I/O.
"""

from __future__ import annotations

import json
import re

from sequential.errors import NotDecodable
from sequential.storage import decode_plain

RESUME_LIMIT = 1024
"""Bytes of a resume message, at most."""

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_~.\-]{0,127}", re.ASCII)

_VERSION = 1


class MessageMalformed(Exception):
    """A signed message that cannot be read."""


class MessageForeign(Exception):
    """A signed message that is meant for somebody or something else."""


def resume_body(run_id: str, audience: str) -> bytes:
    """Return the message that asks *audience* to look at the run."""
    body = {"v": _VERSION, "aud": audience, "op": "resume", "run": run_id}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def read_resume(body: bytes, audience: str, asked: str) -> str:
    """Return the id of the run that *body* speaks of.

    Args:
        body: The bytes that were signed.
        audience: Who we are: a message for another server is none for us.
        asked: The id in the path, which nothing else vouches for.

    Raises:
        MessageMalformed: It is not such a message.
        MessageForeign: It is for another audience, purpose or run.
    """
    if len(body) > RESUME_LIMIT:
        raise MessageMalformed("it is too long")
    try:
        found = decode_plain(body)
    except NotDecodable:
        raise MessageMalformed("it is no JSON") from None
    if not isinstance(found, dict) or found.keys() != {"v", "aud", "op", "run"}:
        raise MessageMalformed("it has other fields than v, aud, op and run")
    if type(found["v"]) is not int or found["v"] != _VERSION:
        raise MessageMalformed("it is of another version")
    run_id = found["run"]
    if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
        raise MessageMalformed("what it names is no run")
    if (found["aud"], found["op"], run_id) != (audience, "resume", asked):
        raise MessageForeign("it is for another audience, purpose or run")
    return run_id

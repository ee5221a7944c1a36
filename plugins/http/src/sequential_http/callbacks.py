"""Links by which somebody outside answers a tool call, once: a token, and the URL around it.

A token is the call's `ToolContext.answer_token` and the end of its time, under a MAC of this
deployment's keys; there is nothing to look up, and nothing to steal from a storage. What becomes of
an answer stands in `links`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import time
from datetime import timedelta
from typing import NamedTuple

from sequential import ToolContext
from sequential.errors import ConfigError

from .signing import KEYS, Keys
from .target import read_base

URL = "SEQUENTIAL_HTTP_URL"

_LONGEST = 2048
_TOKEN = re.compile(r"([A-Za-z0-9_-]{1,2000})\.([A-Za-z0-9_-]{43})")


class Link(NamedTuple):
    """What a token says.

    Attributes:
        run_id: The run, for logs.
        answer_token: By which `Sequential.answer` finds the call.
        expires: Seconds since the epoch.
    """

    run_id: str
    answer_token: str
    expires: int


class LinkRefused(Exception):
    """A token was not made here, or its time is over."""


def callback_url(
    context: ToolContext,
    valid_for: timedelta = timedelta(days=7),
    *,
    keys: Keys | None = None,
    base: str | None = None,
) -> str:
    """Return a URL whose first answer is the result of the tool call that *context* is of.

    The tool hands it out, and returns `sequential.Pending()`. Who has the URL may answer: give it
    to nobody else, and write it into no log.

    Args:
        context: Of the tool call.
        valid_for: How long it can be answered.
        keys: By default those of ``SEQUENTIAL_HTTP_KEYS``.
        base: Address of the server; by default ``SEQUENTIAL_HTTP_URL``.

    Raises:
        ConfigError: There are no keys, or no address.
    """
    found = keys or Keys.from_environment(os.environ)
    if found is None:
        raise ConfigError(KEYS, "", "links are signed: set it to what the server has")
    address = base if base is not None else os.environ.get(URL, "")
    if not address:
        raise ConfigError(URL, "", "set it to the address of the server that answers come to")
    expires = int(time.time() + valid_for.total_seconds())
    token = make_token(found, Link(context.run_id, context.answer_token, expires))
    return f"{read_base(address)}/callback/{token}"


def make_token(keys: Keys, link: Link) -> str:
    """Return the token that says *link*."""
    body = _written(json.dumps(link, separators=(",", ":")).encode())
    return f"{body}.{_written(_purposed(keys).mac(body.encode()))}"


def read_token(keys: Keys, token: str, now: float) -> Link:
    """Return what *token* says.

    Raises:
        LinkRefused: It was not made with one of *keys*, or its time is over.
    """
    parts = _TOKEN.fullmatch(token) if len(token) <= _LONGEST else None
    if parts is None:
        raise LinkRefused("it is no token")
    body, mac = parts[1], _read(parts[2])
    # A last character that says nothing must not make two spellings of one token.
    if _written(mac) != parts[2] or not _purposed(keys).is_mac(body.encode(), mac):
        raise LinkRefused("it was not made here")
    link = Link(*json.loads(_read(body)))
    if link.expires < now:
        raise LinkRefused("its time is over")
    return link


def token_hash(token: str) -> str:
    """Return what logs may say of *token*."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]


def _purposed(keys: Keys) -> Keys:
    return keys.for_purpose("callback 2")


def _written(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _read(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise LinkRefused("it is no token") from None


__all__ = ["URL", "Link", "LinkRefused", "callback_url", "make_token", "read_token", "token_hash"]

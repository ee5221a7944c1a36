"""What strangers may send to the plugins: messages, signatures, callback tokens, URLs to be called.

Targets like those of `fuzz`, which plays them: each insists on what must hold, and returns the sort
of answer.
"""

from __future__ import annotations

import ipaddress
import json
import re

from sequential.storage import decode_plain
from sequential_http.callbacks import Link, LinkRefused, make_token, read_token
from sequential_http.guard import Guard, UrlRefused, may_be_called
from sequential_http.messages import (
    RESUME_LIMIT,
    MessageForeign,
    MessageMalformed,
    read_resume,
    resume_body,
)
from sequential_http.signing import Keys, SignatureRefused, signed_headers, verify
from sequential_sqs.messages import LONGEST, Malformed, read_body, write_body

_KEYS = Keys(b"k" * 32, b"K" * 32)
_NOW = 1_800_000_000.0
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_~.-]{0,127}", re.ASCII)
_LINK = Link("r1", "WyJyMSJd", int(_NOW) + 60)


def fuzz_sqs(data: bytes) -> str:
    """The body of a message of SQS: `Malformed`, or exactly what we would have written."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        run_id = read_body(text)
    except Malformed as error:
        return str(error)
    assert _RUN_ID.fullmatch(run_id)
    assert len(text) <= LONGEST
    assert read_body(write_body(run_id)) == run_id
    return "run"


def fuzz_resume(data: bytes) -> str:
    """The signed body of a resume request: refused, or for the run that was asked for."""
    try:
        run_id = read_resume(data, "here", "r1")
    except (MessageMalformed, MessageForeign) as error:
        return _sort(error)
    assert run_id == "r1"
    assert len(data) <= RESUME_LIMIT
    assert decode_plain(data) == json.loads(resume_body("r1", "here"))
    return "run"


def fuzz_signature(data: bytes) -> str:
    """Headers of a request, a line each, then its body: only what we signed is let in."""
    head, _, body = data.partition(b"\n\n")
    lines = [line.partition(b":") for line in head.split(b"\n")]
    headers = [(name, value.strip()) for name, _, value in lines]
    try:
        message_id = verify(_KEYS, headers, body, _NOW)
    except SignatureRefused as error:
        return _sort(error)
    given = {name.lower(): value for name, value in headers}
    timestamp = int(given[b"webhook-timestamp"])
    assert abs(timestamp - _NOW) <= 300
    # Whoever cannot sign has only what was signed before: the corpus has one such request.
    expected = [
        signed_headers(keys, message_id, timestamp, body)["webhook-signature"].encode()
        for keys in (_KEYS, Keys(b"K" * 32))
    ]
    assert any(each in given[b"webhook-signature"].split(b" ") for each in expected)
    return "let in"


def fuzz_callback(data: bytes) -> str:
    """A callback token: only one that we made is read."""
    token = data.decode("utf-8", "surrogateescape")
    try:
        link = read_token(_KEYS, token, _NOW)
    except LinkRefused as error:
        return _sort(error)
    assert link == _LINK
    assert token == make_token(_KEYS, _LINK)
    return "read"


def fuzz_url(data: bytes) -> str:
    """A URL to be called: refused, or one of the allowed host that leads to public addresses."""
    url = data.decode("utf-8", "surrogateescape")
    guard = Guard(["api.example.com", "*.example.org"], lambda host, port: ["93.184.216.34"])
    try:
        place = guard.check(url)
    except UrlRefused as error:
        return _sort(error)
    assert place.host == "api.example.com" or place.host.endswith(".example.org")
    assert (place.scheme, place.port) == ("https", 443)
    assert all(may_be_called(_address(each)) for each in place.addresses)
    return place.scheme


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text)


def _sort(error: Exception) -> str:
    return re.sub(r"[\d,]+|'[^']*'|\"[^\"]*\"", "#", str(error))[:120]


MESSAGE_TARGETS = {
    "sqs": fuzz_sqs,
    "resume": fuzz_resume,
    "signature": fuzz_signature,
    "callback": fuzz_callback,
    "url": fuzz_url,
}

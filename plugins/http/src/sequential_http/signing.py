"""Standard Webhooks signatures, version 1: HMAC-SHA256 over ``id.timestamp.body``; no I/O.

What a signed body says is not known here, nor which framework the headers came from.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from sequential.errors import ConfigError

TOLERANCE = 300.0
"""Seconds that a timestamp may lie before or after now."""

KEYS, KEYS_FILE = "SEQUENTIAL_HTTP_KEYS", "SEQUENTIAL_HTTP_KEYS_FILE"

_PREFIX = "whsec_"
_BYTES = range(24, 65)
_MOST_KEYS = 16
_MOST_SIGNATURES = 8
_LONGEST_HEADER = 2048
_HEADERS = (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
# What signs an id, a timestamp and a body joined by dots must find no dot in the id.
_ID = re.compile(rb"[!-\-/-~]{1,128}")
_TIMESTAMP = re.compile(rb"[0-9]{1,11}")
_SIGNATURE = re.compile(rb"v[0-9]{1,3}[a-z]?,[A-Za-z0-9+/]{1,700}={0,2}")

Headers = Iterable[tuple[bytes, bytes]]
"""Names and values as they came, repeated ones too: an ASGI scope has them so."""


class SignatureRefused(Exception):
    """A message is not signed by any of our keys; the reason is for logs, never for the sender."""


class Keys:
    """Secrets that sign and verify: the first signs, all verify.

    To rotate, put the new key behind the old one everywhere, then before it, then drop the old one.

    Args:
        secrets: 24 to 64 random bytes each.

    Raises:
        ConfigError: There is none, or one has another length; no message repeats a key.
    """

    __slots__ = ("_secrets",)

    def __init__(self, *secrets: bytes) -> None:
        if not 1 <= len(secrets) <= _MOST_KEYS or any(len(each) not in _BYTES for each in secrets):
            raise _unusable("…")
        self._secrets = secrets

    def __repr__(self) -> str:
        """Say how many there are, and nothing of them."""
        return f"<{len(self._secrets)} keys>"

    @classmethod
    def parse(cls, text: str) -> Keys:
        """Read keys, ``whsec_`` and base64 each, separated by commas or white space."""
        return cls(*(_secret(part) for part in re.split(r"[,\s]+", text) if part))

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Keys | None:
        """Read ``SEQUENTIAL_HTTP_KEYS``, or the file that ``SEQUENTIAL_HTTP_KEYS_FILE`` names.

        Returns:
            None where neither is set.
        """
        if text := environ.get(KEYS, "").strip():
            return cls.parse(text)
        if not (path := environ.get(KEYS_FILE, "")):
            return None
        try:
            return cls.parse(Path(path).read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise ConfigError(KEYS_FILE, path, f"the file cannot be read: {reason}") from None

    def for_purpose(self, purpose: str) -> Keys:
        """Return keys made of these: what one purpose signs is worth nothing for another."""
        return Keys(*(_mac(each, f"sequential {purpose}".encode()) for each in self._secrets))

    def mac(self, data: bytes) -> bytes:
        """Return the MAC of *data* by the first key."""
        return _mac(self._secrets[0], data)

    def is_mac(self, data: bytes, mac: bytes) -> bool:
        """Tell, in constant time, whether *mac* is the MAC of *data* by any of the keys."""
        found = [hmac.compare_digest(_mac(each, data), mac) for each in self._secrets]
        return any(found)

    def candidates(self, data: bytes) -> list[bytes]:
        """Return the signature that each key gives *data*, as it stands in the header."""
        return [b"v1," + base64.b64encode(_mac(each, data)) for each in self._secrets]


def new_key() -> str:
    """Return a new random key, for a configuration."""
    import secrets

    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signed_headers(keys: Keys, message_id: str, now: float, body: bytes) -> dict[str, str]:
    """Return the three headers that sign *body*."""
    timestamp = str(int(now))
    data = b".".join((message_id.encode(), timestamp.encode(), body))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": keys.candidates(data)[0].decode(),
    }


def verify(keys: Keys, headers: Headers, body: bytes, now: float) -> str:
    """Return the id of a message that one of *keys* signed, at most `TOLERANCE` from *now*.

    Args:
        keys: Any of them may have signed.
        headers: All headers of the request.
        body: The bytes as they were received; nothing may have read them before.
        now: Seconds since the epoch, by this host.

    Raises:
        SignatureRefused: It is not signed, not by us, or not now.
    """
    message_id, timestamp, signatures = _read(headers)
    if not _ID.fullmatch(message_id):
        raise SignatureRefused("the id is no id")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise SignatureRefused("the timestamp is no number of seconds")
    given = _signatures(signatures)
    expected = keys.candidates(b".".join((message_id, timestamp, body)))
    # Every pair is compared, so that the time says nothing of which key or entry was right.
    matches = [hmac.compare_digest(one, other) for one in given for other in expected]
    if not any(matches):
        raise SignatureRefused("no signature is by one of our keys")
    if abs(now - int(timestamp)) > TOLERANCE:
        raise SignatureRefused("the timestamp is too far from now")
    return message_id.decode("ascii")


def _read(headers: Headers) -> tuple[bytes, bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        lower = name.lower()
        if lower not in _HEADERS:
            continue
        if lower in found:
            raise SignatureRefused("a header stands there twice")
        found[lower] = value
    if len(found) != len(_HEADERS):
        raise SignatureRefused("a header is missing")
    first, second, third = (found[name] for name in _HEADERS)
    return first, second, third


def _signatures(text: bytes) -> list[bytes]:
    entries = text.split(b" ") if len(text) <= _LONGEST_HEADER else []
    if not 1 <= len(entries) <= _MOST_SIGNATURES:
        raise SignatureRefused("there are no signatures, or too many")
    if not all(_SIGNATURE.fullmatch(entry) for entry in entries):
        raise SignatureRefused("a signature is malformed")
    # Those of other versions may stand there for other verifiers: they equal none of ours.
    return entries


def _mac(secret: bytes, data: bytes) -> bytes:
    return hmac.digest(secret, data, hashlib.sha256)


def _secret(text: str) -> bytes:
    try:
        if not text.startswith(_PREFIX):
            raise _unusable("…")
        return base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise _unusable("…") from None


def _unusable(shown: str) -> ConfigError:
    return ConfigError(
        KEYS,
        shown,
        "write 1 to 16 keys, separated by commas: each whsec_ and the base64 of 24 to 64 random"
        " bytes, as `sequential http-key` prints one",
    )

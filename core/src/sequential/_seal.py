"""The payload codec that seals: AES-256-GCM, each value bound to its place.

Knows keys, the form of a sealed value and nothing of what is in it. A sealed value is: the byte 1,
the length of the key's id, the id, a nonce of 12 bytes, the ciphertext with its tag of 16 bytes.
What comes before the nonce, and the place, are authenticated with it. A fingerprint is the key's
id, a colon, and an HMAC-SHA256 in hex by a key that is derived from that one.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from ._payload import PayloadCodec, Place
from .errors import ConfigError, NotDecodable
from .hookspecs import hookimpl

VARIABLE: Final = "SEQUENTIAL_SEAL_KEYS"
"""Where the keys are read from: ``id:base64``, several separated by commas, the first seals."""

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_FORM = b"\x01"
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}\Z")

_INSTALL = "it needs: pip install 'sequential-core[seal]'"
_MAKE = (
    'make one with: python -c "import base64, os; print(base64.b64encode(os.urandom(32)).decode())"'
)
# What stands for a key, or for what may be one, wherever a setting is shown.
_MASK = "…"

_FINGERPRINTS = b"sequential: fingerprints"


class _Key(NamedTuple):
    """What was made of a key, and not the key: nothing that is printed here could show one."""

    cipher: Any
    digest: Any


class Seal:
    """Seals values with AES-256-GCM; needs ``sequential-core[seal]``.

    Each value is bound to its run, its generation and its part: moved elsewhere it does not open.
    A nonce is random, so a key is good for 2^32 values (NIST SP 800-38D, 8.3); then rotate.

    Args:
        keys: Keys of 32 random bytes by their ids, 1 to 32 of A-Z a-z 0-9 ``_ . -``. The first
            seals, all of them open. None reads ``SEQUENTIAL_SEAL_KEYS`` when the first value is
            sealed or opened.

    Raises:
        ConfigError: A key cannot be used, or the package ``cryptography`` is not installed.
    """

    id = "seal"

    def __init__(self, keys: Mapping[str, bytes] | None = None) -> None:
        self._keys = None if keys is None else _made(keys, "Seal keys")

    def __repr__(self) -> str:
        if self._keys is None:
            return f"Seal(keys of {VARIABLE})"
        return f"Seal(keys {', '.join(self._keys)})"

    @hookimpl
    def sequential_payload_codecs(self) -> Sequence[PayloadCodec]:
        """Bring this codec, where it is given to an application as a plugin."""
        return (self,)

    def encode(self, data: bytes, place: Place) -> bytes:
        """Return *data* sealed with the first key, for *place* alone.

        Raises:
            ConfigError: There is no key that can be used.
        """
        key_id, key = next(iter(self._opened().items()))
        header = _header(key_id)
        nonce = os.urandom(_NONCE_BYTES)
        sealed: bytes = key.cipher.encrypt(nonce, data, header + _place(place))
        return header + nonce + sealed

    def decode(self, data: bytes, place: Place) -> bytes:
        """Return what `encode` was given.

        Raises:
            NotDecodable: It was altered, cut short or sealed for another place, or its key is not
                here.
        """
        key_id, header = _read_header(data)
        cipher = self._key(key_id).cipher
        from cryptography.exceptions import InvalidTag

        nonce, sealed = data[len(header) :][:_NONCE_BYTES], data[len(header) + _NONCE_BYTES :]
        try:
            opened: bytes = cipher.decrypt(nonce, sealed, header + _place(place))
        except InvalidTag:
            reason = (
                f"seal: key {key_id!r} does not open it as {place.part[:80]!r} of run"
                f" {place.run_id!r}, generation {place.generation}; it was altered, or sealed for"
                " another place or with another key of that id"
            )
            raise NotDecodable(reason) from None
        return opened

    def fingerprint(self, data: bytes, like: str) -> str:
        """Return the keyed digest of *data*, by the key of *like*, or by the first if it is empty.

        Raises:
            ConfigError: There is no key that can be used.
            NotDecodable: The key of *like* is not here.
        """
        key_id = like.partition(":")[0] if like else next(iter(self._opened()))
        digest = self._key(key_id).digest.copy()
        digest.update(data)
        return f"{key_id}:{digest.hexdigest()}"

    def _key(self, key_id: str) -> _Key:
        try:
            keys = self._opened()
        except ConfigError as error:
            # The run waits for the keys, like one whose codec is not installed.
            raise NotDecodable(f"seal: {error}") from None
        if key_id not in keys:
            raise NotDecodable(
                f"seal: it was sealed with key {key_id[:32]!r}, which is not among the keys here"
                f" ({', '.join(keys)}); add it after the first"
            )
        return keys[key_id]

    def _opened(self) -> Mapping[str, _Key]:
        if self._keys is None:
            self._keys = _made(_read_keys(os.environ.get(VARIABLE, "")), VARIABLE)
        return self._keys


# -- keys


def _read_keys(text: str) -> dict[str, bytes]:
    """Return the keys that *text* lists. No message repeats any of it: it is a secret."""
    keys: dict[str, bytes] = {}
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    for number, entry in enumerate(entries, 1):
        key_id, colon, encoded = entry.partition(":")
        if not colon or not _KEY_ID.match(key_id):
            raise _unfit(f"entry {number} is not id:base64, with an id of A-Z a-z 0-9 _ . -")
        if key_id in keys:
            raise _unfit(f"key {key_id!r} is there twice; give each key an id of its own")
        try:
            keys[key_id] = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise _unfit(f"key {key_id!r} is not base64; {_MAKE}") from None
    return keys


def _unfit(remedy: str) -> ConfigError:
    return ConfigError(VARIABLE, _MASK, remedy)


def _made(keys: Mapping[Any, Any], setting: str) -> Mapping[str, _Key]:
    if not keys:
        raise ConfigError(setting, "", f"there is no key to seal with; {_MAKE}")
    for number, (key_id, key) in enumerate(keys.items(), 1):
        if not isinstance(key_id, str) or not _KEY_ID.match(key_id):
            remedy = f"the id of key {number} is not 1 to 32 of A-Z a-z 0-9 _ . -"
            raise ConfigError(setting, _MASK, remedy)
        if not isinstance(key, bytes):
            kind = type(key).__name__
            raise ConfigError(setting, _MASK, f"key {key_id!r} is of type {kind}, not bytes")
        if len(key) != KEY_BYTES:
            remedy = f"key {key_id!r} has {len(key)} bytes, and AES-256 takes {KEY_BYTES}; {_MAKE}"
            raise ConfigError(setting, _MASK, remedy)
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise ConfigError("payload", Seal.id, _INSTALL) from None
    import hmac

    # A key of its own for each use: what is told of one tells nothing of the other.
    derived = {key_id: hmac.digest(key, _FINGERPRINTS, "sha256") for key_id, key in keys.items()}
    return {
        key_id: _Key(AESGCM(key), hmac.new(derived[key_id], digestmod="sha256"))
        for key_id, key in keys.items()
    }


# -- the form of a sealed value


def _header(key_id: str) -> bytes:
    return _FORM + bytes((len(key_id),)) + key_id.encode("ascii")


def _read_header(data: bytes) -> tuple[str, bytes]:
    """Return the key's id and the bytes up to the nonce."""
    end = 2 + data[1] if len(data) > 1 else 2
    key_id = data[2:end].decode("latin-1")
    if not data.startswith(_FORM) or not _KEY_ID.match(key_id):
        raise NotDecodable("seal: it is not a sealed value, or sealed by a newer version")
    if len(data) < end + _NONCE_BYTES + _TAG_BYTES:
        raise NotDecodable("seal: it is cut short")
    return key_id, data[:end]


def _place(place: Place) -> bytes:
    # A run id has no NUL and the part comes last: no two places have the same bytes.
    text = f"{place.run_id}\0{place.generation}\0{place.part}"
    return text.encode("utf-8", "surrogatepass")

"""What ``s3://bucket/prefix?region=…`` says. Reads the text and asks no server.

No secret may stand in it: a URL ends up in logs, in the list of processes and in configuration.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from sequential.errors import ConfigError

_PREFIX = "s3://"
_KNOWN = ("endpoint", "region", "addressing", "kms_key", "profile", "timeout")
_SECRET = re.compile(r"key_id|secret|token|password|access", re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_PART = re.compile(r"[A-Za-z0-9_~!@=,+ .-]+")
_LONGEST = 300
"""Letters of a prefix; with the longest name of a run a key stays under S3's 1,024 bytes."""


@dataclass(frozen=True, slots=True)
class S3Settings:
    """Where the objects are, and how the server is spoken to.

    Attributes:
        bucket: Its name.
        prefix: What all keys begin with: empty, or a path without a slash at either end.
        endpoint: URL of another server than Amazon's; empty for Amazon's.
        region: Empty for what boto3 finds.
        addressing: ``path``, ``virtual``, or ``auto``.
        kms_key: Key that every object is encrypted with; empty for the bucket's own setting.
        profile: Of boto3's configuration; empty for what boto3 finds.
        timeout: Seconds to wait for an answer.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    addressing: str = "auto"
    kms_key: str = ""
    profile: str = ""
    timeout: float = 10.0

    @property
    def name(self) -> str:
        """The address for people."""
        return f"{_PREFIX}{self.bucket}/{self.prefix}".rstrip("/")


def read_s3_url(url: str) -> S3Settings:
    """Return what *url* says.

    Raises:
        ConfigError: It names no bucket, or an option that there is not.
    """
    rest, _, query = url.removeprefix(_PREFIX).partition("?")
    bucket, _, path = rest.partition("/")
    shown = _PREFIX + rest.rpartition("@")[2]
    if not url.startswith(_PREFIX) or "@" in bucket or not _BUCKET.fullmatch(bucket):
        raise ConfigError(
            "storage",
            shown,
            "write s3://bucket/prefix, without credentials: boto3 finds them in the environment",
        )
    return _with_options(bucket, _read_prefix(shown, path), dict(parse_qsl(query, True)))


def _read_prefix(shown: str, path: str) -> str:
    prefix = unquote(path).strip("/")
    parts = prefix.split("/") if prefix else []
    if len(prefix) > _LONGEST or not all(_PART.fullmatch(part) for part in parts):
        raise ConfigError(
            "storage", shown, f"use a prefix of up to {_LONGEST} letters, digits and - _ . ~ /"
        )
    if {".", ".."} & set(parts):
        raise ConfigError("storage", shown, "a prefix has no part . or ..")
    return prefix


def _with_options(bucket: str, prefix: str, options: dict[str, str]) -> S3Settings:
    for name in options:
        if name in _KNOWN:
            continue
        if _SECRET.search(name):
            remedy = "keep credentials in the environment, a profile or a role"
        else:
            remedy = f"known are {', '.join(_KNOWN)}"
        raise ConfigError(f"storage option {name}", "…", remedy)
    addressing = options.get("addressing", "auto")
    if addressing not in {"auto", "path", "virtual"}:
        raise ConfigError("storage option addressing", addressing, "use path or virtual")
    return S3Settings(
        bucket,
        prefix,
        _read_endpoint(options.get("endpoint", "")),
        options.get("region", ""),
        addressing,
        options.get("kms_key", ""),
        options.get("profile", ""),
        _read_timeout(options.get("timeout", "10")),
    )


def _read_endpoint(text: str) -> str:
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  (looked at for its error)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        shown = text.rpartition("@")[2]
        raise ConfigError(
            "storage option endpoint", shown, "write https://host:port, without credentials"
        )
    return text


def _read_timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 600:
        raise ConfigError("storage option timeout", text, "use seconds above 0, up to 600")
    return seconds

"""What ``sqlite:///flows.db?synchronous=normal`` says. Reads the text and touches no file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from ..errors import ConfigError

_KNOWN = ("synchronous", "timeout")
_LEVELS = ("full", "normal")


@dataclass(frozen=True, slots=True)
class SqliteSettings:
    """Where the file is, and how it is written to.

    Attributes:
        path: Of the file; relative to the current directory unless it begins with a slash.
        synchronous: ``full`` syncs every commit to disk; ``normal`` may lose the last commits
            when the power fails, but never on a crash of the process.
        timeout: Seconds to wait for other writers, threads and processes together.
        read_only: Let SQLite refuse every write, once the file is set up.
    """

    path: str
    synchronous: str = "full"
    timeout: float = 30.0
    read_only: bool = False


def read_sqlite_url(url: str, scheme: str = "sqlite") -> SqliteSettings:
    """Return what *url* says; *scheme* is that of addresses like it.

    Raises:
        ConfigError: It names no file, or an option that there is not.
    """
    begin = f"{scheme}://"
    rest, _, query = url.removeprefix(begin).partition("?")
    path = unquote(rest.removeprefix("/"))
    if not url.startswith(begin) or (rest and not rest.startswith("/")):
        raise ConfigError(
            "storage", url, f"write {scheme}:///relative.db or {scheme}:////absolute/path.db"
        )
    if path in {"", ":memory:"} or path.endswith("/"):
        raise ConfigError(
            "storage",
            url,
            f"name a file, as in {scheme}:///flows.db; to keep nothing use memory://",
        )
    if "\0" in path:
        raise ConfigError("storage", url, "a path cannot have a NUL character")
    try:
        path.encode()
    except UnicodeEncodeError:
        # An argument of a command line that is not UTF-8 arrives as halves of surrogate pairs.
        raise ConfigError("storage", url, "name a file whose path is UTF-8") from None
    return _with_options(path, dict(parse_qsl(query, keep_blank_values=True)))


def _with_options(path: str, options: dict[str, str]) -> SqliteSettings:
    for name, value in options.items():
        if name not in _KNOWN:
            raise ConfigError(f"storage option {name}", value, f"known are {', '.join(_KNOWN)}")
    synchronous = options.get("synchronous", "full").lower()
    if synchronous not in _LEVELS:
        raise ConfigError("storage option synchronous", synchronous, "use full or normal")
    return SqliteSettings(path, synchronous, _read_timeout(options.get("timeout", "30")))


def _read_timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 3600:
        raise ConfigError("storage option timeout", text, "use seconds from 0 to 3600")
    return seconds

"""The settings of an application, and where they come from.

Keyword arguments and flags come first, then ``SEQUENTIAL_*`` variables, then ``sequential.toml`` or
``[tool.sequential]`` of ``pyproject.toml`` in the current directory. Reads text and opens nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ._pause import PausePolicy
from ._protocol import Terms
from .errors import ConfigError

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)\Z")
_TERMS = Terms()
_CHECKS = ("inputs", "names", "off")
_TELEMETRY = ("off", "otlp", "stored", "otlp+stored")
_URLS = ("storage", "transport", "values", "spans")


@dataclass(frozen=True, slots=True)
class Settings:
    """What an application is made of. Durations are in seconds.

    Attributes:
        storage: URL of the storage.
        transport: URL of the resume transport.
        values: URL of the storage that keeps large values; empty for the one of the records.
        pause: Pause policy: ``every-step``, ``budget``, ``budget:30s,100steps``, ``when-waiting``.
        plugins: Names of the installed plugins to use; None for all.
        modules: Modules and files that hold the flows and tools, as ``package.module`` or
            ``path/file.py``.
        check: What a replay compares: ``inputs``, ``names`` or ``off``.
        payload: Payload codecs for what is stored from now on, in order.
        lease: How long a claim holds without a sign of life.
        max_stalls: Claims without progress before a run is quarantined.
        retention: How long an ended run keeps its payload.
        step_timeout: How long a lease is renewed for one attempt without a heartbeat.
        warm: How many paused flows are kept in memory at most.
        telemetry: ``off``; ``otlp``: spans go where the ``OTEL_*`` variables say; ``stored``: they
            and log lines are kept in a span store; ``otlp+stored``.
        spans: URL of the span store; empty for the one of the records.
        tables: Tables of the configuration file, by name: each belongs to the plugin so called.
    """

    storage: str = "sqlite:///sequential.db"
    transport: str = "poll:"
    values: str = ""
    pause: str = "budget"
    plugins: tuple[str, ...] | None = None
    modules: tuple[str, ...] = ()
    check: str = "inputs"
    payload: tuple[str, ...] = ()
    lease: float = _TERMS.lease
    max_stalls: int = _TERMS.max_stalls
    retention: float = _TERMS.retention
    step_timeout: float = _TERMS.step_timeout
    warm: int = 256
    telemetry: str = "off"
    spans: str = ""
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments for `Sequential`; *modules* are the caller's to import."""
        return {
            "storage": self.storage,
            "transport": self.transport,
            "values": self.values,
            "pause": self.pause,
            "plugins": self.plugins,
            "check": self.check,
            "payload": self.payload,
            "terms": Terms(
                lease=self.lease,
                max_stalls=self.max_stalls,
                retention=self.retention,
                step_timeout=self.step_timeout,
            ),
            "warm": self.warm,
            "telemetry": self.telemetry,
            "spans": self.spans,
        }

    def __repr__(self) -> str:
        """Show the settings without the secrets that URLs may hold, and without tables."""
        shown = {each.name: getattr(self, each.name) for each in fields(self)}
        shown |= {name: shown_url(shown[name]) for name in _URLS}
        del shown["tables"]
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


def load(overrides: Mapping[str, object], environ: Mapping[str, str], directory: Path) -> Settings:
    """Return the settings: *overrides*, then *environ*, then the file in *directory*.

    Args:
        overrides: Settings by name; those that are None are left to the other sources.
        environ: Where ``SEQUENTIAL_STORAGE`` and its like are looked up; empty ones count as
            absent, and lists are separated by commas.
        directory: ``sequential.toml`` is read there, else ``[tool.sequential]`` of
            ``pyproject.toml``. Directories above it are not searched: the file names modules to
            import, and only the one that the user stands beside is trusted.

    Raises:
        ConfigError: A value cannot be used, a key is unknown, or the file cannot be read.
    """
    found, tables = _from_file(directory)
    for name in _READ:
        if text := environ.get(variable(name), ""):
            found[name] = _READ[name](variable(name), text)
    for name, value in overrides.items():
        if value is not None:
            _refuse_unknown(name, value, "the arguments")
            found[name] = _READ[name](name, value)
    return Settings(**found, tables=tables)


def variable(name: str) -> str:
    """Return the name of the environment variable for the setting *name*."""
    return f"SEQUENTIAL_{name.upper()}"


# -- the file


def _from_file(directory: Path) -> tuple[dict[str, Any], dict[str, Mapping[str, Any]]]:
    place, content = _content(directory)
    found: dict[str, Any] = {}
    tables: dict[str, Mapping[str, Any]] = {}
    for key, value in content.items():
        if isinstance(value, dict) and key not in _READ:
            tables[key] = value
            continue
        name = key.replace("-", "_")
        _refuse_unknown(name, value, place)
        found[name] = _READ[name](f"{name} in {place}", value)
    return found, tables


def _content(directory: Path) -> tuple[str, Mapping[str, Any]]:
    own = directory / "sequential.toml"
    if own.exists():
        return str(own), _toml(own)
    project = directory / "pyproject.toml"
    if not project.exists():
        return "", {}
    tool = _toml(project).get("tool")
    content = tool.get("sequential", {}) if isinstance(tool, dict) else {}
    if not isinstance(content, dict):
        raise ConfigError("tool.sequential", content, f"make it a table in {project}")
    return f"[tool.sequential] of {project}", content


def _toml(path: Path) -> Mapping[str, Any]:
    # Slow to import, for the sake of a file that is mostly not there.
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError("configuration", str(path), f"it is not readable TOML: {error}") from None


def _refuse_unknown(name: str, value: object, place: str) -> None:
    if name not in _READ:
        known = ", ".join(sorted(_READ))
        raise ConfigError(name, value, f"{place} has no such setting; known are {known}")


# -- one value each


def _url(setting: str, value: object) -> str:
    if isinstance(value, str) and re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:", value):
        try:
            urlsplit(value)
        except ValueError as error:
            raise ConfigError(setting, shown_url(value), f"it is no URL: {error}") from None
        return value
    shown = shown_url(value) if isinstance(value, str) else value
    raise ConfigError(setting, shown, "write a URL, such as sqlite:///flows.db or poll:")


def _url_or_none(setting: str, value: object) -> str:
    return "" if value == "" else _url(setting, value)


def _policy(setting: str, value: object) -> str:
    try:
        PausePolicy.parse(value if isinstance(value, str) else str(value))
    except ConfigError as error:
        raise ConfigError(setting, value, error.remedy) from None
    return str(value)


def _check(setting: str, value: object) -> str:
    if value not in _CHECKS:
        raise ConfigError(setting, value, f"use {', '.join(_CHECKS)}")
    return str(value)


def _telemetry(setting: str, value: object) -> str:
    if value not in _TELEMETRY:
        raise ConfigError(setting, value, f"use {', '.join(_TELEMETRY)}")
    return str(value)


def _names(setting: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ConfigError(setting, value, 'write a list of texts, such as ["shop.flows"]')


def _seconds(setting: str, value: object) -> float:
    seconds = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (parts := _DURATION.match(value.strip())):
        seconds = float(parts[1]) * _UNITS[parts[2]]
    if not 0 < seconds < 1e11:
        raise ConfigError(setting, value, 'write seconds, or a duration such as "90s", "5m", "7d"')
    return seconds


def _count(least: int) -> Callable[[str, object], int]:
    def read(setting: str, value: object) -> int:
        text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        if not re.fullmatch(r"\d{1,9}", text) or int(text) < least:
            raise ConfigError(setting, value, f"write a whole number from {least}")
        return int(text)

    return read


_READ: Final[dict[str, Callable[[str, object], Any]]] = {
    "storage": _url,
    "transport": _url,
    "values": _url_or_none,
    "pause": _policy,
    "plugins": _names,
    "modules": _names,
    "check": _check,
    "payload": _names,
    "lease": _seconds,
    "max_stalls": _count(1),
    "retention": _seconds,
    "step_timeout": _seconds,
    "warm": _count(0),
    "telemetry": _telemetry,
    "spans": _url_or_none,
}


def read_duration(setting: str, text: object) -> float:
    """Return the seconds of *text*: a number, or ``90s``, ``5m``, ``2h``, ``7d``.

    Raises:
        ConfigError: It is neither; *setting* is what the error calls it.
    """
    return _seconds(setting, text)


# -- showing

_SECRET = re.compile(
    r"pass|pwd|secret|token|key|sig|credential|auth|cert|private|code|session", re.IGNORECASE
)
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,30}://[^\s'\"<>]+")
_HIDDEN = "***"


def shown_url(url: str) -> str:
    """Return *url* as it may be printed: without user info, and without values of secret keys."""
    head, slashes, rest = url.partition("://")
    if not slashes:
        head, rest = "", url
    rest = rest.partition("#")[0]
    # A password with a slash or question mark in it is no valid URL, and hidden all the same; a
    # path after an empty host holds none.
    if slashes and not rest.startswith("/") and "@" in rest:
        rest = f"{_HIDDEN}@{rest.rpartition('@')[2]}"
    path, sign, query = rest.partition("?")
    shown = "&".join(_shown_pair(pair) for pair in query.split("&"))
    return f"{head}{slashes}{path}{sign}{shown}"


def _shown_pair(pair: str) -> str:
    key, sign, _ = pair.partition("=")
    return f"{key}={_HIDDEN}" if sign and _SECRET.search(key) else pair


def shown_text(text: str) -> str:
    """Return *text* with every URL in it as `shown_url` shows it."""
    return _URL_IN_TEXT.sub(lambda found: shown_url(found[0]), text)

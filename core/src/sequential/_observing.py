"""What is seen of an application's runs: who tells of them, and where spans and lines are kept.

Reads the two settings, ``telemetry`` and ``spans``; imports OpenTelemetry only when they ask for
it. Nothing here may harm a run: a span store that cannot be reached is logged, and left out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal, Protocol, get_args

from ._clock import Clock
from ._keeper import Keeper
from ._log_lines import KeptLines
from ._plugins import Plugins
from ._redaction import redacted_text
from ._span_store import SpanStore
from .errors import ConfigError, StorageError

_log = logging.getLogger("sequential")

Telling = Literal["off", "otlp", "stored", "otlp+stored"]


class _Tells(Protocol):
    """A `Telemetry`, which is not imported here."""

    def flush(self, seconds: float = ...) -> bool: ...

    def keep(self, keeper: Keeper) -> None: ...

    def close(self, seconds: float = ...) -> None: ...


class Observing:
    """The telemetry of one application.

    Attributes:
        plugins: The given plugins, and what the setting adds.
    """

    def __init__(self, setting: Telling, plugins: Sequence[object]) -> None:
        """Take *setting*.

        Raises:
            ConfigError: It is none, or needs what is not installed.
        """
        if setting not in get_args(Telling):
            raise ConfigError("telemetry", setting, f"use {', '.join(get_args(Telling))}")
        self._keeps = setting.endswith("stored")
        self._tells = _telemetry(setting, plugins)
        # Of the user's own nothing is closed; providers made for a setting end with it.
        self._exports = "otlp" in setting
        added = () if self._tells is None or self._tells in plugins else (self._tells,)
        self.plugins = (*plugins, *added)
        self._open: Callable[[], SpanStore | None] = lambda: None
        self._keeper: Keeper | None = None
        self._lines: KeptLines | None = None

    def begin(self, plugins: Plugins, clock: Clock, spans: str, storage: str) -> None:
        """Begin to keep spans and lines, if that was asked for.

        Args:
            plugins: Who opens the span store.
            clock: Tells when what is kept is old.
            spans: URL of the span store; empty for the one of the storage.
            storage: URL of the storage; empty if it has none.

        Raises:
            ConfigError: Nobody opens a span store there.
            PluginBroken: The plugin that opens it failed in a way of its own.
        """
        self._open = lambda: _opened(plugins, clock, spans or storage)
        if spans or self._keeps:
            _refuse_unknown(plugins, spans, storage)
        if self._keeps and self._tells is not None and self.store is not None:
            self._keeper = Keeper(self.store, clock)
            self._tells.keep(self._keeper)
            self._lines = KeptLines(self._keeper)
            logging.getLogger().addHandler(self._lines)

    @cached_property
    def store(self) -> SpanStore | None:
        """Where spans are kept, opened when first asked for; None if there is no such place."""
        return self._open()

    def flush(self, seconds: float) -> bool:
        """Let what was told so far be exported and kept, for at most *seconds*; never raise."""
        return self._tells is None or self._tells.flush(seconds)

    def close(self) -> None:
        """Write what is left, and give connections back."""
        self.flush(2.0)
        if self._exports and self._tells is not None:
            self._tells.close()
        if self._lines is not None:
            logging.getLogger().removeHandler(self._lines)
        if self._keeper is not None:
            self._keeper.close()
        if (store := self.__dict__.get("store")) is not None:
            store.close()


def _telemetry(setting: str, plugins: Sequence[object]) -> _Tells | None:
    if setting == "off":
        return None
    # OpenTelemetry is only imported when somebody wants it.
    from ._telemetry import Telemetry

    if "otlp" in setting:
        return Telemetry.otlp()
    # Who was given a provider of the user's tells of the same runs: it keeps them too.
    return next((each for each in plugins if isinstance(each, Telemetry)), None) or (
        Telemetry.stored()
    )


def _refuse_unknown(plugins: Plugins, spans: str, storage: str) -> None:
    url = spans or storage
    if not plugins.opens_spans(url):
        shown = redacted_text(url) if url else "a storage without URL"
        remedy = "no span store opens there; set `spans` to a sqlite:/// or postgresql:// URL"
        raise ConfigError("spans", shown, remedy)


def _opened(plugins: Plugins, clock: Clock, url: str) -> SpanStore | None:
    if not plugins.opens_spans(url):
        return None
    try:
        return plugins.open_span_store(url, clock)
    except StorageError as error:
        _log.warning("spans are not kept, runs go on without: %s", redacted_text(str(error)))
        return None

"""Finds plugins, asks them, and gives pluggy's answers their types.

The only file that touches pluggy's manager. Entry points are walked here, not by pluggy: a broken
plugin is one line in ``sequential plugins``, and an error only when what it brings is asked for.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import pluggy

from . import hookspecs
from ._calls import Pending, ToolCall, ToolResult
from ._clock import Clock
from ._events import Event
from ._payload import PayloadCodec
from ._registry import Registry
from ._span_store import SpanStore
from ._storage import Storage
from ._transport import ResumeTransport
from .errors import ConfigError, PluginBroken, SchemeUnknown, SequentialError

_log = logging.getLogger("sequential")

_BROUGHT_BY = {
    "postgresql": "sequential-postgres",
    "postgres": "sequential-postgres",
    "s3": "sequential-s3",
    "http": "sequential-http",
    "https": "sequential-http",
    "sqs": "sequential-sqs",
}
"""Our own packages, by the schemes that they open: so that an error can name what to install."""


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One plugin, for ``sequential plugins``: *error* says why it could not be loaded."""

    name: str
    distribution: str
    version: str
    hooks: tuple[str, ...]
    error: str | None = None


class _Installed(NamedTuple):
    """An entry point of importlib.metadata, and what brought it."""

    entry: Any
    distribution: str
    version: str


def _search_path() -> tuple[tuple[str, int], ...]:
    """Name where packages may be, and when each place changed last: pip changes it."""
    found = []
    for place in sys.path:
        with contextlib.suppress(OSError):
            found.append((place, Path(place).stat().st_mtime_ns))
    return tuple(found)


@functools.lru_cache(maxsize=8)
def _installed(_where: tuple[tuple[str, int], ...]) -> Sequence[_Installed]:
    """Look through all that is installed, once for many applications: it takes 50 ms."""
    # Takes a fifth of `import sequential`, and only an application needs it.
    from importlib.metadata import entry_points

    return [
        _Installed(entry, entry.dist.name, entry.dist.version)
        if entry.dist is not None
        else _Installed(entry, "", "")
        for entry in sorted(entry_points(group=hookspecs.PROJECT), key=lambda entry: entry.name)
    ]


class Plugins:
    """The plugins of one application."""

    def __init__(self, objects: Sequence[object] = (), only: Sequence[str] | None = None) -> None:
        """Register *objects* as plugins, then those installed.

        Args:
            objects: Plugins given in code; asked before installed ones.
            only: Names of the entry points to use; None for all that are installed.
        """
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.found: list[PluginInfo] = []
        # Not where nothing of it is used: looking takes 50 ms.
        for installed in _installed(_search_path()) if only is None or only else ():
            if only is None or installed.entry.name in only:
                self._load(installed)
        for plugin in objects:
            self.manager.register(plugin)
        self.manager.check_pending()
        # With a single implementation pluggy's call is skipped: it costs as much as a whole step
        # in memory, and means the same.
        caller = self.manager.hook.sequential_call_tool
        alone = caller.get_hookimpls()
        single = len(alone) == 1 and not (alone[0].wrapper or alone[0].hookwrapper)
        self._call_tool: Callable[..., Any] = alone[0].function if single else caller

    def _load(self, installed: _Installed) -> None:
        entry, error = installed.entry, None
        names: tuple[str, ...] = ()
        plugin = None
        try:
            plugin = entry.load()
            self.manager.register(plugin, name=entry.name)
            self.manager.check_pending()
            names = tuple(sorted(h.name for h in self.manager.get_hookcallers(plugin) or ()))
        except Exception as broken:  # noqa: BLE001  (any plugin may be broken in any way)
            error = f"{type(broken).__name__}: {broken}"
            if self.manager.is_registered(plugin):  # the hooks before the one that is wrong
                self.manager.unregister(plugin)
            _log.warning("plugin %s cannot be loaded: %s", entry.name, error)
        info = PluginInfo(entry.name, installed.distribution, installed.version, names, error)
        self.found.append(info)

    # -- what plugins bring ------------------------------------------------------------------

    def open_storage(self, url: str, clock: Clock) -> Storage:
        """Return the storage at *url*.

        Raises:
            SchemeUnknown: No plugin opens its scheme; the message says what to install.
            PluginBroken: The plugin that opens it failed in a way of its own.
        """
        factories = self._merged("sequential_storages")
        return cast("Storage", self._open("storage", factories, url, clock))

    def open_transport(self, url: str, clock: Clock) -> ResumeTransport:
        """Return the resume transport at *url*; raises like `open_storage`."""
        factories = self._merged("sequential_transports")
        return cast("ResumeTransport", self._open("transport", factories, url, clock))

    def opens_spans(self, url: str) -> bool:
        """Tell whether a plugin opens a span store at *url*."""
        return url.partition(":")[0] in self._merged("sequential_span_stores")

    def open_span_store(self, url: str, clock: Clock) -> SpanStore:
        """Return the span store at *url*; raises like `open_storage`."""
        factories = self._merged("sequential_span_stores")
        return cast("SpanStore", self._open("span store", factories, url, clock))

    def payload_codecs(self) -> Sequence[PayloadCodec]:
        """Return every payload codec that a plugin brings; of one id, the last one counts."""
        answers = self._answers("sequential_payload_codecs", Sequence)
        # As in `_merged`: who was registered last may override.
        return [codec for some in reversed(answers) for codec in some]

    def register(self, registry: Registry) -> None:
        """Let every plugin add its flows and tools."""
        self.manager.hook.sequential_register(registry=registry)

    def commands(self, cli: object) -> None:
        """Let every plugin add its commands."""
        self.manager.hook.sequential_commands(cli=cli)

    # -- what plugins are told and asked while runs go on ------------------------------------

    def call_tool(self, call: ToolCall) -> ToolResult | Pending | None:
        """Make one attempt of a tool call; None when it is nobody's."""
        answer = self._call_tool(call=call)
        if answer is None or isinstance(answer, ToolResult | Pending):
            return answer
        raise PluginBroken(
            f"{call.category}.{call.name}",
            f"its hook returned {type(answer).__name__}, not ToolResult, Pending or None",
        )

    def trace(self) -> Mapping[str, str]:
        """Return what a new run should remember of its caller's trace; empty when nobody says."""
        return dict(self.manager.hook.sequential_trace() or {})

    @property
    def observed(self) -> bool:
        """Whether any plugin wants to be told what happens."""
        return bool(self.manager.hook.sequential_observe.get_hookimpls())

    def observe(self, event: Event) -> None:
        """Tell every observer of *event*; one that fails is logged and harms nobody."""
        for implementation in self.manager.hook.sequential_observe.get_hookimpls():
            try:
                implementation.function(*(event for _ in implementation.argnames))
            except Exception:  # noqa: BLE001  (an observer may fail in any way, and harms nobody)
                _log.exception("observer %s failed", implementation.plugin_name)

    # -- the parts ---------------------------------------------------------------------------

    def _answers(self, hook: str, wanted: type) -> list[Any]:
        answers: list[Any] = getattr(self.manager.hook, hook)()
        for answer in answers:
            if not isinstance(answer, wanted):
                reason = f"its hook returned {type(answer).__name__}, not a {wanted.__name__}"
                raise PluginBroken(hook, reason)
        return answers

    def _merged(self, hook: str) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        answers = self._answers(hook, Mapping)
        # Answers come last registered first; who was registered last may override.
        for answer in reversed(answers):
            merged.update(answer)
        return merged

    def _open(self, noun: str, factories: Mapping[str, Any], url: str, clock: Clock) -> object:
        try:
            scheme = urlsplit(url).scheme
        except ValueError as error:
            # Nobody knows where in it a password stands, so nothing after the scheme is shown; nor
            # is the error, which may quote it.
            shown, reason = f"{url.partition(':')[0]}:…", type(error).__name__
            raise ConfigError(noun, shown, f"it cannot be read as a URL ({reason})") from None
        factory = factories.get(scheme)
        if factory is None:
            raise SchemeUnknown(noun, scheme or url, factories, self._remedy(noun, scheme))
        try:
            return factory(url, clock)
        except SequentialError:
            raise
        except ImportError as error:
            raise PluginBroken(scheme, f"{error}; install what it needs") from error

    def _remedy(self, noun: str, scheme: str) -> str:
        for plugin in self.found:
            if plugin.error is not None and scheme in plugin.name:
                return f"plugin {plugin.name} is installed but broken: {plugin.error}"
        package = _BROUGHT_BY.get(scheme)
        if package is None:
            way = f"write the {noun} as a URL with one of these schemes"
            return f"install the plugin that brings it, or {way}" if scheme else way
        return f"it needs: pip install {package}"

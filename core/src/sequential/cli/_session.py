"""What one call of the command line knows: flags, settings, the application, where to print."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from .._app import Sequential
from .._config import Settings, load
from .._flow import Flow
from .._registry import REGISTRY, Registry
from .._targets import find_flow, import_modules
from ._output import Output


class Session:
    """One call of the command line.

    Attributes:
        json: Print JSON and nothing else.
        debug: Show the traceback of an error.
        directory: What relative paths start from, and where the configuration file stands.
    """

    def __init__(self) -> None:
        self.json = False
        self.debug = False
        self.directory = Path.cwd()
        self._flags: dict[str, object] = {}

    def set(self, setting: str, value: object) -> None:
        """Take *value* for *setting* from a flag; None leaves it as it is."""
        if value is not None:
            self._flags[setting] = value
            self.__dict__.pop("settings", None)

    @cached_property
    def settings(self) -> Settings:
        """The settings: flags, then variables, then the configuration file."""
        return load(self._flags, os.environ, self.directory)

    @cached_property
    def output(self) -> Output:
        """Where to print."""
        return Output(self.json)

    @property
    def chose_storage(self) -> bool:
        """Whether anybody named a storage, by flag, variable or file."""
        return self.settings.storage != Settings().storage or "storage" in self._flags

    @contextmanager
    def app(self, registry: Registry = REGISTRY, **changed: Any) -> Iterator[Sequential]:
        """Open the application and close it afterwards. Imports no module that holds flows."""
        with Sequential(**{**self.settings.arguments(), **changed}, registry=registry) as app:
            yield app

    @contextmanager
    def app_with_flows(self, more: Iterable[str] = (), **changed: Any) -> Iterator[Sequential]:
        """The same, with the configured modules and *more* imported."""
        import_modules([*self.settings.modules, *more], self.directory)
        with self.app(**changed) as app:
            yield app

    def flow(self, app: Sequential, target: str) -> Flow[..., Any]:
        """Return the flow that *target* names."""
        return find_flow(target, app.registry, self.directory)

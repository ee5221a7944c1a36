"""The hooks: what this package brings, by name. HTTP libraries are imported when they are used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from sequential import Registry, hookimpl
from sequential.errors import ConfigError
from sequential.hookspecs import TransportFactory
from sequential.storage import Clock

from .signing import KEYS, Keys


def open_http(url: str, clock: Clock) -> Any:
    """Return the transport to the server that *url* names; connects when it sends.

    Raises:
        ConfigError: The URL cannot be used, or there are no keys in the environment.
    """
    from .target import read_target
    from .transport import HttpTransport

    target = read_target(url)
    keys = Keys.from_environment(os.environ)
    if keys is None:
        remedy = "resume messages are signed: set it to what `sequential http-key` prints"
        raise ConfigError(KEYS, "", remedy)
    return HttpTransport(target, keys, clock)


@hookimpl
def sequential_transports() -> Mapping[str, TransportFactory]:
    """Send resume messages to ``https://host/base``."""
    return {"https": open_http, "http": open_http}


@hookimpl
def sequential_commands(cli: Any) -> None:
    """Add ``serve`` and ``http-key``."""
    from .serve import http_key_command, serve_command

    cli.add_command(serve_command)
    cli.add_command(http_key_command)


@hookimpl
def sequential_register(registry: Registry) -> None:
    """Add ``http.get``, ``http.post`` … for the hosts that ``SEQUENTIAL_HTTP_ALLOW`` names."""
    if os.environ.get("SEQUENTIAL_HTTP_ALLOW"):
        from .tools import tools_of_environment

        if found := tools_of_environment(os.environ):
            found.sequential_register(registry)

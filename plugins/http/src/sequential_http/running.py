"""A uvicorn server around an application: where it listens, and how it drains."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import uvicorn

from sequential import Sequential
from sequential.errors import ConfigError

from .access import TOKENS, Tokens
from .server import Options, Server
from .signing import Keys
from .target import is_loopback

_GRACE = 35  # seconds: a little more than a worker gives the tools that run


class Served(uvicorn.Server):
    """A server that tells the application that it is to end before it waits for anybody."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._drain = drain

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  (as it is called)
        """Answer SIGTERM and SIGINT; a second SIGINT ends the drain.

        Not the base's, which raises the signal anew at the end and would leave the application
        open.
        """
        self._drain()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def run(
    app: Sequential,
    given: Mapping[str, Any],
    environ: Mapping[str, str],
    note: Callable[[str], None],
) -> None:
    """Serve *app* until the process is told to end.

    Raises:
        ConfigError: There are no keys and no leave to do without, or a flow is not registered.
    """
    host, port = given.get("host", "127.0.0.1"), given.get("port", 8000)
    options = _options(app, given, environ)
    if options.insecure_dev and not is_loopback(host):
        raise ConfigError("insecure_dev", host, "it is for 127.0.0.1 alone; set keys and tokens")
    server = Server(app, options)
    config = uvicorn.Config(
        server.asgi(),
        ws="none",
        host=host,
        port=port,
        # Paths hold the tokens of links, so that there is no log of paths.
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE,
        h11_max_incomplete_event_size=64 * 1024,
        lifespan="on",
    )
    served = Served(config, server.drain)
    listening = _bound(host, port)
    shown = f"[{host}]" if ":" in host else host
    note(f"serving on http://{shown}:{listening.getsockname()[1]}; flows: {_named(options)}")
    if options.authorise is None and not options.insecure_dev:
        note(f"the client API is closed: set {TOKENS} to open it")
    served.run(sockets=[listening])


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, since asyncio switches Nagle's delay off only where it reads TCP: 40 ms an answer.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except (OSError, OverflowError) as error:
        made.close()
        reason = getattr(error, "strerror", None) or "it is no port"
        raise ConfigError("host, port", f"{host}:{port}", f"{reason}; name another") from error
    return made


def _options(app: Sequential, given: Mapping[str, Any], environ: Mapping[str, str]) -> Options:
    flows = tuple(given.get("flows", ()))
    for name in flows:
        if name not in app.registry.flows:
            known = ", ".join(sorted(app.registry.flows)) or "none; name their modules with --load"
            raise ConfigError("flow", name, f"it is not registered here; registered: {known}")
    return Options(
        keys=Keys.from_environment(environ),
        audience=given.get("audience", ""),
        flows=flows,
        authorise=Tokens.from_environment(environ),
        mode=given.get("mode", "background"),
        budget=float(given.get("budget", 25.0)),
        concurrency=given.get("concurrency", 4),
        sweep_every=float(given.get("sweep_every", 30.0)),
        insecure_dev=bool(given.get("insecure_dev", False)),
    )


def _named(options: Options) -> str:
    return ", ".join(sorted(options.flows)) or "none may be started"

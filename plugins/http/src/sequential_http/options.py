"""How a server serves: the options of `server.asgi`, and what of them would not be safe."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sequential import Sequential
from sequential.errors import ConfigError

from .access import Authorise
from .resume import Mode
from .signing import KEYS, Keys
from .transport import HttpTransport


@dataclass(frozen=True, slots=True)
class Options:
    """How the server serves; each has a default but the keys.

    Attributes:
        keys: Sign resume messages and links. None is for *insecure_dev* alone.
        audience: What resume messages call this server; by default what the application's own
            transport calls it.
        flows: Names of the flows that clients may start; none unless they are named.
        authorise: Says what clients may do: `access.Tokens`, or a function of yours; None closes
            the client API.
        mode: ``background`` acknowledges a resume message and works on a worker beside the server;
            ``request`` works within the request, where nothing may go on after it.
        budget: Seconds of one invocation within a request, or what says how many are left of it.
        concurrency: Invocations at a time.
        sweep_every: Seconds between two looks for runs whose messages were lost, in mode background
            with a transport that carries messages.
        worker: Whether a worker runs beside the server, in mode background; False where another
            part of this process runs one.
        insecure_dev: Hear this machine's loopback alone, and there without what is not configured.
    """

    keys: Keys | None
    audience: str = ""
    flows: Collection[str] = ()
    authorise: Authorise | None = None
    mode: Mode = "background"
    budget: float | Callable[[], float] = 25.0
    concurrency: int = 4
    sweep_every: float = 30.0
    worker: bool = True
    insecure_dev: bool = False


def check(options: Options) -> None:
    """Refuse options that would not be safe, or cannot be used.

    Raises:
        ConfigError: There are no keys and no leave to do without, or a value cannot be used.
    """
    if options.keys is None and not options.insecure_dev:
        remedy = (
            "a server without keys would look at runs for anybody: set it to what `sequential"
            " http-key` prints; on your own machine alone, --insecure-dev does without"
        )
        raise ConfigError(KEYS, "", remedy)
    if options.mode not in ("background", "request"):
        raise ConfigError("mode", options.mode, "use background or request")
    budget = 1.0 if callable(options.budget) else options.budget
    if options.concurrency < 1 or min(budget, options.sweep_every) <= 0:
        shown = (options.concurrency, options.budget, options.sweep_every)
        remedy = "use 1 or more, and more than 0 seconds"
        raise ConfigError("concurrency, budget, sweep_every", shown, remedy)


def audience_of(app: Sequential, options: Options) -> str:
    """Return what resume messages call this server."""
    if options.audience:
        return options.audience
    if isinstance(app.transport, HttpTransport):
        return app.transport.target.audience
    # Nobody knows it, so that no message is for it: a server of which no transport speaks.
    return f"unnamed:{secrets.token_hex(16)}"

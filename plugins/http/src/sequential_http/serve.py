"""``sequential serve``: an application over HTTP from the command line, and ``http-key``.

Reads flags, variables and the table ``[http]``; what is served stands in `server`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click

from sequential.cli import Session, with_session
from sequential.errors import ConfigError

_TABLE = {
    "host": str,
    "port": int,
    "flows": list,
    "mode": str,
    "audience": str,
    "concurrency": int,
    "budget": (int, float),
    "sweep_every": (int, float),
}


@click.command("http-key")
def http_key_command() -> None:
    """Print a new random key for SEQUENTIAL_HTTP_KEYS."""
    from .signing import new_key

    click.echo(new_key())


@click.command("serve")
@click.option("--host", metavar="ADDRESS", help="Where to listen; 127.0.0.1 by default.")
@click.option("--port", type=click.IntRange(0, 65535), help="8000 by default; 0 for a free one.")
@click.option(
    "--load",
    multiple=True,
    metavar="MODULE|FILE.py",
    help="Import flows and tools from there first. Can be repeated.",
)
@click.option(
    "--flow",
    "flows",
    multiple=True,
    metavar="NAME",
    help="A flow that clients may start. Can be repeated.",
)
@click.option(
    "--mode",
    type=click.Choice(["background", "request"]),
    help="Work on a worker beside the server (the default), or within each request.",
)
@click.option("--pause", metavar="POLICY", help="every-step, budget, budget:30s, when-waiting.")
@click.option("--concurrency", type=click.IntRange(1, 1000), help="Runs at a time; 4 by default.")
@click.option(
    "--insecure-dev", is_flag=True, help="Without keys and tokens, on this machine's loopback only."
)
@with_session
def serve_command(
    session: Session, /, load: tuple[str, ...], pause: str | None, **flags: Any
) -> None:
    """Serve resume messages, the API for clients and callback links, until stopped.

    Keys come from SEQUENTIAL_HTTP_KEYS, tokens of clients from SEQUENTIAL_HTTP_TOKENS; `sequential
    http-key` prints a new key. SIGTERM lets the steps under way end first.
    """
    try:
        from .running import run
    except ModuleNotFoundError as error:
        remedy = "the server needs: pip install 'sequential-http[server]'"
        raise ConfigError("serve", error.name, remedy) from error

    session.set("pause", pause)
    given = read_table(session.settings.tables.get("http", {}))
    # Port 0 is one that was given.
    given |= {name: value for name, value in flags.items() if not _is_absent(value)}
    with session.app_with_flows(load) as app:
        run(app, given, os.environ, session.output.note)


def read_table(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the table ``[http]`` by name.

    Raises:
        ConfigError: There is no such setting, or it has another type. Secrets and switches that
            take safety away are for the environment and the command line, not for a file.
    """
    for name, value in table.items():
        kind = _TABLE.get(name)
        if kind is None:
            raise ConfigError(f"http.{name}", value, f"use {', '.join(_TABLE)}")
        if not isinstance(value, kind) or isinstance(value, bool):  # type: ignore[arg-type]
            raise ConfigError(f"http.{name}", value, "it has another type in the documentation")
    return dict(table)


def _is_absent(value: object) -> bool:
    return value is None or value is False or value == ()

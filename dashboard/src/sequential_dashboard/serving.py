"""Starts the server: Streamlit in this process, with the configuration that is safe to serve."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import streamlit as st

from sequential.errors import ConfigError

from .board import Board, hold
from .routes import routes
from .settings import Settings, is_loopback

SECRET = 32
"""Characters of the secret that signs who is logged in, at least."""

SCRIPT = Path(__file__).with_name("app.py")


def serve(board: Board) -> None:
    """Serve until the process is told to stop.

    Raises:
        ConfigError: People are to log in, and what that needs is not there.
    """
    settings = board.settings
    if settings.oidc:
        check_login()
    hold(board)
    _load_and_freeze()
    try:
        where = f"http://{settings.host}:{settings.port}"
        can = "operators can act" if settings.actions else "read-only"
        click.echo(f"Sequential dashboard: {where} ({settings.storage}, {can})", err=True)
        with suppress(KeyboardInterrupt):
            st.App(SCRIPT, routes=routes(board)).run(config=config_of(settings))
    finally:
        hold(None)


def _load_and_freeze() -> None:
    """Load what pages need, and tell the collector of garbage that it is none.

    Streamlit collects after every click, and nobody else in the process goes on meanwhile: with
    all of pandas and Altair to look through, for 0.1 seconds of CPU.
    """
    import_module(f"{__package__}.navigation")
    gc.collect()
    gc.freeze()


def check_login() -> None:
    """Verify that the section ``auth`` of Streamlit's secrets can keep strangers out.

    Raises:
        ConfigError: It is missing, its cookie secret can be guessed, or a package is missing.
    """
    if find_spec("authlib") is None:
        raise ConfigError("oidc", "on", "install it: pip install 'sequential-dashboard[oidc]'")
    try:
        secret = st.secrets["auth"]["cookie_secret"]
    except (KeyError, FileNotFoundError):
        remedy = "describe the login in the section [auth] of .streamlit/secrets.toml"
        raise ConfigError("oidc", "on", remedy) from None
    if not isinstance(secret, str) or len(secret) < SECRET:
        remedy = f"make it of {SECRET} characters or more, at random"
        raise ConfigError("cookie_secret", "(hidden)", remedy)


def config_of(settings: Settings) -> Mapping[str, Any]:
    """Return Streamlit's options for *settings*; those that this version has."""
    wanted: dict[str, Any] = {
        "server.address": settings.host,
        "server.port": settings.port,
        "server.headless": True,
        "server.enableCORS": True,
        "server.enableXsrfProtection": True,
        "server.enableStaticServing": False,
        "server.enableAgentApi": False,
        "server.fileWatcherType": "none",
        "server.maxMessageSize": 50,
        "server.maxUploadSize": 1,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        # Streamlit's own export of a table knows nothing of formulas; ours does.
        "client.disableDataExport": True,
        # What an exception says may hold data.
        "client.showErrorDetails": "none",
        "runner.magicEnabled": False,
        # What is chosen is not to look like what failed: Streamlit's own accent is red.
        "theme.light.primaryColor": "#3b6fd4",
        "theme.dark.primaryColor": "#7fa6f5",
    }
    if is_loopback(settings.host):
        # Against pages elsewhere whose name was made to point at this machine.
        wanted["server.allowedHosts"] = ["localhost", "127.0.0.1", "[::1]", "::1"]
    return {name: value for name, value in wanted.items() if _is_known(name)}


def _is_known(name: str) -> bool:
    try:
        st.get_option(name)
    except RuntimeError:
        return False
    return True

"""The hook that adds ``sequential dashboard``. What the command needs is imported inside it."""

from __future__ import annotations

from typing import Any

from sequential import hookimpl


@hookimpl
def sequential_commands(cli: Any) -> None:
    """Add ``dashboard``."""
    from .command import dashboard_command

    cli.add_command(dashboard_command)

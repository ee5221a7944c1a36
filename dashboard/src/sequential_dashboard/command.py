"""``sequential dashboard``: reads the options, opens the runs, and serves until it is stopped."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from sequential import Sequential
from sequential.cli import Session, with_session
from sequential.errors import ConfigError

from .board import Board
from .settings import Settings, checked, digest

TOKEN = "SEQUENTIAL_DASHBOARD_TOKEN"  # noqa: S105  (names of variables)
OPERATOR_TOKEN = "SEQUENTIAL_DASHBOARD_OPERATOR_TOKEN"  # noqa: S105


@click.command("dashboard")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65_535), default=8501, show_default=True)
@click.option("--demo", is_flag=True, help="Show a throw-away database with all kinds of runs.")
@click.option(
    "--actions/--read-only",
    "actions",
    default=False,
    show_default=True,
    help="Let operators change runs.",
)
@click.option(
    "--actions-storage",
    metavar="URL",
    help="The same storage under a role that may write; --storage then only reads.",
)
@click.option("--payloads", is_flag=True, help="Let operators see values whole, secrets included.")
@click.option(
    "--oidc",
    is_flag=True,
    help="Log in with OpenID Connect, as [auth] in .streamlit/secrets.toml says.",
)
@click.option(
    "--viewer",
    "viewers",
    multiple=True,
    metavar="WHO",
    help="Who may look: a subject or a verified address of mail. Can be repeated.",
)
@click.option("--operator", "operators", multiple=True, metavar="WHO", help="Who may also act.")
@click.option(
    "--audit",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Append a line of JSON for each action.",
)
@click.option(
    "--log-link",
    default="",
    metavar="URL",
    help="Where a log tool shows a run, with {run_id}, {trace_id} and {step} in it.",
)
@with_session
def dashboard_command(session: Session, /, **given: Any) -> None:
    """Show every run in the browser: where it stands, where its time went, what would help.

    Listens on this machine only and reads only, unless told otherwise. For other addresses set
    SEQUENTIAL_DASHBOARD_TOKEN (and SEQUENTIAL_DASHBOARD_OPERATOR_TOKEN), or use --oidc.
    """
    settings = settings_of(session, given)
    with ExitStack() as stack:
        if settings.demo:
            from .demo import make

            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sequential-")))
            click.echo("making runs …", err=True)
            make(folder / "demo.db")
            session.set("storage", f"sqlite:///{folder / 'demo.db'}")
        elif not session.chose_storage:
            raise ConfigError(
                "storage", "none", "name the runs with --storage, or look around with --demo"
            )
        board = opened(session, settings, given["actions_storage"], stack)
        from .serving import serve

        serve(board)


def settings_of(session: Session, given: dict[str, Any]) -> Settings:
    """Return what the options and variables say.

    Raises:
        ConfigError: They would let strangers in, or nobody.
    """
    demo = given["demo"]
    return checked(
        Settings(
            storage="a demonstration" if demo else shown(session.settings.storage),
            host=given["host"],
            port=given["port"],
            actions=given["actions"] or given["actions_storage"] is not None or demo,
            payloads=given["payloads"],
            token=digest(os.environ.get(TOKEN, "")),
            operator_token=digest(os.environ.get(OPERATOR_TOKEN, "")),
            oidc=given["oidc"],
            viewers=frozenset(given["viewers"]),
            operators=frozenset(given["operators"]),
            audit=given["audit"],
            demo=demo,
            log_link=given["log_link"],
        )
    )


def shown(url: str) -> str:
    """Return *url* as a page may show it: without user, password and options."""
    scheme, sign, rest = url.partition("://")
    # Whatever stands before the last @ may be a password, even one with a slash in it.
    return f"{scheme}{sign}{rest.rpartition('@')[2].partition('?')[0]}" if sign else scheme


def opened(
    session: Session, settings: Settings, actions_storage: str | None, stack: ExitStack
) -> Board:
    """Open an application to look with, and one to act with if there are actions."""
    from .readonly import ReadOnlyStorage

    full = stack.enter_context(session.app())
    # Values are with the runs here: the storage of `full` knows where they are kept.
    looking = stack.enter_context(session.app(storage=ReadOnlyStorage(full.storage), values=""))
    acting: Sequential | None = None
    if settings.actions:
        other = actions_storage
        acting = full if other is None else stack.enter_context(session.app(storage=other))
    return Board(settings, looking, acting, full.span_store)

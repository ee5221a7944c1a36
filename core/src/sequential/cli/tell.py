"""``signal``, ``cancel`` and ``terminate``: tell a run something, or end it."""

from __future__ import annotations

from typing import Any

import click

from ._options import json_value, with_session
from ._session import Session


@click.command("signal")
@click.argument("run_id")
@click.argument("name")
@click.argument("value", type=json_value, metavar="JSON", required=False)
@click.option("--signal-id", help="Accepted once: sending the same id again changes nothing.")
@click.option("--unchecked", is_flag=True, help="Send it whatever type the record tells of.")
@with_session
def signal_command(
    session: Session,
    run_id: str,
    name: str,
    value: tuple[Any] | None,
    signal_id: str | None,
    unchecked: bool,
) -> None:
    """Send the signal NAME with VALUE to RUN_ID.

    VALUE is JSON, @file.json, or - for stdin; null when it is left out. It is refused when it does
    not fit the type that the run waits for.
    """
    given = None if value is None else value[0]
    with session.app() as app:
        try:
            accepted = app.signal(run_id, name, given, signal_id=signal_id, checked=not unchecked)
        except ValueError as error:  # a name or an id that a signal cannot have
            raise click.UsageError(str(error)) from error
    done = "accepted" if accepted else "was accepted before; nothing changed"
    _print(session, run_id, accepted, f"signal {name!r} {done}")


@click.command("cancel")
@click.argument("run_id")
@click.option("--reason", default="", help="For people.")
@with_session
def cancel_command(session: Session, run_id: str, reason: str) -> None:
    """Ask RUN_ID to stop at its next step; its own code may still clean up."""
    with session.app() as app:
        accepted = app.cancel(run_id, reason)
    done = "asked to stop" if accepted else "was asked to stop before"
    _print(session, run_id, accepted, f"run {run_id} {done}; it ends when a worker resumes it")


@click.command("terminate")
@click.argument("run_id")
@with_session
def terminate_command(session: Session, run_id: str) -> None:
    """End RUN_ID as cancelled at once; none of its code runs any more."""
    with session.app() as app:
        app.terminate(run_id)
    _print(session, run_id, True, f"run {run_id} ended as cancelled")


def _print(session: Session, run_id: str, accepted: bool, text: str) -> None:
    if session.json:
        session.output.document({"run_id": run_id, "accepted": accepted})
    else:
        session.output.text(text)

"""``signal``, ``cancel`` and ``terminate``: tell a run something, or end it."""

from __future__ import annotations

from typing import Any

import click

from .._app import Sequential
from ._deeds import Chosen, Deed, chosen_runs, perform
from ._options import json_value, with_session
from ._session import Session

_OPEN = ("paused", "running", "quarantined")


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


def _cancel(app: Sequential, run_id: str, reason: str) -> tuple[str, dict[str, Any]]:
    accepted = app.cancel(run_id, reason)
    done = "asked to stop" if accepted else "was asked to stop before"
    text = f"run {run_id} {done}; it ends when a worker resumes it"
    return text, {"run_id": run_id, "accepted": accepted}


@click.command("cancel")
@chosen_runs
@with_session
def cancel_command(session: Session, /, **given: Any) -> int:
    """Ask RUN_ID to stop at its next step; its own code may still clean up.

    Instead of RUN_ID, filters choose runs that have not ended.
    """
    return perform(session, Deed("cancel", _OPEN, _cancel), Chosen(**given))


def _terminate(app: Sequential, run_id: str, _: str) -> tuple[str, dict[str, Any]]:
    app.terminate(run_id)
    return f"run {run_id} ended as cancelled", {"run_id": run_id, "accepted": True}


@click.command("terminate")
@chosen_runs
@with_session
def terminate_command(session: Session, /, **given: Any) -> int:
    """End RUN_ID as cancelled at once; none of its code runs any more.

    Instead of RUN_ID, filters choose runs that have not ended.
    """
    return perform(session, Deed("terminate", _OPEN, _terminate), Chosen(**given))


def _print(session: Session, run_id: str, accepted: bool, text: str) -> None:
    if session.json:
        session.output.document({"run_id": run_id, "accepted": accepted})
    else:
        session.output.text(text)

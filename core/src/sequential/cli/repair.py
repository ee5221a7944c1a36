"""``retry``, ``fork``, ``redrive`` and ``purge``: repair runs, and let go of them."""

from __future__ import annotations

from typing import Any

import click

from .._model import Status
from ..errors import RunStatusWrong
from ._options import json_value, with_session
from ._session import Session


@click.command("retry")
@click.argument("run_id")
@with_session
def retry_command(session: Session, run_id: str) -> None:
    """Carry RUN_ID, which failed or was cancelled, on from the step that failed."""
    with session.app() as app:
        run = app.retry(run_id)
    kept = f"with {run.cursor} steps kept"
    _print(session, run_id, f"run {run_id} is due again, generation {run.generation}, {kept}")


@click.command("redrive")
@click.argument("run_id")
@with_session
def redrive_command(session: Session, run_id: str) -> None:
    """Give RUN_ID, which is quarantined or blocked, another chance at once."""
    with session.app() as app:
        app.redrive(run_id)
    _print(session, run_id, f"run {run_id} is due again")


@click.command("fork")
@click.argument("run_id")
@click.option("--at", required=True, metavar="STEP", help="The step to do anew, such as 3.")
@click.option(
    "--edit",
    type=json_value,
    metavar="JSON",
    help="Take this result for that step instead of doing it.",
)
@click.option("--run-id", "new_id", help="Id of the new run.")
@with_session
def fork_command(
    session: Session, run_id: str, at: str, edit: tuple[Any] | None, new_id: str | None
) -> None:
    """Start a new run from the steps of RUN_ID before step --at; RUN_ID stays as it is."""
    with session.app() as app:
        forked = app.fork(run_id, at, edit=edit, new_id=new_id)
    _print(session, forked, forked)


@click.command("purge")
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN_ID...")
@with_session
def purge_command(session: Session, run_ids: tuple[str, ...]) -> None:
    """Shrink ended runs to tombstones: values and steps are gone, the id stays taken.

    A second time removes the tombstone.
    """
    with session.app() as app:
        for run_id in run_ids:
            status = app.get(run_id).status
            if not app.purge(run_id):
                raise RunStatusWrong(run_id, status, "purge", "a run that has ended")
            done = "its tombstone is removed" if status is Status.PURGED else "a tombstone is left"
            _print(session, run_id, f"run {run_id} purged; {done}")


def _print(session: Session, run_id: str, text: str) -> None:
    if session.json:
        session.output.document({"run_id": run_id})
    else:
        session.output.text(text)

"""``retry``, ``fork``, ``redrive`` and ``purge``: repair runs, and let go of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from .._app import Sequential
from .._model import Status
from ..errors import RunStatusWrong
from ._deeds import Chosen, Deed, chosen_runs, perform
from ._options import json_value, with_session
from ._session import Session

Done = tuple[str, dict[str, Any]]


def _retry(app: Sequential, run_id: str, _: str) -> Done:
    run = app.retry(run_id)
    kept = f"with {run.cursor} steps kept"
    text = f"run {run_id} is due again, generation {run.generation}, {kept}"
    return text, {"run_id": run_id}


@click.command("retry")
@chosen_runs
@with_session
def retry_command(session: Session, /, **given: Any) -> int:
    """Carry RUN_ID, which failed or was cancelled, on from the step that failed.

    Instead of RUN_ID, filters choose runs: failed ones, unless --status says others.
    """
    return perform(session, Deed("retry", ("failed",), _retry), Chosen(**given))


def _redrive(app: Sequential, run_id: str, _: str) -> Done:
    app.redrive(run_id)
    return f"run {run_id} is due again", {"run_id": run_id}


@click.command("redrive")
@chosen_runs
@with_session
def redrive_command(session: Session, /, **given: Any) -> int:
    """Give RUN_ID, which is quarantined or blocked, another chance at once.

    Instead of RUN_ID, filters choose runs that are quarantined or blocked.
    """
    deed = Deed("redrive", ("quarantined", "blocked"), _redrive)
    return perform(session, deed, Chosen(**given))


@click.command("fork")
@click.option("--at", required=True, metavar="STEP", help="The step to do anew, such as 3.")
@click.option(
    "--edit",
    type=json_value,
    metavar="JSON",
    help="Take this result for that step instead of doing it. For one run.",
)
@click.option("--run-id", "new_id", help="Id of the new run. For one run.")
@chosen_runs
@with_session
def fork_command(
    session: Session, /, at: str, edit: tuple[Any] | None, new_id: str | None, **given: Any
) -> int:
    """Start a new run from the steps of RUN_ID before step --at; RUN_ID stays as it is.

    Instead of RUN_ID, filters choose runs: those that ended badly or are blocked, unless --status
    says others.
    """
    chosen = Chosen(**given)
    if (edit is not None or new_id) and len(chosen.run_ids) != 1:
        raise click.UsageError("--edit and --run-id are for one run; name it")

    def fork(app: Sequential, run_id: str, _: str) -> Done:
        forked = app.fork(run_id, at, edit=edit, new_id=new_id)
        return forked, {"run_id": forked, "forked_from": run_id}

    words = ("failed", "cancelled", "quarantined", "blocked")
    # An edited result is held against what the tool returns.
    return perform(session, Deed("fork", words, fork, edit is not None), chosen)


def _purge(app: Sequential, run_id: str, _: str, *, tombstones: bool = True) -> Done:
    before = app.get(run_id).status
    if not app.purge(run_id, tombstones=tombstones):
        raise RunStatusWrong(run_id, app.get(run_id).status, "purge", "a run that has ended")
    done = "its tombstone is removed" if before is Status.PURGED else "a tombstone is left"
    return f"run {run_id} purged; {done}", {"run_id": run_id}


_purge_ended = partial(_purge, tombstones=False)
"""What filters found may have been purged since: what is left of it then is to stay."""


@click.command("purge")
@chosen_runs
@with_session
def purge_command(session: Session, /, **given: Any) -> int:
    """Shrink ended runs to tombstones: values and steps are gone, the id stays taken.

    A second time removes the tombstone. Instead of RUN_ID, filters choose runs that have ended.
    """
    chosen = Chosen(**given)
    named = not chosen.by_filter or "purged" in chosen.statuses
    words = ("completed", "failed", "cancelled")
    return perform(session, Deed("purge", words, _purge if named else _purge_ended), chosen)

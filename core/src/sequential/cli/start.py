"""``run`` and ``start``: begin a run, and carry it to its end here if that is asked."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

from .._app import Sequential
from .._flow import Flow
from .._run_id import new_run_id
from ..errors import RunBlocked, RunCancelled, RunFailed
from ._fresh import FreshProcesses
from ._options import duration, json_value, tag, with_session
from ._output import one_line
from ._progress import watched
from ._session import Session
from ._views import STEP_COLUMNS, outcome_data, outcome_text, step_rows, steps_data

F = TypeVar("F", bound=Callable[..., Any])


def _starting(command: F) -> F:
    for option in (
        click.option(
            "--tag", "tags", type=tag, metavar="KEY=VALUE", multiple=True,
            help="Tag to find the run by. Can be repeated.",
        ),
        click.option(
            "--deadline", type=duration, metavar="DURATION",
            help="Cancel it when it has not ended in that time, such as 2h.",
        ),
        click.option("--run-id", help="Id of the run: 1 to 128 of A-Za-z0-9_~.-"),
        click.option(
            "--input", "given", type=json_value, metavar="JSON",
            help="Input: JSON, @file.json, or - for stdin. An object of the flow's parameters.",
        ),
        click.argument("flow"),
    ):  # fmt: skip
        command = option(command)
    return command


@click.command("start")
@_starting
@click.option(
    "--in",
    "delay",
    type=duration,
    metavar="DURATION",
    help="Make it due in that time, such as 10m.",
)
@with_session
def start_command(  # noqa: PLR0913, PLR0917  (one parameter per option)
    session: Session,
    flow: str,
    given: tuple[Any] | None,
    run_id: str | None,
    tags: tuple[tuple[str, str], ...],
    deadline: float | None,
    delay: float | None,
) -> None:
    """Start a run of FLOW and leave it to a worker; print its id.

    Starting the same id twice with the same input gives the same run.
    """
    with session.app_with_flows() as app:
        known = session.flow(app, flow)
        started = app.start(
            known, _only(given), run_id=run_id, wake=_from_now(delay), tags=dict(tags),
            deadline=_from_now(deadline),
        )  # fmt: skip
    if session.json:
        session.output.document({"run_id": started, "flow": known.name})
    else:
        session.output.text(started)


@click.command("run")
@_starting
@click.option("--pause", metavar="POLICY", help="every-step, budget, budget:30s, when-waiting.")
@click.option(
    "--fresh-processes", is_flag=True, help="Make each invocation in a process of its own."
)
@with_session
def run_command(  # noqa: PLR0913, PLR0917  (one parameter per option)
    session: Session,
    flow: str,
    given: tuple[Any] | None,
    run_id: str | None,
    tags: tuple[tuple[str, str], ...],
    deadline: float | None,
    pause: str | None,
    fresh_processes: bool,
) -> int:
    """Start a run of FLOW, carry it to its end here, and print its result and steps.

    Waits through sleeps, retries and signals. Called again with the same --run-id it goes on
    where the run stands.
    """
    session.set("pause", pause)
    with session.app_with_flows() as app:
        known = session.flow(app, flow)
        chosen = new_run_id() if run_id is None else run_id
        if run_id is None:
            session.output.note(f"run {chosen}")
        how = {"run_id": chosen, "tags": dict(tags), "deadline": _from_now(deadline)}
        if fresh_processes:
            FreshProcesses(session, app, flow).carry(known, _only(given), **how)
        else:
            _carry(session, app, known, _only(given), how)
        return _print_end(session, app, chosen)


def _from_now(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _only(given: tuple[Any] | None) -> Any:
    return None if given is None else given[0]


def _carry(
    session: Session,
    app: Sequential,
    flow: Flow[..., Any],
    given: object,
    how: dict[str, Any],
) -> None:
    # What the flow's tools print is not our document.
    away = contextlib.redirect_stdout(sys.stderr) if session.json else contextlib.nullcontext()
    # How it ended is read from the record, like that of any run.
    ended = contextlib.suppress(RunFailed, RunBlocked, RunCancelled)
    with watched(session.output, app, how["run_id"]), away, ended:
        app.run(flow, given, **how)


def _print_end(session: Session, app: Sequential, run_id: str) -> int:
    from ._views import exit_code

    loaded = app.storage.load(run_id)
    assert loaded is not None
    outcome = app.outcome(loaded.run)
    if session.json:
        session.output.document({**outcome_data(outcome), "steps": steps_data(app, loaded)})
        return exit_code(outcome)
    session.output.table(STEP_COLUMNS, step_rows(app, loaded))
    if exit_code(outcome) == 0:
        session.output.text(outcome_text(outcome))
    else:
        click.echo(one_line(f"run {run_id} {outcome_text(outcome)}"), err=True)
    return exit_code(outcome)

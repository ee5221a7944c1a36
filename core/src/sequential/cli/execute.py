"""``execute``, ``wait``, ``worker`` and ``sweep``: carry on runs that were started before."""

from __future__ import annotations

import contextlib
import sys

import click

from .._outcomes import Outcome
from ._options import duration, load_option, with_session
from ._progress import watched
from ._session import Session
from ._views import NOTHING_THERE, exit_code, outcome_data, outcome_text


@click.command("execute")
@click.argument("run_id")
@load_option
@click.option("--pause", metavar="POLICY", help="every-step, budget, budget:30s, when-waiting.")
@click.option(
    "--seconds", type=duration, metavar="DURATION", help="How long the invocation may take."
)
@with_session
def execute_command(
    session: Session, run_id: str, load: tuple[str, ...], pause: str | None, seconds: float | None
) -> int:
    """Make one invocation of RUN_ID: carry it on until it pauses or ends."""
    session.set("pause", pause)
    away = contextlib.redirect_stdout(sys.stderr) if session.json else contextlib.nullcontext()
    with away, session.app_with_flows(load) as app:
        outcome = app.execute(run_id, seconds=seconds)
    return _print(session, outcome)


@click.command("wait")
@click.argument("run_id")
@click.option("--timeout", type=duration, metavar="DURATION", help="How long at most, such as 30s.")
@with_session
def wait_command(session: Session, run_id: str, timeout: float | None) -> int:
    """Wait for the end of RUN_ID, which is worked on elsewhere."""
    with session.app() as app:
        shown = session.output.terminal
        watching = watched(session.output, app, run_id) if shown else contextlib.nullcontext()
        with watching:
            outcome = app.wait(run_id, timeout)
    return _print(session, outcome)


@click.command("worker")
@load_option
@click.option("--pause", metavar="POLICY", help="every-step, budget, budget:30s, when-waiting.")
@click.option(
    "--concurrency", type=click.IntRange(1, 1000), default=4, show_default=True,
    help="How many runs at a time.",
)  # fmt: skip
@with_session
def worker_command(
    session: Session, load: tuple[str, ...], pause: str | None, concurrency: int
) -> None:
    """Carry on whatever is due, until stopped. SIGTERM lets the steps under way end first."""
    from .._worker import Worker

    session.set("pause", pause)
    with session.app_with_flows(load) as app:
        flows = ", ".join(sorted(app.registry.flows)) or "none; name their modules with --load"
        session.output.note(f"worker on {session.settings.storage}; flows: {flows}")
        Worker(app, concurrency=concurrency).run()


@click.command("sweep")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@with_session
def sweep_command(session: Session, limit: int) -> None:
    """Send resume messages for what is due, at most --limit. A cron job may call it."""
    with session.app() as app:
        sent = app.sweep(limit)
        silent = not app.transport.carries
        app.roll_up()
    if session.json:
        session.output.document({"sent": sent})
        return
    session.output.text(f"{sent} resume messages sent")
    if silent:
        session.output.note("this transport carries none: workers find what is due themselves")


def _print(session: Session, outcome: Outcome) -> int:
    if session.json:
        session.output.document(outcome_data(outcome))
    elif isinstance(outcome, NOTHING_THERE):
        click.echo(f"error: {outcome_text(outcome)}", err=True)
    else:
        session.output.text(f"run {outcome.run_id} {outcome_text(outcome)}")
    return exit_code(outcome)

"""``list`` and ``show``: look at runs and change nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

from .._app import Sequential
from .._model import Run, Status, StepKind
from .._outcomes import Blocked, Failed
from .._run_id import check_run_id
from .._storage import Loaded
from ..errors import RunMissing, SequentialError
from ._options import moment as as_moment
from ._options import tag, with_session
from ._progress import bar
from ._session import Session
from ._views import (
    RUN_COLUMNS,
    STEP_COLUMNS,
    input_value,
    moment,
    opened,
    plain,
    preview,
    run_data,
    run_row,
    step_rows,
    steps_data,
    word,
)

_SHOWN = {
    "waiting": Status.PAUSED,
    "due": Status.PAUSED,
    "blocked": Status.PAUSED,
    "stalled": Status.RUNNING,
}
"""Words that are shown and not stored, and the stored status that each is part of."""

_COUNTS = ("FLOW", "STATUS", "RUNS")
_CHILDREN = 20
"""Children that `show` lists."""

WORDS = [*(str(status) for status in Status), *_SHOWN]


F = TypeVar("F", bound=Callable[..., Any])


def filters(command: F) -> F:
    """Add the options that choose runs: by flow, status, tags and time."""
    for option in (
        click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True),
        click.option(
            "--since", type=as_moment, metavar="MOMENT",
            help="Created since, such as 2h or 2026-01-31.",
        ),
        click.option(
            "--tag", "tags", type=tag, metavar="KEY=VALUE", multiple=True,
            help="Only runs with this tag.",
        ),
        click.option(
            "--status", "statuses", multiple=True, type=click.Choice(WORDS), metavar="STATUS",
            help=f"Only these: {', '.join(WORDS)}. Can be repeated.",
        ),
        click.option("--flow", metavar="NAME", help="Only runs of this flow."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.command("list")
@filters
@click.option(
    "--before", type=as_moment, metavar="MOMENT", help="Created before, such as 7d or 2026-01-31."
)
@click.option("--parent", metavar="RUN", help="Only the children of this run.")
@click.option("--search", metavar="TEXT", help="Only runs whose id begins with this.")
@click.option("--after", metavar="TOKEN", help="Where the page before ended.")
@click.option("--count", "counts", is_flag=True, help="How many there are, by flow and status.")
@with_session
def list_command(  # noqa: PLR0913, PLR0917  (one parameter per option)
    session: Session,
    flow: str | None,
    statuses: tuple[str, ...],
    tags: tuple[tuple[str, str], ...],
    since: datetime | None,
    before: datetime | None,
    search: str | None,
    parent: str | None,
    limit: int,
    after: str | None,
    counts: bool,
) -> None:
    """List runs, newest first, or count them. With --json, one run or count a line."""
    stored = stored_statuses(statuses)
    asked: dict[str, Any] = {
        "flow": flow,
        "status": stored,
        "tags": dict(tags),
        "since": since,
        "before": before,
        "search": search,
        "parent": parent,
    }
    if counts:
        _count(session, statuses, asked)
        return
    with session.app() as app:
        now = app.driver.time.now()
        runs: Sequence[Run] = ()
        while True:
            page = app.find(**asked, after=after, limit=limit)
            runs, after = [run for run in page.runs if is_wanted(run, now, statuses)], page.next
            if runs or after is None:
                break
    _print_runs(session, runs, now)
    if after is not None:
        click.echo(f"more: --after {after}", err=True)


def _count(session: Session, words: Sequence[str], asked: dict[str, Any]) -> None:
    shown = sorted(_SHOWN.keys() & set(words))
    if shown:
        told = ", ".join(f"{each} is part of {_SHOWN[each]}" for each in shown)
        raise click.UsageError(f"--count counts what is stored: {told}")
    with session.app() as app:
        found = app.count(**asked)
    rows = [(flow, str(status), found[flow, status]) for flow, status in sorted(found)]
    if session.json:
        for flow, status, number in rows:
            session.output.document({"flow": flow, "status": status, "count": number})
    elif rows:
        total = ("", "", sum(found.values()))
        session.output.table(_COUNTS, [tuple(map(str, row)) for row in (*rows, total)])
    else:
        session.output.note("no runs")


def stored_statuses(words: Sequence[str]) -> list[str]:
    """Return the stored statuses that runs shown as any of *words* have."""
    return sorted({_SHOWN.get(each, each) for each in words})


def is_wanted(run: Run, now: float, statuses: Sequence[str]) -> bool:
    """Tell whether *run* is stored or shown as one of *statuses*, or all are wanted."""
    return not statuses or str(run.status) in statuses or word(run, now) in statuses


def _print_runs(session: Session, runs: Sequence[Run], now: float) -> None:
    if session.json:
        for run in runs:
            session.output.document(run_data(run, now))
    elif runs:
        session.output.table(RUN_COLUMNS, [run_row(run, now) for run in runs])
    else:
        session.output.note("no runs")


@click.command("show")
@click.argument("run_id")
@with_session
def show_command(session: Session, run_id: str) -> None:
    """Show RUN_ID: where it stands, its steps, and what it waits for."""
    with session.app() as app:
        loaded = app.storage.load(check_run_id(run_id))
        if loaded is None:
            raise RunMissing(run_id)
        if session.json:
            session.output.document(_data(app, loaded))
        else:
            _print_run(session, app, loaded)


def _data(app: Sequential, loaded: Loaded) -> dict[str, Any]:
    run = loaded.run
    return {
        **run_data(run, loaded.now),
        "input": input_value(app, run),
        "result": _result(app, run),
        "progress": _published(app, run),
        "open": {
            position: {
                "kind": str(found.kind),
                "tool": found.tool,
                "attempt": found.attempt,
                "due": found.due,
                "signal": found.name,
                "error": found.error,
            }
            for position, found in run.open.items()
        },
        "recorded": steps_data(app, loaded),
    }


def _result(app: Sequential, run: Run) -> Any:
    if run.status is not Status.COMPLETED:
        return None
    try:
        outcome = app.outcome(run)
    except SequentialError as error:
        return {"unreadable": str(error)}
    if isinstance(outcome, Blocked):
        return {"unreadable": outcome.message}
    return plain(getattr(outcome, "result", None))


def _published(app: Sequential, run: Run) -> Any:
    try:
        found = app.progress(run)
    except SequentialError as error:
        return {"unreadable": str(error)}
    return None if found is None else plain(found.value)


def _progress(app: Sequential, run: Run) -> str:
    try:
        found = app.progress(run)
    except SequentialError as error:
        return f"unreadable: {error}"
    return "" if found is None else bar(found)


def _error(app: Sequential, run: Run) -> str:
    outcome = app.outcome(run)
    if not isinstance(outcome, Failed):
        return ""
    return f"{outcome.error.type}: {outcome.error.message}"


def _print_run(session: Session, app: Sequential, loaded: Loaded) -> None:
    run, output = loaded.run, session.output
    output.fields(_header(app, loaded))
    attention = run.attention
    if attention is not None and attention.diff:
        output.block(attention.diff)
    if loaded.steps:
        output.text("")
        output.table(STEP_COLUMNS, step_rows(app, loaded))
    _print_children(session, app, loaded)
    waits = opened(run, loaded.now)
    if waits:
        output.text("")
        for line in waits:
            output.text(line)


def _print_children(session: Session, app: Sequential, loaded: Loaded) -> None:
    """Print the newest children of a run that has any, one a line."""
    run = loaded.run
    if not run.children and all(step.kind is not StepKind.START for step in loaded.steps):
        return
    page = app.find(parent=run.run_id, limit=_CHILDREN)
    session.output.text("")
    for child in page.runs:
        session.output.text(f"child {child.run_id}: {child.flow}, {word(child, loaded.now)}")
    if page.next is not None:
        session.output.text(f"and more: sequential list --parent {run.run_id}")


def _header(app: Sequential, loaded: Loaded) -> dict[str, str]:
    run, now = loaded.run, loaded.now
    wake = getattr(run.wake, "time", None)
    attention, ended = run.attention, run.ended is not None
    return {
        "run": run.run_id,
        "flow": f"{run.flow} (version {run.flow_version})",
        "status": word(run, now),
        "generation": str(run.generation) if run.generation else "",
        "created": moment(run.created),
        "started": moment(run.started),
        "ended": moment(run.ended),
        "wake": "" if ended else moment(wake),
        "deadline": moment(run.deadline),
        "stalls": str(run.stalls) if run.stalls and not ended else "",
        "parent": "" if run.parent is None else run.parent.run_id,
        "input": preview(input_value(app, run), 2000),
        "tags": ", ".join(f"{key}={value}" for key, value in run.tags.items()),
        "progress": _progress(app, run),
        "result": preview(_result(app, run), 2000) if run.result is not None else "",
        "error": _error(app, run) if run.status is Status.FAILED else "",
        "attention": "" if attention is None else f"{attention.reason}: {attention.message}",
    }

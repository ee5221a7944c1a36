"""``replay`` and ``export``: hold today's code against histories, and write them to files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from .._app import Sequential
from .._checking import Replayed
from .._model import Status
from ..errors import HistoryUnreadable
from ._options import load_option, with_session
from ._output import one_line
from ._session import Session
from .look import filters, is_wanted, stored_statuses

BLOCKED = 3
FAILED = 1


# -- replay


@click.command("replay")
@click.argument("run_ids", nargs=-1, metavar="[RUN_ID]...")
@load_option
@click.option(
    "--histories", "places", multiple=True, metavar="FOLDER|FILE",
    type=click.Path(exists=True, path_type=Path),
    help="Exported histories instead of stored runs. Can be repeated.",
)  # fmt: skip
@click.option("--flow", metavar="NAME", help="All runs of this flow.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True)
@with_session
def replay_command(
    session: Session,
    run_ids: tuple[str, ...],
    load: tuple[str, ...],
    places: tuple[Path, ...],
    flow: str | None,
    limit: int,
) -> int:
    """Check today's code against stored histories. Runs no tool and writes nothing.

    Without RUN_ID all runs whose flow is known here are checked, newest first. With --histories,
    files that `sequential export` wrote; no storage is opened. Exit code 3 if one of them would be
    blocked, would end otherwise, or has a flow that there is no more; 1 if a file cannot be read.
    """
    if places:
        if run_ids or flow:
            raise click.UsageError("--histories checks files; leave out RUN_ID and --flow")
        return _replay_files(session, load, places)
    with session.app_with_flows(load) as app:
        chosen = run_ids or _ids(app, flow, limit)
        found = [app.replay(run_id) for run_id in chosen]
    other = [each for each in found if not each.agrees]
    if session.json:
        for each in found:
            session.output.document(_replayed(each))
    else:
        for each in other:
            session.output.text(f"{each.run_id}: {each.message}")
            session.output.block(each.diff)
        session.output.text(f"{len(found) - len(other)} of {len(found)} histories agree")
    return BLOCKED if other else 0


def _ids(app: Sequential, flow: str | None, limit: int) -> Iterator[str]:
    after, left = None, limit
    while True:
        page = app.find(flow=flow, after=after, limit=min(left, 1000))
        for run in page.runs:
            if run.flow in app.registry.flows and run.status is not Status.PURGED:
                yield run.run_id
        after, left = page.next, left - len(page.runs)
        if after is None or left <= 0:
            return


def _replayed(found: Replayed) -> dict[str, Any]:
    return {
        "run_id": found.run_id,
        "flow": found.flow,
        "steps": found.steps,
        "agrees": found.agrees,
        "reason": found.reason,
        "message": found.message,
        "diff": found.diff,
    }


def _replay_files(session: Session, load: Sequence[str], places: Sequence[Path]) -> int:
    from .._history import files_in

    agreed = differ = unread = 0
    # Neither the storage nor the keys of the configuration are where this runs.
    here = {"storage": "memory:", "values": "", "transport": "poll:"}
    settings = {**here, "payload": (), "telemetry": "off"}
    with session.app_with_flows(load, **settings) as app:
        for path in files_in(places):
            try:
                found = app.replay_history(path)
            except HistoryUnreadable as error:
                unread += 1
                _print_unread(session, path, one_line(error.reason))
                continue
            agreed += found.agrees
            differ += not found.agrees
            _print_replayed(session, path, found)
    if not session.json:
        session.output.text(f"{agreed} of {agreed + differ + unread} histories agree")
    if unread:
        return FAILED
    return BLOCKED if differ else 0


def _print_unread(session: Session, path: Path, reason: str) -> None:
    if session.json:
        told = {"file": str(path), "agrees": False, "reason": "unreadable"}
        session.output.document({**told, "message": reason})
    else:
        session.output.text(f"unreadable    {path}: {reason}; export it anew")


def _print_replayed(session: Session, path: Path, found: Replayed) -> None:
    output = session.output
    counted = f"{found.steps} step{'' if found.steps == 1 else 's'}"
    if session.json:
        output.document({"file": str(path), **_replayed(found)})
    elif found.reason == "version":
        output.text(f"other code    {path}: {found.flow}, {found.message}")
    elif found.agrees:
        output.text(f"ok            {path}: {found.flow}, {counted}")
    elif found.reason == "flow-not-found":
        output.text(f"flow missing  {path}: {one_line(found.message)}")
    else:
        said = found.reason if found.diff else one_line(found.message)
        output.text(f"differs       {path}: {found.flow}, {said}")
        output.block(found.diff)


# -- export


@click.command("export")
@click.argument("run_ids", nargs=-1, metavar="[RUN_ID]...")
@click.option(
    "--out", "folder", metavar="FOLDER", default="histories", show_default=True,
    type=click.Path(file_okay=False, path_type=Path), help="Made if it is not there.",
)  # fmt: skip
@filters
@with_session
def export_command(  # noqa: PLR0913, PLR0917  (one parameter per option)
    session: Session,
    run_ids: tuple[str, ...],
    folder: Path,
    flow: str | None,
    statuses: tuple[str, ...],
    tags: tuple[tuple[str, str], ...],
    since: datetime | None,
    limit: int,
) -> None:
    """Write the history of each RUN_ID to a file of its own, for `sequential replay --histories`.

    Without RUN_ID the runs that the filters choose, newest first. A file has the input, all
    results and the result of its run in plain JSON, also where the storage keeps them sealed.
    """
    chose = bool(flow or statuses or tags or since)
    if bool(run_ids) == chose:
        raise click.UsageError("name runs, or choose them by --flow, --status, --tag or --since")
    with session.app() as app:
        chosen: Iterator[str] | tuple[str, ...] = run_ids
        if chose:
            chosen = _matching(app, flow, statuses, dict(tags), since, limit)
        for run_id in chosen:
            path = _write(folder, run_id, app.export(run_id))
            if session.json:
                session.output.document({"run_id": run_id, "file": str(path)})
            else:
                session.output.text(str(path))


def _matching(
    app: Sequential,
    flow: str | None,
    words: Sequence[str],
    tags: dict[str, str],
    since: datetime | None,
    limit: int,
) -> Iterator[str]:
    now, after, stored = app.driver.time.now(), None, stored_statuses(words)
    while True:
        page = app.find(flow=flow, status=stored, tags=tags, since=since, after=after, limit=1000)
        for run in page.runs:
            if run.status is not Status.PURGED and is_wanted(run, now, words):
                yield run.run_id
                limit -= 1
                if not limit:
                    return
        after = page.next
        if after is None:
            return


def _write(folder: Path, run_id: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{run_id}.json"
    # Whole or not at all: half a history would fail the next check.
    beside = folder / f".{run_id}.{os.getpid()}"
    beside.write_text(text, "utf-8", newline="\n")
    beside.replace(path)
    return path

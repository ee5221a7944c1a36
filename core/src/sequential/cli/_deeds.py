"""What can be done to runs that are named, or chosen by filters: asked about first, and noted.

Each deed is one method of the application, done to one run after the other. One that is refused
stops none of the others. Who did it, and why, goes to the audit.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from .._app import Sequential
from .._model import Run, Status
from .._outcomes import Failed
from ..audit import Audit, AuditRow
from ..errors import SequentialError
from ._options import moment as as_moment
from ._options import tag
from ._session import Session
from ._views import RUN_COLUMNS, run_row
from .look import WORDS, is_wanted, stored_statuses

F = TypeVar("F", bound=Callable[..., Any])

_SHOWN = 20
"""Runs that are listed before somebody is asked."""


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing to do to runs.

    Attributes:
        name: The command's.
        words: Of runs that filters choose when no ``--status`` is given; stored or shown.
        do: Does it to the run, for a reason; returns what to say, and the document of ``--json``.
        reads_code: Whether it wants to know flows and tools.
    """

    name: str
    words: tuple[str, ...]
    do: Callable[[Sequential, str, str], tuple[str, Mapping[str, Any]]]
    reads_code: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the options of `chosen_runs` say."""

    run_ids: tuple[str, ...]
    flow: str | None
    statuses: tuple[str, ...]
    tags: tuple[tuple[str, str], ...]
    since: datetime | None
    before: datetime | None
    error_like: str | None
    limit: int
    dry_run: bool
    yes: bool
    actor: str | None
    reason: str
    audit: Path | None

    @property
    def by_filter(self) -> bool:
        """Whether filters choose the runs."""
        return bool(
            self.flow or self.statuses or self.tags or self.since or self.before or self.error_like
        )


def chosen_runs(command: F) -> F:
    """Add RUN_ID..., the filters, and the options for asking and noting."""
    for option in (
        click.option("--audit", envvar="SEQUENTIAL_AUDIT", metavar="FILE",
                     type=click.Path(dir_okay=False, path_type=Path),
                     help="Append who did what and why to this file, as lines of JSON."),
        click.option("--as", "actor", metavar="NAME", help="Who does it; by default the user."),
        click.option("--reason", default="", help="Why, for people; filters want one."),
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Show which and how many; change nothing."),
        click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True,
                     help="At most so many that filters choose, newest first."),
        click.option("--error-like", metavar="TEXT",
                     help="Only runs whose error, or reason to be blocked, has this text."),
        click.option("--before", type=as_moment, metavar="MOMENT", help="Created before, as 7d."),
        click.option("--since", type=as_moment, metavar="MOMENT", help="Created since, as 2h."),
        click.option("--tag", "tags", type=tag, metavar="KEY=VALUE", multiple=True,
                     help="Only runs with this tag. Can be repeated."),
        click.option("--status", "statuses", multiple=True, type=click.Choice(WORDS),
                     metavar="STATUS", help="Only these. Can be repeated."),
        click.option("--flow", metavar="NAME", help="Runs of this flow, instead of RUN_ID."),
        click.argument("run_ids", nargs=-1, metavar="[RUN_ID]..."),
    ):  # fmt: skip
        command = option(command)
    return command


def perform(session: Session, deed: Deed, chosen: Chosen) -> int:
    """Do *deed* to the runs that were *chosen*; return the exit code.

    Raises:
        click.UsageError: Both or neither of run ids and filters, or no reason for the latter.
        SequentialError: The only run was refused.
    """
    if bool(chosen.run_ids) == chosen.by_filter:
        raise click.UsageError("name runs, or choose them by filters such as --flow and --status")
    if chosen.by_filter and not (chosen.reason.strip() or chosen.dry_run):
        raise click.UsageError("runs that filters choose want a reason: add --reason TEXT")
    with session.app_with_flows() if deed.reads_code else session.app() as app:
        if not chosen.by_filter and not chosen.dry_run:
            return _Doing(session, app, deed, chosen).all(chosen.run_ids)
        now = app.driver.time.now()
        if chosen.by_filter:
            found, more = _found(app, deed, chosen, now)
        else:
            found, more = [app.get(run_id) for run_id in chosen.run_ids], False
        counted = _counted(found, chosen, more=more)
        if chosen.dry_run:
            _show(session, deed, found, counted, now)
        elif not found:
            session.output.note("no runs")
        elif chosen.yes or _is_agreed(session, deed, found, counted, now):
            return _Doing(session, app, deed, chosen).all([run.run_id for run in found])
        return 0


def _found(app: Sequential, deed: Deed, chosen: Chosen, now: float) -> tuple[list[Run], bool]:
    """Return the runs that the filters choose, and whether there are more than the limit."""
    words = chosen.statuses or deed.words
    asked: dict[str, Any] = {
        "flow": chosen.flow, "tags": dict(chosen.tags), "since": chosen.since,
        "before": chosen.before, "status": stored_statuses(words),
    }  # fmt: skip
    found: list[Run] = []
    after: str | None = None
    while True:
        page = app.find(**asked, after=after, limit=1000)
        for run in page.runs:
            if is_wanted(run, now, words) and _is_like(app, run, chosen.error_like):
                if len(found) == chosen.limit:
                    return found, True
                found.append(run)
        after = page.next
        if after is None:
            return found, False


def _is_like(app: Sequential, run: Run, text: str | None) -> bool:
    if text is None:
        return True
    said = ""
    if run.status is Status.FAILED:
        outcome = app.outcome(run)
        if isinstance(outcome, Failed):
            said = f"{outcome.error.type}: {outcome.error.message}"
    elif run.attention is not None:
        said = f"{run.attention.reason}: {run.attention.message}"
    return text.casefold() in said.casefold()


def _counted(found: Sequence[Run], chosen: Chosen, *, more: bool) -> str:
    rest = f", of more than --limit {chosen.limit}" if more else ""
    return f"{len(found)} run{'' if len(found) == 1 else 's'}{rest}"


def _show(session: Session, deed: Deed, found: Sequence[Run], counted: str, now: float) -> None:
    """Say what would be done to what."""
    if session.json:
        for run in found:
            document = {"run_id": run.run_id, "status": str(run.status), "would": deed.name}
            session.output.document(document)
        return
    if found:
        session.output.table(RUN_COLUMNS, [run_row(run, now) for run in found])
    session.output.text(f"would {deed.name} {counted}; nothing was done")


def _is_agreed(
    session: Session, deed: Deed, found: Sequence[Run], counted: str, now: float
) -> bool:
    """Show some of what was found, and ask."""
    if session.json or not _can_ask():
        raise click.UsageError(f"this would {deed.name} {counted}; add --yes, or --dry-run")
    session.output.table(RUN_COLUMNS, [run_row(run, now) for run in found[:_SHOWN]])
    if click.confirm(f"{deed.name} {counted}?", err=True):
        return True
    session.output.note("nothing was done")
    return False


def _can_ask() -> bool:
    return sys.stdin.isatty()


class _Doing:
    """A deed under way."""

    def __init__(self, session: Session, app: Sequential, deed: Deed, chosen: Chosen) -> None:
        self._session = session
        self._app = app
        self._deed = deed
        self._reason = chosen.reason
        self._actor = chosen.actor or _user()
        self._audit = Audit(chosen.audit)
        self._quiet = chosen.by_filter

    def all(self, ids: Sequence[str]) -> int:
        """Do it to each; return 1 if one was refused."""
        refused = 0
        with _progress(self._session, len(ids) if self._quiet else 0) as step:
            for run_id in ids:
                try:
                    text, document = self._one(run_id)
                except SequentialError as error:
                    if len(ids) == 1:
                        raise
                    refused += 1
                    self._say(f"{run_id}: {error}", {"run_id": run_id, "error": str(error)})
                else:
                    self._say("" if self._quiet else text, document)
                step()
        if self._quiet and not self._session.json:
            done = len(ids) - refused
            more = f", {refused} refused" if refused else ""
            self._session.output.text(f"{self._deed.name}: {done} done{more}")
        return 1 if refused else 0

    def _one(self, run_id: str) -> tuple[str, Mapping[str, Any]]:
        # Before it is done: what cannot be noted is not done.
        self._note(run_id, "asked")
        try:
            text, document = self._deed.do(self._app, run_id, self._reason)
        except SequentialError as error:
            self._note(run_id, "failed", str(error))
            raise
        self._note(run_id, "done", text)
        return text, document

    def _note(self, run_id: str, result: str, note: str = "") -> None:
        row = AuditRow(
            self._app.clock.now(), self._actor, self._deed.name, run_id, self._reason[:500], result,
            note[:500],
        )  # fmt: skip
        self._audit.write(row)

    def _say(self, text: str, document: Mapping[str, Any]) -> None:
        if self._session.json:
            self._session.output.document(document)
        elif text and "error" in document:
            self._session.output.note(text)
        elif text:
            self._session.output.text(text)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may have no name for its user.
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


@contextmanager
def _progress(session: Session, count: int) -> Iterator[Callable[[], object]]:
    """Give what counts one more as done; a bar on a terminal."""
    if count < 2 or not session.output.terminal:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=count)
        yield lambda: bar.advance(task)

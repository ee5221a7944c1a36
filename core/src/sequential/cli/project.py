"""``project``: keeps a copy of runs in a SQLite file, to look at them from there."""

from __future__ import annotations

from contextlib import closing, suppress

import click

from .._config import shown_url
from .._projection import Copied, ProjectionFile, Projector
from ..errors import StorageUnavailable
from ._options import duration, with_session
from ._output import one_line
from ._session import Session


@click.command("project")
@click.option("--into", "path", required=True, type=click.Path(dir_okay=False), metavar="FILE",
              help="The copy; look at it as projection:///FILE.")  # fmt: skip
@click.option("--every", type=duration, metavar="DURATION", default="10s", show_default=True,
              help="How long to wait between two passes.")  # fmt: skip
@click.option("--once", is_flag=True, help="Make one pass and stop.")
@click.option("--whole", is_flag=True,
              help="Compare every run in the first pass; it is done daily by itself.")  # fmt: skip
@with_session
def project_command(session: Session, path: str, every: float, once: bool, whole: bool) -> None:
    """Copy runs into a SQLite file, and keep the copy up to date until stopped.

    For storages that are slow to look through, such as a bucket. Nothing can be changed through
    the copy, and large values stay where they are.
    """
    source = shown_url(session.settings.storage)
    with session.app() as app, closing(
        ProjectionFile(path, app.clock, source, app.storage.deployment)
    ) as into, suppress(KeyboardInterrupt):  # fmt: skip
        projector = Projector(app.storage, into)
        session.output.note(f"projecting {source} into {path}")
        _say(session, projector.compare_all() if whole else projector.go_on())
        while not once:
            app.clock.wait(every)
            try:
                copied = projector.go_on()
            except StorageUnavailable as error:
                session.output.note(f"the next pass tries again: {one_line(error)}")
                continue
            if session.json or copied.written or copied.removed:
                _say(session, copied)


def _say(session: Session, copied: Copied) -> None:
    if session.json:
        session.output.document(copied._asdict())
    else:
        looked, written, removed = copied
        session.output.text(f"{looked} runs looked at, {written} copied, {removed} removed")

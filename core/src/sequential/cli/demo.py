"""``demo``: a storage with a handful of runs that stand in different ways, to look around in."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from ._demo_flows import changed_registry, demo_registry
from ._options import with_session
from ._session import Session
from ._views import RUN_COLUMNS, run_data, run_row

_RUNS = (
    ("demo-summary", "summary", {"user_id": 1}),
    ("demo-refund", "refund", {"order": "A-17"}),
    ("demo-approval", "approval", {"amount": 250}),
    ("demo-reminder", "reminder", {"text": "water the plants"}),
    ("demo-order", "order", {"item": "lamp"}),
)


@click.command("demo")
@with_session
def demo_command(session: Session) -> None:
    """Make a handful of runs (completed, failed, waiting, sleeping, blocked) and list them.

    They go into --storage, or into a new file in the directory for temporary files.
    """
    if not session.chose_storage:
        place = Path(tempfile.mkdtemp(prefix="sequential-demo-")) / "demo.db"
        session.set("storage", f"sqlite:///{place}")
    with session.app(demo_registry(), pause="budget") as app:
        for run_id, flow, given in _RUNS:
            app.start(flow, given, run_id=run_id, tags={"demo": "yes"})
            app.execute(run_id)
    with session.app(changed_registry()) as app:
        app.execute("demo-order")
        runs, now = app.find(tags={"demo": "yes"}).runs, app.driver.time.now()
    if session.json:
        for run in runs:
            session.output.document(run_data(run, now))
        return
    session.output.table(RUN_COLUMNS, [run_row(run, now) for run in runs])
    storage = f"--storage {session.settings.storage}"
    session.output.note(f"look around:  sequential {storage} show demo-order")
    session.output.note(f"              sequential {storage} doctor")

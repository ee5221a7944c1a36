"""Carries on the children that a run waits for, where no worker does: in `run` and in `play`.

Knows no rules about runs; it looks for what is due and executes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

from ._model import OPEN_STATUSES, Run, StepKind
from ._protocol import CHILD, is_due
from ._storage import Query, Storage
from .errors import RunMissing

_AT_ONCE = 64
"""Children carried on before their parent is looked at: it has as many ends to keep."""


class Carries(Protocol):
    """What is needed of an application."""

    @property
    def storage(self) -> Storage: ...

    def get(self, run_id: str) -> Run: ...

    def execute(self, run_id: str) -> object: ...


def carry_children(app: Carries, run_id: str, now: Callable[[], float]) -> bool:
    """Execute the due children that run *run_id* waits for, and theirs; return whether any was."""
    run, carried = app.get(run_id), 0
    if not run.children:
        return False
    for child in _children(app, run):
        if child.notice or is_due(child, now()):
            app.execute(child.run_id)
            carried += 1
        elif carry_children(app, child.run_id, now):
            carried += 1
        if carried >= _AT_ONCE:
            break
    return carried > 0


def _children(app: Carries, run: Run) -> Iterator[Run]:
    # Those that ended and whose process was lost before it said so: the record names some.
    for found in run.open.values():
        if found.kind is StepKind.CHILD:
            try:
                child = app.get(found.name.removeprefix(CHILD))
            except RunMissing:
                continue
            if child.notice:
                yield child
    query: Query | None = Query(parent=run.run_id, statuses=OPEN_STATUSES, limit=_AT_ONCE)
    while query is not None:
        page = app.storage.find(query)
        yield from [child for child in page.runs if child.parent and child.parent.waits]
        query = None if page.next is None else replace(query, after=page.next)

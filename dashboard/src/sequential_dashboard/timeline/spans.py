"""The rows of a timeline: one span a step, a branch, or something in flight; a tree by position.

Made of a run's record and its steps, and nothing else. Attempts, invocations and spans of other
systems join below them in `enriching`, where a span store knows of any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sequential.spans import SpanRow
from sequential.storage import Loaded, Run, StepRecord

from ..words import OPEN, cut, state_of

MOST = 20_000
"""Rows of one timeline; of a longer run the last steps are shown."""

ADDED = frozenset({"attempt", "backoff", "invocation", "foreign"})
"""Kinds of rows that only a span store knows of."""

_WAITS = ("sleep", "signal", "child")


class Span(NamedTuple):
    """One row.

    Attributes:
        key: What it is found by: the position of a step, ``run`` for the run itself.
        parent: Index of the row above it in the tree, -1 for the run.
        kind: ``run``, ``branch``, ``tool``, ``sleep``, ``signal``, ``save``, ``start`` or
            ``child``: the wait for a child run, or that run itself; of what a span store adds
            ``attempt``, ``backoff``, ``invocation`` or ``foreign``.
        name: For people, at most 120 characters.
        status: ``value``, ``error``, ``timeout`` or ``cancelled`` once it is over; before,
            ``running``, ``waiting``, ``retrying`` or ``stalled``. The run's own word for the run.
        start: Seconds since the epoch.
        end: The same; None while it goes on.
        tries: Attempts made, from 1.
        fence: The claim that recorded it; 0 for what is not recorded.
        due: When it will be looked at again, if that is known.
        note: The last error of something in flight.
        run_id: Of the child run that it stands for, else empty.
        step: Position of the step that it is a part of, where a span store adds it; else empty.
        row: What the span store has of it, if it is from there.
    """

    key: str
    parent: int
    kind: str
    name: str
    status: str
    start: float
    end: float | None
    tries: int = 1
    fence: int = 0
    due: float | None = None
    note: str = ""
    run_id: str = ""
    step: str = ""
    row: SpanRow | None = None

    @property
    def waits(self) -> bool:
        """Whether nothing is done here meanwhile: a timer, or somebody else's answer."""
        return self.kind in _WAITS

    @property
    def is_leaf(self) -> bool:
        """Whether it stands for something that the run records, not for what is below it."""
        return self.kind not in ("run", "branch") and self.kind not in ADDED


def spans_of(loaded: Loaded, children: Sequence[Run] = ()) -> list[Span]:
    """Return the rows of the run, parents before their children, in order of position.

    Args:
        loaded: The run with its steps.
        children: Runs that it started, one row each under the step that did.
    """
    run = loaded.run
    leaves = [_recorded(step) for step in loaded.steps[-MOST:]]
    leaves += _in_flight(loaded)
    leaves += [_child(each, loaded.now) for each in children if each.parent is not None]
    begin = min([run.begun or run.created, *(each.start for each in leaves)])
    root = Span("run", -1, "run", cut(run.flow), state_of(run, loaded.now), begin, run.ended)
    return [root, *_tree(leaves)]


_NAMES = {
    "signal": "signal {}", "sleep": "sleep", "save": "save point", "child": "child {}",
    "start": "start {}",
}  # fmt: skip


def cut_off(loaded: Loaded) -> int:
    """Return how many of the first steps have no row."""
    return max(0, len(loaded.steps) - MOST)


def place(key: str) -> tuple[int, ...]:
    """Return what the key of a row sorts by; rows that are no steps come last."""
    parts = key.partition("@")[0].split(".")
    return tuple(int(each) if each.isdecimal() else 1 << 60 for each in parts)


def _recorded(step: StepRecord) -> Span:
    kind = str(step.kind)
    name = _NAMES.get(kind, "{}").format(step.tool)
    return Span(
        step.position, 0, kind, cut(name or kind), str(step.outcome),
        step.started, max(step.started, step.ended), step.attempts, step.fence,
    )  # fmt: skip


def _in_flight(loaded: Loaded) -> Iterator[Span]:
    run, now = loaded.run, loaded.now
    if run.status not in (*OPEN, "quarantined"):
        return
    state = state_of(run, now)
    recorded = {step.position for step in loaded.steps}
    if run.status == "running" and not any(str(each.kind) == "tool" for each in run.open.values()):
        # A first attempt is not announced: what is known is that somebody has the run.
        begun = max([run.started or run.created, *(step.ended for step in loaded.steps[-1:])])
        status = "stalled" if state == "stalled" else "running"
        yield Span("next", 0, "tool", "next step", status, begun, None)
    for position, found in run.open.items():
        if position in recorded:
            continue
        kind = str(found.kind)
        if kind in _WAITS:
            status = "waiting"
        elif state in ("stalled", "quarantined"):
            status = "stalled"
        else:
            status = "retrying" if found.attempt > 1 or found.error else "running"
        name = _NAMES.get(kind, "{}").format(found.name if kind == "signal" else found.tool)
        start = found.started or run.started or run.created
        yield Span(
            position, 0, kind, cut(name or kind), status, start, None, found.attempt, 0,
            found.due, cut(found.error),
        )  # fmt: skip


def _child(run: Run, now: float) -> Span:
    assert run.parent is not None
    key, state = f"{run.parent.position}@{run.run_id}", state_of(run, now)
    return Span(
        key, 0, "child", cut(f"run {run.flow}"), state, run.created, run.ended, run_id=run.run_id
    )


def _order(span: Span) -> tuple[tuple[int, ...], bool, float]:
    return place(span.key), bool(span.run_id), span.start


def _tree(leaves: Iterable[Span]) -> list[Span]:
    """Return *leaves* in order of position, with a row for each branch that they are in."""
    rows: list[Span] = []
    indexes: dict[str, int] = {}

    def index(key: str, span: Span) -> int:
        """Return the row of the branch *key*, made if there is none."""
        if key not in indexes:
            above = key.rpartition(".")[0]
            parent = index(above, span) if above else 0
            branch = f"branch {key.rpartition('.')[2]}" if key.count(".") % 2 else f"branches {key}"
            indexes[key] = len(rows) + 1
            rows.append(Span(key, parent, "branch", branch, "value", span.start, span.end))
        return indexes[key]

    for span in sorted(leaves, key=_order):
        if span.run_id:
            above = span.key.partition("@")[0]
            parent = indexes.get(above, 0)
        else:
            above = span.key.rpartition(".")[0]
            parent = index(above, span) if above else 0
            indexes[span.key] = len(rows) + 1
        rows.append(span._replace(parent=parent))
    return _widened(rows)


def _widened(rows: list[Span]) -> list[Span]:
    """Let each branch last as long as what is in it; what goes on in it makes it go on."""
    for number in range(len(rows) - 1, -1, -1):
        span = rows[number]
        if span.parent > 0:
            above = rows[span.parent - 1]
            if above.kind == "branch":
                rows[span.parent - 1] = _around(above, span)
    return rows


def _around(branch: Span, span: Span) -> Span:
    ended = branch.end is not None and span.end is not None
    worse = span.status if span.status != "value" else branch.status
    return branch._replace(
        start=min(branch.start, span.start),
        end=max(branch.end or 0.0, span.end or 0.0) if ended else None,
        status=worse,
    )

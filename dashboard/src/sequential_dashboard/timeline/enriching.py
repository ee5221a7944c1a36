"""What a span store adds to the rows of a run: attempts, backoffs, invocations, spans of others.

Adds rows below those that the records give, and moves none of these: without a store, or with spans
missing, the timeline says what the records say. Spans that hang from nothing known are left out;
those of a generation before belong to steps that are no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sequential.spans import SpanRow, attempt_span_id, run_span_id, step_span_id
from sequential.storage import Loaded

from ..words import cut
from .spans import Span

INVOCATIONS = "invocations"
"""Key of the row that all invocations are below."""

_INVOCATION = "invocation"
_ATTEMPT, _RUN = "sequential.attempt", "sequential.run.id"
_WAIT = "sequential.wait.kind"

MOST = 5_000
"""Rows of others that are shown."""


def enriched(loaded: Loaded, spans: Sequence[Span], rows: Sequence[SpanRow]) -> list[Span]:
    """Return *spans* with what *rows* add below them, parents before their children.

    Args:
        loaded: The run with its steps.
        spans: From `spans_of`.
        rows: Of the run's trace, in order of their start.
    """
    if not rows:
        return list(spans)
    known = _ids(loaded, spans)
    own, stand_ins = set(known.values()), only_attempts(loaded, rows)
    below: dict[str, list[SpanRow]] = {}
    for row in {row.span: row for row in rows}.values():
        if row.span not in own:
            below.setdefault(stand_ins.get(row.parent, row.parent), []).append(row)
    times = {row.span: row for row in rows if row.span in own}
    return _Tree(below).grown(_timed(spans, known, times), known)


def only_attempts(loaded: Loaded, rows: Sequence[SpanRow]) -> Mapping[str, str]:
    """Return the span id of each attempt that is not among *rows*, and that of its step.

    An attempt that is its step's only one, and succeeded, is told by the record and kept nowhere
    else; what its tool did still hangs from it.
    """
    run_id, found = loaded.run.run_id, dict[str, str]()
    for step in loaded.steps:
        if step.attempts == 1 and step.kind == "tool":
            own = step_span_id(run_id, step.generation, step.position)
            found[f"{attempt_span_id(own, 1, step.fence):016x}"] = f"{own:016x}"
    kept = {row.span for row in rows}
    return {attempt: step for attempt, step in found.items() if attempt not in kept}


def _ids(loaded: Loaded, spans: Sequence[Span]) -> Mapping[str, str]:
    """Return the span ids of the rows that have one, by their keys."""
    run = loaded.run
    generations = {step.position: step.generation for step in loaded.steps}
    found = {"run": f"{run_span_id(run.run_id):016x}"}
    for span in spans:
        if span.is_leaf and span.kind != "child" and span.key != "next":
            generation = generations.get(span.key, run.generation)
            found[span.key] = f"{step_span_id(run.run_id, generation, span.key):016x}"
    return found


def _timed(
    spans: Iterable[Span], known: Mapping[str, str], rows: Mapping[str, SpanRow]
) -> Iterator[Span]:
    """Yield *spans*, waits with the time at which they were over.

    The record of a wait ends when an invocation came to write it down.
    """
    for span in spans:
        row = rows.get(known.get(span.key, ""))
        if row is not None and span.waits and span.end is not None:
            start = max(span.start, row.started)
            yield span._replace(start=start, end=max(start, min(span.end, row.ended)))
        else:
            yield span


class _Tree:
    """Rows that grow by what hangs below each, by the id of the span above."""

    def __init__(self, below: Mapping[str, Sequence[SpanRow]]) -> None:
        self._below = below
        self._keys: set[str] = set()
        self._made: list[Span] = []

    def grown(self, spans: Iterable[Span], known: Mapping[str, str]) -> list[Span]:
        """Return *spans* and all that hangs below them."""
        moved: list[int] = []
        for span in spans:
            parent = -1 if span.parent < 0 else moved[span.parent]
            moved.append(len(self._made))
            self._made.append(span._replace(parent=parent))
            if span.key != "run":
                self._step(moved[-1], span, self._below.get(known.get(span.key, ""), ()))
        rows = self._below.get(known["run"], ())
        self._invocations([row for row in rows if row.name == _INVOCATION])
        # What the flow's own code called. Ours are steps of a generation before.
        self._foreign(0, [row for row in rows if _RUN not in row.attributes], "")
        return self._made

    def _step(self, parent: int, span: Span, rows: Sequence[SpanRow]) -> None:
        """Add the attempts of a step, unless one row says it all, and what hangs below them."""
        tried = [row for row in rows if _ATTEMPT in row.attributes]
        # The waits between attempts are told by these; a store may have rows of them as well.
        attempts = sorted((row for row in tried if _WAIT not in row.attributes), key=_order)
        self._foreign(parent, [row for row in rows if _ATTEMPT not in row.attributes], span.key)
        if len(attempts) == 1 and span.tries == 1 and span.end is not None:
            return self._foreign(parent, self._below.get(attempts[0].span, ()), span.key)
        for number, row in enumerate(attempts):
            if number and row.started > attempts[number - 1].ended:
                self._backoff(parent, span, number + 1, attempts[number - 1].ended, row.started)
            above = self._add(_attempt(parent, span, row, number + 1))
            self._foreign(above, self._below.get(row.span, ()), span.key)
        if attempts and span.status == "retrying":
            self._backoff(parent, span, len(attempts) + 1, attempts[-1].ended, None)
        return None

    def _backoff(
        self, parent: int, span: Span, number: int, start: float, end: float | None
    ) -> None:
        name = f"backoff before attempt {number}"
        status, due = ("waiting", span.due) if end is None else ("value", None)
        key = f"{span.key}#{number}-"
        made = Span(key, parent, "backoff", name, status, start, end, due=due, step=span.key)
        self._add(made)

    def _invocations(self, rows: Sequence[SpanRow]) -> None:
        if not rows:
            return
        last = max(row.ended for row in rows)
        made = Span(INVOCATIONS, 0, "branch", INVOCATIONS, "value", rows[0].started, last)
        parent = self._add(made)
        for number, row in enumerate(rows, 1):
            status = "error" if row.error else "value"
            key, name = f"{INVOCATIONS}#{number}", cut(f"invocation {number}{_turn(row)}")
            times = row.started, row.ended
            above = self._add(Span(key, parent, "invocation", name, status, *times, row=row))
            self._foreign(above, self._below.get(row.span, ()), "")

    def _foreign(self, parent: int, rows: Sequence[SpanRow], step: str) -> None:
        """Add *rows* and what hangs below them, however deep."""
        ahead = [(parent, row) for row in reversed(rows)]
        while ahead and len(self._keys) < MOST:
            above, row = ahead.pop()
            key = f"~{row.span[:8]}"
            key = f"~{row.span}" if key in self._keys else key
            self._keys.add(key)
            status = "error" if row.error else "value"
            made = Span(key, above, "foreign", cut(row.name), status, row.started, row.ended)
            number = self._add(made._replace(note=cut(row.error), step=step, row=row))
            ahead += [(number, each) for each in reversed(self._below.get(row.span, ()))]

    def _add(self, span: Span) -> int:
        self._made.append(span)
        return len(self._made) - 1


def _order(row: SpanRow) -> tuple[float, float]:
    number = row.attributes[_ATTEMPT]
    return row.started, number if isinstance(number, int | float) else 0


def _attempt(parent: int, span: Span, row: SpanRow, number: int) -> Span:
    later = ", answered later" if row.attributes.get("sequential.attempt.pending") else ""
    name, status = f"attempt {number}{later}", "error" if row.error else "value"
    return Span(
        f"{span.key}#{number}", parent, "attempt", name, status, row.started, row.ended,
        note=cut(row.error), step=span.key, row=row,
    )  # fmt: skip


def _turn(row: SpanRow) -> str:
    """Say in a few words what woke an invocation, and what became of it."""
    told = row.attributes
    by = {"server": "a request", "consumer": "a message"}.get(row.kind, "")
    woken = str(told.get("sequential.resume.reason") or by)
    became = str(told.get("sequential.invocation.outcome", ""))
    reason = str(told.get("sequential.invocation.reason", ""))
    became = f"{became}: {reason}" if reason else became
    return f": {f'woken by {woken}, ' if woken else ''}{became}" if woken or became else ""

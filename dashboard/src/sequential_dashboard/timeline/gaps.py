"""Where the time of a run went: what was done, what was waited for, and why in between.

One sweep over the spans cuts the time of the run into pieces. The ledger adds the pieces up; the
timeline folds those in which nothing was done and that are long.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from sequential.storage import Loaded

from ..words import cut, moment, state_of, wake_of
from .spans import Span

KINDS = (
    "working", "retrying", "signal", "child", "timer", "queued", "blocked", "stalled", "ended",
)  # fmt: skip
"""Where time goes, in the order in which a ledger shows it."""

WORDS = {
    "working": "working: tools and the flow's own code",
    "retrying": "in steps that took several attempts, with the waits between them",
    "signal": "waiting for a signal",
    "child": "waiting for a child run",
    "timer": "sleeping",
    "queued": "waiting for an invocation",
    "blocked": "blocked: a deploy or a person must act",
    "stalled": "stalled: an invocation was lost",
    "ended": "ended, until it was retried",
}

FOLDED_FROM = 5.0
"""Seconds that a piece must last to be folded."""

FOLDED_SHARE = 0.02
"""Of the time in which something was done, that a piece must last to be folded."""


class Piece(NamedTuple):
    """A stretch of a run's time: *kind* as in `KINDS`, *why* in a few words."""

    start: float
    end: float
    kind: str
    why: str

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.end - self.start


class Ledger(NamedTuple):
    """The time of a run, added up: seconds by kind, in all, and of work."""

    shares: dict[str, float]
    wall: float
    active: float


def pieces_of(loaded: Loaded, spans: Sequence[Span]) -> list[Piece]:
    """Return the time from the run's beginning to its end, or to now, cut where its kind changes.

    Where several steps are under way at once, work counts before retries, and those before waits.
    """
    root = spans[0]
    end = max(root.start, root.end if root.end is not None else loaded.now)
    leaves = [each for each in spans if each.is_leaf and not each.run_id]
    near = _Neighbours(leaves)
    found: list[Piece] = []
    at = root.start
    # Of a step whose attempts are known, those count as work and not what lies between.
    tried = [each for each in spans if each.kind in ("attempt", "backoff")]
    for piece in _covered([*leaves, *tried], root.start, end):
        if piece.start > at:
            found += _between(loaded, near, at, piece.start)
        found.append(piece)
        at = piece.end
    if end > at:
        found += _between(loaded, near, at, end)
    return _merged(found)


def ledger_of(pieces: Sequence[Piece]) -> Ledger:
    """Add *pieces* up."""
    shares = dict.fromkeys(KINDS, 0.0)
    for piece in pieces:
        shares[piece.kind] += piece.seconds
    wall = pieces[-1].end - pieces[0].start if pieces else 0.0
    return Ledger({kind: each for kind, each in shares.items() if each}, wall, shares["working"])


def folded(pieces: Sequence[Piece]) -> list[Piece]:
    """Return the pieces that a timeline folds: nothing was done, and they are long."""
    active = ledger_of(pieces).active
    least = max(FOLDED_FROM, FOLDED_SHARE * active)
    return [each for each in pieces if each.kind != "working" and each.seconds > least]


# -- the sweep


def _covered(leaves: Sequence[Span], begin: float, end: float) -> list[Piece]:
    """Return the pieces in which at least one span goes on, none of them overlapping."""
    edges: list[tuple[float, int, int]] = []
    for number, span in enumerate(leaves):
        stop = min(end, end if span.end is None else span.end)
        if stop > max(begin, span.start):
            edges += [(max(begin, span.start), 1, number), (stop, 0, number)]
    edges.sort()
    under_way: list[dict[int, None]] = [{}, {}, {}, {}]
    found: list[Piece] = []
    for (at, starts, number), (until, _, _) in pairwise([*edges, (end, 0, -1)]):
        level = under_way[_rank(leaves[number])]
        if starts:
            level[number] = None
        else:
            level.pop(number, None)
        busiest = next((each for each in under_way if each), None)
        if busiest and until > at:
            found.append(Piece(at, until, *_doing(leaves[next(iter(busiest))])))
    return _merged(found)


def _merged(pieces: Iterable[Piece]) -> list[Piece]:
    found: list[Piece] = []
    for piece in pieces:
        if found and found[-1].end == piece.start and found[-1][2:] == piece[2:]:
            found[-1] = found[-1]._replace(end=piece.end)
        else:
            found.append(piece)
    return found


def _rank(span: Span) -> int:
    """Return what counts first where several go on at once, the smallest."""
    if span.waits:
        return 3
    if span.kind == "backoff":
        return 1
    return 2 if span.tries > 1 or span.status in ("retrying", "stalled") else 0


def _doing(span: Span) -> tuple[str, str]:
    if span.kind in ("signal", "child"):
        return span.kind, f"waiting for {span.name}"
    if span.kind == "sleep":
        return "timer", "sleeping"
    if span.status == "stalled":
        return "stalled", f"{span.name}: its invocation was lost"
    if span.kind == "backoff":
        return "retrying", span.name
    if _rank(span):
        return "retrying", f"{span.name}, {span.tries} attempts"
    return "working", ""


# -- why nothing went on


class _Neighbours:
    """Finds the step that ended last before a moment, and the one that began first after it."""

    def __init__(self, leaves: Sequence[Span]) -> None:
        self._ended = sorted(
            (each for each in leaves if each.end is not None), key=lambda each: each.end or 0.0
        )
        self._ends = [each.end or 0.0 for each in self._ended]
        self._begun = sorted(leaves, key=lambda each: each.start)
        self._starts = [each.start for each in self._begun]
        recorded = [each for each in leaves if each.fence]
        self.recorded = recorded

    def before(self, at: float) -> Span | None:
        number = bisect_right(self._ends, at)
        return self._ended[number - 1] if number else None

    def after(self, at: float) -> Span | None:
        number = bisect_left(self._starts, at)
        return self._begun[number] if number < len(self._begun) else None


def _between(loaded: Loaded, near: _Neighbours, at: float, until: float) -> list[Piece]:
    """Return why nothing went on from *at* to *until*, which may be several things in turn."""
    started = loaded.run.started
    if started is not None and at < started < until and near.before(at) is None:
        first = Piece(at, started, "queued", "until the first invocation")
        return [first, Piece(started, until, "working", "")]
    return [_idle(loaded, near, at, until)]


def _idle(loaded: Loaded, near: _Neighbours, at: float, until: float) -> Piece:
    run = loaded.run
    before, after = near.before(at), near.after(until)
    if after is None:
        kind, why = _last_idle(loaded, before)
    elif before is None:
        kind, why = "queued", "until the first invocation"
    elif run.generation and before.fence and _was_kept(run.seeds, before, near):
        kind, why = "ended", "ended, until it was retried"
    elif after.fence == before.fence:
        kind, why = "working", ""
    else:
        kind, why = "queued", "until the next invocation took it"
    return Piece(at, until, kind, why)


def _was_kept(seeds: Sequence[tuple[int, str]], span: Span, near: _Neighbours) -> bool:
    """Tell whether *span* is the last step that a retry kept."""
    kept = seeds[-1][0] if seeds else 0
    return 0 < kept <= len(near.recorded) and near.recorded[kept - 1].key == span.key


def _last_idle(loaded: Loaded, before: Span | None) -> tuple[str, str]:
    """Say why nothing goes on at the end of the run, or since its last step."""
    run, now = loaded.run, loaded.now
    if run.ended is not None:
        return "working", ""
    state, wake = state_of(run, now), wake_of(run)
    # Moments, not durations: what is sent to the browser must not change with every look.
    late = "" if wake is None or wake > now else moment(wake)
    if state == "blocked" and run.attention is not None:
        # The word alone: the sentence may quote a value, and is shown where values are.
        return "blocked", cut(f"blocked: {run.attention.reason}")
    if state == "stalled":
        return "stalled", f"its lease ended at {late}"
    if state == "quarantined":
        return "stalled", f"quarantined after {run.stalls} lost invocations"
    if state == "running":
        return "working", ""
    first = "the first invocation" if before is None else "an invocation"
    return "queued", f"until {first} takes it" + (f"; due since {late}" if late else "")

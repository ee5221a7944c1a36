"""What must hold of what operators do to many runs at once, after every commit and every row.

I28: a retry is the next generation over the records before the step that failed, which are not
executed again; a fork holds the records of its source before the step that it was asked at, with
the edit, and nothing of it touches the source. I29: what a request did to a run was noted before,
is done once, and is what the rows say. I30: all runs that a filter finds are asked for, and no
others.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sequential._model import (
    ENDED_STATUSES,
    OPEN_STATUSES,
    Run,
    Status,
    StepOutcome,
    StepRecord,
)
from sequential._protocol import CANCEL
from sequential.testing._staged_time import Execution
from tests.simulation.expected import EDITED
from tests.simulation.invariants import Watched

_BAD = (Status.FAILED, Status.CANCELLED, Status.QUARANTINED)


class Wanted(NamedTuple):
    """What an operator asks for: a deed, to runs that are named or found.

    Attributes:
        deed: The command's name.
        statuses: Stored or shown words; none for what the deed is for.
        flow: Of which flow; None for any.
        error_like: What the error says; None for whatever.
        run_id: The run, where it is named; else None.
        at: Where to fork.
        edit: As of `Sequential.fork`.
    """

    deed: str
    statuses: tuple[str, ...] = ()
    flow: str | None = None
    error_like: str | None = None
    limit: int = 1000
    run_id: str | None = None
    at: str = ""
    edit: tuple[object] | None = None

    def finds(self, run: Run) -> bool:
        """Tell whether the filters find *run*, as the page on repairs says it."""
        if self.flow not in {None, run.flow}:
            return False
        if self.error_like is not None and self.error_like.casefold() not in _said(run).casefold():
            return False
        return any(_MEANS[word](run) for word in self.statuses or _MEANT[self.deed])


def _said(run: Run) -> str:
    if run.status is Status.FAILED and run.error is not None:
        return f"{run.error.type}: {run.error.message}"
    return "" if run.attention is None else f"{run.attention.reason}: {run.attention.message}"


_MEANS: Mapping[str, Callable[[Run], bool]] = {
    "failed": lambda run: run.status is Status.FAILED,
    "cancelled": lambda run: run.status is Status.CANCELLED,
    "completed": lambda run: run.status is Status.COMPLETED,
    "quarantined": lambda run: run.status is Status.QUARANTINED,
    "blocked": lambda run: run.status is Status.PAUSED and run.attention is not None,
    "open": lambda run: run.status in OPEN_STATUSES,
}
_MEANT: Mapping[str, tuple[str, ...]] = {
    "retry": ("failed",),
    "redrive": ("quarantined", "blocked"),
    "cancel": ("open", "quarantined"),
    "terminate": ("open", "quarantined"),
    "purge": ("completed", "failed", "cancelled"),
    "fork": ("failed", "cancelled", "quarantined", "blocked"),
}


class Request:
    """One command of an operator.

    Attributes:
        wanted: What it asks for.
        doing: The run that was noted as asked and not yet answered; empty for none.
        asked: Runs that were, in order.
        done: Those that the rows say it was done to.
        effects: How often it was really done to each.
        unsure: Runs where an answer was lost.
    """

    def __init__(self, wanted: Wanted, look: Callable[[str], Run]) -> None:
        self.wanted = wanted
        self.doing = ""
        self.asked: list[str] = []
        self.done: list[str] = []
        self.refused: list[str] = []
        self.effects: Counter[str] = Counter()
        self.unsure: set[str] = set()
        self._look = look
        self._before: Run | None = None
        self._sure: set[str] | None = None
        self._perhaps: set[str] = set()
        self._created: dict[str, float] = {}

    def found(self, runs: Mapping[str, Run]) -> None:
        """Note what a search goes over just now."""
        here = {run_id for run_id, run in runs.items() if self.wanted.finds(run)}
        self._sure = here if self._sure is None else self._sure & here
        self._perhaps |= here
        self._created |= {run_id: runs[run_id].created for run_id in here}

    def noted(self, row: Mapping[str, Any]) -> None:
        """Check a row of the audit when it is written."""
        run_id, result = row["run_id"], row["result"]
        assert row["action"] == self.wanted.deed, "I29 a row says another deed"
        assert row["reason"], "I29 a row does not say why"
        if result == "asked":
            assert not self.doing, "I29 what became of a deed is not noted"
            assert run_id not in self.asked, "I29 a run is asked for twice"
            right = run_id == self.wanted.run_id or run_id in self._perhaps
            assert right, "I30 a run is repaired that nobody asked for"
            self.doing, self._before = run_id, self._look(run_id)
            self.asked.append(run_id)
            return
        assert run_id == self.doing, "I29 a row without what was asked"
        self.doing = ""
        if result == "done":
            self.done.append(run_id)
            self._check_done(run_id)
        else:
            assert result == "failed", "I29 a row of another kind"
            self.refused.append(run_id)
            unknown = run_id in self.unsure and "the reply" in row["note"]
            assert unknown or not self.effects[run_id], "I29 what was done is noted as refused"

    def _check_done(self, run_id: str) -> None:
        now, before = self._look(run_id), self._before
        assert before is not None
        if self.wanted.deed == "purge":
            assert now.status is Status.PURGED, "I29 a purge is noted that was not done"
        elif not self.effects[run_id]:
            # Somebody else may have done the same, while its own answer was lost.
            there = f"{CANCEL}:{before.generation}" in (*now.seen, *(m.id for m in now.inbox))
            told = self.wanted.deed == "cancel" and (there or now.generation > before.generation)
            assert told or run_id in self.unsure, "I29 a deed is noted that was not done"
            moved = now.version > before.version
            assert told or (moved and self.wanted.deed != "fork"), "I29 noted, and nobody did it"

    def over(self) -> None:
        """Check a request that came to its end."""
        assert not self.doing, "I29 what became of a deed is not noted"
        if self.wanted.run_id is not None or self._sure is None:
            return
        missed = self._sure - set(self.asked)
        if len(self.asked) < self.wanted.limit:
            assert not missed, "I30 a run is left out that the filter finds"
        assert len(self.asked) <= self.wanted.limit, "I30 more than the limit"
        oldest = min((self._created[run_id] for run_id in self.asked), default=0.0)
        newer = [run_id for run_id in missed if self._created[run_id] > oldest]
        assert not newer, "I30 the newest do not come first"


class Repairs:
    """All that operators do in a schedule."""

    def __init__(self, watched: Mapping[str, Watched], stored: Callable[[str], Run]) -> None:
        self._watched = watched
        self._stored = stored
        self._by_op: dict[str, tuple[Request, str]] = {}
        self._copied: dict[tuple[str, int], set[str]] = defaultdict(set)

    def begin(self, wanted: Wanted) -> Request:
        """Return the request of an operator who wants that."""
        return Request(wanted, self._stored)

    def drawn(self, request: Request, op_id: str) -> str:
        """Note that *request* will write under *op_id*; return that."""
        self._by_op[op_id] = request, request.doing
        return op_id

    def see(self, before: Run | None, run: Run, steps: Sequence[StepRecord]) -> None:
        """Check what was committed over *before*; see `Watched`, which has seen it."""
        request, run_id = self._by_op.get(run.op_id, (None, ""))
        if before is not None and before.op_id == run.op_id:
            request = None
        if request is not None:
            request.effects[run_id] += 1
        if before is None:
            if "forked_from" in run.tags:
                assert request is not None
                self._forked(request.wanted, run, steps)
        elif run.generation > before.generation and before.status in _BAD:
            self._retried(before, run, steps)
        if request is None:
            return
        assert run_id, "I29 done before it was noted"
        if before is not None:
            assert run.run_id == run_id, "I29 another run was changed"
            assert _DID[request.wanted.deed](before, run), "I29 something else was done"
        twice = request.effects[run_id] > 1 and not self._watched[run_id].rollbacks
        assert not twice, "I29 it was done twice"

    def executed(self, done: Execution) -> None:
        """Check that *done* is no step that was copied."""
        copied = done.position in self._copied.get((done.run_id, done.generation), ())
        again = copied and not self._watched[done.run_id].rollbacks
        assert not again, "I28 a step that was kept is done again"

    def _retried(self, before: Run, run: Run, steps: Sequence[StepRecord]) -> None:
        assert run.generation == before.generation + 1, "I28 generations"
        assert run.fence == before.fence + 1, "I28 a retry without a new fence"
        earlier = self._watched[run.run_id].past[-2].steps
        kept = len(earlier)
        if before.status is Status.FAILED:
            # Programs fail by their last step.
            kept -= 1
        elif before.status is Status.CANCELLED:
            told = (s.number for s in earlier if s.outcome is StepOutcome.CANCELLED)
            kept = next(told, kept)
        assert len(steps) == kept, "I28 a retry keeps what is before the step that failed"
        self._check_copies(earlier[:kept], run, steps)

    def _forked(self, wanted: Wanted, run: Run, steps: Sequence[StepRecord]) -> None:
        source, ours = self._watched[run.tags["forked_from"]], self._watched[run.run_id]
        ours.copied = frozenset(step.position for step in steps)
        assert wanted.run_id in {None, source.run_id}, "I28 a fork of another run"
        for then in reversed(source.past):
            number = next((s.number for s in then.steps if s.position == wanted.at), None)
            if number is not None and then.run.input.data == run.input.data:
                break
        else:
            # The storage may have lost what was read for it.
            assert source.rollbacks, "I28 a fork at a step that there was not"
            return
        assert then.run.flow == run.flow, "I28 a fork of another flow"
        kept, rest = steps[:number], steps[number:]
        self._check_copies(then.steps[:number], run, kept)
        if wanted.edit is None:
            assert not rest, "I28 the step is kept that was to be done anew"
        else:
            (edited,), was = rest, then.steps[number]
            assert edited.outcome is StepOutcome.VALUE, "I28 an edit is no value"
            assert json.loads(edited.value.data) == EDITED, "I28 another edit"
            same = was._replace(value=edited.value, outcome=edited.outcome)
            self._check_copies([same], run, [edited])
        family = then.family if steps else None
        ours.past[-1] = ours.past[-1]._replace(family=family)

    def _check_copies(
        self, earlier: Sequence[StepRecord], run: Run, steps: Sequence[StepRecord]
    ) -> None:
        wanted = [
            step._replace(generation=run.generation, fence=min(step.fence, run.fence), op_id="")
            for step in earlier
        ]
        assert [step._replace(op_id="") for step in steps] == wanted, "I28 a record was changed"
        self._copied[run.run_id, run.generation] |= {step.position for step in steps}


def _was_redriven(before: Run, run: Run) -> bool:
    if before.status is Status.QUARANTINED:
        return run.status is Status.PAUSED and not run.stalls and run.fence == before.fence + 1
    return run.status is Status.PAUSED and before.attention is not None


_DID: Mapping[str, Callable[[Run, Run], bool]] = {
    "retry": lambda before, run: before.status in _BAD and run.generation > before.generation,
    "redrive": _was_redriven,
    "cancel": lambda before, run: (
        len(run.inbox) == len(before.inbox) + 1 and run.inbox[-1].name == CANCEL
    ),
    "terminate": lambda before, run: (
        before.status not in ENDED_STATUSES and run.status is Status.CANCELLED
    ),
    "fork": lambda *_: False,
    "purge": lambda *_: False,
}

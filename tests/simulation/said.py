"""What must hold of what a run says of its progress, after every commit.

I31: it is what the run's own code said, at a step that the history had come to; it never goes back
in a generation, is stored with what is recorded next, and only by who carries the run on. What is
copied of a history, and code that is blocked, says nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from sequential._model import ENDED_STATUSES, Run, StepRecord
from tests.simulation.asking import marks
from tests.simulation.invariants import Moment, Watched
from tests.simulation.programs import Code, Op, Program
from tests.simulation.references import STEPLESS

_WIDE = ("gather", "race", "map")


class _Says(NamedTuple):
    """What a program says, and where: steps count from *shift* on."""

    program: Program
    shift: int

    @property
    def steps(self) -> list[Op]:
        return [op for op in self.program if op[0] not in STEPLESS]

    def root(self, position: str) -> int:
        """Return which step of the program stands at *position*, or has it in a branch."""
        return int(position.partition(".")[0]) - self.shift


def check_progress(before: Run, run: Run, code: Code | None, watched: Watched) -> None:
    """Check what was committed over *before* by *code*, None being somebody outside.

    *watched* has seen it.
    """
    moment = watched.past[-1]
    changed = run.progress != before.progress
    if code is None or run.attention not in (None, before.attention):
        assert not changed, "I31 it says something else, and nobody of it has said so"
        return
    if not changed and b'"say"' not in before.input.data:
        return
    earlier = watched.past[-2]
    shift = int(Code.CHANGED.family in (moment.family, earlier.family))
    says = _Says(json.loads(before.input.data), shift)
    if any(op[0] == "turn" for op in says.program):
        return  # steps are counted otherwise on each way
    first = next(each for each in watched.past if each.run.generation == before.generation)
    if changed:
        _check_said(before, run, says, earlier.steps, first)
    adds = run.cursor > before.cursor or bool(run.open and run.open != before.open)
    if run.generation == before.generation and (adds or _ends(before, run)):
        _check_kept(run, says, moment.steps, first, watched)


def _check_said(
    before: Run, run: Run, says: _Says, steps: Sequence[StepRecord], first: Moment
) -> None:
    """Check that what is stored now was said where the history had come to: at *steps*."""
    mark = _mark(run)
    place = mark[0]
    assert mark in list(marks(says.program)), "I31 nobody says that"
    if says.steps[place][0] == "say":
        # It was stored with this step, at the latest.
        over = any(says.root(step.position) == place for step in steps)
        assert not over, "I31 a replay said it again"
    solid = [at for at, op in enumerate(says.steps[:place]) if op[0] not in _WIDE]
    if solid:
        come = any(says.root(step.position) == solid[-1] for step in steps)
        assert come, "I31 it says what is said later"
    assert not _is_copied(mark, says, first), "I31 what was copied said it again"
    if before.progress != first.run.progress:
        assert _mark(before)[0] <= place, "I31 it went back"


def _check_kept(
    run: Run, says: _Says, steps: Sequence[StepRecord], first: Moment, watched: Watched
) -> None:
    """Check that the last thing that was said for certain was stored, or something later."""
    tools = [(step.position, step.tool) for step in steps]
    tools += [(position, found.tool) for position, found in run.open.items()]
    come = [says.root(position) for position, tool in tools if tool != "t.undo"]
    own = [op[1] for op in says.steps[: max(come, default=-1) + 1] if op[0] == "say"]
    if not own or watched.rollbacks or _is_copied(own[-1], says, first):
        # Whoever keeps the flow does not say again what a storage has lost.
        return
    place = own[-1][0]
    last = [step.op_id for step in steps if says.root(step.position) == place - 1]
    if len(set(last)) < len(last):
        # Several records of one commit: what is said between them counts as said by a replay.
        return
    assert run.progress is not None, "I31 it was said, and is not stored"
    mark = _mark(run)
    assert run.progress != first.run.progress, "I31 it was said, and is not stored"
    assert mark in list(marks(says.program)), "I31 nobody says that"
    assert mark[0] >= place, "I31 it was said, and is not stored"


def _is_copied(mark: list[int], says: _Says, first: Moment) -> bool:
    """Tell whether the history that the generation began with had come past *mark*."""
    place = mark[0]
    own = says.steps[place][0] == "say"
    roots = [says.root(step.position) for step in first.steps]
    return any(root > place or (own and root == place) for root in roots)


def _ends(before: Run, run: Run) -> bool:
    return run.status in ENDED_STATUSES and before.status not in ENDED_STATUSES


def _mark(run: Run) -> list[int]:
    assert run.progress is not None, "I31 what was said is gone"
    mark: list[int] = json.loads(run.progress.data)
    return mark[:2]  # the last number is how often anything was said by then

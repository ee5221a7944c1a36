"""What must hold between runs: of a child and its parent, after every commit and at the end.

I16: a child belongs to one step of its parent, and has an id that follows from it. I17: what is
recorded at the step is how the child ended. I18: a child says that its parent was told when it was.
I19: a child is told to stop exactly if its parent says so and does not need it any more. I20: a
child that is not waited for is left alone.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sequential._model import (
    ENDED_STATUSES,
    Message,
    Parent,
    Run,
    Status,
    StepKind,
    StepOutcome,
    StepRecord,
)
from sequential._protocol import CANCEL, CHILD
from tests.simulation.invariants import Watched
from tests.simulation.programs import EXTRA, Code, Op, Program, is_bare
from tests.simulation.references import STEPLESS, asked, is_given
from tests.simulation.turns import possible

End = tuple[str, Any]
"""How a run ended: its status, and its result or the class of its error."""


class Families:
    """All runs of a schedule, as parents and children of each other.

    Attributes:
        strays: Ids under which somebody began a child who had lost its own run.
    """

    def __init__(self, watched: Mapping[str, Watched]) -> None:
        self.strays: set[str] = set()
        self._watched = watched
        self._parents: set[str] = set()
        self._ops: dict[str, Op] = {}
        self._begun: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self._ends: dict[str, list[End]] = defaultdict(list)
        self._arrived: dict[str, set[str]] = defaultdict(set)
        self._stopped: set[str] = set()

    def has_relatives(self, run_id: str) -> bool:
        """Tell whether the run is a child, or has any."""
        return self._stored(run_id).parent is not None or run_id in self._parents

    def see(
        self, before: Run | None, run: Run, steps: Sequence[StepRecord], code: Code | None
    ) -> None:
        """Check what was committed over *before* by *code*, None being somebody outside."""
        if before is None:
            if run.parent is not None:
                self._created(run, run.parent)
            return
        self._inbox(run)
        if run.status in ENDED_STATUSES and before.status not in ENDED_STATUSES:
            self._ended(run)
        if before.generation == run.generation:
            self._notice(before, run)
            for step in steps[before.cursor :]:
                self._recorded(run, step, steps)
        if code is not None and _is_over(before, run):
            self._left_behind(before)

    def check_end(self) -> None:
        """Check all of them once every run has come to its end."""
        for run_id in self._watched:
            run = self._stored(run_id)
            assert not run.notice, "I18 a parent was never told"
            assert not _ends_in(run), "I18 a run that has ended keeps the end of a child"

    def _stored(self, run_id: str) -> Run:
        return self._watched[run_id].past[-1].run

    # -- beginning ---------------------------------------------------------------------------

    def _created(self, run: Run, parent: Parent) -> None:
        assert parent.run_id in self._watched, "I16 a child of nobody"
        self._parents.add(parent.run_id)
        above = self._stored(parent.run_id)
        if run.run_id in self.strays:
            # Of a history that is no more; it runs to its end by itself.
            return
        op = self._op_at(above, parent.position)
        assert op is not None, "I16 a child of no step"
        assert [run.flow, asked(run.input.data)] == op[1:3], "I16 another child"
        assert parent.waits is (op[0] == "child"), "I16 waited for or not"
        assert run.run_id == (op[3] or _id(above, parent.position)), "I16 a child under another id"
        self._ops[run.run_id] = op
        self._begun[above.run_id].append((run.run_id, above.generation))

    def _op_at(self, run: Run, position: str, moment: int = -1) -> Op | None:
        """Return the operation of the program that stood at *position* at that *moment*."""
        program: Program = json.loads(run.input.data)
        if self._watched[run.run_id].past[moment].family == Code.CHANGED.family:
            program = [EXTRA, *program]
        _, steps, _ = self._watched[run.run_id].past[moment]
        found = [op_at(each, position) for each in possible(program, steps, run.open)]
        children = [op for op in found if op is not None and op[0] in {"child", "start"}]
        return children[0] if children else None

    # -- ending ------------------------------------------------------------------------------

    def _ended(self, run: Run) -> None:
        value: Any = "RunCancelled"
        if run.status is Status.COMPLETED:
            assert run.result is not None
            value = json.loads(run.result.data)
        elif run.status is Status.FAILED:
            assert run.error is not None
            value = run.error.type
        self._ends[run.run_id].append((run.status, value))

    def _notice(self, before: Run, run: Run) -> None:
        if run.notice:
            assert run.status in ENDED_STATUSES, "I18 it tells of an end that there is not"
            assert run.wake is not None, "I18 nobody will tell its parent"
            assert run.parent is not None, "I20 a run without parent has one to tell"
            assert run.parent.waits, "I20 nobody waits for it"
        if not before.notice or run.notice:
            return
        assert run.parent is not None
        sent_id = f"{CHILD}{run.run_id}:{run.generation}"
        parent = self._stored(run.parent.run_id)
        there = sent_id in self._arrived[parent.run_id]
        # One that had ended when its child looked may be retried since. What it then asks for by
        # the same id it finds ended.
        begun = [each for child_id, each in self._begun[parent.run_id] if child_id == run.run_id]
        over = parent.status in ENDED_STATUSES or parent.generation > max(begun, default=-1)
        assert there or over, "I18 a parent was not told"

    def _recorded(self, run: Run, step: StepRecord, steps: Sequence[StepRecord]) -> None:
        waits = step.kind is StepKind.CHILD
        if not (waits or step.kind is StepKind.START) or step.outcome is StepOutcome.CANCELLED:
            return
        op = self._op_at(run, step.position)
        assert op is not None, "I17 a record of no step"
        child_id = op[3] or _id(run, step.position)
        assert child_id in self._watched, "I17 recorded, never begun"
        child, ours = self._stored(child_id), Parent(run.run_id, step.position, waits)
        value = json.loads(step.value.data)
        same = [child.flow, asked(child.input.data)] == op[1:3]
        purged = self._watched[child_id].purged
        other = not same or purged or is_given(child.input.data)
        if step.outcome is StepOutcome.ERROR and value["type"] == "RunTaken":
            assert op[3] is not None, "I17 an id of its own was taken"
            assert child.parent != ours or other, "I17 its own child is said to be another's"
        elif not waits:
            assert value == child_id, "I17 another child was begun"
            assert same or child.generation, "I17 what was begun is something else"
        else:
            assert child.parent == ours, "I17 it waited for the child of another step"
            alone = len([each for each in steps if each.op_id == step.op_id]) == 1
            stopped = child_id in self._stopped and not (child.generation or op[3])
            assert not (alone and stopped), "I19 a child was told to stop that was needed"
            failed = step.outcome is StepOutcome.ERROR
            end = value["type"] if failed else value
            known = self._ends[child_id]
            ends = [what for status, what in known if failed is (status != Status.COMPLETED)]
            assert end in ends, "I17 the child did not end so"

    # -- telling ------------------------------------------------------------------------------

    def _inbox(self, run: Run) -> None:
        for message in run.inbox:
            if message.id not in self._arrived[run.run_id]:
                self._arrived[run.run_id].add(message.id)
                self._message(run, message)
        if run.status is Status.PAUSED and run.wake is None:
            assert not _ends_in(run), "I18 an end is kept that nobody waits for"

    def _message(self, run: Run, message: Message) -> None:
        if message.name != CANCEL:
            return
        reason = str(json.loads(message.value.data).get("reason", ""))
        if not reason.endswith("needs it no more"):
            return
        self._stopped.add(run.run_id)
        if run.run_id not in self.strays:
            op = self._ops.get(run.run_id)
            assert op is not None, "I19 somebody else's run was told to stop"
            assert op[0] == "child", "I20 a child that nobody waits for was told to stop"
            assert op[4] == "cancel", "I19 a child was told to stop that was to be left"

    def _left_behind(self, parent: Run) -> None:
        """Check the children of a history that its code has come to the end of."""
        if self._watched[parent.run_id].rollbacks:
            # Lost records may have begun children that no step is for any more.
            return
        for child_id, generation in self._begun[parent.run_id]:
            op = self._ops[child_id]
            child = self._stored(child_id).parent
            # Changed code may ask for something else there, and leaves it as it is.
            asked = child is not None and self._op_at(parent, child.position, -2) == op
            if generation == parent.generation and asked and op[-1] == "cancel":
                told = any(each.startswith(CANCEL) for each in self._arrived[child_id])
                assert told or self._ends[child_id], "I19 a child was not told to stop"


def op_at(program: Program, position: str) -> Op | None:
    """Return the operation of *program* that stands at *position*."""
    at, *inner = map(int, position.split("."))
    found = _steps(program)[at : at + 1]
    while found and inner:
        op, branch = found[0], inner.pop(0)
        found = op[1][branch : branch + 1] if op[0] in {"gather", "race"} else []
        if found and not is_bare(found[0]):
            at = inner.pop(0) if inner else -1
            found = _steps(found[0])[at : at + 1] if at >= 0 else []
    return found[0] if found else None


def _steps(program: Program) -> Program:
    return [op for op in program if op[0] not in STEPLESS]


def _is_over(before: Run, run: Run) -> bool:
    """Tell whether the history of *before*, which was carried on, goes on no more."""
    over = run.status in ENDED_STATUSES or run.generation > before.generation
    return over and before.status is Status.RUNNING


def _ends_in(run: Run) -> list[Message]:
    return [each for each in run.inbox if each.name.startswith(CHILD)]


def _id(parent: Run, position: str) -> str:
    later = f"~g{parent.generation}" if parent.generation else ""
    return f"{parent.run_id}~{position}{later}"

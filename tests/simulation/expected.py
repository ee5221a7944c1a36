"""What a program must come to over a history: computed from its records, without any flow.

Which branch wins, fails first or is left behind follows from the numbers of the records alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sequential._model import StepOutcome, StepRecord
from tests.simulation.programs import Op, Program, is_bare
from tests.simulation.references import STEPLESS, check_read, filled_by

EDITED = 4321
"""What operators take for the result of a step; no step comes to it otherwise."""
DRAWN = object()
"""Stands for a value that was drawn: it is in no record."""


class _Ended(NamedTuple):
    """What an operation or a branch came to: a value or an error, by which record."""

    value: Any
    failed: bool
    number: int


class History:
    """The records of one history."""

    def __init__(self, steps: Sequence[StepRecord]) -> None:
        self._at: Mapping[str, StepRecord] = {step.position: step for step in steps}

    def expected(self, program: Program) -> list[Any]:
        """Return what *program* must return; `DRAWN` where it draws."""
        ended = self._run(program, "")
        assert ended is not None, "I7 it returned before its end"
        assert not ended.failed, "I7 it returned although it failed"
        tops = [int(position.partition(".")[0]) for position in self._at]
        steps = [op for op in program if op[0] not in STEPLESS]
        assert max(tops, default=-1) < len(steps), "I7 a stray record"
        got: list[Any] = ended.value
        return got

    def _run(self, program: Program, place: str) -> _Ended | None:
        """Return how the branch at *place* ended; None if it did not, or was told to stop."""
        got: list[Any] = []
        last, count = -1, 0
        for op in program:
            if op[0] in STEPLESS:
                got += [DRAWN] if op[0] == "det" else op[1:]
                continue
            ended = self._op(filled_by(op, got), f"{place}{count}")
            count += 1
            if ended is None:
                return None
            last = max(last, ended.number)
            if ended.failed and op[0] == "stop":
                return _Ended(ended.value, True, last)
            got.append(ended.value)
        return _Ended(got, False, last)

    def _op(self, op: Op, position: str) -> _Ended | None:
        kind = op[0]
        if kind == "map":
            return self._gathered([[["add", each]] for each in op[1]], position, op, single=True)
        if kind == "gather":
            return self._gathered(op[1], position, op)
        if kind == "race":
            return self._raced(op[1], position)
        record = self._at.get(position)
        # Whoever is told to stop asks for that in place of what it would do next; and a fork may
        # begin in the middle of a cancel, where of some branches nothing came.
        stopped = record is not None and record.outcome is StepOutcome.CANCELLED
        if record is None or stopped or record.tool == "t.undo":
            return None
        value = json.loads(record.value.data)
        check(op, record, value)
        if record.outcome is StepOutcome.ERROR and kind != "return":
            return _Ended([value["type"], record.attempts], True, record.number)
        if record.outcome is StepOutcome.ERROR:
            value = {"__error": value["message"]}
        late = record.outcome is StepOutcome.TIMEOUT
        return _Ended(None if late else value, False, record.number)

    def _gathered(
        self, branches: list[Program], position: str, op: Op, *, single: bool = False
    ) -> _Ended | None:
        ends = [
            self._op(branch[0], f"{position}.{index}")
            if single
            else self._branch(branch, f"{position}.{index}")
            for index, branch in enumerate(branches)
        ]
        failed = [each for each in ends if each is not None and each.failed]
        if failed and (single or op[2] == "raise"):
            first = min(failed, key=lambda each: each.number)
            return _Ended(first.value, True, self._last(position, first.number))
        last = self._last(position)
        values = [each.value for each in ends if each is not None]
        return _Ended(values, False, last) if len(values) == len(ends) else None

    def _branch(self, branch: Program | Op, place: str) -> _Ended | None:
        return self._op(branch, place) if is_bare(branch) else self._run(branch, f"{place}.")

    def _raced(self, branches: list[Program], position: str) -> _Ended | None:
        ends = [self._branch(each, f"{position}.{index}") for index, each in enumerate(branches)]
        done = [(each.number, index, each) for index, each in enumerate(ends) if each is not None]
        if not done:
            return None
        _, winner, ended = min(done, key=lambda each: each[:2])
        last = self._last(position, ended.number)
        return _Ended(ended.value if ended.failed else [winner, ended.value], ended.failed, last)

    def _last(self, position: str, decided: int | None = None) -> int:
        """Return the number of the last record of any branch at *position*: then it was over.

        Once it was *decided* by a record, branches clean up; what else was recorded with that
        record, in one commit, counts no more.
        """
        below = f"{position}."
        numbers = [
            record.number
            for at, record in self._at.items()
            if at.startswith(below)
            and (decided is None or record.number <= decided or record.tool == "t.undo")
        ]
        return max(numbers, default=-1)


def same(result: Any, wanted: Any) -> bool:
    """Tell whether *result* is what was *wanted*."""
    if wanted is DRAWN:
        return isinstance(result, float)
    if isinstance(wanted, list) and isinstance(result, list) and len(wanted) == len(result):
        return all(map(same, result, wanted))
    return bool(result == wanted)


def check(op: Op, record: StepRecord, value: Any) -> None:
    """Check the record against what its operation can come to at all."""
    kind = op[0]
    if value == EDITED:
        return
    if kind in {"child", "start"}:
        assert (record.kind, record.tool) == (kind, op[1])
    elif kind in {"sleep", "save"}:
        assert value is None
    elif kind in {"use", "load"}:
        check_read(op, record)
    else:
        _check_tool(op, record, value)
    if kind == "sleep":
        assert record.ended >= record.started + op[1] - 1e-6


def _check_tool(op: Op, record: StepRecord, value: Any) -> None:
    kind = op[0]
    if kind in {"add", "poison"}:
        assert value == op[1]
    elif kind == "say":
        assert value == (None if op[2] else op[1][1])
    elif kind == "secret":
        assert value == len(op[1])
    elif kind == "flaky":
        assert record.attempts == min(op[2] + 1, 3)
        assert record.outcome is (StepOutcome.VALUE if op[2] < 3 else StepOutcome.ERROR)
    elif kind == "stop" and record.outcome is StepOutcome.VALUE:
        assert value == op[1]
    elif kind in {"fail", "stop"}:
        assert (record.outcome, value["message"]) == (StepOutcome.ERROR, f"no {op[1]}")
    elif kind == "once" and record.outcome is StepOutcome.ERROR:
        assert value["type"] == "StepInterrupted"

"""What must hold of what is said to runs, after every commit and whenever somebody says something.

I24: a signal of the wrong type is neither accepted nor recorded; of one name the oldest that fits
is taken, once, and what is dropped fits nobody who waits. I25: a token stands for one call and
never changes; its answer is recorded there and nowhere else, once, as it was sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sequential._model import Message, Run, Status, StepKind, StepOutcome, StepRecord
from tests.simulation.asking import CALLS, HANDED, Handed, fits, wanted_by
from tests.simulation.families import op_at
from tests.simulation.invariants import Watched
from tests.simulation.programs import EXTRA, Code, Op, Program
from tests.simulation.turns import possible

_KEPT = frozenset({Status.PAUSED, Status.RUNNING, Status.QUARANTINED})
"""Statuses of runs that can be told something."""
_ENGINES = "$"
"""What the name of a message begins with that the engine sends."""


class Told:
    """All that is said to the runs of a schedule."""

    def __init__(self, watched: Mapping[str, Watched], is_steady: Callable[[], bool]) -> None:
        self._watched = watched
        self._is_steady = is_steady
        self._tokens: dict[tuple[str, int, str, int], str] = {}
        self._places: dict[str, tuple[str, int, str, int]] = {}
        self._read = 0

    # -- what is committed -------------------------------------------------------------------

    def see(
        self, before: Run | None, run: Run, steps: Sequence[StepRecord], code: Code | None
    ) -> None:
        """Check what was committed over *before* by *code*, None being somebody outside."""
        self._handed()
        if before is None:
            return
        there = {message.id for message in run.inbox}
        gone = [m for m in before.inbox if m.id not in there and m.name[:1] != _ENGINES]
        assert not (gone and code is None), "I24 somebody outside took a message"
        assert {m.id for m in gone} <= set(run.seen), "I24 a message is gone and was never taken"
        if before.generation == run.generation:
            for step in steps[before.cursor :]:
                if step.kind is StepKind.SIGNAL:
                    self._signal(before, run, step, gone)
                elif step.tool == CALLS:
                    self._answer(before, step, gone)
        if run.status is Status.PAUSED and run.wake is None and code is not None:
            self._told_of_drops(before, run, gone)
        for message in gone:
            self._dropped(run, message)

    def _handed(self) -> None:
        """Check what was handed out since: the same token for a call, and no other call's."""
        for each in HANDED[self._read :]:
            place = (each.run_id, each.generation, each.position, each.epoch)
            assert self._tokens.setdefault(place, each.token) == each.token, "I25 a token changed"
            assert self._places.setdefault(each.token, place) == place, "I25 a token twice"
        self._read = len(HANDED)

    def _signal(self, before: Run, run: Run, step: StepRecord, gone: list[Message]) -> None:
        if step.outcome is StepOutcome.TIMEOUT:
            assert not self._is_early(before, step), "I24 a wait ended before its time"
        if step.outcome is not StepOutcome.VALUE:
            return
        op = self._op_at(run, step.position, step.tool)
        assert op is not None, "I24 a signal at no wait"
        assert op[1] == step.tool, "I24 a signal of another name"
        assert fits(wanted_by(op), json.loads(step.value.data)), "I24 recorded, of the wrong type"
        for message in [each for each in before.inbox if each.name == step.tool]:
            if message in gone and message.value.data == step.value.data:
                gone.remove(message)
                break
            wrong = not fits(wanted_by(op), json.loads(message.value.data))
            assert wrong, "I24 a later signal was taken first"
        else:
            # Who had read it goes on with it, whatever a storage has lost since.
            assert self._watched[run.run_id].rollbacks, "I24 recorded, and it was not there"

    def _answer(self, before: Run, step: StepRecord, gone: list[Message]) -> None:
        if step.outcome is StepOutcome.ERROR and _type(step) == "StepTimedOut":
            assert not self._is_early(before, step), "I25 a call timed out before its time"
        if step.outcome is not StepOutcome.VALUE:
            return
        assert fits("int", json.loads(step.value.data)), "I25 recorded, of the wrong type"
        place = (before.run_id, before.generation, step.position)
        keys = {each.key for each in HANDED if each[1:4] == place}
        mine = [m for m in gone if m.name in keys and m.value.data == step.value.data]
        lost = self._watched[before.run_id].rollbacks
        assert mine or lost, "I25 an answer was recorded that nobody gave to this call"
        gone[:] = [each for each in gone if each not in mine]

    def _is_early(self, before: Run, step: StepRecord) -> bool:
        """Tell whether *step* ended before what was stored of it says; clocks may step back."""
        found = before.open.get(step.position)
        waits = found is not None and found.name and found.due is not None
        return bool(waits and found and step.ended < (found.due or 0.0) and self._is_steady())

    def _told_of_drops(self, before: Run, run: Run, gone: Sequence[Message]) -> None:
        """Check that the waits of a run that parks say of nothing else that it was dropped."""
        for position, wait in run.open.items():
            found = before.open.get(position)
            says = wait.kind is StepKind.SIGNAL and wait.error
            if says and (found is None or found.error != wait.error):
                dropped = any(each.name == wait.name for each in gone)
                dropped = dropped or bool(self._watched[run.run_id].rollbacks)
                assert dropped, "I24 a signal is said to be dropped, and still there"

    def _dropped(self, run: Run, message: Message) -> None:
        """Check a message that was taken out of the inbox and is in no record."""
        value = json.loads(message.value.data)
        if any(each.key == message.name for each in HANDED):
            assert not fits("int", value), "I25 an answer was dropped that fits"
            return
        waits = [at for at, each in run.open.items() if each.name == message.name]
        for op in [self._op_at(run, at) for at in waits]:
            takes = op is not None and fits(wanted_by(op), value)
            assert not takes, "I24 a signal was dropped that somebody waits for"

    def _op_at(self, run: Run, position: str, name: str = "") -> Op | None:
        """Return what is asked for there; where it went either way, what has to do with *name*."""
        program: Program = json.loads(run.input.data)
        if self._watched[run.run_id].family == Code.CHANGED.family:
            program = [EXTRA, *program]
        steps = self._watched[run.run_id].past[-1].steps
        asked = (op_at(each, position) for each in possible(program, steps, run.open))
        found = [op for op in asked if op is not None]
        return next((op for op in found if name in op[1:2]), found[0] if found else None)

    # -- what is said ------------------------------------------------------------------------

    def check_signal(self, run: Run, name: str, value: object, *, accepted: bool) -> None:
        """Check what became of a checked signal to *run*, which is stored so."""
        waits = [at for at, each in run.open.items() if each.name == name and not each.intent]
        ops = [op for op in (self._op_at(run, at, name) for at in waits) if op is not None]
        if not accepted:
            assert waits, "I24 refused, although nobody has waited yet"
            good = [op for op in ops if fits(wanted_by(op), value)]
            assert not good, "I24 refused, although it fits"
        elif waits and len(ops) == len(waits):
            some = any(fits(wanted_by(op), value) for op in [*ops, *_all(run)] if op[1] == name)
            assert some, "I24 accepted, although it fits nobody"

    def can_be_answered(self, run: Run, steps: Sequence[StepRecord], token: Handed) -> bool:
        """Tell whether an answer by *token* to *run*, stored so, is to be taken."""
        over = any(step.position == token.position for step in steps)
        found = run.open.get(token.position)
        later = found is not None and found.epoch > token.epoch
        waits = [*(m.name for m in run.inbox)]
        kept = run.status in _KEPT and run.generation == token.generation
        return kept and not (over or later or token.key in waits)


def _all(run: Run) -> list[Op]:
    """Return the waits of the program of *run*, wherever they are."""
    found: list[Op] = []
    left: list[Any] = [json.loads(run.input.data)]
    while left:
        part = left.pop()
        if isinstance(part, list):
            if part and part[0] in ("wait", "wait_for", "typed"):
                found.append(part)
            left += part
    return found


def _type(step: StepRecord) -> str:
    return str(json.loads(step.value.data)["type"])

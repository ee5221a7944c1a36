"""What must hold of runs whose flows are patched, after every commit and at every question.

I40: a patch answers the same in one history for ever. I41: a run that began wholly on patched code
goes the new way. I42: a run whose records stand behind a patch goes the old way. I43: nobody writes
to a history that went another way, and none goes both. I44: a run is blocked only where its code
has not the way that it went, or where older code carried it past a patch that was in.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sequential._model import OPEN_STATUSES, Run, Status, StepRecord
from sequential._protocol import holds
from sequential.testing._staged_time import Execution
from tests.simulation.programs import Code
from tests.simulation.turns import ANSWERS, Answer, ways_gone

_ASKS = (Code.PATCHED, Code.AFTER)
"""Code that has the new way; all other has the old one alone."""


class _State(NamedTuple):
    """What is known of a history.

    Attributes:
        run: Its record.
        steps: Its steps.
        older: Whether older code wrote to it.
        overrun: Whether it did when a patch was in.
        went: Which ways it went, as far as that can be seen.
        refused: Patches that are not in, as a flow was told.
    """

    run: Run
    steps: Sequence[StepRecord] = ()
    older: bool = False
    overrun: bool = False
    went: Mapping[str, set[bool]] = {}
    refused: frozenset[str] = frozenset()

    @property
    def torn(self) -> set[str]:
        """Patches that are in, and that older code carried the run past."""
        return {patch for patch in self.run.patches if False in self.went.get(patch, ())}


class Patching:
    """What patched code and older code do with the runs of a schedule.

    Attributes:
        there: Whether programs have turns, and the codes that are deployed go by them.
        counts: What flows were told, and what became of it.
    """

    def __init__(self, counts: Counter[str], stored: Callable[[str], Run]) -> None:
        self.there = False
        self.counts = counts
        self._stored = stored
        self._states: dict[str, dict[int, _State]] = defaultdict(dict)
        self._told: dict[tuple[str, str], dict[str, bool]] = defaultdict(dict)

    def see(
        self, before: Run | None, run: Run, steps: Sequence[StepRecord], code: Code | None
    ) -> None:
        """Check what was committed over *before* by *code*, None being somebody outside."""
        if not self.there or run.status is Status.PURGED:
            return
        earlier = self._before(before, run)
        same = before is not None and before.generation == run.generation
        if not run.cursor and not same:
            earlier = _State(run, steps)
        writes = same and code is not None and run.status in OPEN_STATUSES and _grew(before, run)
        older = writes and code not in _ASKS
        went = ways_gone(json.loads(run.input.data), steps, run.open)
        state = _State(
            run,
            steps,
            earlier.older or older,
            earlier.overrun or (older and bool(run.patches)),
            went,
            earlier.refused if same else frozenset(),
        )
        self._states[run.run_id][run.version] = state
        assert all(len(each) == 1 for each in went.values()), "I43 a run went both ways"
        for patch, ways in went.items():
            assert ways == {False} or patch in run.patches, "I43 the new way is not in the record"
        _check_patches(before if same else None, run)
        if writes and before is not None and code is not None:
            self._written(before, state, code)
        if before is not None and run.attention not in (None, before.attention):
            assert run.attention is not None
            if run.attention.reason == "changed":
                self.counts["blocked as changed"] += 1
                assert self._may_block(earlier, code), "I44 blocked without a reason"

    def hear(self, held: Run | None, code: Code | None) -> None:
        """Look at what flows of *code* were told since, in an invocation that *held* this.

        It counts where the invocation still holds its run, and knows all that is stored of it.
        """
        answers = list(ANSWERS)
        ANSWERS.clear()
        stored = None if held is None else self._stored(held.run_id)
        if held is None or stored is None or not holds(stored, held):
            return
        if (stored.cursor, stored.open) == (held.cursor, held.open):
            for answer in answers:
                self._answered(answer, stored, code)

    def _answered(self, answer: Answer, stored: Run, code: Code | None) -> None:
        state, patch = self._states[stored.run_id][stored.version], answer.patch
        self.counts[f"patches said {'yes' if answer.new else 'no'}"] += 1
        self._told[stored.run_id, stored.owner][patch] = answer.new
        if answer.new:
            assert patch not in state.refused, "I40 no, and then yes"
            assert False not in state.went.get(patch, ()) or patch in stored.patches, (
                "I42 a run that is past the patch is to go the new way"
            )
            return
        assert patch not in stored.patches, "I40 yes, and then no"
        assert state.older, "I41 a new run is to go the old way"
        refused = state.refused | {patch}
        self._states[stored.run_id][stored.version] = state._replace(refused=refused)

    def ran(self, done: Execution, owner: str, code: Code) -> None:
        """Check that *code* may run a tool as it has *done*, under a claim of *owner*."""
        stored = self._stored(done.run_id)
        if self.there and (stored.fence, stored.owner) == (done.fence, owner):
            state = self._states[stored.run_id][stored.version]
            # What was begun only may be of a branch that is needed no more.
            went = ways_gone(json.loads(stored.input.data), state.steps, {})
            assert self._fits(state._replace(went=went), code), (
                "I43 a tool ran over another history"
            )

    def _before(self, before: Run | None, run: Run) -> _State:
        """Return what is known of what *run* was, or was forked from."""
        if before is not None:
            return self._states[run.run_id][before.version]
        source = self._states.get(run.tags.get("forked_from", ""), {}).values()
        older, overrun = any(each.older for each in source), any(each.overrun for each in source)
        return _State(run, older=older, overrun=overrun)

    def _written(self, before: Run, state: _State, code: Code) -> None:
        assert self._fits(state, code), "I43 code wrote to a history that went another way"
        fresh = set(state.run.patches) - set(before.patches)
        assert not fresh & state.refused, "I40 no, and then it is in"
        if state.run.cursor > before.cursor or state.run.open:
            for patch, new in self._told.get((before.run_id, before.owner), {}).items():
                assert new is (patch in state.run.patches), "I40 what was told is not in the record"
        self.counts["patches in"] += len(fresh)
        if not state.older and fresh:
            self.counts["patches in new runs"] += 1
        if state.torn:
            self.counts["patches left behind"] += 1

    @staticmethod
    def _fits(state: _State, code: Code) -> bool:
        """Tell whether *code* has the ways that the history went."""
        went = state.went
        if code is Code.PATCHED:
            return not state.torn
        return not any((code is not Code.AFTER) in ways for ways in went.values())

    @staticmethod
    def _may_block(state: _State, code: Code | None) -> bool:
        if code is Code.PATCHED:
            return state.overrun
        if code is Code.AFTER:
            return state.older
        return bool(state.run.patches)


def _grew(before: Run | None, run: Run) -> bool:
    """Tell whether anything was recorded, begun or over."""
    return before is not None and (run.cursor > before.cursor or run.open != before.open)


def _check_patches(before: Run | None, run: Run) -> None:
    """Check which patches are in *run*, over *before* unless it begins a history."""
    if before is not None:
        assert set(before.patches) <= set(run.patches), "I40 a patch is in no more"
        adds = run.cursor > before.cursor or run.open
        assert adds or run.patches == before.patches, "I40 a patch is in without a step"
    elif not run.cursor:
        assert not run.patches, "I40 a patch is in before any step"

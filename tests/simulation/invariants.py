"""What must hold: of one run after every commit, of executions when they happen, at the end.

The numbers I1 to I15 are those of the protocol. I22: who is cancelled cleans up to the end. How a
schedule comes about is not known here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from sequential._model import (
    ENDED_STATUSES,
    OPEN_STATUSES,
    At,
    Run,
    Status,
    StepKind,
    StepOutcome,
    StepRecord,
)
from sequential._protocol import CANCEL, Terms
from sequential.testing._staged_time import Execution
from tests.simulation.asking import CALLS, takes
from tests.simulation.expected import History, same
from tests.simulation.programs import EXTRA, Code, Program
from tests.simulation.references import STEPLESS
from tests.simulation.turns import possible


class Moment(NamedTuple):
    """What was stored after one commit, and the family of code that its history belongs to."""

    run: Run
    steps: Sequence[StepRecord]
    family: str | None


class Watched:
    """What has been seen of one run so far, and whether what is seen next may follow.

    Attributes:
        past: Every state that was stored and not lost, oldest first.
        losses: Invocations that died, were overtaken or gave up, and commits that were lost.
        rollbacks: How often the storage lost commits.
        cured: Whether poison does not kill any more.
        purged: Whether its values are gone.
        copied: Positions of records that it was forked with.
        accepted: Ids of accepted messages.
        terminated: Whether somebody outside ended it.
    """

    def __init__(self, run_id: str, terms: Terms) -> None:
        self.run_id = run_id
        self.past: list[Moment] = []
        self.losses = 0
        self.rollbacks = 0
        self.cured = False
        self.purged = False
        self.copied: frozenset[str] = frozenset()
        self.terminated = False
        self.accepted: set[str] = set()
        self._terms = terms
        self._claims = 0
        self._owners: dict[int, str] = {}

    @property
    def family(self) -> str | None:
        """The code that the history belongs to; None as long as there is none."""
        return self.past[-1].family

    def see(self, run: Run, steps: Sequence[StepRecord], code: Code | None) -> None:
        """Check what *code* committed, None being somebody outside, against what was before."""
        assert [step.number for step in steps] == list(range(run.cursor)), "I2 numbers"
        if not self.past:
            self._owners[run.fence] = run.owner
            self._claims = run.stalls
            self.past.append(Moment(run, steps, None))
            return
        before = self.past[-1]
        self._history(before, run, steps)
        self._claim(before.run, run)
        self._messages(run)
        self._end(before.run, run)
        if run.status in ENDED_STATUSES and before.run.status not in ENDED_STATUSES:
            self.terminated = code is None
        family = self._code(before, run, code)
        if run.status in OPEN_STATUSES:
            waits = any(each.due is None and each.name for each in run.open.values())
            paused = run.status is Status.PAUSED
            assert isinstance(run.wake, At) or (paused and waits), "I9 a run is stranded"
            if run.wake is None and run.inbox:
                assert not _is_wanted(run), "I9 a message is stranded"
        self.past.append(Moment(run, steps, family))

    def roll_back(self, commits: int) -> Moment:
        """Forget the last *commits*, as the storage did; return what is stored now."""
        del self.past[max(1, len(self.past) - commits) :]
        moment = self.past[-1]
        run = moment.run
        self.losses += 1
        self.rollbacks += 1
        self._claims = max(self._claims, run.stalls)
        self._owners = {f: owner for f, owner in self._owners.items() if f <= run.fence}
        self.accepted &= {message.id for message in run.inbox} | set(run.seen)
        return moment

    def _history(self, before: Moment, run: Run, steps: Sequence[StepRecord]) -> None:
        earlier = before.run
        assert run.version == earlier.version + 1, "I1 a version was left out"
        if earlier.generation == run.generation:
            assert steps[: earlier.cursor] == before.steps, "I1 a record changed"
        else:
            assert run.generation == earlier.generation + 1, "I2 generations"

    def _claim(self, before: Run, run: Run) -> None:
        assert run.fence >= before.fence, "I3 a fence went back"
        if run.cursor > before.cursor or run.generation > before.generation:
            self._claims = 0
        if run.owner and run.owner != before.owner:
            assert run.fence == before.fence + 1, "I3 a claim without a new fence"
            assert self._owners.setdefault(run.fence, run.owner) == run.owner, "I3 a fence twice"
            self._claims += 1
        if run.status is Status.QUARANTINED and before.status in OPEN_STATUSES:
            assert self._claims >= self._terms.max_stalls, "I13 quarantined too early"
        if before.status is Status.QUARANTINED:
            self._claims = 0

    def _messages(self, run: Run) -> None:
        there = [message.id for message in run.inbox]
        there += run.seen
        known = set(there)
        assert len(known) == len(there), "I12 a message is there twice"
        assert self.accepted <= known, "I12 an accepted message is gone"

    def _end(self, before: Run, run: Run) -> None:
        if before.status not in ENDED_STATUSES or run.generation > before.generation:
            return
        outcome = (run.status, run.result, run.error, run.ended)
        then = (before.status, before.result, before.error, before.ended)
        assert outcome == then, "I8 an outcome changed"

    def _code(self, before: Moment, run: Run, code: Code | None) -> str | None:
        earlier, family = before.run, before.family
        if run.generation != earlier.generation and not run.cursor:
            family = None
        if code is None:
            return family
        grew = run.cursor > earlier.cursor or run.open != earlier.open
        if grew and run.generation == earlier.generation and run.status in OPEN_STATUSES:
            assert code.fits(family), "I14 code wrote to a history it disagrees with"
        if run.attention not in (None, earlier.attention):
            assert not grew, "I14 a block changed the history"
            assert run.attention is not None
            excuse = {
                # What has turns is looked at in `patching`.
                "changed": not code.fits(family) or b'"turn"' in run.input.data,
                "tool-not-found": code is Code.TOOLLESS,
                "flow-not-found": code is Code.MISSING,
            }
            assert excuse.get(run.attention.reason), f"I14 blocked: {run.attention.reason}"
        new = family is None and (run.cursor or run.open)
        return (code.family or "old") if new else family


def _is_wanted(run: Run) -> bool:
    """Tell whether anything in the inbox is waited for.

    What does not fit is not: it may have been left to another wait, which took another one.
    """
    waits = run.open.values()
    return any(m.name == CANCEL or any(takes(each, m) for each in waits) for m in run.inbox)


class Executions:
    """Every execution of a tool, against how often it may happen."""

    def __init__(self) -> None:
        self.ran: set[tuple[str, str, int]] = set()
        self._tally: Counter[tuple[str, int, str, int, str]] = Counter()
        self._keys: dict[str, tuple[str, int, str, int]] = {}

    def see(self, done: Execution, watched: Watched, code: Code, live: int, owner: str) -> None:
        """Check *done*, by *owner* with *code*, while *live* invocations of the run go on."""
        self.ran.add((done.run_id, done.position, done.fence))
        place = (done.run_id, done.generation, done.position, done.attempt, done.tool)
        self._tally[place] += 1
        # An overtaken invocation may have begun this one, and not yet have noticed.
        assert self._tally[place] <= 1 + watched.losses + live, "I5 executed too often"
        asked = (done.run_id, done.generation, done.position, done.epoch)
        assert self._keys.setdefault(done.key, asked) == asked, "I6 a key twice"
        if done.tool == "t.once":
            allowed = 1 + watched.rollbacks
            assert self._tally[place] <= allowed, "an at-most-once tool was run twice"
        stored = watched.past[-1]
        # The owner as well: after lost commits a fence is handed out again.
        if (stored.run.fence, stored.run.owner) == (done.fence, owner):
            assert code.fits(stored.family), "I14 a tool ran over another history"


def check_end(watched: Watched, executions: Executions, opened: Callable[[bytes], Any]) -> None:
    """Check a run that has come to its end, and whose result is *opened*."""
    run, steps, family = watched.past[-1]
    values = [step.value.data for step in steps if step.kind is StepKind.SIGNAL
              and step.outcome is StepOutcome.VALUE]  # fmt: skip
    assert len(set(values)) == len(values), "I12 a signal was consumed twice"
    for step in steps:
        tool = step.kind is StepKind.TOOL and step.tool != "sequential.load"
        if tool and step.outcome is StepOutcome.VALUE:
            # A call that is answered later was made under whichever claim.
            fences = range(step.fence + 1) if step.tool == CALLS else (step.fence,)
            ran = executions.ran
            known = any((run.run_id, step.position, each) in ran for each in fences)
            assert known or step.position in watched.copied, "I4 recorded, never run"
    program: Program = json.loads(run.input.data)
    if family == Code.CHANGED.family:
        program = [EXTRA, *program]
    if run.status is Status.COMPLETED:
        assert run.result is not None
        result = opened(run.result.data)
        _check_any(lambda each: _check_result(result, steps, each), possible(program, steps, {}))
    elif run.status is Status.FAILED:
        _check_any(lambda each: _check_failure(steps, each), possible(program, steps, {}))
    else:
        assert run.status is Status.CANCELLED, "I11 not at its end"
        if not watched.terminated:
            # Its code undoes what it did, as the last thing.
            last = steps[-1]
            undone = last.tool == "t.undo" and last.position.isdecimal()
            assert undone, "I22 cleanup was not done"
            assert last.outcome is StepOutcome.VALUE, "I22 cleanup was cut short"


def _check_any(check: Callable[[Program], None], programs: Sequence[Program]) -> None:
    """Check that the run did one of *programs*: which ways it went its records may not tell."""
    for program in programs[:-1]:
        with suppress(AssertionError, IndexError):
            return check(program)
    return check(programs[-1])


def _check_result(result: Any, steps: Sequence[StepRecord], program: Program) -> None:
    wanted = History(steps).expected(program)
    if program and program[0] is EXTRA:
        del wanted[0]
    assert same(result, wanted), "I7 the result"


def _check_failure(steps: Sequence[StepRecord], program: Program) -> None:
    places = [place for place, op in enumerate(program) if op[0] not in STEPLESS]
    place = places[int(steps[-1].position)]
    assert program[place][0] == "stop", "I7 failed without a reason"
    History(steps[:-1]).expected(program[:place])
    assert steps[-1].outcome is StepOutcome.ERROR, "I7 failed without an error"

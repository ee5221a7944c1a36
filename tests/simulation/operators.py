"""Operators, who repair what filters find while everything else goes on.

The command line's own code does it, over a storage where others come in between at every call.
Operators die in the middle, cannot note what they do, and come two at a time; who was interrupted
is followed by somebody who asks for the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, cast

from sequential._app import Sequential
from sequential._model import Run, Status, StepKind, StepOutcome, StepRecord
from sequential._outside import Outside
from sequential._plugins import Plugins
from sequential._storage import Loaded, Page, Query, Stale
from sequential._tending import Tended
from sequential.cli import repair, tell
from sequential.cli._deeds import Chosen, Deed, perform
from sequential.errors import OutcomeUnknown, SequentialError, StorageRefused
from sequential.testing._staged_time import Time, answered
from tests.simulation.drawn import CANARY
from tests.simulation.expected import EDITED
from tests.simulation.fleet import Channel, Trouble
from tests.simulation.programs import STYLES
from tests.simulation.repairs import Request, Wanted
from tests.simulation.traffic import Traffic

_OPEN = ("paused", "running", "quarantined")
_DEEDS: Mapping[str, Deed] = {
    "retry": Deed("retry", ("failed",), repair._retry),
    "redrive": Deed("redrive", ("quarantined", "blocked"), repair._redrive),
    "cancel": Deed("cancel", _OPEN, tell._cancel),
    "terminate": Deed("terminate", _OPEN, tell._terminate),
    "purge": Deed("purge", ("completed", "failed", "cancelled"), repair._purge_ended),
}
_FORKED = ("failed", "cancelled", "quarantined", "blocked")
_DRAWN = (*["retry"] * 4, "redrive", "redrive", *["fork"] * 4, "cancel", "terminate", "purge")
_EVER = datetime(1980, 1, 1, tzinfo=UTC)
_MOST = 8
"""Forks in a schedule: each is one more run to be played to its end."""


class _Died(BaseException):
    """An operator's process was killed."""


class _Paper:
    """The file of the audit, as a path: rows are looked at when they are written."""

    def __init__(self, operators: Operators, request: Request) -> None:
        self._operators = operators
        self._request = request

    @contextmanager
    def open(self, *_: object, **__: object) -> Iterator[_Paper]:
        """Open it."""
        yield self

    def write(self, line: str) -> None:
        """Write one line; now and then the disk is full."""
        assert CANARY not in line, "I15 a secret is in the audit"
        self._operators.meanwhile()
        if self._operators.cannot_note():
            raise OSError("the disk is full")
        self._request.noted(json.loads(line))


class _DeskChannel(Channel):
    """The way of an operator to the storage, on which others come in between."""

    operators: Operators
    request: Request

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        """Load; where an answer was lost just now, others have had time."""
        if run_id in self.request.unsure:
            self.operators.overtake(run_id)
        self.operators.meanwhile()
        return super().load(run_id, after)

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        """Commit; the answer is lost more often than elsewhere, as few are given here."""
        self.operators.meanwhile()
        with self._noting():
            if self.operators.loses_answer():
                self.apply(run, expect, steps)
                raise OutcomeUnknown("simulated:", "the reply to commit was lost")
            return super().commit(run, expect, steps)

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        """Create."""
        self.operators.meanwhile()
        with self._noting():
            return super().create(run, steps)

    def find(self, query: Query) -> Page:
        """Find, on short pages."""
        self.operators.meanwhile()
        self.request.found(self.memory._runs)
        return super().find(replace(query, limit=min(query.limit, 4)))

    def purge(self, expect: Run) -> bool:
        """Purge."""
        self.operators.meanwhile()
        assert self.request.doing == expect.run_id, "I29 done before it was noted"
        if expect.status is Status.PURGED:
            # Purged between two looks of one deed: what is left would go; here others look at it.
            return True
        if self.operators.loses_answer():
            return self.purge_with(expect, self.operators.choices.one_of(tuple(Trouble)))
        return super().purge(expect)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OutcomeUnknown:
            self.request.unsure.add(self.request.doing)
            raise


class _Driver:
    """What an application has to send and to tell with."""

    def __init__(self, operators: Operators, channel: Channel) -> None:
        self.time = Time(operators.clock)
        self.time.is_now(operators.memory.time())
        self._operators = operators
        self._channel = channel

    def send(self, run: Run, delay: float) -> None:
        """Send a resume message."""
        self._operators.post(run.run_id, max(0.0, delay))

    def tell_parent(self, run: Run) -> None:
        """Leave that to a sweeper."""

    def answer(self, requests: Any) -> Any:
        """Answer what an outcome takes."""
        get = self._channel.get_value
        return answered(requests, lambda asked: get(asked.run_id, asked.digest))


class _Desk(Tended):
    """An application over what the simulation has."""

    def __init__(self, operators: Operators, channel: Channel, outside: Outside) -> None:
        self.registry = operators.stage.engine.registry
        self.engine = operators.stage.engine
        self.clock = operators.clock
        self.storage = channel
        self.plugins = Plugins((), ())
        self.driver = cast("Any", _Driver(operators, channel))
        self._outside = outside


class _Session:
    """A call of the command line that prints nothing."""

    json = False
    terminal = False

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk
        self.output = self

    @contextmanager
    def app(self) -> Iterator[_Desk]:
        """Give the application."""
        yield self._desk

    app_with_flows = app

    def text(self, *_: object) -> None:
        """Print nothing."""

    note = table = text


class Operators(Traffic):
    """A fleet, and who repairs its runs."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self._interrupted: list[Wanted] = []
        self._at_work = self._forks = 0
        self._careful = False
        self._afterwards = ""
        super().__init__(*given, **named)

    def let_go(self) -> None:
        """Let all be purged that has ended, as the retention says."""
        self._repair(Wanted("purge", flow=self.choices.one_of((None, *STYLES))))

    def operate(self) -> None:
        """Let an operator repair what a filter finds; or another one what was interrupted."""
        if self._at_work > 1:
            return
        if self._interrupted and self.choices.chance(0.5):
            wanted = self._interrupted.pop()
        else:
            wanted = self._wanted()
        self._repair(wanted)

    def repeat_interrupted(self) -> None:
        """Ask again, undisturbed, for all that was interrupted."""
        self._careful = True
        while self._interrupted:
            wanted = self._interrupted.pop()
            request = self._repair(wanted)
            if wanted.deed in {"retry", "redrive", "terminate"} and wanted.run_id is None:
                assert request.done == request.asked, "I29 an interrupted repair cannot be repeated"
                once = all(request.effects[run_id] == 1 for run_id in request.asked)
                assert once, "I29 what is repeated is not done once"

    def repair_the_ended(self) -> None:
        """Retry what failed, undisturbed; or fork what ended at all, and perhaps purge it then."""
        if self._afterwards == "retry":
            self._repair(Wanted("retry"))
        elif self._afterwards:
            statuses = ("failed", "cancelled", "completed")
            at = "0" if self._afterwards == "fork" else "1"
            self._repair(Wanted("fork", statuses, at=at, limit=3))
        if self._afterwards == "purge":
            self._repair(Wanted("purge"))

    def meanwhile(self) -> None:
        """Let something else happen, or let the operator die."""
        if self._careful or not self.choices.chance(0.3):
            return
        if self.choices.chance(0.05):
            raise _Died
        sums = list(accumulate(weight for _, weight in self.menu))
        self.menu[self.choices.weighted(sums)][0]()

    def overtake(self, run_id: str) -> None:
        """Let a process take the run up."""
        if self._careful or not self.choices.chance(0.5):
            return
        invocation = self.choices.one_of(self.processes).invoke(run_id)
        self.live.append(invocation)
        for _ in range(1 + self.choices.below(6)):
            if invocation in self.live:
                self.advance(invocation)

    def loses_answer(self) -> bool:
        """Tell whether the answer to a commit is lost."""
        troubled = self.troubles.rate and not self._careful
        return bool(troubled and self.choices.chance(0.25))

    def cannot_note(self) -> bool:
        """Tell whether the audit cannot be written."""
        return not self._careful and self.choices.chance(self.troubles.rate / 2)

    # -- requests ----------------------------------------------------------------------------

    def _wanted(self) -> Wanted:
        draw = self.choices.one_of
        bad = any(run.status is Status.FAILED for run in self.memory._runs.values())
        deed = draw((*_DRAWN, *["retry"] * 12) if bad else _DRAWN)
        if deed == "fork":
            return self._fork_wanted()
        statuses = draw(((), (), ("failed", "cancelled"))) if deed in {"retry", "purge"} else ()
        flow, like = draw((None, None, *STYLES)), draw((None, None, None, "VALUEerror", "no such"))
        limit = draw((1000, 1000, 2))
        return Wanted(deed, statuses, flow, like, limit)

    def _fork_wanted(self) -> Wanted:
        draw = self.choices.one_of
        failed = [run_id for run_id in self.memory.watched if self._errors_of(run_id)]
        run_id = draw((*failed, *failed, *self.memory.watched))
        steps = self.memory.watched[run_id].past[-1].steps
        if not steps or draw((False, False, True)):
            at, statuses = draw(("0", "0", "1", "2")), ("failed", "cancelled", "completed")
            return Wanted("fork", draw(((), statuses)), draw((None, *STYLES)), limit=2, at=at)
        step = draw((steps[0], *(self._errors_of(run_id) or steps)))
        if step.outcome is StepOutcome.CANCELLED:
            # One cancel may be several records: between them no history is whole.
            step = next(each for each in steps if each.outcome is StepOutcome.CANCELLED)
        own = step.kind is StepKind.TOOL and step.tool.startswith("t.")
        edit = draw((None, (EDITED,))) if own else None
        return Wanted("fork", run_id=run_id, at=step.position, edit=edit)

    def _errors_of(self, run_id: str) -> list[StepRecord]:
        steps = self.memory.watched[run_id].past[-1].steps
        return [step for step in steps if step.outcome is StepOutcome.ERROR]

    def _repair(self, wanted: Wanted) -> Request:
        repairs = self.memory.repairs
        request = repairs.begin(wanted)
        channel = _DeskChannel(self.memory, self.troubles, "ops", None, self._zero)
        channel.operators, channel.request = self, request
        channel.tell = None if self.trace is None else self.say
        engine = self.stage.engine
        told = Outside(
            engine, channel, self.clock, lambda: repairs.drawn(request, self.stage.token())
        )
        self.counts["bulk repairs" if wanted.run_id is None else "repairs"] += 1
        self.say("ops", wanted.run_id or "", f"asks for: {wanted.deed}")
        self._at_work += 1
        try:
            session = cast("Any", _Session(_Desk(self, channel, told)))
            perform(session, self._deed(wanted), self._chosen(wanted, request))
            request.over()
        except (_Died, OSError):
            self.counts["repairs interrupted"] += 1
            self._interrupted.append(wanted)
        except SequentialError:
            # The search failed, or the only run was refused.
            if not wanted.run_id:
                assert len(request.asked) < 2, "I29 one that was refused stops the others"
        finally:
            self._at_work -= 1
        self.counts["repaired"] += len(request.done)
        return request

    def _deed(self, wanted: Wanted) -> Deed:
        if wanted.deed != "fork":
            return _DEEDS[wanted.deed]

        def fork(app: Sequential, run_id: str, _: str) -> tuple[str, dict[str, object]]:
            self._forks += 1
            if self._forks > _MOST:
                raise StorageRefused("simulated:", "there are enough")
            new_id = f"f{self._forks}"
            return app.fork(run_id, wanted.at, edit=wanted.edit, new_id=new_id), {}

        return Deed("fork", _FORKED, fork, wanted.edit is not None)

    def _chosen(self, wanted: Wanted, request: Request) -> Chosen:
        named = () if wanted.run_id is None else (wanted.run_id,)
        since = _EVER if wanted.run_id is None else None
        return Chosen(
            named, wanted.flow, wanted.statuses, (), since, None, wanted.error_like, wanted.limit,
            False, True, "ada", "it is mended", cast("Any", _Paper(self, request)),
        )  # fmt: skip

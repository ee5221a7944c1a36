"""One step, brought to its end or to where the run has to wait for it.

A generator of requests like the runner that it belongs to; what it comes to is recorded, or parked
with, by the runner. Several may be under way side by side, each for a strand of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from . import _typed
from ._attempts import Attempts, Settled, Waiting, read_message, settle_load
from ._child_runs import ChildRuns
from ._events import SignalDropped
from ._failure import brief, error_value
from ._holding import Holding
from ._model import Open, StepKind, StepOutcome
from ._obstacle import Obstacle
from ._player import Player
from ._ref import LoadStep
from ._replay import Asked, describe_asked, diff, without_input
from ._replies import refusal
from ._requests import Observe, Requests
from ._steps import ChildStep, ContinueStep, SignalStep, SleepStep, Step, ToolStep
from ._strands import Strand
from .errors import FlowChanged

_NULL = b"null"
_WITH_INPUT = (StepKind.TOOL, StepKind.CHILD)


class OutOfTime(NamedTuple):
    """This invocation should not begin the step.

    Attributes:
        reason: ``shutdown`` where its process is to stop, ``budget`` where its time is too short.
    """

    reason: str


class Settling:
    """Settles the steps of one run.

    Attributes:
        children: Its child runs.
    """

    def __init__(self, holding: Holding, player: Player) -> None:
        self.children = ChildRuns(holding, player)
        self._holding = holding
        self._player = player

    def settle(
        self, strand: Strand, left: Open | None = None
    ) -> Requests[Settled | Waiting | OutOfTime]:
        """Carry on the step that *strand* waits for, from *left* or what the record has open.

        *left* is what an earlier look at it came to, which may not have been committed yet.

        Raises:
            Obstacle: Another step was begun here, or the history is full.
            LeaseLost: Another invocation has the run.
        """
        holding, step, asked = self._holding, strand.step, strand.asked
        assert asked is not None
        stored = self.check(strand) if holding.run.open else None
        found = left or stored
        self.refuse_full()
        started = holding.world.now() if found is None else found.started
        if isinstance(step, ToolStep):
            return (yield from self._call(step, asked, found, started))
        if isinstance(step, SignalStep):
            return (yield from self._signal(step, asked.position, found, started))
        if isinstance(step, SleepStep):
            return self._sleep(step, found, started)
        if isinstance(step, ChildStep):
            return (yield from self._child(step, asked, started))
        return Settled(StepOutcome.VALUE, _NULL, started=started)

    def _call(
        self, step: ToolStep[Any], asked: Asked, found: Open | None, started: float
    ) -> Requests[Settled | Waiting | OutOfTime]:
        if isinstance(step, LoadStep):
            if not self._has_time(None):
                return self._out_of_time()
            return (yield from settle_load(self._holding, step, started))
        attempts = Attempts(self._holding, step, asked)
        if not self._has_time(attempts.options.timeout):
            return self._out_of_time()
        return (yield from attempts.settle(found, started))

    def _child(
        self, step: ChildStep[Any], asked: Asked, started: float
    ) -> Requests[Settled | Waiting | OutOfTime]:
        if self.children.needs_time(step, asked) and not self._has_time(None):
            return self._out_of_time()
        return (yield from self.children.settle(step, asked, started))

    def resting(self, waiting: Mapping[str, Strand]) -> Mapping[str, Waiting]:
        """Return what of *waiting* waits for children as it did when the run was parked."""
        return self.children.resting(waiting)

    def check(self, strand: Strand) -> Open | None:
        """Return what is open where *strand* waits.

        Raises:
            Obstacle: It is another step than the one that is asked for.
        """
        asked = strand.asked
        assert asked is not None
        found = self._holding.run.open.get(asked.position)
        if found is not None:
            self._refuse_other(strand.step, asked, found)
        return found

    def refuse_left(self) -> None:
        """Refuse to go on where something is open that the flow does not ask for, or not so.

        Before anything is begun or recorded: code that disagrees with one branch has no say in
        the others either.

        Raises:
            Obstacle: There is.
        """
        strands = self._player.strands
        assert strands is not None
        for position, found in self._holding.run.open.items():
            if position in strands.waiting:
                self.check(strands.waiting[position])
            elif position not in strands.dropped:
                self._refuse(position, found, None)

    def refuse_full(self) -> None:
        """Refuse to go on with a history that may not grow.

        Raises:
            Obstacle: It has as many steps as it may have here.
        """
        most = self._holding.engine.max_steps
        if self._holding.run.cursor >= most:
            message = f"{most} steps are the most that a run may have here"
            raise Obstacle("history-full", f"{message}; use continue_as_new, and fork this one")

    def _refuse_other(self, step: Step[Any] | None, asked: Asked, found: Open) -> None:
        """Refuse a step other than the one that was begun here and is not recorded yet."""
        check = self._holding.engine.check
        was = found.name if found.kind is StepKind.SIGNAL else found.tool
        same = found.kind is asked.kind and (check == "off" or was == asked.tool)
        if check == "inputs" and asked.kind in _WITH_INPUT and found.fingerprint:
            payloads = self._holding.engine.payloads
            digest = payloads.fingerprint(asked.input or b"", found.fingerprint)
            same = same and found.fingerprint == digest
        if not same or isinstance(step, ContinueStep):
            self._refuse(asked.position, found, asked)

    def _refuse(self, position: str, found: Open, asked: Asked | None) -> NoReturn:
        """Say that *found* was begun at *position*, and that the code asks for *asked*."""
        was = found.name if found.kind is StepKind.SIGNAL else found.tool
        begun = describe_asked(Asked("", found.kind, was)) + " (begun)"
        if self._holding.engine.payloads.applied:
            asked = without_input(asked)
        run_id, now = self._holding.run.run_id, describe_asked(asked)
        error = FlowChanged(run_id, position, begun, now)
        raise Obstacle("changed", str(error), diff(position, begun, now))

    def _signal(
        self, step: SignalStep[Any], position: str, found: Open | None, started: float
    ) -> Requests[Settled | Waiting]:
        taken: tuple[str, ...] = ()
        refused = "" if found is None else found.error
        for message in self._holding.named(step.name):
            data = yield from read_message(self._holding, message)
            unfit = refusal(step, data)
            if unfit is not None and self._fits_another(step.name, data):
                continue
            taken = (*taken, message.id)
            if unfit is None:
                return Settled(StepOutcome.VALUE, data, consumed=taken, started=started)
            # Kept with the wait: whoever looks after the run must see why it still waits.
            refused = brief(error_value(unfit), sealed=self._holding.engine.payloads.sealing)
            yield Observe(SignalDropped(self._holding.run, position, step.name, message.id))
        due = None if step.timeout is None else started + step.timeout
        due = due if found is None else found.due
        if due is not None and due <= self._holding.world.now():
            return Settled(StepOutcome.TIMEOUT, _NULL, consumed=taken, started=started)
        # Told anew each time: a deploy may have changed what the wait takes.
        opened = Open(
            StepKind.SIGNAL, name=step.name, due=due, schema=_expected(step), error=refused,
            started=started,
        )  # fmt: skip
        return Waiting(opened, "signal", taken)

    def _fits_another(self, name: str, data: bytes) -> bool:
        """Tell whether a wait of the same name takes what one was sent in another form."""
        waits = [strand.step for strand in self._player.waiting.values()]
        return any(
            refusal(each, data) is None
            for each in waits
            if isinstance(each, SignalStep) and each.name == name
        )

    def _sleep(self, step: SleepStep, found: Open | None, started: float) -> Settled | Waiting:
        due = step.until if step.until is not None else started + (step.seconds or 0.0)
        # The deadline that was stored first counts: an early wake must not prolong the sleep.
        due = due if found is None or found.due is None else found.due
        if due <= self._holding.world.now():
            return Settled(StepOutcome.VALUE, _NULL, started=started)
        return Waiting(Open(StepKind.SLEEP, due=due, started=started), "sleep")

    def _has_time(self, timeout: float | None) -> bool:
        """Tell whether this invocation may start a tool call that can take *timeout* seconds."""
        world = self._holding.world
        left = world.left()
        enough = left > 0 and (timeout is None or timeout <= left or not self._holding.gained)
        return enough and not world.stopping()

    def _out_of_time(self) -> OutOfTime:
        return OutOfTime("shutdown" if self._holding.world.stopping() else "budget")


def _expected(step: SignalStep[Any]) -> str:
    """Return the JSON schema of the signal that *step* waits for; empty if none is told."""
    return _typed.shape_of(step.annotation, where=f"signal {step.name!r}").schema()

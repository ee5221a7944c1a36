"""Runs kept by a store of five methods: get, set, delete, get_result and set_result.

Plays a flow over the saved results, makes one new step, saves it and pauses. Steps, errors and
values mean what they mean everywhere, since `_player` and `_attempts` do the work; claims, leases
and fences are out of reach of five methods. Who resumes a run is not known here.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Generator
from typing import Any, NamedTuple

from . import _codec
from ._attempts import Attempts, Settled, settle_load
from ._calls import Pending
from ._clock import Clock
from ._drive import KnownTime, Surroundings
from ._failure import error_value
from ._flow import Flow
from ._holding import Holding
from ._letters import Letters
from ._model import Open, Payload, Run, Status, StepKind, StepOutcome, StepRecord, evolve
from ._obstacle import Obstacle
from ._own_store import MISSING, MOST_STEPS, State, Store, from_saved, to_save
from ._pause import PausePolicy
from ._payload import Payloads
from ._player import Over, Player
from ._plugins import Plugins
from ._protocol import Terms
from ._ref import LoadStep
from ._referring import loaded
from ._registry import Registry
from ._replay import Asked
from ._requests import Commit, Engine, Perform, Performed, Wait
from ._steps import SaveStep, ToolStep
from .errors import (
    ConfigError,
    FlowChanged,
    NotDecodable,
    NotEncodable,
    RecordCorrupt,
    Rejected,
    RunBlocked,
    RunTaken,
)

_log = logging.getLogger("sequential")

_LONG = 1e9
"""Seconds: without leases nothing keeps a retry from being waited for in place."""

_REMEDY = "use a full storage, such as Sequential('sqlite:///flows.db')"


class Paused(dict[str, Any]):
    """The run goes on in another invocation; equals ``{"paused": run_id, "step": step}``.

    A dict, so that it can be the JSON body of an answer. No result of a flow is of this class, also
    one that looks like it.

    Attributes:
        run_id: The run.
        step: Number, from 0, of the step just saved.
    """

    def __init__(self, run_id: str, step: int) -> None:
        super().__init__(paused=run_id, step=step)
        self.run_id = run_id
        self.step = step


class Turned(NamedTuple):
    """What an invocation came to: a `Paused` or the flow's result; *resume* asks for the next."""

    answer: object
    resume: bool


class FiveMethods:
    """Carries runs on over a `Store`; *keep* says that outcomes stay there."""

    def __init__(
        self, store: Store, plugins: Plugins, registry: Registry, clock: Clock, *, keep: bool
    ) -> None:
        self.store = store
        self.keep = keep
        self.clock = clock
        self.plugins = plugins
        # Nothing is claimed, so nothing may be waited for elsewhere: one deployment, no budget.
        self.engine = Engine(
            registry, Payloads(), Terms(lease=_LONG), PausePolicy(), "off", "", MOST_STEPS, False
        )

    def flow_of(self, run_id: str) -> str | None:
        """Return the name of the run's flow; None if there is no such run.

        Raises:
            ConfigError: The store keeps neither name nor input.
        """
        state = self.store.get(run_id)
        if state is None:
            return None
        if state.flow is None or state.input is None:
            remedy = "its get does not hand back 'flow' and 'input'; give both to execute instead"
            raise ConfigError("storage", self.store, remedy)
        return state.flow

    def carry(self, flow: Flow[..., Any], run_id: str, given: object) -> Turned:
        """Make one invocation: at most one new step.

        Raises:
            RunTaken: The run is of another flow, or was given another input.
            SequentialError: The store's record, the code or the input cannot be used.
            Exception: What the flow raised, or the store.
        """
        state = self.store.get(run_id)
        data = _input(flow, run_id, state, given)
        if state is not None and state.result is not None:
            return Turned(_read(flow, state.result), False)
        return _Turn(self, flow, run_id, state, data).carry()


def _input(flow: Flow[..., Any], run_id: str, state: State | None, given: object) -> bytes:
    """Return the input as typed JSON; refuse one that is not the stored one."""
    stored = None if state is None else state.input
    if state is not None and state.flow not in (None, flow.name):
        raise RunTaken(run_id, f"flow {state.flow!r}")
    if given is None:
        return b"{}" if stored is None else stored
    data = _codec.encode_canonical(given)
    if stored is not None and _codec.encode_canonical(_codec.decode(stored)) != data:
        raise RunTaken(run_id, "another input")
    return _codec.encode(given)


def _read(flow: Flow[..., Any], data: bytes) -> object:
    value = _codec.decode(data)
    return value if flow.result is None else flow.result.read(value)


class _Turn:
    """One invocation of one run."""

    def __init__(
        self,
        runs: FiveMethods,
        flow: Flow[..., Any],
        run_id: str,
        state: State | None,
        given: bytes,
    ) -> None:
        self.runs, self.flow, self.given = runs, flow, given
        self.stood = None if state is None else state.step
        self.number = 0
        saved = self.saved = self.stood or 0
        # Times are not stored; not-a-number makes det.now() fail instead of being wrong.
        self.run = Run(
            run_id,
            flow.name,
            Payload(given),
            flow.version,
            status=Status.RUNNING,
            cursor=saved,
            open={str(number): Open(StepKind.SAVE) for number in range(saved)},
            created=math.nan,
        )
        self.player = Player(runs.engine, flow, ())

    def carry(self) -> Turned:
        """Replay what is saved, then make one step or finish."""
        try:
            over = self._play()
            while over is None:
                if self.number >= self.saved:
                    return self._new()
                self.player.ready.append(self._record(self._replayed()))
                over = self._play()
                self.number += 1
            return self._finish(over)
        finally:
            self.player.discard()

    def _play(self) -> Over | None:
        run_id = self.run.run_id
        try:
            over: Over | None = self._answered(self.player.play(self.run))
        except Obstacle as obstacle:
            cause = obstacle.__cause__
            if isinstance(cause, NotDecodable):
                raise RecordCorrupt(run_id, f"at step {self.number}: {cause}") from cause
            raise (cause or RunBlocked(run_id, obstacle.message)) from None
        return over

    def _replayed(self) -> Settled:
        run_id, number, step = self.run.run_id, self.number, self._step()
        if isinstance(step, SaveStep):
            return Settled(StepOutcome.VALUE, b"null")
        saved = self.runs.store.result(run_id, number)
        if saved is MISSING:
            reason = f"step {number} is done by its 'step', but get_result has no result for it"
            raise RecordCorrupt(run_id, f"{reason}; restore the result, or delete the run")
        return from_saved(run_id, number, saved)

    def _step(self) -> ToolStep[Any] | SaveStep:
        alone = self.player.alone
        step = None if alone is None else alone.step
        if isinstance(step, ToolStep | SaveStep):
            return step
        what = "branches side by side" if step is None else repr(step)
        remedy = f"five methods cannot keep {what} (step {self.number}); {_REMEDY}"
        raise ConfigError("storage", self.runs.store, remedy)

    def _asked(self) -> Asked:
        alone = self.player.alone
        assert alone is not None
        assert alone.asked is not None
        return alone.asked

    def _record(self, settled: Settled) -> StepRecord:
        asked, nan = self._asked(), math.nan
        return StepRecord(
            0, self.number, asked.position, asked.kind, asked.tool, asked.fingerprint,
            settled.outcome, Payload(settled.data), None, settled.attempts, nan, nan, 0, "",
        )  # fmt: skip

    def _new(self) -> Turned:
        """Make the step that the flow waits for, and save it."""
        run_id, number, store = self.run.run_id, self.number, self.runs.store
        step = self._step()
        result = MISSING
        # A process that died between set_result and set has left the result, and the call must not
        # be made again.
        if isinstance(step, ToolStep) and store.result(run_id, number) is MISSING:
            result = to_save(self._called(step), step)
        now = store.get(run_id)
        if (None if now is None else now.step) != self.stood:
            # Another invocation was faster. What it saved stands; it has also asked to be resumed.
            _log.warning("run %s: another invocation has saved step %d", run_id, number)
            return Turned(Paused(run_id, number if now is None else max(now.step - 1, 0)), False)
        if result is not MISSING:
            store.set_result(run_id, number, result)
        store.set(run_id, number + 1, self.flow.name, self.given)
        return Turned(Paused(run_id, number), True)

    def _called(self, step: ToolStep[Any]) -> Settled:
        runs, clock = self.runs, self.runs.clock
        world = Surroundings(KnownTime(clock), clock, math.inf, lambda: False, Letters())
        holding = Holding(runs.engine, world, self.run)
        if isinstance(step, LoadStep):
            # Nothing is kept apart here: whatever a flow can load it holds.
            found: Settled = self._answered(settle_load(holding, step, clock.now()))
            return found
        attempts = Attempts(holding, step, self._asked())
        if attempts.options.mode == "at-most-once":
            remedy = f"five methods cannot announce an at-most-once call of {step!r}; {_REMEDY}"
            raise ConfigError("storage", runs.store, remedy)
        settled: Settled = self._answered(attempts.settle(None, clock.now()))
        return settled

    def _finish(self, over: Over) -> Turned:
        run_id, store, name = self.run.run_id, self.runs.store, self.flow.name
        if self.number < self.saved:
            end = "the end of the flow" if over.error is None else f"an error ({over.error!r})"
            raise FlowChanged(run_id, str(self.number), "a step", end) from over.error
        if over.error is not None:
            self._note(over.error)
            raise over.error
        try:
            data = _codec.encode(over.result)
        except NotEncodable as error:
            self._note(error)
            raise
        if self.runs.keep:
            done = {"status": Status.COMPLETED.value, "result": json.loads(data)}
            store.set(run_id, self.saved, name, self.given, **done)
        else:
            store.delete(run_id)
        return Turned(_read(self.flow, data), False)

    def _note(self, error: BaseException) -> None:
        """Keep for people that the flow raised. It is no end: mended code may go on."""
        if not self.runs.keep:
            return
        said = error_value(error)
        failed = {"status": "failed", "error": {"type": said.type, "message": said.message}}
        try:
            self.runs.store.set(self.run.run_id, self.saved, self.flow.name, self.given, **failed)
        except Exception:  # noqa: BLE001  (the flow's own error is the one to raise)
            _log.exception("run %s: its error could not be stored", self.run.run_id)

    # -- answering what `_attempts` asks -----------------------------------------------------

    def _answered(self, requests: Generator[Any, Any, Any]) -> Any:
        answer: object = None
        while True:
            try:
                request = requests.send(answer)
            except StopIteration as stop:
                return stop.value
            if isinstance(request, Perform):
                answer = self._perform(request)
            elif isinstance(request, Commit):
                # The state between two attempts has no place in five methods.
                answer = evolve(request.run, version=request.expect.version + 1)
            else:
                assert isinstance(request, Wait)
                answer = self.runs.clock.wait(request.seconds) and None

    def _perform(self, request: Perform) -> Performed:
        engine, hold = self.runs.engine, request.call.context.hold
        # Held by the Ref, it is read without a request.
        hold.load = lambda ref: self._answered(loaded(engine, ref))
        try:
            result = self.runs.plugins.call_tool(request.call)
        except MemoryError:
            raise
        except Exception as raised:  # noqa: BLE001  (a tool may raise anything; it is recorded)
            return Performed(None, raised, request.run)
        if isinstance(result, Pending):
            later = Rejected(
                f"an answer that comes later needs signals; {_REMEDY}", retryable=False
            )
            return Performed(None, later, request.run)
        return Performed(result, None, request.run)

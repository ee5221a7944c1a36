"""A tool call, from the first attempt to its record: retries, intents, answers that come later.

Like the runner it belongs to, it is a generator of requests. It returns how the step ended, as
`Settled`, or that the run has to wait, as `Waiting`; recording and parking are the runner's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from . import _codec
from ._calls import Hold, Pending, ToolCall, ToolContext, ToolResult, idempotency_key
from ._events import AttemptFinished
from ._expected import misfit
from ._failure import brief, error_json, error_value
from ._holding import Holding
from ._model import Message, Open, Run, StepKind, StepOutcome
from ._payload import Place
from ._protocol import Gain, keep
from ._ref import LoadStep
from ._referring import encoded
from ._replay import Asked
from ._requests import Fetch, Observe, Perform, Performed, Requests, Wait
from ._steps import ToolStep
from ._tools import DEFAULT_OPTIONS, ToolOptions
from .errors import (
    FlowError,
    LeaseLost,
    NotEncodable,
    RefGone,
    StepTimedOut,
    ToolNotFound,
    ValuesError,
)

_INTERRUPTED = "StepInterrupted"


class Settled(NamedTuple):
    """How a step ended: *data* is the encoded value, or the error as JSON.

    *consumed* are the ids of the messages that it took, *started* is when it was first asked for.
    """

    outcome: StepOutcome
    data: bytes
    attempts: int = 1
    consumed: tuple[str, ...] = ()
    started: float = 0.0


class Waiting(NamedTuple):
    """The run has to wait: *open* says for what, *reason* names it for people."""

    open: Open
    reason: str
    consumed: tuple[str, ...] = ()


class Attempts:
    """The attempts of one tool call at one position."""

    def __init__(self, holding: Holding, step: ToolStep[object], asked: Asked) -> None:
        self.holding = holding
        self.asked = asked
        self.category, self.name = step.category, step.name
        self.input = step.input
        self._started = 0.0
        tool = holding.engine.registry.tools.get((step.category, step.name))
        self.options: ToolOptions = DEFAULT_OPTIONS if tool is None else tool.options
        self._result = None if tool is None else tool.result

    def settle(self, found: Open | None, started: float) -> Requests[Settled | Waiting]:
        """Carry the call on from *found*, what the record has open for it, or anew."""
        self._started = started
        state, holding = found or self._fresh(started), self.holding
        while not (state.intent or state.name):
            rest = self._rest(state.due)
            if rest is None:
                return Waiting(state, "retry")
            if rest > 0:
                yield Wait(rest, apart=True)
            if self.options.mode == "at-most-once":
                yield from self._announce(state)
            begun = holding.world.now()
            done: Performed = yield Perform(self._call(state), holding.beside(holding.run))
            self._go_on_with(done)
            if holding.engine.observed:
                yield Observe(self._event(state, done, begun))
            ended = self._ended(done, state)
            if not isinstance(ended, Open):
                return ended
            state = ended
            if not state.name:
                yield from self._note(state)
        # Also when it was asked just now: the answer may have come before the tool said so.
        return (yield from self._left(state))

    def _settled(
        self, outcome: StepOutcome, data: bytes, attempts: int, consumed: tuple[str, ...] = ()
    ) -> Settled:
        return Settled(outcome, data, attempts, consumed, self._started)

    def _fresh(self, started: float) -> Open:
        asked = self.asked
        return Open(StepKind.TOOL, asked.tool, started=started, fingerprint=asked.fingerprint)

    # -- attempts ----------------------------------------------------------------------------

    def _go_on_with(self, done: Performed) -> None:
        # The record may have moved on meanwhile: renewals of its lease are commits too, and so are
        # the records of other branches.
        if done.run.version > self.holding.run.version:
            self.holding.run = done.run
        if done.lost:
            raise LeaseLost(done.run.run_id)

    def _call(self, state: Open) -> ToolCall:
        deployment = self.holding.engine.deployment
        context = ToolContext(
            self.holding.run, self.asked.position, state.attempt, state.epoch, deployment, Hold()
        )
        # The tool gets a copy, as it would after a crash: what it does to it stays with it.
        whole = self.asked.input if not self.options.ignore else None
        given = _codec.decode(_codec.encode(self.input) if whole is None else whole)
        return ToolCall(self.category, self.name, given, self.options.timeout, context)

    def _event(self, state: Open, done: Performed, started: float) -> AttemptFinished:
        return AttemptFinished(
            self.holding.run,
            self.asked.position,
            self.asked.tool,
            state.attempt,
            started,
            self.holding.world.now(),
            self._error_name(done),
            isinstance(done.result, Pending),
            self.options.retry.max_attempts,
            state.due,
            0.0 if state.due is None else self._delay(state._replace(attempt=state.attempt - 1)),
        )

    def _error_name(self, done: Performed) -> str | None:
        if done.error is not None:
            return type(done.error).__name__
        return "ToolNotFound" if done.result is None else None

    def _ended(self, done: Performed, state: Open) -> Settled | Open:
        """Return how the attempt ended the step, or the state in which it goes on."""
        if isinstance(done.result, ToolResult):
            return self._value(done.result.value, state.attempt)
        if isinstance(done.result, Pending):
            return self._pending(done.result, state)
        if done.error is None:
            known = self.holding.engine.registry.tool_names()
            raise ToolNotFound(self.category, self.name, known)
        return self._failed(done.error, state)

    def _value(self, value: object, attempts: int) -> Settled:
        try:
            return self._settled(StepOutcome.VALUE, _codec.encode(value), attempts)
        except NotEncodable as error:
            # Recorded, not raised again and again: running the tool once more would not help.
            named = error_value(error)
            stored = named._replace(type="ResultNotEncodable", retryable=False)
            return self._settled(StepOutcome.ERROR, error_json(stored), attempts)

    def _failed(self, error: Exception, state: Open) -> Settled | Open:
        retry = self.options.retry
        stored = error_value(error)
        once = self.options.mode == "at-most-once" and not retry.is_definite(error)
        hopeless = isinstance(error, FlowError) or once
        if hopeless or not retry.allows(error, state.attempt):
            return self._settled(StepOutcome.ERROR, error_json(stored), state.attempt)
        return state._replace(
            attempt=state.attempt + 1,
            epoch=state.epoch + 1 if retry.is_definite(error) else state.epoch,
            intent=False,
            due=self.holding.world.now() + self._delay(state),
            error=brief(stored, sealed=self.holding.engine.payloads.sealing),
        )

    def _delay(self, state: Open) -> float:
        """Return the seconds between the attempt of *state*, which failed, and the next."""
        return self.options.retry.delay(state.attempt, self._draw(state))

    def _draw(self, state: Open) -> float:
        # Full jitter without a source of randomness: spread over runs, the same on every try.
        run = self.holding.run
        seed = f"{run.run_id}:{run.generation}:{self.asked.position}:{state.attempt}"
        return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:6]) / 2.0**48

    def _announce(self, state: Open) -> Requests[None]:
        """Commit that an attempt is about to start: whoever finds that must not start it."""
        position, mark = self.asked.position, self.holding.world.token()
        opened = state._replace(intent=True, due=None, name=mark)
        terms, now = self.holding.engine.terms, self.holding.world.now()

        def announced(run: Run) -> Run:
            found = run.open.get(position)
            if found is not None and found.intent and found.name != mark:
                # A clone of this process, with the same claim, was faster.
                raise LeaseLost(run.run_id)
            return keep(run, Gain(open={**run.open, position: opened}), now, terms)

        yield from self.holding.commit(announced)

    def _note(self, state: Open) -> Requests[None]:
        position = self.asked.position
        terms, now = self.holding.engine.terms, self.holding.world.now()

        def noted(run: Run) -> Run:
            return keep(run, Gain(open={**run.open, position: state}), now, terms)

        yield from self.holding.commit(noted)

    def _rest(self, due: float | None) -> float | None:
        """Return the seconds to wait in place before the next attempt; None to park instead."""
        world, lease = self.holding.world, self.holding.engine.terms.lease
        wait = 0.0 if due is None else due - world.now()
        if wait <= 0:
            return 0.0
        return None if wait > min(lease / 3, world.left()) or world.stopping() else wait

    # -- answers that are not attempts -------------------------------------------------------

    def _left(self, state: Open) -> Requests[Settled | Waiting]:
        """Settle what an earlier invocation left: an announced attempt, or a pending answer."""
        if state.intent:
            return self._interrupted(state)
        taken: tuple[str, ...] = ()
        for message in self.holding.named(state.name):
            taken = (*taken, message.id)
            data = yield from read_message(self.holding, message)
            unfit = self._unfit(state, data)
            if not unfit:
                return self._settled(StepOutcome.VALUE, data, state.attempt, taken)
            # It came before anybody could tell; kept with the wait, for whoever looks after it.
            state = state._replace(error=unfit)
        if state.due is not None and state.due <= self.holding.world.now():
            late = StepTimedOut(self.asked.tool, max(0.0, state.due - state.started))
            data = error_json(error_value(late))
            return self._settled(StepOutcome.ERROR, data, state.attempt, taken)
        return Waiting(state, "pending", taken)

    def _unfit(self, state: Open, data: bytes) -> str:
        """Return why *data* cannot be what the tool returns; empty if it can, as far as is known.

        Recorded it would block the run: the flow could never read it.
        """
        value = _codec.decode(data)
        if self._result is None:
            found = misfit(state.schema, value)
            return "" if found is None else f"{found.path}: {found.reason}"
        try:
            self._result.read(value)
        except ValuesError as error:
            return brief(error_value(error), sealed=self.holding.engine.payloads.sealing)
        return ""

    def _interrupted(self, state: Open) -> Settled:
        error = {
            "type": _INTERRUPTED,
            "message": "the process was lost after this at-most-once call was announced;"
            " whether it ran is not known, and it is not run again",
            "data": None,
            "retryable": False,
        }
        return self._settled(StepOutcome.ERROR, _codec.encode(error), state.attempt)

    def _pending(self, pending: Pending, state: Open) -> Open:
        run = self.holding.run
        name = pending.name or idempotency_key(
            self.holding.engine.deployment,
            run.run_id,
            run.generation,
            self.asked.position,
            state.epoch,
        )
        limit = pending.timeout
        due = None if limit is None else self.holding.world.now() + limit
        schema = "" if self._result is None else self._result.schema()
        return state._replace(name=name, due=due, intent=False, schema=schema)


def settle_load(holding: Holding, step: LoadStep[object], started: float) -> Requests[Settled]:
    """Return the value that the flow wants to load, or that it is gone.

    Raises:
        ValuesError: It is damaged, or cannot be opened here.
        StorageError: It could not be fetched.
    """
    try:
        data = yield from encoded(holding.engine, step.ref)
    except RefGone as error:
        gone = error_json(error_value(error))
        return Settled(StepOutcome.ERROR, gone, started=started)
    return Settled(StepOutcome.VALUE, data, started=started)


def first_message(holding: Holding, name: str) -> Message | None:
    """Return the oldest message *name* in the inbox, or None."""
    return holding.first(name)


def read_message(holding: Holding, message: Message) -> Requests[bytes]:
    """Return the encoded value of *message*."""
    run, payload = holding.run, message.value
    if payload.ref is not None:
        payload = payload._replace(data=(yield Fetch(run.run_id, payload.ref)))
    place = Place(run.run_id, 0, f"message:{message.id}")
    return holding.engine.payloads.unwrap(payload, place)


def compared_input(step: ToolStep[object], options: ToolOptions) -> object:
    """Return the part of the input that a replay compares."""
    given = step.input
    if options.ignore and isinstance(given, Mapping):
        return {name: value for name, value in given.items() if name not in options.ignore}
    return given


__all__ = [
    "Attempts",
    "Settled",
    "Waiting",
    "compared_input",
    "first_message",
    "read_message",
    "settle_load",
]

"""Holds today's code against a stored history, without running a tool and without writing.

The flow is played over its records by the same `Player` as in an invocation; afterwards it must
stand where the record says. What is done about a disagreement is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import _codec
from ._model import Payload, Run, Status, StepKind, StepOutcome, StepRecord
from ._obstacle import Obstacle
from ._payload import result_place
from ._player import Over, Player
from ._referring import as_kept
from ._replay import Asked, describe_asked, diff, without_input
from ._replies import refusal
from ._requests import Engine, Fetch, Requests
from ._run_id import check_run_id
from ._steps import ContinueStep, SignalStep
from ._storage import Storage
from .errors import (
    FlowNotFound,
    NotEncodable,
    RunCancelled,
    RunMissing,
    RunStatusWrong,
    StorageError,
    ValuesError,
)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay came to.

    Attributes:
        run_id: The run.
        flow: Its flow.
        steps: How many records it has.
        agrees: Whether today's code could carry it on, comes to its stored end, or leaves it to
            code of another version.
        reason: One word for machines: ``changed``, ``result``, ``input``, … when it does not agree,
            ``version`` when it is left to others, else empty.
        message: The sentence for people.
        diff: Recorded against asked; may be empty.
    """

    run_id: str
    flow: str
    steps: int
    agrees: bool = True
    reason: str = ""
    message: str = ""
    diff: str = ""


Fetched = Callable[[str, str], bytes]
"""Gives the bytes that are kept for a run, by its id and their digest."""


def replay(engine: Engine, storage: Storage, run_id: str) -> Replayed:
    """Play today's code of the run's flow over its stored steps; return whether they agree.

    Runs no tool and writes nothing. Code of the flow between its steps does run.

    Raises:
        RunMissing: There is no such run.
        RunStatusWrong: It was purged.
        FlowNotFound: The flow is not registered here.
        StorageError: The history could not be read.
    """
    loaded = storage.load(check_run_id(run_id))
    if loaded is None:
        raise RunMissing(run_id)
    run = loaded.run
    if run.status is Status.PURGED:
        raise RunStatusWrong(run_id, run.status, "replay", "a run whose history is kept")
    return hold_against(engine, loaded.run, loaded.steps, storage.get_value)


def hold_against(
    engine: Engine, run: Run, steps: Sequence[StepRecord], fetched: Fetched
) -> Replayed:
    """Play today's code of the flow of *run* over *steps*, wherever they come from.

    Raises:
        FlowNotFound: The flow is not registered here.
        StorageError: A large value could not be read.
    """
    flow = engine.registry.flows.get(run.flow)
    if flow is None:
        raise FlowNotFound(run.flow, engine.registry.flows)
    if not flow.carries(run.flow_version):
        left = f"left to code of version {run.flow_version!r}"
        return Replayed(run.run_id, run.flow, len(steps), True, "version", left)
    player = Player(engine, flow, steps, quiet=True)
    try:
        _refuse_gap(run, steps)
        over = _answered(player.play(run), fetched)
        _refuse_other_end(fetched, run, steps, player, over)
    except Obstacle as found:
        return Replayed(
            run.run_id, run.flow, len(steps), False, found.reason, found.message, found.diff
        )
    except ValuesError as found:
        return Replayed(run.run_id, run.flow, len(steps), False, "corrupt", str(found))
    finally:
        player.discard()
    return Replayed(run.run_id, run.flow, len(steps))


def takes_signal(
    engine: Engine, run: Run, steps: Sequence[StepRecord], fetched: Fetched, sent: tuple[str, bytes]
) -> bool:
    """Tell whether today's code of *run* waits for a signal that *sent*, name and value, fits.

    The record may still tell what the code of an earlier deploy waited for.
    """
    flow = engine.registry.flows.get(run.flow)
    if flow is None:
        return False
    player = Player(engine, flow, steps, quiet=True)
    name, data = sent
    try:
        if _answered(player.play(run), fetched) is not None:
            return False
        asked = [strand.step for strand in player.waiting.values()]
        waits = [step for step in asked if isinstance(step, SignalStep) and step.name == name]
        return any(refusal(step, data) is None for step in waits)
    except (Obstacle, ValuesError):
        return False
    finally:
        player.discard()


def _answered(requests: Requests[Over | None], fetched: Fetched) -> Over | None:
    data: bytes | None = None
    while True:
        try:
            request = requests.send(data)
        except StopIteration as stop:
            over: Over | None = stop.value
            return over
        assert isinstance(request, Fetch), "a player only asks for large values"
        data = fetched(request.run_id, request.digest)


def _refuse_gap(run: Run, steps: Sequence[StepRecord]) -> None:
    numbers = [record.number for record in steps]
    if len(numbers) != run.cursor or numbers != list(range(len(numbers))):
        message = f"{len(numbers)} of {run.cursor} step records are there"
        raise Obstacle("corrupt", message)


def _refuse_other_end(
    fetched: Fetched, run: Run, steps: Sequence[StepRecord], player: Player, over: Over | None
) -> None:
    """Raise `Obstacle` unless the flow stands where the record says."""
    if run.status is Status.COMPLETED:
        _refuse_other_result(fetched, run, player, over)
    elif run.status is Status.FAILED:
        _refuse_other_error(run, player, over)
    elif run.status is Status.CANCELLED:
        _refuse_other_cancel(run, steps, player, over)
    else:
        _refuse_other_step(run, player, over)


def _refuse_other_step(run: Run, player: Player, over: Over | None) -> None:
    """A run that goes on must ask for what is open, unless it is needed no more."""
    dropped = {} if player.strands is None else player.strands.dropped
    for position, found in run.open.items():
        strand = player.waiting.get(position)
        asked = None if strand is None else strand.asked
        was = found.name if found.kind is StepKind.SIGNAL else found.tool
        same = asked is not None and found.kind is asked.kind and was == asked.tool
        ends = over is not None or (strand is not None and isinstance(strand.step, ContinueStep))
        if ends or not (same or position in dropped):
            recorded = describe_asked(Asked("", found.kind, was)) + " (begun)"
            raise _other(run, recorded, _stands(player, over, position))


def _refuse_other_result(fetched: Fetched, run: Run, player: Player, over: Over | None) -> None:
    if over is None or over.error is not None:
        raise _other(run, "the flow returned", _stands(player, over))
    kept = _stored_result(player.engine, fetched, run)
    stored = _canonical(kept)
    try:
        now = _canonical(as_kept(over.result, kept))
    except NotEncodable as error:
        raise _other(run, "the flow returned", f"a result that is refused: {error}") from error
    if stored != now and run.result is not None and run.result.codecs:
        raise _other(run, "a result that is not shown", "another", "result")
    if stored != now:
        raise _other(run, f"result {_cut(stored)}", f"result {_cut(now)}", "result")


def _refuse_other_error(run: Run, player: Player, over: Over | None) -> None:
    if run.error is None:
        raise Obstacle("corrupt", "it has failed and has no error")
    recorded = f"the flow raised {run.error.type}"
    error = None if over is None else over.error
    if over is not None and error is None:
        try:
            _codec.encode(over.result)
        except NotEncodable as refused:
            error = refused
    # Only the class: messages may hold addresses and times.
    if error is None or type(error).__name__ != run.error.type:
        raise _other(run, recorded, _stands(player, over))


def _refuse_other_cancel(
    run: Run, steps: Sequence[StepRecord], player: Player, over: Over | None
) -> None:
    """A terminated run may stand anywhere; one that was told must have ended by it."""
    told = any(record.outcome is StepOutcome.CANCELLED for record in steps)
    if told and (over is None or not isinstance(over.error, RunCancelled)):
        raise _other(run, "the flow ended as cancelled", _stands(player, over))


def _stored_result(engine: Engine, fetched: Fetched, run: Run) -> object:
    if run.result is None:
        raise Obstacle("corrupt", "it is completed and has no result")
    payload, data = run.result, run.result.data
    try:
        if payload.ref is not None:
            data = fetched(run.run_id, payload.ref)
        whole = Payload(data, payload.codecs, None, payload.size)
        return _codec.decode(engine.payloads.unwrap(whole, result_place(run)))
    except (ValuesError, StorageError) as error:
        raise Obstacle("corrupt", str(error)) from error


def _canonical(value: object) -> bytes:
    return _codec.encode_canonical(value)


def _stands(player: Player, over: Over | None, position: str = "") -> str:
    """Return in words where the flow stands, if it waits for several steps at *position*."""
    if over is None:
        first = next(iter(player.waiting.values()), None)
        strand = player.waiting.get(position, first)
        if strand is None or isinstance(strand.step, ContinueStep):
            return "continue as new"
        sealed = player.engine.payloads.applied
        return describe_asked(without_input(strand.asked) if sealed else strand.asked)
    if over.error is None:
        return "the end of the flow"
    return f"{type(over.error).__name__}: {over.error}"[:_SHOWN]


_SHOWN = 300


def _cut(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _other(run: Run, recorded: str, now: str, reason: str = "changed") -> Obstacle:
    message = (
        f"run {run.run_id!r} recorded {recorded} after step {run.cursor}, but the code now comes"
        f" to {now}"
    )
    return Obstacle(reason, message, diff(str(run.cursor), recorded, now))

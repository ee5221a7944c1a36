"""One invocation, whole: look at the record, claim it, take a turn, let go; no I/O.

A generator of requests that returns what to answer to whoever asked, and the turn if it may be
kept warm. Everything after the claim is `_runner`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from . import _codec
from ._events import InvocationFinished, InvocationStarted
from ._holding import Holding
from ._model import (
    ENDED_STATUSES,
    At,
    Attention,
    Run,
    Status,
    StepKind,
    StepOutcome,
    StepRecord,
    evolve,
)
from ._obstacle import Obstacle
from ._outcomes import (
    Blocked,
    Busy,
    Cancelled,
    Completed,
    Failed,
    Lost,
    Missing,
    NotMine,
    Outcome,
    Paused,
    Purged,
    Quarantined,
)
from ._payload import result_place
from ._player import Player
from ._protocol import block, give_up, is_due, release
from ._redaction import redacted_text
from ._requests import Commit, Engine, Fetch, Load, Observe, Requests, World
from ._runner import Turn
from ._storage import Loaded
from ._telling import tell_parent
from .errors import (
    LeaseLost,
    OutcomeUnknown,
    RecordCorrupt,
    StorageError,
    StorageUnavailable,
    ToolNotFound,
    ValuesError,
)


class Invoked(NamedTuple):
    """What an invocation came to.

    Attributes:
        outcome: What to answer.
        turn: Its flow, still under way, if that may be kept.
        carried: Whether the run was claimed, so that it has come to this just now.
    """

    outcome: Outcome
    turn: Turn | None = None
    carried: bool = False


_SAID_BY_STATUS: Mapping[Status, Callable[[str], Outcome]] = {
    Status.CANCELLED: Cancelled,
    Status.QUARANTINED: Quarantined,
    Status.PURGED: Purged,
}


def resume(
    engine: Engine, world: World, run_id: str, warm: Turn | None = None
) -> Requests[Invoked]:
    """Look at run *run_id* and carry it on if it is due.

    *warm* is the turn that an earlier invocation of this process kept: its flow goes on from where
    it stands. If the record has not moved since, nothing is read; else only what was added.
    """
    try:
        invoked = None if warm is None else (yield from _resume_warm(engine, world, warm))
        return invoked or (yield from _resume_cold(engine, world, run_id))
    except LeaseLost:
        # It ended and was purged elsewhere while it was claimed here: say so.
        _discard(warm)
        return (yield from _resume_cold(engine, world, run_id))
    except BaseException:
        _discard(warm)
        raise


def _discard(turn: Turn | None) -> None:
    if turn is not None:
        turn.player.discard()


def _resume_cold(engine: Engine, world: World, run_id: str) -> Requests[Invoked]:
    loaded: Loaded | None = yield Load(run_id, 0)
    if loaded is None:
        return Invoked(Missing(run_id))
    if loaded.run.notice:
        # Its end was recorded, and then its process was lost, or it was ended from outside.
        yield from tell_parent(engine, world, loaded.run)
    holding = Holding(engine, world, loaded.run)
    if not is_due(loaded.run, world.now()):
        return Invoked((yield from outcome_of(engine, loaded.run)))
    if engine.registry.flow_of(loaded.run) is None:
        return Invoked(_not_mine(engine, loaded.run))
    claim = yield from holding.claim(0)
    if not claim.held:
        return Invoked((yield from outcome_of(engine, holding.run)))
    return (yield from _take(_cold(holding, claim.reread or loaded), loaded.run))


def begin(engine: Engine, world: World, run: Run) -> Requests[Invoked]:
    """Carry on *run*, which was created already claimed by this invocation."""
    holding = Holding(engine, world, run)
    return (yield from _take(_cold(holding, Loaded(run, (), world.now())), None))


def _resume_warm(engine: Engine, world: World, turn: Turn) -> Requests[Invoked | None]:
    """Go on with *turn*, after what others recorded since; None if the run must be read anew."""
    holding = turn.holding
    holding.world = world
    newest = max(holding.run.cursor - 1, 0)
    if not is_due(holding.run, world.now()):
        # It may have become due since: a signal from elsewhere is not known here.
        loaded: Loaded | None = yield Load(holding.run.run_id, newest)
        if loaded is None or not _catches_up(turn, holding.run, loaded):
            turn.player.discard()
            return None
        holding.run, newest = loaded.run, max(loaded.run.cursor - 1, 0)
    found = holding.run
    claim = yield from holding.claim(newest)
    same = claim.reread is None or _catches_up(turn, found, claim.reread)
    if claim.held and same:
        return (yield from _take(turn, found, warm=True))
    if not same or holding.run.status in ENDED_STATUSES:
        turn.player.discard()
    if claim.held:
        loaded = yield Load(holding.run.run_id, 0)
        assert loaded is not None
        return (yield from _take(_cold(holding, loaded), found))
    if not same:
        return None
    outcome = yield from outcome_of(engine, holding.run)
    return Invoked(outcome, None if holding.run.status in ENDED_STATUSES else turn)


def _catches_up(turn: Turn, stood: Run, loaded: Loaded) -> bool:
    """Give the flow of *turn*, which stands where *stood* does, what others recorded since.

    False if the history that it has seen is not the beginning of the stored one. Where its newest
    record stands, so does the whole history before it: a storage that lost its last commits may
    have got as many records again, which are others.
    """
    steps, cursor = list(loaded.steps), stood.cursor
    last = steps.pop(0).op_id if cursor and steps else ""
    if loaded.run.generation != stood.generation or last != turn.holding.newest:
        return False
    if _damage(loaded.run, steps, cursor):
        return False
    if steps:
        turn.holding.newest = steps[-1].op_id
    return turn.player.catch_up(loaded.run, steps)


def _cold(holding: Holding, loaded: Loaded) -> Turn:
    holding.newest = loaded.steps[-1].op_id if loaded.steps else ""
    flow = holding.engine.registry.flows[holding.run.flow]
    return Turn(holding, Player(holding.engine, flow, loaded.steps))


def _take(turn: Turn, found: Run | None, *, warm: bool = False) -> Requests[Invoked]:
    """Carry a claimed run on, and let go of it whatever happens; *found* is what was claimed."""
    holding = turn.holding
    engine, world = holding.engine, holding.world
    holding.gained = 0
    if engine.observed:
        yield Observe(InvocationStarted(holding.run, world.now(), warm, found))
    kept = False
    try:
        invoked = yield from _carried(turn, warm=warm)
        kept = invoked.turn is not None
    except (StorageUnavailable, OutcomeUnknown, KeyboardInterrupt):
        yield from _let_go(holding, release)
        raise
    except (StorageError, SystemExit, MemoryError):
        # What took this invocation down would take the next down too: the stall stays counted.
        terms = engine.terms
        yield from _let_go(holding, lambda run: give_up(run, terms))
        raise
    finally:
        if not kept:
            turn.player.discard()
    if engine.observed:
        yield Observe(InvocationFinished(holding.run, invoked.outcome, world.now()))
    return invoked._replace(carried=True)


def _carried(turn: Turn, *, warm: bool) -> Requests[Invoked]:
    holding = turn.holding
    try:
        try:
            if not warm:
                _check_complete(holding.run, turn.player)
            pause = yield from turn.carry()
        except ToolNotFound as error:
            raise Obstacle("tool-not-found", str(error)) from error
        except ValuesError as error:
            raise Obstacle("corrupt", str(error)) from error
    except Obstacle as obstacle:
        return Invoked((yield from _blocked(holding, obstacle)))
    except LeaseLost as lost:
        return Invoked(Lost(holding.run.run_id, str(lost)))
    if pause is None and holding.run.notice:
        yield from tell_parent(holding.engine, holding.world, holding.run)
    if pause is None:
        return Invoked((yield from outcome_of(holding.engine, holding.run)))
    return Invoked(pause, None if pause.reason == "continued" else turn)


def _check_complete(run: Run, player: Player) -> None:
    damage = _damage(run, player.ready, 0)
    if damage:
        message = f"the history of run {run.run_id!r} is damaged: {damage}"
        raise Obstacle("corrupt", message)


def _damage(run: Run, records: Collection[StepRecord], first: int) -> str:
    """Return what is wrong with *records*, which are those of *run* from number *first* on."""
    numbers = [record.number for record in records]
    # Counted first: a damaged cursor may be larger than memory.
    if len(numbers) != run.cursor - first or numbers != list(range(first, run.cursor)):
        return f"{first + len(numbers)} of {run.cursor} step records are there"
    for record in records:
        if record.fence > run.fence:
            return f"step {record.position} was recorded under a claim nobody had"
        if record.outcome is StepOutcome.TIMEOUT and record.kind is not StepKind.SIGNAL:
            return f"step {record.position} timed out, which only signals do"
    return ""


def _blocked(holding: Holding, obstacle: Obstacle) -> Requests[Outcome]:
    message, diff = redacted_text(obstacle.message), redacted_text(obstacle.diff)
    attention = Attention(obstacle.reason, message, diff, holding.world.now())
    terms = holding.engine.terms
    # What was said on a way that does not fit is not kept: other code may be deployed.
    holding.beside = holding.way = lambda run: run
    try:
        yield from holding.commit(lambda run: block(run, attention, terms))
    except LeaseLost as lost:
        return Lost(holding.run.run_id, str(lost))
    return (yield from outcome_of(holding.engine, holding.run))


def _let_go(holding: Holding, change: Callable[[Run], Run]) -> Requests[None]:
    # Once, and without insisting: if it fails, the lease ends by itself.
    if holding.run.status is Status.RUNNING:
        try:
            target = evolve(change(holding.run), op_id=holding.world.token())
            yield Commit(target, holding.run, ())
        except StorageError:
            pass


def outcome_of(engine: Engine, run: Run) -> Requests[Outcome]:
    """Return what the record says, as the answer to whoever asked."""
    wake = run.wake if isinstance(run.wake, At) else None
    if run.status is Status.COMPLETED:
        return (yield from _completed(engine, run))
    if run.status is Status.FAILED:
        return _failed(engine, run)
    if run.status is Status.RUNNING:
        return Busy(run.run_id, wake)
    if run.status in _SAID_BY_STATUS:
        return _SAID_BY_STATUS[run.status](run.run_id)
    found = run.attention
    if found is not None:
        return Blocked(run.run_id, found.reason, found.message, found.diff, wake)
    return _paused(engine, run, wake)


def _paused(engine: Engine, run: Run, wake: At | None) -> Outcome:
    if engine.registry.flow_of(run) is None:
        return _not_mine(engine, run)
    position = next(iter(run.open), str(run.cursor))
    return Paused(run.run_id, position, wake, "not due")


def _not_mine(engine: Engine, run: Run) -> NotMine:
    version = run.flow_version if run.flow in engine.registry.flows else ""
    return NotMine(run.run_id, run.flow, version)


def _completed(engine: Engine, run: Run) -> Requests[Outcome]:
    try:
        return Completed(run.run_id, (yield from _result(engine, run)))
    except ValuesError as error:
        message = f"run {run.run_id!r} has completed, but its result is not readable here: {error}"
        return Blocked(run.run_id, "unreadable", message)


def _failed(engine: Engine, run: Run) -> Outcome:
    if run.error is None:
        raise RecordCorrupt(run.run_id, "it has failed and has no error")
    try:
        error = engine.payloads.open_error(run.error, run)
    except ValuesError as unread:
        error = run.error._replace(message=f"{run.error.message}: {unread}", data=None)
    return Failed(run.run_id, error)


def _result(engine: Engine, run: Run) -> Requests[object]:
    payload = run.result
    if payload is None:
        raise RecordCorrupt(run.run_id, "it is completed and has no result")
    if payload.ref is not None:
        payload = payload._replace(data=(yield Fetch(run.run_id, payload.ref)))
    value = _codec.decode(engine.payloads.unwrap(payload, result_place(run)))
    flow = engine.registry.flows.get(run.flow)
    shape = None if flow is None else flow.result
    try:
        return value if shape is None else shape.read(value)
    except ValuesError:
        # The run has ended, and late messages must get an answer: the plain value is one.
        return value

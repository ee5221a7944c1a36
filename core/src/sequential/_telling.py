"""One run tells another: a child its parent that it has ended, a parent its child to stop.

Generators of requests, for invocations of the run that tells. What is told is a message like any
other, accepted once; the words of a child's end are made and read here. Nothing is known of flows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from . import _codec
from ._failure import error_json
from ._holding import PAUSES, pause
from ._letters import Letter
from ._model import ENDED_STATUSES, At, ErrorValue, Message, Payload, Run, Status, evolve
from ._payload import RECORD_LIMIT, Place, result_place
from ._protocol import CANCEL, CHILD, has_room, message, notice_deferred, notice_sent
from ._requests import Commit, Create, CreateAll, Engine, Fetch, Load, Requests, Send, Store, World
from ._storage import RECORD_ONLY, STALE, Loaded
from .errors import (
    NotDecodable,
    OutcomeUnknown,
    RunCancelled,
    StorageError,
    StorageUnavailable,
    ValueCorrupt,
    ValuesError,
)


class Notice(NamedTuple):
    """How a child ended.

    Attributes:
        flow: Its flow.
        asked: Digest of the input that it was begun with.
        created: When, in seconds since the epoch.
        end: Its status, or ``failed`` where its result is lost.
        value: Its encoded result, or its error as it stands in a step record.
    """

    flow: str
    asked: str
    created: float
    end: str
    value: bytes


_head = json.JSONDecoder().raw_decode


def write_notice(notice: Notice) -> bytes:
    """Return *notice* as JSON: its value stands in it as it is stored, however deep it is."""
    return b"[%s,%s]" % (json.dumps(notice[:4]).encode(), notice.value)


def read_notice(data: bytes) -> Notice:
    """Return the notice that `write_notice` made *data* of.

    Raises:
        NotDecodable: It did not.
    """
    try:
        text = data.decode()
        (flow, asked, created, end), over = _head(text, 1)
        return Notice(str(flow), str(asked), float(created), str(end), text[over + 1 : -1].encode())
    except (ValueError, TypeError) as error:
        raise NotDecodable(f"it is not the end of a child run: {error}") from error


def notice_of(engine: Engine, run: Run) -> Requests[Notice]:
    """Return how *run*, which has ended, did so.

    Raises:
        StorageError: Its result could not be fetched.
        ValuesError: Its result cannot be opened here.
    """
    assert run.status in ENDED_STATUSES
    end, value = run.status.value, b"null"
    try:
        if run.result is not None:
            value = yield from _result(engine, run.result, run)
        elif run.status is Status.FAILED and run.error is not None:
            value = error_json(engine.payloads.open_error(run.error, run))
        elif run.status is Status.CANCELLED:
            cancelled = str(RunCancelled(run.run_id))
            value = error_json(ErrorValue("RunCancelled", cancelled, retryable=False))
    except ValueCorrupt as lost:
        # It will never be readable: who waits for it is told so, or would wait for ever.
        end, value = "failed", error_json(ErrorValue("ValueCorrupt", str(lost), retryable=False))
    return Notice(run.flow, run.asked, run.created, end, value)


def _result(engine: Engine, payload: Payload, run: Run) -> Requests[bytes]:
    if payload.ref is not None:
        payload = payload._replace(data=(yield Fetch(run.run_id, payload.ref)))
    return engine.payloads.unwrap(payload, result_place(run))


def tell_parent(engine: Engine, world: World, run: Run) -> Requests[None]:
    """Tell the parent of *run* of its end, and remember that it was told.

    What other threads of this process have to tell it meanwhile is told with it. Never fails: the
    run stays due until it has been told, and any process does it again.
    """
    assert run.parent is not None
    name = CHILD + run.run_id
    sent_id, full = f"{name}:{run.generation}", False

    def wanted(parent: Run) -> str | None:
        nonlocal full
        full = not has_room(parent)
        return None if full else sent_id

    try:
        letter = Letter(name, write_notice((yield from notice_of(engine, run))), wanted)
        with world.letters.turn(run.parent.run_id, letter) as letters:
            if letters:
                yield from _deliver(engine, world, run.parent.run_id, letters)
        if letter.done:
            yield from _remember(engine, world, run, world.now() if full else None)
    except (StorageError, ValuesError):
        return


def _remember(engine: Engine, world: World, run: Run, later: float | None) -> Requests[None]:
    """Commit that the parent was told, or that it is told *later*, which is now."""
    generation = run.generation
    while run.generation == generation:
        sent = notice_sent(run, engine.terms) if later is None else notice_deferred(run, later)
        if sent is None:
            return
        answer = yield Commit(evolve(sent, op_id=world.token()), run, ())
        if answer is not STALE:
            return
        found: Loaded | None = yield Load(run.run_id, RECORD_ONLY)
        if found is None:
            return
        run = found.run


def tell_to_stop(
    engine: Engine, world: World, run_id: str, ours: Callable[[Run], bool], reason: str
) -> Requests[None]:
    """Send a cancel to run *run_id*, if it is there and is one of *ours*.

    Raises:
        StorageError: It may not have been told; telling it again is safe.
    """

    def sent_id(run: Run) -> str | None:
        return f"{CANCEL}:{run.generation}" if ours(run) else None

    letter = Letter(CANCEL, _codec.encode({"reason": reason}), sent_id)
    yield from _deliver(engine, world, run_id, [letter])


def _deliver(
    engine: Engine, world: World, run_id: str, letters: Sequence[Letter]
) -> Requests[None]:
    """Put *letters* into the inbox of run *run_id*, as far as it takes them, in one commit.

    Then let it be looked at.
    """
    pauses, unknown = iter(PAUSES), False
    while True:
        try:
            found: Loaded | None = yield Load(run_id, RECORD_ONLY)
            if found is None:
                return _done(letters)
            wanted = yield from _with_letters(engine, found, letters)
            if wanted is found.run:
                if unknown:
                    yield Send(found.run, 0.0)
                return _done(letters)
            answer = yield Commit(evolve(wanted, op_id=world.token()), found.run, ())
        except (OutcomeUnknown, StorageUnavailable) as error:
            unknown = True
            yield from pause(pauses, error)
            continue
        if answer is not STALE:
            if answer.status is Status.PAUSED and isinstance(answer.wake, At):
                yield Send(answer, max(0.0, answer.wake.time - world.now()))
            return _done(letters)


def _done(letters: Sequence[Letter]) -> None:
    for letter in letters:
        letter.done = True


def _with_letters(engine: Engine, found: Loaded, letters: Sequence[Letter]) -> Requests[Run]:
    run = found.run
    for letter in letters:
        told = letter.sent_id(run)
        if told is not None:
            place = Place(run.run_id, 0, f"message:{told}")
            payload = yield from _wrapped(engine, letter.data, place)
            run = message(run, Message(told, letter.name, payload, found.now)) or run
    return run


def _wrapped(engine: Engine, data: bytes, place: Place) -> Requests[Payload]:
    payload = engine.payloads.wrap(data, place)
    if len(payload.data) <= RECORD_LIMIT:
        return payload
    digest = yield Store(place.run_id, payload.data)
    return payload._replace(data=b"", ref=digest)


def create(run: Run) -> Requests[Run]:
    """Create *run*, however often its answer is lost; return what is stored under its id.

    Raises:
        StorageError: The storage could not be reached, or refused; creating again is safe.
    """
    return (yield from _created(Create(run)))  # type: ignore[no-any-return]


def create_all(runs: Sequence[Run]) -> Requests[Sequence[Run]]:
    """Create each of *runs* as `create` does, in one request."""
    return (yield from _created(CreateAll(runs)))  # type: ignore[no-any-return]


def _created(request: Create | CreateAll) -> Requests[Any]:
    pauses = iter(PAUSES)
    while True:
        try:
            return (yield request)
        except (OutcomeUnknown, StorageUnavailable) as error:
            yield from pause(pauses, error)

"""Records for tests of storages, and what is asked of answers.

No field of `full_run` has its default, so that a storage which forgets one is found. Needs nothing
but the contract: not pytest either, so that other processes can use it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from .._model import (
    At,
    Attention,
    ErrorValue,
    Message,
    Open,
    Parent,
    Payload,
    Run,
    Status,
    StepKind,
    StepOutcome,
    StepRecord,
    evolve,
)
from .._storage import Loaded, Stale, Storage
from ._clock import FakeClock

T = TypeVar("T")

NULL = Payload(b"null", size=4)
MEGABYTE = b'"' + b"x" * 1_000_000 + b'"'
ODD_TEXTS = [
    "",
    "a\0b",
    "é",
    "e\u0301",
    "\u202egnp.exe",
    "🦊",
    "' OR 1=1--",
    "name') OR 1=1--",
    '"; DROP TABLE runs; --',
    "%",
    "_",
    "$.a[0]",
    "{}",
    "null",
    "\n\r\t",
]


def plain(data: bytes) -> Payload:
    """Return *data*, a JSON text, as it is stored without codecs."""
    return Payload(data, size=len(data))


def make_run(run_id: str = "r1", **fields: Any) -> Run:
    """Return a paused run of the flow `f`."""
    return evolve(Run(run_id, "f", plain(b'{"id":1}'), op_id="first"), **fields)


def full_run(run_id: str = "full") -> Run:
    """Return a run in which no field has its default."""
    return Run(
        run_id=run_id,
        flow="f",
        input=plain(b'{"id":1}'),
        flow_version="2",
        generation=3,
        status=Status.FAILED,
        fence=4,
        owner="me",
        wake=At(1_700_000_100.0),
        cursor=5,
        stalls=6,
        open={"3.1": Open(StepKind.SIGNAL, "a.b", 2, 1, True, 9.5, "n", "{}", "e", 8.5, "fp")},
        inbox=(Message("m1", "n", Payload(b"\x00\xff", ("seal",), None, 7), 1.5),),
        seen=("m0", "m1"),
        attention=Attention("changed", "it changed", "- a\n+ b", 2.5, 3),
        notice=True,
        result=Payload(b"", (), "f" * 64, 70_000),
        error=ErrorValue("ValueError", "no", plain(b'{"a":[1]}'), False),
        parent=Parent("p", "3", waits=False),
        tags={"team": "a"},
        progress=plain(b"0.5"),
        trace={"traceparent": "00-1"},
        asked="c" * 64,
        begun=1_700_000_000.25,
        seeds=((0, "full:0"), (2, "full:3")),
        deadline=1_700_000_050.5,
        patches=("a",),
        children=5,
        unneeded=2,
        created=1_700_000_000.5,
        started=1_700_000_001.5,
        ended=1_700_000_002.5,
        version=1,
        op_id="op",
    )


def held(storage: Storage) -> Run:
    """Return a run, just stored, that is claimed and whose lease is over."""
    run = storage.create(make_run())
    claimed = evolve(run, status=Status.RUNNING, fence=1, owner="me", wake=At(1.0), op_id="claim")
    return applied(storage.commit(claimed, run))


def make_step(number: int, generation: int = 0, **fields: Any) -> StepRecord:
    """Return the record of a tool call at the position of its number."""
    step = StepRecord(
        generation=generation,
        number=number,
        position=str(number),
        kind=StepKind.TOOL,
        tool="api.user",
        fingerprint="fp",
        outcome=StepOutcome.VALUE,
        value=plain(b'{"n":%d}' % number),
        input=plain(b"[]"),
        attempts=1,
        started=1.5,
        ended=2.5,
        fence=1,
        op_id=f"op{number}",
    )
    return step._replace(**fields)


def applied(answer: Run | Stale) -> Run:
    """Return the run of a commit that must not have been stale."""
    assert isinstance(answer, Run)
    return answer


def found(loaded: Loaded | None) -> Loaded:
    """Return the snapshot of a run that must be there."""
    assert loaded is not None
    return loaded


def stored(storage: Storage, run_id: str) -> Run:
    """Return the record of a run that must be there."""
    return found(storage.load(run_id)).run


def numbers(loaded: Loaded | None) -> list[int]:
    """Return the numbers of the steps of a snapshot."""
    return [step.number for step in found(loaded).steps]


def race(count: int, work: Callable[[int], T]) -> list[T]:
    """Call *work* on that many threads at once; return what they returned, in order."""
    barrier = threading.Barrier(count)
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def one(number: int) -> None:
        barrier.wait()
        try:
            results[number] = work(number)
        except BaseException as error:  # noqa: BLE001  (it is raised again below)
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [results[number] for number in range(count)]


def ids(runs: Iterable[Run]) -> list[str]:
    """Return the ids of *runs*."""
    return [run.run_id for run in runs]


def told(storage: Storage, run_id: str = "r1") -> float:
    """Return the time that *storage* tells with a run that is there."""
    return found(storage.load(run_id)).now


def let_pass(clock: FakeClock, seconds: float) -> None:
    """Move the storage's time by *seconds*: by skew, which also moves that of a server."""
    clock.set_skew(clock.skew() + seconds)

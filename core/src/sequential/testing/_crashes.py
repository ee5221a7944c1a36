"""Loses the process of a flow at every write to the storage, and looks at what becomes of the run.

Built on `_play`: the same fakes, the same clock. What a storage itself does when its process is
lost is not tested here; that is the contract of storages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeVar

from .. import _codec
from .._flow import Flow
from .._model import ENDED_STATUSES, At, Run, Status, StepOutcome, StepRecord, evolve
from .._registry import REGISTRY, Registry
from .._storage import Loaded, Stale
from ._clock import FakeClock
from ._fakes import Cast, Fakes
from ._play import RUN_ID, KeptMemory, Played, Script, Stage

T = TypeVar("T")

When = Literal["before", "after"]

_INTERRUPTED = "StepInterrupted"
"""Name of the error that an at-most-once call ends with when its process was lost."""


class _ProcessLost(BaseException):
    """The process is gone: nobody catches this, and nothing is tidied up."""


class Crash(NamedTuple):
    """One loss of the process.

    Attributes:
        number: Of the write, from 0.
        when: Whether the process was lost ``before`` the write was made, or ``after`` it.
        write: What was written.
        repeated: ``category.name at step position`` of each attempt that was made again.
        interrupted: The same of each at-most-once call that ended as interrupted instead.
    """

    number: int
    when: When
    write: str
    repeated: tuple[str, ...]
    interrupted: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in one line."""
        said = f"{self.when} write {self.number} ({self.write})"
        again = f": repeats {', '.join(self.repeated)}" if self.repeated else ""
        over = f": interrupts {', '.join(self.interrupted)}" if self.interrupted else ""
        return said + again + over


@dataclass(frozen=True, slots=True)
class Survived:
    """What `crash_everywhere` found.

    Attributes:
        played: The undisturbed play.
        crashes: One per write and side of it, in order.
    """

    played: Played[Any]
    crashes: Sequence[Crash]

    @property
    def repeated(self) -> frozenset[str]:
        """Every attempt that some crash made happen again: these tools must bear that."""
        return frozenset(each for crash in self.crashes for each in crash.repeated)

    @property
    def interrupted(self) -> frozenset[str]:
        """Every at-most-once call that some crash interrupted."""
        return frozenset(each for crash in self.crashes for each in crash.interrupted)

    def __str__(self) -> str:
        """Say it, one line per crash."""
        return "\n".join(map(str, self.crashes))


class _Disk(KeptMemory):
    """What outlives a process, which may be lost at one write."""

    def __init__(self, clock: FakeClock, doom: tuple[int, When] | None = None) -> None:
        super().__init__(clock)
        self.writes: list[str] = []
        self._clock = clock
        self._doom = doom
        self._lost = False

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        return self._written("create the run", lambda: super(_Disk, self).create(run, steps))

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        what = _in_words(run, steps, self._runs.get(run.run_id))
        return self._written(what, lambda: super(_Disk, self).commit(run, expect, steps))

    def put_value(self, run_id: str, data: bytes) -> str:
        what = "keep a large value"
        return self._written(what, lambda: super(_Disk, self).put_value(run_id, data))

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        self._refuse_the_dead()
        return super().load(run_id, after)

    def _written(self, what: str, write: Callable[[], T]) -> T:
        self._refuse_the_dead()
        number = len(self.writes)
        self.writes.append(what)
        self._lose(number, "before")
        answer = write()
        self._lose(number, "after")
        return answer

    def _lose(self, number: int, when: When) -> None:
        if self._doom == (number, when):
            self._lost = True
            raise _ProcessLost

    def _refuse_the_dead(self) -> None:
        if self._lost:
            raise _ProcessLost

    def restart(self) -> None:
        """Let a new process begin, after the lease of the lost one has run out."""
        self._lost, self._doom = False, None
        for run in self.runs:
            if run.status is Status.RUNNING:
                # Leases end without time passing, so that results that hold times stay equal.
                self._runs[run.run_id] = evolve(run, wake=At(self._clock.now()))

    @property
    def run(self) -> Run:
        """The record of the run."""
        return self._runs[RUN_ID]


def _in_words(run: Run, steps: Sequence[StepRecord], stored: Run | None) -> str:
    if steps:
        return " and ".join(f"record step {s.position}, {s.tool or s.kind}" for s in steps)
    if run.status in ENDED_STATUSES:
        return f"end the run as {run.status}"
    changed = stored is not None and _changed(run, stored)
    return changed or ("park the run" if run.status is Status.PAUSED else "note an attempt")


def _changed(run: Run, stored: Run) -> str:
    if len(run.inbox) > len(stored.inbox):
        return f"accept the signal {run.inbox[-1].name!r}"
    if run.generation != stored.generation:
        return "begin a new generation"
    return "claim the run" if run.fence != stored.fence else ""


def crash_everywhere(  # noqa: PLR0913  (what is played, each with a default)
    flow: Flow[..., Any],
    input: object = None,
    *,
    tools: Fakes | None = None,
    signals: Mapping[str, object] | None = None,
    start: datetime | None = None,
    cancel_after: int | None = None,
    registry: Registry = REGISTRY,
) -> Survived:
    """Play *flow* undisturbed, then again for each write, with the process lost before and after.

    Another process starts the run again under its id and carries it on. Its result and all its
    records, but for times and owners, must equal those of the undisturbed play; those of branches
    may come in another order, since a lost process lets time pass. After an
    at-most-once call that was interrupted they may differ; the run must end all the same.

    Args:
        flow: As for `play`, like all others.
        input: As for `play`.
        tools: As for `play`. Functions are called in every one of these plays, so let them answer
            by their input alone; lists begin anew with each play, and an attempt that is made
            again gets the same answer again.
        signals: As for `play`.
        start: As for `play`.
        cancel_after: As for `play`. Choose a step of the flow itself: of branches, others may be
            recorded when a cancel comes after a crash.
        registry: As for `play`.

    Returns:
        Every crash, and which tool calls it made happen again.

    Raises:
        AssertionError: A run that was lost came to another end; the message says where it was
            lost, and what differs.
        SequentialError: As for `play`.
    """
    script = Script(flow, input, tools or {}, signals or {}, start, registry, cancel_after)
    clock = script.clock()
    disk = _Disk(clock)
    played = _once(script, script.cast(), disk, clock)
    sides: tuple[When, When] = ("before", "after")
    crashes = [
        _crashed(script, disk, number, when) for number in range(len(disk.writes)) for when in sides
    ]
    return Survived(played, tuple(crashes))


def _once(script: Script, cast: Cast, disk: _Disk, clock: FakeClock) -> Played[Any]:
    stage = Stage(script, cast, disk, clock)
    try:
        return stage.play()
    finally:
        # Not closed as an application: the storage outlives the process.
        stage.app.driver.close()


def _crashed(script: Script, undisturbed: _Disk, number: int, when: When) -> Crash:
    clock, cast = script.clock(), script.cast()
    disk = _Disk(clock, (number, when))
    what = f"{when} write {number} ({undisturbed.writes[number]})"
    try:
        _once(script, cast, disk, clock)
    except _ProcessLost:
        disk.restart()
    else:
        msg = f"flow {script.flow.name} did not come as far as {what} in a second play; {_SAME}"
        raise AssertionError(msg)
    try:
        _once(script, cast, disk, clock)
        interrupted = _interrupted(disk)
        difference = _difference(undisturbed, disk)
    except Exception as error:
        error.add_note(f"The process was lost {what}.")
        raise
    if difference:
        msg = f"flow {script.flow.name}, its process lost {what}, {difference}; {_SAME}"
        raise AssertionError(msg)
    return Crash(number, when, undisturbed.writes[number], _repeated(cast), interrupted)


_SAME = "a flow must do the same on every replay, and fakes must answer by their input alone"


def _repeated(cast: Cast) -> tuple[str, ...]:
    counted = Counter((c.generation, c.position, c.attempt, c.tool) for c in cast.calls)
    return tuple(
        f"{tool} at step {position}" for (_, position, _, tool), n in counted.items() if n > 1
    )


def _interrupted(disk: _Disk) -> tuple[str, ...]:
    return tuple(f"{s.tool} at step {s.position}" for s in disk.records if _is_interrupted(s))


def _is_interrupted(record: StepRecord) -> bool:
    if record.outcome is not StepOutcome.ERROR or record.value.ref is not None:
        return False
    return bool(_codec.decode(record.value.data)["type"] == _INTERRUPTED)


def _difference(undisturbed: _Disk, disk: _Disk) -> str:
    """Return what differs, in words; empty where nothing does."""
    expected = _in_order(undisturbed.records)
    for number, record in enumerate(_in_order(disk.records)):
        if _is_interrupted(record):
            return ""
        if number >= len(expected):
            return f"recorded one more step: {_shown(record)}"
        other = expected[number]
        if _compared(record) != _compared(other):
            return f"recorded {_shown(record)} where {_shown(other)} stands without the crash"
    if len(disk.records) < len(undisturbed.records):
        return f"recorded only {len(disk.records)} of {len(undisturbed.records)} steps"
    was, now = _end(undisturbed.run), _end(disk.run)
    return "" if was == now else f"ended as {now} instead of {was}"


def _in_order(records: Sequence[StepRecord]) -> Sequence[StepRecord]:
    """Return *records* as they came; by position where branches can get ahead of each other."""
    if not any("." in record.position for record in records):
        return records
    # What was interrupted first: after it all may differ.
    by_place = sorted(records, key=lambda r: (not _is_interrupted(r), r.generation, r.position))
    return [record._replace(number=0) for record in by_place]


def _compared(record: StepRecord) -> StepRecord:
    return record._replace(started=0.0, ended=0.0, fence=0, op_id="")


def _shown(record: StepRecord) -> str:
    given = b"" if record.input is None else record.input.data
    step = f"step {record.position}, {record.tool or record.kind} {given[:200].decode()}".rstrip()
    return f"{step} → {record.outcome} {record.value.data[:200].decode()}, {record.attempts} tried"


def _end(run: Run) -> str:
    error = "" if run.error is None else f" {run.error.type}: {run.error.message}"
    result = run.result
    stored = "" if result is None else f" {(result.ref or result.data.decode('utf-8', 'replace'))}"
    return f"{run.status}{error}{stored}"

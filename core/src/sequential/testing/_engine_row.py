"""A row of the failpoint matrix, how it is played, and what must hold after every one.

A row says in words what happens and what must hold, and in code how its point is reached. Which
rows there are stands in the modules that are named after their subject.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._model import Run, Status, StepKind, StepOutcome
from .._outcomes import Cancelled, Completed, Outcome
from .._requests import Commit, Request
from .._storage import Storage
from ._clock import FakeClock
from ._engine_flows import RESULTS
from ._engine_scene import Actor, Scene
from ._faulty import Fault

_IDLE = "the process that was hit is alive and carries the run to its end: nothing is left to find"
NOBODY_ELSE: Mapping[Actor, str] = {"lease": _IDLE, "sweeper": _IDLE}
"""For rows whose own process goes on without a pause."""


def nothing_more(scene: Scene) -> None:
    """Check nothing but what holds for every row."""


@dataclass(frozen=True)
class Row:
    """One failpoint of the protocol, or one variant of it.

    Attributes:
        name: Such as ``F23``.
        happens: What goes wrong there.
        holds: What must hold afterwards.
        reach: Brings a scene to the point, and past it; must hit it.
        variant: Tells several of one name apart.
        check: What must hold, beside what must always hold. It may act further.
        pause: The pause policy.
        not_for: Why a next actor makes no sense here, one sentence each.
        ends: The status in which the run must end.
    """

    name: str
    happens: str
    holds: str
    reach: Callable[[Scene], None]
    variant: str = ""
    check: Callable[[Scene], None] = nothing_more
    pause: str = "every-step"
    not_for: Mapping[Actor, str] = field(default_factory=dict)
    ends: Status = Status.COMPLETED

    @property
    def key(self) -> str:
        """Name and variant, such as ``F16-before-intent``."""
        return f"{self.name}-{self.variant}" if self.variant else self.name


def play(row: Row, actor: Actor, storage: Storage, clock: FakeClock) -> Scene:
    """Bring a new run to the failpoint of *row*, let *actor* act next; check what must hold.

    Raises:
        AssertionError: Something does not hold, or the point was not reached.
    """
    scene = Scene(storage, clock, actor, row.pause)
    row.reach(scene)
    assert scene.hits[row.name] > 0, f"{row.key} was not reached"
    scene.carry_on()
    if scene.run.status is not Status.PURGED:
        check_history(scene)
    if scene.run.status is not Status.QUARANTINED:
        check_end(scene, row.ends)
    row.check(scene)
    return scene


# -- what always holds ---------------------------------------------------------------------------


def check_end(scene: Scene, ends: Status) -> None:
    """Check that the run came to that end, as if nothing had been, and stays there."""
    run = scene.run
    if run.status is Status.PURGED:
        return
    assert run.status is ends, run
    if ends is Status.COMPLETED:
        assert run.result is not None
        assert run.result.data in RESULTS[scene.flow]
    executed = len(scene.executions)
    outcome = scene.worker().execute()
    assert isinstance(outcome, Completed if ends is Status.COMPLETED else Cancelled), outcome
    assert scene.run == run, "a late look changed a run that has ended"
    assert len(scene.executions) == executed


def check_history(scene: Scene) -> None:
    """Check records, claims and keys: what holds for every history, whatever happened to it."""
    run, steps = scene.run, scene.steps
    assert [step.number for step in steps] == list(range(run.cursor))
    positions = [step.position for step in steps]
    if any("." in position for position in positions):
        assert len(set(positions)) == len(positions)  # branches come in any order
    else:
        assert positions == [str(number) for number in range(run.cursor)]
    assert len({step.op_id for step in steps}) == len(steps)
    fences = [step.fence for step in steps]
    assert fences == sorted(fences), "an overtaken claim added a record"
    executed = scene.executions
    tried = Counter((each.generation, each.position, each.attempt) for each in executed)
    extra = sum(tried.values()) - len(tried)
    assert extra <= scene.losses, f"{extra} executions too many after {scene.losses} losses"
    places = {(each.generation, each.position, each.epoch) for each in executed}
    keys = {(each.key, each.generation, each.position, each.epoch) for each in executed}
    assert len(keys) == len(places) == len({each.key for each in executed})
    assert scene.calls("once") <= 1
    for step in steps:
        if step.kind is StepKind.TOOL and step.outcome is StepOutcome.VALUE:
            by = [(each.position, each.fence) for each in executed]
            assert (step.position, step.fence) in by, "a value that no execution gave"


def executed(**calls: int) -> Callable[[Scene], None]:
    """Return a check that each tool was executed so often."""

    def check(scene: Scene) -> None:
        assert {name: scene.calls(name) for name in calls} == calls

    return check


def once_each(scene: Scene) -> None:
    """Check that no tool was executed twice."""
    tried = Counter((each.generation, each.position, each.attempt) for each in scene.executions)
    assert max(tried.values()) == 1, tried


# -- requests to stand at ------------------------------------------------------------------------


def at_commit(
    scene: Scene,
    wanted: Callable[[Any], bool],
    fault: Fault | None = None,
    *,
    before: Callable[[], object] | None = None,
    after: Callable[[], object] | None = None,
) -> Outcome | None:
    """Let the first process make an invocation whose commit *wanted* goes as planned."""
    invocation = scene.until(wanted)
    scene.first.storage.plan("commit", 0, fault, before=before, after=after)
    return scene.first.carry(invocation)


def is_commit(request: Request) -> bool:
    """Tell whether anything is committed; the first is the claim."""
    return isinstance(request, Commit)


def is_step(request: Request) -> bool:
    """Tell whether a step is committed."""
    return isinstance(request, Commit) and bool(request.steps)


def is_end(request: Request) -> bool:
    """Tell whether the end of the run is committed."""
    return isinstance(request, Commit) and request.run.status is Status.COMPLETED


def is_intent(request: Request) -> bool:
    """Tell whether the intent of an at-most-once call is committed."""
    return isinstance(request, Commit) and any(each.intent for each in request.run.open.values())


def is_park(request: Request) -> bool:
    """Tell whether the run is parked with nothing recorded."""
    return isinstance(request, Commit) and not request.steps and is_paused(request.run)


def is_paused(run: Run) -> bool:
    """Tell whether *run* waits."""
    return run.status is Status.PAUSED

"""`every-step` on a warm process: each step is an invocation, with a claim and a step committed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from time import thread_time

from sequential import Sequential

from .floors import ClaimFloor, InsertFloor
from .grounds import Ground
from .measure import Row, Size, median, subject, timed

_STEPS = 1_000


def measure(ground: Ground, size: Size) -> Iterator[Row]:
    """Measure an invocation beside two commits, and whether it grows with the history."""
    bare = ground.bare()
    insert, claim = InsertFloor(bare), ClaimFloor(bare)
    made = subject(lambda n: None)
    floors: list[list[float]] = []
    steps: list[list[float]] = []
    used: list[list[float]] = []
    with Sequential(ground.url(), pause="every-step", registry=made.registry) as app:
        # Three times as many as elsewhere: two short stretches of each run are compared.
        for _ in range(max(1, round(3 * size.operations / _STEPS))):
            run_id = app.start(made.flow, {"count": _STEPS})
            for kept in (floors, steps, used):
                kept.append([])
            for _ in range(_STEPS):
                first, second = claim.ready(), insert.ready()
                floors[-1].append(timed(first) + timed(second))
                busy = thread_time()
                steps[-1].append(timed(partial(app.execute, run_id)))
                used[-1].append(thread_time() - busy)
            app.execute(run_id)
    bare.close()
    floor, step = _over(floors, 100, _STEPS), _over(steps, 100, _STEPS)
    yield Row(
        f"every-step, warm, {ground.name} / two commits", floor, step, step / floor, ground.every
    )
    early, late = _over(steps, 100, 200), _over(steps, 900, 1_000)
    yield Row("  steps 900-1,000 / steps 100-200", early, late, late / early, 1.15)
    # What the disk does to one stretch and not to the other is no growth of ours.
    early, late = _over(used, 100, 200), _over(used, 900, 1_000)
    yield Row("  the same in CPU time", early, late, late / early, 1.15)


def _over(runs: list[list[float]], begin: int, end: int) -> float:
    """Return the median over steps *begin* to *end* of all runs."""
    return median([each for run in runs for each in run[begin:end]])

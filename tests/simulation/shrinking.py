"""From a failing seed to a report: the schedule made small, its trace, and how to see it again."""

from __future__ import annotations

from typing import NamedTuple

from tests.simulation.choices import Schedule, Shrinker, size
from tests.simulation.simulator import Simulation

_SHOWN = 120
"""Lines of a trace that a report shows: the first and the last."""


class Failure(NamedTuple):
    """One play that failed: why, what was drawn, and the trace if one was made."""

    error: BaseException
    schedule: Schedule
    lines: list[str]
    events: int

    @property
    def kind(self) -> str:
        """What must not change while the schedule is made smaller."""
        first = (str(self.error).split() or [""])[0]
        return f"{type(self.error).__name__} {first}"


def failure_of(seed: int, given: Schedule | None = None, *, traced: bool = False) -> Failure | None:
    """Play, and return how it failed, or None."""
    simulation = Simulation(seed, given, traced=traced)
    try:
        simulation.play()
    except Exception as error:  # noqa: BLE001  (an invariant, or whatever a broken core raises)
        lines = [] if simulation.trace is None else simulation.trace.lines
        return Failure(error, simulation.choices.schedule, lines, simulation.events)
    return None


def shrunk(seed: int, tries: int = 1_500) -> Failure | None:
    """Return the smallest failure found that is the same as that of *seed*; None if none is."""
    failure = failure_of(seed)
    if failure is None:
        return None
    kind = failure.kind

    def fails(schedule: Schedule) -> Schedule | None:
        found = failure_of(seed, schedule)
        return found.schedule if found is not None and found.kind == kind else None

    small = Shrinker(failure.schedule, fails, tries).run()
    return failure_of(seed, small, traced=True)


def report(seed: int) -> str:
    """Return in words how *seed* fails, after making it small."""
    first, small = failure_of(seed), shrunk(seed)
    if first is None or small is None:
        return f"seed {seed} does not fail"
    before, after = size(first.schedule), size(small.schedule)
    lines = small.lines
    if len(lines) > _SHOWN:
        half = _SHOWN // 2
        lines = [*lines[:half], f"({len(lines) - _SHOWN} lines left out)", *lines[-half:]]
    return "\n".join(
        [
            f"seed {seed}: {type(first.error).__name__}: {first.error}",
            f"shrunk from {before} draws and {first.events} events to {after} and {small.events}:",
            *lines,
            f"→ {type(small.error).__name__}: {small.error}",
            f"see it again: python -m tests.simulation {seed}",
        ]
    )

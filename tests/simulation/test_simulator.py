"""Seeded schedules of the production generators, a range of them on every change."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections import Counter

import pytest

from sequential import _protocol
from sequential._model import OPEN_STATUSES, Run, evolve
from tests.simulation import __main__ as command
from tests.simulation.choices import Choices, Schedule, Shrinker, size
from tests.simulation.drawn import CANARY
from tests.simulation.fleet import Trouble, WatchedMemory
from tests.simulation.shrinking import failure_of, report, shrunk
from tests.simulation.simulator import Simulation, play

SCHEDULES = 2_000
SHARDS = 8


def counted(seeds: range) -> Counter[str]:
    counts: Counter[str] = Counter()
    for seed in seeds:
        simulation = Simulation(seed)
        simulation.play()
        counts += simulation.totals()
    return counts


@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_schedule_breaks_an_invariant_or_strands_a_run(shard: int) -> None:
    for seed in range(shard, SCHEDULES, SHARDS):
        play(seed)
    gc.collect()  # What was left unclosed warns now, and not in another test.


@pytest.mark.parametrize("seed", range(20))
def test_the_same_seed_is_the_same_schedule(seed: int) -> None:
    assert play(seed) == play(seed)


def test_another_seed_is_another_schedule() -> None:
    assert len({play(seed) for seed in range(10)}) == 10


@pytest.mark.parametrize("seed", range(10))
def test_recorded_choices_are_the_same_schedule(seed: int) -> None:
    first = Simulation(seed)
    digest = first.play()
    again = Simulation(seed, first.choices.schedule)
    assert again.play() == digest
    assert again.choices.schedule == first.choices.schedule


def test_a_schedule_without_choices_is_one_run_and_no_trouble() -> None:
    calm = Simulation(1, {})
    calm.play()
    counts = calm.totals()
    assert (counts["runs"], counts["runs completed"], counts["executions"]) == (1, 1, 1)
    assert not calm.counts


def test_everything_that_can_happen_does_happen() -> None:
    counts = counted(range(200))
    wanted = {
        *Trouble, "load failed", "message late", "message lost", "message copied",
        "message to two at once", "crashes", "poisoned", "deploys", "rollbacks", "freezes",
        "clones", "clocks", "overtaken", "gave up", "blocked", "quarantined", "redriven",
        "runs completed", "runs failed", "runs cancelled", "continued", "several in flight",
        "children", "notices", "deferred notices", "deadlines over",
        "patches said yes", "patches said no", "patches in new runs", "blocked as changed",
        "values apart", "values gone", "retried",
        "bulk repairs", "repairs", "repaired", "repairs interrupted",
        "signals refused", "answers", "answers refused", "answers too late", "tokens refused",
    }  # fmt: skip
    assert {str(what) for what in wanted} <= {str(what) for what, count in counts.items() if count}


# -- a broken core is found, and the schedule made small ---------------------------------------


def broken_claim(run: Run, now: float, owner: str, terms: _protocol.Terms) -> Run | None:
    """Claim whatever is there, also what somebody holds, under the fence that there was."""
    claimed = _protocol.claimed(run, now, owner, terms)
    return evolve(claimed, fence=run.fence) if run.status in OPEN_STATUSES else None


def first_failure() -> int:
    return next(seed for seed in range(500) if failure_of(seed) is not None)


@pytest.fixture
def _broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sequential._holding.claim", broken_claim)


@pytest.fixture
def _careless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let messages be dropped that arrive while a run is being parked."""

    def park(run: Run, *rest: object) -> Run:
        return evolve(_protocol.park(run, *rest), inbox=())  # type: ignore[arg-type]

    monkeypatch.setattr("sequential._runner.park", park)


@pytest.mark.usefixtures("_broken")
def test_a_claim_without_a_fence_is_found() -> None:
    failure = failure_of(first_failure())
    assert failure is not None
    assert failure.kind == "AssertionError I3"


@pytest.mark.usefixtures("_careless")
def test_a_failing_schedule_is_made_much_smaller_and_fails_the_same_way() -> None:
    seed = first_failure()
    first, small = failure_of(seed), shrunk(seed)
    assert first is not None
    assert small is not None
    assert small.kind == first.kind == "AssertionError I12"
    assert size(small.schedule) * 3 < size(first.schedule)
    again = failure_of(seed, small.schedule)
    assert again is not None
    assert (again.kind, again.events) == (small.kind, small.events)


@pytest.mark.usefixtures("_careless")
def test_a_report_says_what_happened_and_how_to_see_it_again() -> None:
    seed = first_failure()
    said = report(seed)
    assert f"seed {seed}: AssertionError: I12" in said
    assert "commit: park until" in said
    assert said.endswith(f"python -m tests.simulation {seed}")
    assert len(said.splitlines()) < 60


@pytest.mark.usefixtures("_careless")
def test_a_failure_names_its_seed() -> None:
    seed = first_failure()
    with pytest.raises(AssertionError) as caught:
        play(seed)
    assert f"python -m tests.simulation {seed}" in caught.value.__notes__[0]


def test_shrinking_leaves_what_the_failure_needs() -> None:
    def fails(schedule: Schedule) -> Schedule | None:
        draws = [draw for group in schedule["events"] for draw in group]
        return schedule if sum(draws) >= 5 and any(draw >= 3 for draw in draws) else None

    large: Schedule = {"setup": [[4, 4]], "events": [[7, 1], [0], [9, 9, 9], [2]]}
    small = Shrinker(large, fails).run()
    draws = [draw for group in small["events"] for draw in group]
    assert small["setup"] in ([], [[]], [[0, 0]])
    assert sum(draws) == 5
    assert len(small["events"]) == 1


def test_choices_that_are_used_up_are_calm() -> None:
    choices = Choices(1, {"events": [[3]]})
    drawn = [choices.below(9) for _ in choices.groups("events", 5) for _ in range(3)]
    assert drawn == [3, 0, 0]


# -- what a person sees --------------------------------------------------------------------------


def test_a_trace_has_a_line_for_each_event_and_no_values() -> None:
    lines = []
    for seed in range(30):
        simulation = Simulation(seed, traced=True)
        simulation.play()
        assert simulation.trace is not None
        lines += simulation.trace.lines
    assert any("commit: claim → fence 2 → done" in line for line in lines)
    assert any("commit: record of step 1" in line for line in lines)
    assert any(line.endswith(Trouble.LOST) for line in lines)
    assert not [line for line in lines if CANARY in line]


def test_tracing_changes_nothing() -> None:
    assert Simulation(3, traced=True).play() == play(3)


def test_the_command_counts_and_finds_nothing() -> None:
    command_line = [sys.executable, "-m", "tests.simulation", "0", "40", "--jobs", "2"]
    done = subprocess.run(command_line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "40 schedules, seeds 0 to 39" in done.stdout
    assert "0 violations" in done.stdout


@pytest.mark.usefixtures("_careless")
def test_the_command_fails_with_a_trace_where_something_is_found(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.show_range(0, 500, jobs=1) == 1
    said = capsys.readouterr().out
    assert "1 violations" in said
    assert "I12" in said


def test_lost_commits_are_really_lost() -> None:
    simulation = Simulation(1, {})
    simulation.processes[0].execute("r0")
    memory: WatchedMemory = simulation.memory
    version, cursor = memory.stored("r0").version, memory.stored("r0").cursor
    left = memory.roll_back("r0", 3)
    assert left.version < version
    assert left.cursor < cursor
    loaded = memory.load("r0")
    assert loaded is not None
    assert loaded.run == left
    assert len(loaded.steps) == left.cursor

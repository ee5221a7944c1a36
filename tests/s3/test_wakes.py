"""Wake markers: at no request of anybody may a run be left that nobody would wake.

Each scenario is played once for each of its requests: the process dies before it, or after it, or
somebody else acts in between. Each rule that is broken on purpose is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from sequential.errors import ValueCorrupt
from sequential.storage import In, Query, Run, Status, evolve
from sequential.testing import FakeClock
from sequential.testing._storage_samples import (
    found,
    let_pass,
    make_run,
    make_step,
    numbers,
)
from sequential_s3 import storage as storage_module
from sequential_s3.head import Head
from sequential_s3.heads import Heads
from sequential_s3.keys import Marker, digest_of, name_of
from sequential_s3.storage import S3Storage
from sequential_s3.wakes import Wakes
from tests.s3.faults import Answer, Died, Faults, die_after, die_before, meanwhile

MOST = 40  # requests of one scenario
LATER = 6.0  # seconds after which a marker without its head is not fresh any more

APART = 2.0  # seconds by which two processes may see the time of the server apart

Act = Callable[[S3Storage], object]


def asleep(run_id: str) -> Run:
    return make_run(run_id, wake=None, op_id=f"first of {run_id}")


def create(storage: S3Storage, run_id: str) -> None:
    storage.create(make_run(run_id, wake=In(0.0)), (make_step(0),))


def begin_asleep(storage: S3Storage, run_id: str) -> None:
    storage.create(asleep(run_id), (make_step(0),))


def begin_later(storage: S3Storage, run_id: str) -> None:
    storage.create(make_run(run_id, wake=In(600.0)))


def begin_ended(storage: S3Storage, run_id: str) -> None:
    storage.create(make_run(run_id, status=Status.COMPLETED, wake=In(0.0)), (make_step(0),))
    storage.put_value(run_id, b"large")


def nothing(storage: S3Storage, run_id: str) -> None:
    pass


def change(storage: S3Storage, run_id: str, **fields: Any) -> None:
    loaded = storage.load(run_id)
    if loaded is not None:
        storage.commit(evolve(loaded.run, op_id="changed", **fields), loaded.run)


def wake_up(storage: S3Storage, run_id: str) -> None:
    change(storage, run_id, wake=In(0.0))


def fall_asleep(storage: S3Storage, run_id: str) -> None:
    change(storage, run_id, wake=None)


def renew(storage: S3Storage, run_id: str) -> None:
    change(storage, run_id, status=Status.RUNNING, wake=In(90.0))


def end(storage: S3Storage, run_id: str) -> None:
    change(storage, run_id, status=Status.COMPLETED, wake=In(600.0))


def purge(storage: S3Storage, run_id: str) -> None:
    loaded = storage.load(run_id)
    if loaded is not None:
        storage.purge(loaded.run)


def sweep(storage: S3Storage, run_id: str) -> None:
    storage.due(10, None, 30.0)


def begin_and_sleep(storage: S3Storage, run_id: str) -> None:
    create(storage, run_id)
    fall_asleep(storage, run_id)


def begin_and_renew(storage: S3Storage, run_id: str) -> None:
    create(storage, run_id)
    renew(storage, run_id)


SCENARIOS = {
    "create": (nothing, create),
    "wake a sleeper": (begin_asleep, wake_up),
    "wake before the time": (begin_later, wake_up),
    "claim": (create, renew),
    "end": (create, end),
    "purge": (begin_ended, purge),
    "sweep what is due": (create, sweep),
    "sweep what sleeps": (begin_and_sleep, sweep),
    "sweep what was moved": (begin_and_renew, sweep),
}


def clock_of(storage: S3Storage) -> FakeClock:
    clock = storage.bucket.time._clock
    assert isinstance(clock, FakeClock)
    return clock


def retire(storage: S3Storage, run_id: str) -> None:
    """Take the run out of the way of those that come after it."""
    fall_asleep(storage, run_id)
    storage.bucket.delete(list(storage.bucket.keys(storage._keys.markers)))


def play(
    scenario: str, storage: S3Storage, other: S3Storage, faults: Faults, answer: Answer
) -> int:
    """Play *scenario* once for each of its requests; return how many runs nobody would wake."""
    begin, act = SCENARIOS[scenario]
    stranded = 0
    for number in range(MOST):
        run_id = f"run-{len(faults.sent)}-{number}"
        begin(other, run_id)
        let_pass(clock_of(storage), APART)
        faults.at(number, answer)
        with suppress(Died):
            act(storage, run_id)
        over = bool(faults._plan)
        faults.heal()
        stranded += other._repair().armed
        retire(other, run_id)
        if over:
            return stranded
    raise AssertionError("the scenario goes on for ever")


@pytest.mark.parametrize("death", [die_before, die_after])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nobody_is_stranded_wherever_a_process_dies(
    scenario: str, death: Answer, storage: S3Storage, other: S3Storage, faults: Faults
) -> None:
    assert play(scenario, storage, other, faults, death) == 0


def interleaved(scenario: str, act: Act, pair: tuple[S3Storage, S3Storage], faults: Faults) -> int:
    """Let *act* happen at each request of *scenario*; return how many are stranded."""
    storage, other = pair
    return play(scenario, storage, other, faults, meanwhile(lambda: act(other)))


@pytest.mark.parametrize("late", [APART, LATER])
@pytest.mark.parametrize(
    "scenario", ["create", "wake a sleeper", "wake before the time", "claim", "purge"]
)
def test_nobody_is_stranded_whenever_a_sweeper_comes(
    scenario: str,
    late: float,
    storage: S3Storage,
    other: S3Storage,
    faults: Faults,
    clock: FakeClock,
) -> None:
    def act(other: S3Storage) -> None:
        let_pass(clock, late)
        other.due(10, None, 0.0)

    assert interleaved(scenario, act, (storage, other), faults) == 0


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if "sweep" in name])
@pytest.mark.parametrize("writer", [wake_up, renew, fall_asleep])
def test_nobody_is_stranded_whatever_happens_to_a_run_that_is_swept(
    scenario: str,
    writer: Callable[[S3Storage, str], None],
    storage: S3Storage,
    other: S3Storage,
    faults: Faults,
) -> None:
    def act(other: S3Storage) -> None:
        for run in other.find(Query(statuses=[Status.PAUSED, Status.RUNNING])).runs[:1]:
            writer(other, run.run_id)

    assert interleaved(scenario, act, (storage, other), faults) == 0


def test_a_creator_that_was_taken_for_dead_creates_after_all(
    storage: S3Storage, other: S3Storage, faults: Faults, clock: FakeClock
) -> None:
    def act() -> None:
        let_pass(clock, LATER)
        assert list(other.due(10, None, 30.0)) == []

    faults.head(meanwhile(act))
    run = storage.create(make_run(wake=In(0.0)), (make_step(0),))
    assert run.version == 1
    assert numbers(other.load("r1")) == [0]
    assert other.repair() == []
    assert list(other.due(10, None, 30.0)) == ["r1"]


def test_what_a_dead_creator_left_is_cleaned_away(
    storage: S3Storage, other: S3Storage, faults: Faults, clock: FakeClock
) -> None:
    faults.head(die_before)
    with pytest.raises(Died):
        storage.create(make_run(wake=In(0.0)))
    let_pass(clock, LATER)
    assert list(other.due(10, None, 30.0)) == []
    assert list(other.bucket.keys(other._keys.markers)) == [other._keys.done]
    assert other.load("r1") is None
    assert list(other.find(Query()).runs) == []
    assert other.create(make_run()).version == 1


def test_a_marker_whose_head_never_came_is_deleted_in_the_end(
    storage: S3Storage, other: S3Storage, faults: Faults, clock: FakeClock
) -> None:
    begin_asleep(other, "r1")
    faults.head(die_before)
    with pytest.raises(Died):
        wake_up(storage, "r1")
    for _ in range(70):
        let_pass(clock, 61.0)
        assert list(other.due(10, None, 30.0)) == []
    assert list(other.bucket.keys(other._keys.markers)) == [other._keys.done]


def test_a_lost_race_leaves_no_rubbish(storage: S3Storage, other: S3Storage) -> None:
    large = make_step(0, value=make_step(0).value._replace(data=b"1" * 300_000, size=300_000))
    run = storage.create(make_run(wake=None))
    wake_up(other, "r1")
    before = set(other.bucket.keys(other.bucket.settings.prefix))
    storage.commit(evolve(run, status=Status.FAILED, wake=In(0.0)), run, (large,))
    storage.create(make_run(wake=In(0.0)), (large,))
    assert set(other.bucket.keys(other.bucket.settings.prefix)) == before


def test_an_interrupted_purge_is_finished_by_a_sweeper(
    storage: S3Storage, other: S3Storage, faults: Faults, clock: FakeClock
) -> None:
    for number in range(MOST):
        run_id = f"r{number}"
        begin_ended(other, run_id)
        digest = other.put_value(run_id, b"large")
        faults.at(number, die_before)
        try:
            purge(storage, run_id)
        except Died:
            let_pass(clock, 120.0)
            other.due(1000, None, 0.0)
            run = found(other.load(run_id)).run
            if run.status is not Status.PURGED:  # it is due again, and purged by whoever is told
                assert other.get_value(run_id, digest) == b"large"
                assert other.purge(run)
            with pytest.raises(ValueCorrupt):
                other.get_value(run_id, digest)
            continue
        faults.heal()
        return
    raise AssertionError("it was never whole")


def test_a_repair_arms_who_has_no_marker(storage: S3Storage) -> None:
    create(storage, "r1")
    begin_asleep(storage, "r2")
    storage.bucket.delete(list(storage.bucket.keys(storage._keys.markers)))
    assert list(storage.due(10, None, 30.0)) == []
    assert storage.repair() == ["runs that nobody would have woken: 1"]
    assert storage.repair() == []
    assert list(storage.due(10, None, 30.0)) == ["r1"]


def test_a_repair_makes_index_and_heads_agree(storage: S3Storage, clock: FakeClock) -> None:
    run = storage.create(asleep("r1"))
    (line,) = storage.bucket.keys(storage._keys.index(run.status))
    left = [storage._keys.entry(each, "v1.0123456789abcdef") for each in (run, asleep("never"))]
    for key in left:
        storage.bucket.put(key, b"")
    assert storage.repair() == []  # somebody may be at work
    let_pass(clock, 3_700.0)
    assert storage.repair() == ["lines of the index that were for no run: 2"]
    assert list(storage.bucket.keys(storage._keys.index(run.status))) == [line]
    storage.bucket.delete([line])
    assert list(storage.find(Query()).runs) == []
    assert storage.repair() == ["runs that could not be found: 1"]
    assert storage.repair() == []
    assert list(storage.find(Query()).runs) == [run]


# -- mutants


def marker_after_head(patch: pytest.MonkeyPatch) -> None:
    write = Heads.write

    def mutant(
        self: Heads, name: str, head: Head, over: Head | None, before: Callable[[], object]
    ) -> tuple[bool, Head | None]:
        answer = write(self, name, head, over, lambda: None)
        before()
        return answer

    patch.setattr(Heads, "write", mutant)


def same_marker_name(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Wakes, run: Run, at: float, tag: str) -> Marker:
        return Marker(name_of(run.run_id), 0, 0.0, 0.0, 0.0, digest_of(run.flow))

    patch.setattr(Wakes, "_marker", mutant)


def delete_before_arm(patch: pytest.MonkeyPatch) -> None:
    move = Wakes._move

    def mutant(self: Wakes, run: Run, seen: Any, at: float) -> None:
        self._delete(seen)
        move(self, run, [], at)

    patch.setattr(Wakes, "_move", mutant)


def delete_newer_marker(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Wakes, "_postpone", lambda self, ahead, now: self._delete(ahead))


def delete_marker_of_a_missing_head(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Wakes, "_give_up", lambda self, name, group, head, now: self._delete(group))


def no_marker(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(storage_module, "is_needed", lambda *_: False)


def _dies(scenario: str, death: Answer) -> Callable[..., int]:
    return lambda pair, faults: play(scenario, pair[0], pair[1], faults, death)


def _swept(scenario: str) -> Callable[..., int]:
    def act(other: S3Storage) -> None:
        let_pass(clock_of(other), APART)
        other.due(10, None, 0.0)

    return lambda pair, faults: interleaved(scenario, act, pair, faults)


def _woken(pair: tuple[S3Storage, S3Storage], faults: Faults) -> int:
    def act(other: S3Storage) -> None:
        for run in other.find(Query(statuses=[Status.PAUSED])).runs[:1]:
            wake_up(other, run.run_id)

    return interleaved("sweep what sleeps", act, pair, faults)


MUTANTS: dict[Callable[[pytest.MonkeyPatch], None], Callable[..., int]] = {
    marker_after_head: _dies("wake a sleeper", die_before),
    same_marker_name: _woken,
    delete_before_arm: _dies("sweep what was moved", die_before),
    delete_newer_marker: _swept("wake a sleeper"),
    delete_marker_of_a_missing_head: _swept("create"),
    no_marker: _dies("wake a sleeper", die_before),
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_strands_somebody(
    mutant: Callable[[pytest.MonkeyPatch], None],
    storage: S3Storage,
    other: S3Storage,
    faults: Faults,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutant(monkeypatch)
    assert MUTANTS[mutant]((storage, other), faults) > 0

"""What a storage must do with time: resolve wakes, name what is due, hold what it handed out.

Time is moved by the clock's skew only, so that a storage with a clock of its own is moved too; and
nothing is asked to the second, because such a clock goes on meanwhile.
"""

from __future__ import annotations

from .._model import At, In, Status, evolve
from .._storage import STALE, OfVersions, Storage
from ._clock import FakeClock
from ._storage_samples import applied, found, held, let_pass, make_run, told


class Timing:
    """Wakes, time, and `due`."""

    def test_in_is_counted_from_the_storages_now(self, storage: Storage, clock: FakeClock) -> None:
        run = storage.create(make_run(wake=In(10.0)))
        at = told(storage)
        assert isinstance(run.wake, At)
        assert at + 5 <= run.wake.time <= at + 10
        let_pass(clock, 100)
        run = applied(storage.commit(evolve(run, wake=In(60.0)), run))
        assert isinstance(run.wake, At)
        assert at + 155 <= run.wake.time <= told(storage) + 60
        assert found(storage.load("r1")).run.wake == run.wake

    def test_at_and_none_stay_as_they_are(self, storage: Storage) -> None:
        run = storage.create(make_run(wake=At(123.25)))
        assert run.wake == At(123.25)
        run = applied(storage.commit(evolve(run, wake=None), run))
        assert run.wake is None
        assert found(storage.load("r1")).run.wake is None

    def test_the_skew_is_added(self, storage: Storage, clock: FakeClock) -> None:
        storage.create(make_run())
        before = told(storage)
        clock.set_skew(3600)
        assert before + 3600 <= told(storage) <= before + 3605

    def test_time_never_goes_back(self, storage: Storage, clock: FakeClock) -> None:
        storage.create(make_run())
        before = told(storage)
        let_pass(clock, -10)
        assert told(storage) >= before
        let_pass(clock, 15)
        assert told(storage) > before

    def test_due_runs_come_longest_due_first(self, storage: Storage) -> None:
        storage.create(make_run("signal", wake=None))
        now = told(storage, "signal")
        for run_id, wake in (("b", now - 1), ("a", now - 2), ("c", now), ("later", now + 60)):
            storage.create(make_run(run_id, wake=At(wake)))
        assert list(storage.due(10, None, 30.0)) == ["a", "b", "c"]

    def test_a_run_is_due_once_its_wake_has_passed(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        storage.create(make_run(wake=In(60.0)))
        assert list(storage.due(10, None, 30.0)) == []
        let_pass(clock, 50)
        assert list(storage.due(10, None, 30.0)) == []
        let_pass(clock, 11)
        assert list(storage.due(10, None, 30.0)) == ["r1"]

    def test_a_run_whose_wake_was_moved_is_due_by_the_new_one(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        run = storage.create(make_run(wake=In(0.0)))
        run = applied(storage.commit(evolve(run, wake=In(60.0)), run))
        assert list(storage.due(10, None, 30.0)) == []
        run = applied(storage.commit(evolve(run, wake=None), run))
        let_pass(clock, 3600)
        assert list(storage.due(10, None, 30.0)) == []
        applied(storage.commit(evolve(run, wake=In(0.0)), run))
        assert list(storage.due(10, None, 30.0)) == ["r1"]

    def test_a_stale_commit_moves_no_wake(self, storage: Storage) -> None:
        run = storage.create(make_run(wake=At(1.0)))
        assert storage.commit(evolve(run, wake=None), evolve(run, version=2)) is STALE
        assert list(storage.due(10, None, 30.0)) == ["r1"]

    def test_due_gives_no_more_than_asked(self, storage: Storage) -> None:
        for number in range(5):
            storage.create(make_run(f"r{number}", wake=At(float(number + 1))))
        assert list(storage.due(2, None, 30.0)) == ["r0", "r1"]
        assert list(storage.due(2, None, 30.0)) == ["r2", "r3"]

    def test_a_run_that_was_handed_out_is_held(self, storage: Storage, clock: FakeClock) -> None:
        storage.create(make_run(wake=At(1.0)))
        assert list(storage.due(10, None, 30.0)) == ["r1"]
        assert list(storage.due(10, None, 30.0)) == []
        let_pass(clock, 25)
        assert list(storage.due(10, None, 30.0)) == []
        let_pass(clock, 5)
        assert list(storage.due(10, None, 30.0)) == ["r1"]

    def test_a_commit_ends_the_hold(self, storage: Storage) -> None:
        run = storage.create(make_run(wake=At(1.0)))
        assert list(storage.due(10, None, 30.0)) == ["r1"]
        storage.commit(run, run)
        assert list(storage.due(10, None, 30.0)) == ["r1"]

    def test_a_commit_that_moves_no_wake_ends_the_hold(self, storage: Storage) -> None:
        known = held(storage)
        assert list(storage.due(1, None, 30.0)) == ["r1"]
        assert list(storage.due(1, None, 30.0)) == []
        applied(storage.commit(evolve(known, op_id="a"), known))
        assert list(storage.due(1, None, 30.0)) == ["r1"]

    def test_runs_of_any_status_are_due_when_their_wake_has_passed(self, storage: Storage) -> None:
        for status in Status:
            storage.create(make_run(status.value, status=status, wake=At(1.0)))
            storage.create(make_run(f"{status.value}-never", status=status, wake=None))
        assert set(storage.due(20, None, 30.0)) == {status.value for status in Status}

    def test_due_is_for_the_flows_that_are_named(self, storage: Storage) -> None:
        for flow in ("f", "g", "h' OR 1=1--"):
            storage.create(make_run(f"of-{flow[0]}", flow=flow, wake=At(1.0)))
        assert list(storage.due(10, [], 30.0)) == []
        assert list(storage.due(10, ["no"], 30.0)) == []
        assert set(storage.due(10, ["g", "h' OR 1=1--"], 30.0)) == {"of-g", "of-h"}
        assert list(storage.due(10, frozenset({"f"}), 30.0)) == ["of-f"]

    def test_due_is_for_the_versions_that_are_named(self, storage: Storage) -> None:
        for flow in "fg":
            for version in "123":
                run = make_run(flow + version, flow=flow, flow_version=version, wake=At(1.0))
                storage.create(run)
        assert list(storage.due(10, [OfVersions("f", ())], 30.0)) == []
        assert set(storage.due(10, [OfVersions("f", {"1", "2"})], 0.0)) == {"f1", "f2"}
        mixed = [OfVersions("f", {"3"}), "g"]
        assert set(storage.due(10, mixed, 0.0)) == {"f3", "g1", "g2", "g3"}

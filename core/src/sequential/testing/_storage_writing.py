"""What `create`, `load` and `commit` must do, one call after the other.

Who calls at the same time is in `_storage_races`; retries after a lost reply are here.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from .._model import In, Payload, Run, Status, StepKind, StepOutcome, evolve
from .._storage import STALE, Query, Storage
from ..errors import RecordCorrupt
from ._clock import FakeClock
from ._storage_samples import (
    applied,
    found,
    full_run,
    held,
    let_pass,
    make_run,
    make_step,
    numbers,
    told,
)


class Writing:
    """`create`, `load` and `commit`."""

    def test_a_created_run_has_version_one_and_is_read_back(self, storage: Storage) -> None:
        created = storage.create(make_run())
        assert created.version == 1
        assert found(storage.load("r1")).run == created

    def test_every_field_of_a_run_is_read_back(self, storage: Storage) -> None:
        assert storage.create(full_run()) == full_run()
        assert found(storage.load("full")).run == full_run()

    def test_creating_a_taken_id_returns_what_is_stored(self, storage: Storage) -> None:
        first = storage.create(make_run(tags={"a": "1"}), (make_step(0),))
        again = storage.create(make_run(op_id="second", flow="other"), (make_step(0),))
        assert again == first
        assert numbers(storage.load("r1")) == [0]

    def test_runs_that_are_created_together_are_as_if_created_one_by_one(
        self, storage: Storage
    ) -> None:
        def one_by_one(runs: Sequence[Run]) -> Sequence[Run]:
            return [storage.create(run) for run in runs]

        create_all = getattr(storage, "create_all", None) or one_by_one
        taken = storage.create(make_run("b", op_id="first"))
        some = [make_run(each, tags={"a": "1"}) for each in "abcc"]
        stored = create_all(some)
        assert [run.run_id for run in stored] == ["a", "b", "c", "c"]
        assert (stored[1], stored[3]) == (taken, stored[2])
        assert [found(storage.load(run.run_id)).run for run in stored] == list(stored)
        assert {run.run_id for run in storage.find(Query(tags={"a": "1"})).runs} == {"a", "c"}
        assert list(create_all(some)) == list(stored)
        assert list(create_all([])) == []

    def test_a_run_is_created_with_its_steps(self, storage: Storage) -> None:
        storage.create(make_run(cursor=2), (make_step(0), make_step(1)))
        assert list(found(storage.load("r1")).steps) == [make_step(0), make_step(1)]

    def test_a_creation_whose_steps_repeat_stores_nothing(self, storage: Storage) -> None:
        with pytest.raises(RecordCorrupt):
            storage.create(make_run(), (make_step(0), make_step(1, position="0")))
        assert storage.load("r1") is None
        storage.create(make_run())
        assert numbers(storage.load("r1")) == []

    def test_a_run_that_does_not_say_when_is_created_now(self, storage: Storage) -> None:
        storage.create(make_run())
        before = told(storage)
        created = storage.create(make_run("r2")).created
        assert before <= created <= told(storage)
        assert storage.create(make_run("r3", created=5.0)).created == 5.0

    def test_a_run_that_is_not_there_is_none(self, storage: Storage) -> None:
        assert storage.load("nobody") is None

    def test_load_leaves_out_the_steps_before(self, storage: Storage) -> None:
        storage.create(make_run(), [make_step(n) for n in range(5)])
        assert numbers(storage.load("r1", after=3)) == [3, 4]
        assert numbers(storage.load("r1", after=5)) == []

    def test_steps_come_in_the_order_of_their_numbers(self, storage: Storage) -> None:
        run = storage.create(make_run())
        for number in range(12):
            step = make_step(number, position=str(99 - number))
            run = applied(storage.commit(run, run, (step,)))
        assert numbers(storage.load("r1")) == list(range(12))

    def test_load_tells_the_time(self, storage: Storage, clock: FakeClock) -> None:
        storage.create(make_run())
        before = told(storage)
        assert before >= clock.now() - 86_400
        let_pass(clock, 7)
        assert before + 7 <= told(storage) <= before + 12

    def test_a_commit_writes_the_run_and_raises_its_version(self, storage: Storage) -> None:
        run = storage.create(make_run())
        changed = evolve(run, status=Status.RUNNING, fence=1, owner="me", op_id="second")
        answer = applied(storage.commit(changed, run))
        assert answer == evolve(changed, version=2)
        assert found(storage.load("r1")).run == answer

    def test_every_field_but_the_unchanging_is_committed(self, storage: Storage) -> None:
        full = full_run()
        bare = make_run("full", flow=full.flow, parent=full.parent, created=full.created)
        answer = storage.commit(full, storage.create(bare))
        assert answer == evolve(full, version=2)
        assert found(storage.load("full")).run == answer

    def test_a_commit_against_another_version_writes_nothing(self, storage: Storage) -> None:
        run = storage.create(make_run())
        before = found(storage.load("r1"))
        for version in (0, 2, 99, -1):
            other = evolve(run, version=version)
            assert storage.commit(evolve(run, owner="x"), other, (make_step(0),)) is STALE
        assert found(storage.load("r1"))._replace(now=before.now) == before

    def test_a_version_of_another_history_is_another_version(self, storage: Storage) -> None:
        """A storage that lost commits in a failover gives their version numbers out again."""
        run = storage.create(make_run())
        run = applied(storage.commit(evolve(run, op_id="the one that is there"), run))
        before = found(storage.load("r1"))
        lost = evolve(run, op_id="the one that was lost")
        assert storage.commit(evolve(lost, owner="x"), lost, (make_step(0),)) is STALE
        retagged = evolve(lost, status=Status.RUNNING, wake=run.wake, tags={"new": "tag"})
        assert storage.commit(retagged, lost) is STALE
        assert found(storage.load("r1"))._replace(now=before.now) == before

    def test_of_two_commits_that_change_little_the_second_is_stale(self, storage: Storage) -> None:
        """A storage may write less where wake and status stay as they are; it compares no less."""
        known = held(storage)
        told = applied(storage.commit(evolve(known, stalls=1, op_id="a"), known))
        assert storage.commit(evolve(known, op_id="b"), known) is STALE
        assert found(storage.load("r1")).run == told

    def test_a_commit_to_a_run_that_is_not_there_is_stale(self, storage: Storage) -> None:
        assert storage.commit(make_run(), make_run(), (make_step(0),)) is STALE
        assert storage.commit(make_run(), make_run(version=1)) is STALE
        assert storage.load("r1") is None

    def test_the_record_that_is_handed_in_is_not_changed(self, storage: Storage) -> None:
        run = make_run(wake=In(5.0))
        storage.commit(run, storage.create(run))
        assert run == make_run(wake=In(5.0))

    def test_steps_are_appended_and_read_back_whole(self, storage: Storage) -> None:
        run = storage.create(make_run())
        steps = [
            make_step(0),
            make_step(1, position="1.0", kind=StepKind.SLEEP, tool="", input=None),
            make_step(
                2, outcome=StepOutcome.ERROR, value=Payload(b"\x01\n\x00", ("zstd",), None, 9)
            ),
            make_step(3, value=Payload(b"", (), "a" * 64, 100_000), attempts=4),
        ]
        storage.commit(run, run, steps)
        assert list(found(storage.load("r1")).steps) == steps

    def test_a_repeated_position_is_refused_and_nothing_is_written(self, storage: Storage) -> None:
        first = storage.create(make_run())
        run = applied(storage.commit(first, first, (make_step(0),)))
        before = found(storage.load("r1"))
        with pytest.raises(RecordCorrupt, match="recorded already"):
            storage.commit(run, run, (make_step(1), make_step(2, position="0")))
        assert found(storage.load("r1"))._replace(now=before.now) == before
        storage.commit(run, run, (make_step(1),))
        assert numbers(storage.load("r1")) == [0, 1]

    def test_a_new_generation_hides_the_steps_of_the_old(self, storage: Storage) -> None:
        run = storage.create(make_run(), (make_step(0), make_step(1)))
        answer = storage.commit(evolve(run, generation=1), run, (make_step(0, generation=1),))
        assert applied(answer).generation == 1
        assert list(found(storage.load("r1")).steps) == [make_step(0, generation=1)]

    def test_a_snapshot_does_not_change_afterwards(self, storage: Storage) -> None:
        run = storage.create(make_run(), (make_step(0),))
        before = found(storage.load("r1"))
        applied(storage.commit(evolve(run, cursor=2), run, (make_step(1),)))
        assert (before.run, numbers(before)) == (run, [0])

    def test_every_commit_raises_the_version_by_one(self, storage: Storage) -> None:
        run = storage.create(make_run())
        for version in range(2, 12):
            run = applied(storage.commit(evolve(run, op_id=f"op{version}"), run))
            assert (run.version, found(storage.load("r1")).run.version) == (version, version)

    def test_a_version_that_is_over_stays_over(self, storage: Storage) -> None:
        first = storage.create(make_run())
        second = applied(storage.commit(first, first))
        run = applied(storage.commit(second, second))
        assert storage.commit(run, first) is STALE
        assert storage.commit(run, second) is STALE
        assert found(storage.load("r1")).run == run

    def test_a_stale_commit_appends_nothing(self, storage: Storage) -> None:
        first = storage.create(make_run())
        run = applied(storage.commit(first, first, (make_step(0),)))
        assert storage.commit(run, first, (make_step(1),)) is STALE
        assert numbers(storage.load("r1")) == [0]
        applied(storage.commit(run, run, (make_step(1, op_id="mine"),)))
        assert [step.op_id for step in found(storage.load("r1")).steps] == ["op0", "mine"]

    def test_a_recorded_step_is_never_replaced(self, storage: Storage) -> None:
        run = storage.create(make_run(), (make_step(0),))
        with pytest.raises(RecordCorrupt):
            storage.commit(run, run, (make_step(0, op_id="other"),))
        assert list(found(storage.load("r1")).steps) == [make_step(0)]

    def test_many_steps_are_appended_at_once(self, storage: Storage) -> None:
        run = storage.create(make_run())
        applied(storage.commit(run, run, [make_step(number) for number in range(1000)]))
        assert numbers(storage.load("r1")) == list(range(1000))
        assert numbers(storage.load("r1", after=999)) == [999]

    # -- sent again, because the reply to the first was lost

    def test_a_creation_that_is_sent_again_finds_its_own(self, storage: Storage) -> None:
        first = storage.create(make_run(op_id="mine"), (make_step(0),))
        assert storage.create(make_run(op_id="mine"), (make_step(0),)) == first
        assert first.op_id == "mine"
        assert numbers(storage.load("r1")) == [0]

    def test_a_commit_that_is_sent_again_finds_its_own(self, storage: Storage) -> None:
        first = storage.create(make_run())
        run = evolve(first, cursor=1, op_id="mine")
        applied(storage.commit(run, first, (make_step(0, op_id="mine"),)))
        assert storage.commit(run, first, (make_step(0, op_id="mine"),)) is STALE
        loaded = found(storage.load("r1"))
        assert (loaded.run.op_id, loaded.run.version) == ("mine", 2)
        assert [step.op_id for step in loaded.steps] == ["mine"]

    def test_a_step_names_its_commit_after_others_have_written(self, storage: Storage) -> None:
        first = storage.create(make_run())
        mine = evolve(first, cursor=1, op_id="mine")
        run = applied(storage.commit(mine, first, (make_step(0, op_id="mine"),)))
        run = applied(storage.commit(evolve(run, op_id="signal"), run))
        assert storage.commit(mine, first, (make_step(0),)) is STALE
        loaded = found(storage.load("r1"))
        assert (loaded.run.op_id, [step.op_id for step in loaded.steps]) == ("signal", ["mine"])

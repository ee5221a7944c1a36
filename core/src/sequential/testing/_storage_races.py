"""What a storage must do when many call at once: threads of one process, and several processes.

Every race runs `rounds` times, so that a gap between a check and a write is found.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

from .._model import At, Run, Status, evolve
from .._storage import STALE, Stale, Storage
from ._storage_elsewhere import (
    append_here,
    append_there,
    create_here,
    create_there,
    elsewhere,
    look_there,
    sweep_here,
    sweep_there,
)
from ._storage_samples import found, full_run, make_run, make_step, numbers, race


class Racing:
    """Threads and processes at once."""

    rounds = 10
    """How often each race is run; raise it to look harder."""

    processes = 3
    """How many processes race."""

    def test_one_of_sixteen_creators_wins(self, storage: Storage) -> None:
        for turn in range(self.rounds):
            stored = race(16, partial(create_as, storage, f"r{turn}"))
            assert len({run.op_id for run in stored}) == 1
            assert {run.version for run in stored} == {1}
            assert found(storage.load(f"r{turn}")).run == stored[0]

    def test_one_of_sixteen_committers_wins(self, storage: Storage) -> None:
        run = storage.create(make_run())
        for turn in range(self.rounds):
            answers = race(16, partial(commit_as, storage, run, turn))
            winners = [answer for answer in answers if isinstance(answer, Run)]
            loaded = found(storage.load("r1"))
            assert winners == [loaded.run]
            assert loaded.run.version == turn + 2
            assert [step.op_id for step in loaded.steps][turn:] == [winners[0].owner]
            run = winners[0]

    def test_one_of_sixteen_purges_wins(self, storage: Storage) -> None:
        for turn in range(self.rounds):
            run = storage.create(make_run(f"r{turn}", status=Status.COMPLETED))
            done = race(16, partial(purge_as, storage, run))
            assert done.count(True) == 1
            assert found(storage.load(f"r{turn}")).run.status is Status.PURGED

    def test_a_commit_or_a_purge_wins_and_never_both(self, storage: Storage) -> None:
        for turn in range(self.rounds):
            run = storage.create(make_run(f"r{turn}", status=Status.COMPLETED))
            answers = race(2, partial(commit_or_purge, storage, run))
            rest = found(storage.load(run.run_id)).run
            assert rest.version == 2
            assert (rest.status is Status.PURGED, rest.owner) in {(True, ""), (False, "me")}
            assert (answers[0] is STALE) == (answers[1] is True)

    def test_a_snapshot_never_mixes_two_versions(self, storage: Storage) -> None:
        storage.create(make_run())
        rounds = 40

        def work(number: int) -> list[bool]:
            whole = []
            for count in range(rounds):
                if number == 0:
                    run = found(storage.load("r1")).run
                    storage.commit(evolve(run, cursor=count + 1), run, (make_step(count),))
                loaded = found(storage.load("r1"))
                whole.append(loaded.run.cursor == len(loaded.steps))
            return whole

        assert all(all(whole) for whole in race(4, work))

    def test_two_sweepers_share_what_is_due(self, storage: Storage) -> None:
        for number in range(30):
            storage.create(make_run(f"r{number}", wake=At(1.0)))
        given = race(4, lambda _: list(storage.due(10, None, 30.0)))
        everything = [run_id for part in given for run_id in part]
        assert len(everything) == len(set(everything)) == 30

    # -- processes; a storage that serves one only says so, which another test holds

    def test_another_process_sees_what_was_committed(
        self, storage: Storage, url: str | None
    ) -> None:
        run = storage.create(full_run(), (make_step(0, generation=3),))
        if url is not None:
            there = elsewhere(1, look_there, url, 1)
            assert there == [(storage.deployment, run, [make_step(0, generation=3)])]

    def test_one_of_several_processes_creates(self, storage: Storage, url: str | None) -> None:
        if url is None:
            answers = race(self.processes, partial(create_here, storage, self.rounds))
        else:
            answers = elsewhere(self.processes, create_there, url, self.rounds)
        stored = [found(storage.load(f"c{turn}")).run.op_id for turn in range(self.rounds)]
        assert answers == [stored] * self.processes

    def test_processes_that_append_at_once_lose_nothing(
        self, storage: Storage, url: str | None
    ) -> None:
        storage.create(make_run())
        if url is None:
            race(self.processes, partial(append_here, storage, self.rounds))
        else:
            elsewhere(self.processes, append_there, url, self.rounds)
        loaded = found(storage.load("r1"))
        total = self.processes * self.rounds
        assert numbers(loaded) == list(range(total))
        assert (loaded.run.cursor, loaded.run.version) == (total, total + 1)
        written = Counter(step.op_id for step in loaded.steps)
        assert written == {f"by {number}": self.rounds for number in range(self.processes)}

    def test_processes_that_sweep_share_what_is_due(
        self, storage: Storage, url: str | None
    ) -> None:
        expected = [f"r{number:02}" for number in range(30)]
        for run_id in expected:
            storage.create(make_run(run_id, wake=At(1.0)))
        if url is None:
            given = race(self.processes, partial(sweep_here, storage, 4))
        else:
            given = elsewhere(self.processes, sweep_there, url, 4)
        assert sorted(run_id for part in given for run_id in part) == expected


def create_as(storage: Storage, run_id: str, number: int) -> Run:
    """Create a run, signed with *number*."""
    return storage.create(make_run(run_id, op_id=f"op{number}"))


def purge_as(storage: Storage, run: Run, number: int) -> bool:  # noqa: ARG001
    """Purge a run that nobody has touched."""
    return storage.purge(run)


def commit_or_purge(storage: Storage, run: Run, number: int) -> Run | Stale | bool:
    """Commit to *run* if *number* is 0, else purge it."""
    if number:
        return storage.purge(run)
    return storage.commit(evolve(run, owner="me"), run)


def commit_as(storage: Storage, run: Run, turn: int, number: int) -> Run | Stale:
    """Commit to *run* with a step, both signed with *number*."""
    step = make_step(turn, op_id=str(number))
    return storage.commit(evolve(run, owner=str(number)), run, (step,))

"""What must become of large values and of ended runs, and what a storage must say of itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import pytest

from .._model import At, Run, Status, StepRecord, evolve
from .._storage import STALE, Query, Stale, Storage
from ..errors import StorageError, ValueCorrupt
from ._storage_samples import (
    MEGABYTE,
    NULL,
    applied,
    found,
    full_run,
    ids,
    make_run,
    make_step,
    numbers,
    stored,
)


class Keeping:
    """`put_value`, `get_value`, `purge`, `probe`."""

    # -- values

    @pytest.mark.parametrize("data", [b"", b"\0", b'{"a":1}', bytes(range(256)), MEGABYTE])
    def test_a_value_is_found_by_its_digest(self, storage: Storage, data: bytes) -> None:
        digest = storage.put_value("r1", data)
        assert storage.put_value("r1", data) == digest
        assert storage.get_value("r1", digest) == data

    @pytest.mark.parametrize("digest", ["0" * 64, "", "../x", "' OR 1=1--", "a\0b"])
    def test_a_value_that_is_not_there_is_corrupt(self, storage: Storage, digest: str) -> None:
        storage.put_value("r1", b"1")
        with pytest.raises(ValueCorrupt, match="missing"):
            storage.get_value("r1", digest)

    def test_a_run_cannot_read_the_values_of_another(self, storage: Storage) -> None:
        digest = storage.put_value("r1", b"secret")
        with pytest.raises(ValueCorrupt):
            storage.get_value("r2", digest)

    def test_the_digest_is_sha_256(self, storage: Storage) -> None:
        for data in (b"", b"1", MEGABYTE):
            assert storage.put_value("r1", data) == hashlib.sha256(data).hexdigest()

    def test_a_value_that_was_changed_is_corrupt(
        self, storage: Storage, damage: Callable[[str, str], None] | None
    ) -> None:
        digest = storage.put_value("r1", b"1000")
        if damage is None:  # nobody can reach it, so it must be what was put
            assert storage.get_value("r1", digest) == b"1000"
        else:
            damage("r1", digest)
            with pytest.raises(ValueCorrupt):
                storage.get_value("r1", digest)

    @pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
    def test_an_ended_run_shrinks_to_a_tombstone(self, storage: Storage, status: Status) -> None:
        run = evolve(full_run(), status=status, error=None)
        storage.create(run, (make_step(0, generation=3),))
        digest = storage.put_value("full", b"large")
        assert storage.purge(stored(storage, "full"))
        loaded = found(storage.load("full"))
        rest = loaded.run
        assert (rest.run_id, rest.flow, rest.status) == ("full", "f", Status.PURGED)
        assert (rest.created, rest.started, rest.ended) == (run.created, run.started, run.ended)
        assert (rest.input, rest.result, rest.tags, rest.inbox) == (NULL, None, {}, ())
        assert list(loaded.steps) == []
        assert ids(storage.find(Query(tags={"team": "a"})).runs) == []
        with pytest.raises(ValueCorrupt):
            storage.get_value("full", digest)

    def test_a_tombstone_keeps_its_id_until_it_is_purged(self, storage: Storage) -> None:
        run = storage.create(make_run(status=Status.COMPLETED))
        assert storage.purge(run)
        rest = stored(storage, "r1")
        assert storage.create(make_run()) == rest
        assert not storage.purge(run)
        assert storage.purge(rest)
        assert storage.load("r1") is None
        assert not storage.purge(rest)
        assert storage.create(make_run()).version == 1

    def test_a_tombstone_is_due_thirty_days_after_the_end(self, storage: Storage) -> None:
        run = make_run(status=Status.COMPLETED, ended=1_000.0, wake=At(1.0))
        storage.create(run)
        assert storage.purge(stored(storage, "r1"))
        assert found(storage.load("r1")).run.wake == At(1_000.0 + 30 * 86_400)
        assert list(storage.due(10, None, 30.0)) == ["r1"]

    def test_a_commit_that_knew_the_run_before_the_purge_is_stale(self, storage: Storage) -> None:
        run = storage.create(make_run(status=Status.COMPLETED))
        assert storage.purge(stored(storage, "r1"))
        assert storage.commit(run, run, (make_step(0),)) is STALE
        rest = found(storage.load("r1")).run
        assert (rest.status, numbers(storage.load("r1"))) == (Status.PURGED, [])
        assert storage.purge(rest)
        assert storage.commit(run, run) is STALE
        assert storage.load("r1") is None

    def test_the_steps_of_a_purged_run_do_not_come_back(self, storage: Storage) -> None:
        storage.create(make_run(status=Status.COMPLETED), (make_step(0),))
        assert storage.purge(stored(storage, "r1"))
        assert storage.purge(stored(storage, "r1"))
        run = storage.create(make_run())
        assert numbers(storage.load("r1")) == []
        applied(storage.commit(run, run, (make_step(0, op_id="new"),)))
        assert [step.op_id for step in found(storage.load("r1")).steps] == ["new"]

    def test_a_purge_touches_no_other_run(self, storage: Storage) -> None:
        for run_id in ("r", "r1", "r10", "r1~3"):
            storage.create(make_run(run_id, status=Status.COMPLETED), (make_step(0),))
        digest = storage.put_value("r10", b"kept")
        assert storage.put_value("r1", b"kept") == digest
        assert storage.purge(stored(storage, "r1"))
        assert [numbers(storage.load(run_id)) for run_id in ("r", "r10", "r1~3")] == [[0]] * 3
        assert storage.get_value("r10", digest) == b"kept"

    def test_an_open_run_or_another_version_is_not_purged(self, storage: Storage) -> None:
        for status in (Status.PAUSED, Status.RUNNING, Status.QUARANTINED):
            run = storage.create(make_run(status.value, status=status), (make_step(0),))
            assert not storage.purge(run)
            assert numbers(storage.load(status.value)) == [0]
        run = storage.create(make_run("ended", status=Status.FAILED))
        assert not storage.purge(evolve(run, version=2))
        assert not storage.purge(evolve(run, op_id="lost"))
        assert not storage.purge(evolve(run, run_id="nobody"))
        assert found(storage.load("ended")).run.status is Status.FAILED

    def test_the_deployment_is_random_and_stays(self, storage: Storage) -> None:
        assert len(storage.deployment) >= 22
        assert storage.deployment == storage.deployment

    def test_the_probe_tries_and_leaves_nothing(self, storage: Storage) -> None:
        report = storage.probe()
        assert report.checks
        assert report.max_steps >= 10_000
        assert not storage.find(Query()).runs
        assert not storage.due(10, None, 30.0)

    def test_the_probe_touches_nothing_that_is_there(self, storage: Storage) -> None:
        storage.create(make_run(), (make_step(0),))
        before = found(storage.load("r1"))
        storage.probe()
        after = found(storage.load("r1"))
        assert (after.run, list(after.steps)) == (before.run, list(before.steps))

    def test_the_probe_finds_a_commit_that_ignores_the_version(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        commit = storage.commit

        def careless(run: Run, _: int, steps: Sequence[StepRecord] = ()) -> Run | Stale:
            return commit(run, stored(storage, run.run_id), steps)

        monkeypatch.setattr(storage, "commit", careless)
        with pytest.raises(StorageError):
            storage.probe()

    def test_the_probe_finds_a_commit_that_compares_the_version_alone(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        commit = storage.commit

        def careless(run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
            there = stored(storage, run.run_id)
            return commit(run, evolve(expect, op_id=there.op_id), steps)

        monkeypatch.setattr(storage, "commit", careless)
        with pytest.raises(StorageError, match="op_id"):
            storage.probe()

    def test_the_probe_finds_a_commit_that_loses_its_steps(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        commit = storage.commit
        monkeypatch.setattr(storage, "commit", lambda run, expect, _=(): commit(run, expect))
        with pytest.raises(StorageError):
            storage.probe()

    def test_the_probe_says_if_other_processes_cannot_come(
        self, storage: Storage, url: str | None
    ) -> None:
        alone = [sentence for sentence in storage.probe().cannot if "process only" in sentence]
        assert bool(alone) == (url is None), (
            "override the fixture `url`, or let probe() say in `cannot`: serves one process only"
        )

"""The compare-and-set of a head, and every reply that it can get."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from sequential.errors import OutcomeUnknown, StorageUnavailable
from sequential.storage import STALE, Run, evolve
from sequential.testing import FakeClock
from sequential.testing._storage_samples import (
    applied,
    found,
    make_run,
    make_step,
    numbers,
    race,
)
from sequential_s3 import heads
from sequential_s3.bucket import Bucket, Failed, Put
from sequential_s3.head import Head, pack_head
from sequential_s3.heads import Heads
from sequential_s3.keys import name_of
from sequential_s3.plugin import open_s3
from sequential_s3.storage import S3Storage
from tests.fix_s3 import S3Url
from tests.s3.faults import (
    Answer,
    Faults,
    lose_reply,
    refuse_connection,
    reply,
    sent_then,
    time_out,
)
from tests.s3.race import winners

PASSING: dict[str, Answer] = {
    "409": reply(409, "ConditionalRequestConflict"),
    "409 of Ceph": reply(409, "ConcurrentModification"),
    "409 after the effect": sent_then(409, "OperationAborted"),
    "500": reply(500, "InternalError"),
    "500 after the effect": sent_then(500, "InternalError"),
    "503": reply(503, "SlowDown"),
    "503 after the effect": sent_then(503, "SlowDown"),
    "412 after the effect": sent_then(412, "PreconditionFailed"),
    "412 for nothing": reply(412, "PreconditionFailed"),
    "timeout": time_out,
    "timeout after the effect": lose_reply,
    "no connection": refuse_connection,
}


@pytest.mark.parametrize("kind", PASSING)
def test_a_creation_and_a_commit_survive(kind: str, storage: S3Storage, faults: Faults) -> None:
    faults.head(PASSING[kind])
    run = storage.create(make_run(op_id="mine"), (make_step(0),))
    assert (run.version, run.op_id) == (1, "mine")
    faults.head(PASSING[kind])
    run = applied(storage.commit(evolve(run, op_id="next"), run, (make_step(1),)))
    loaded = found(storage.load("r1"))
    assert (loaded.run, numbers(loaded)) == (run, [0, 1])
    assert run.version == 2


UNSURE = {"500", "500 after the effect", "timeout", "timeout after the effect"}
"""What says nothing about whether the write was done."""


@pytest.mark.parametrize("kind", PASSING)
def test_a_lost_race_is_stale_or_not_known_and_writes_nothing(
    kind: str, storage: S3Storage, other: S3Storage, faults: Faults
) -> None:
    run = storage.create(make_run())
    theirs = applied(other.commit(evolve(run, owner="they"), run))
    faults.head(PASSING[kind])
    if kind in UNSURE:
        with pytest.raises(OutcomeUnknown):
            storage.commit(evolve(run, owner="me"), run, (make_step(0),))
    else:
        assert storage.commit(evolve(run, owner="me"), run, (make_step(0),)) is STALE
    loaded = found(storage.load("r1"))
    assert (loaded.run, list(loaded.steps)) == (theirs, [])


def test_a_write_that_was_written_over_before_it_was_confirmed_is_not_known(
    storage: S3Storage, other: S3Storage, faults: Faults
) -> None:
    """The caller finds its step by the op_id; told `STALE`, it would believe that it lost."""
    run = storage.create(make_run())

    def overtaken(faults: Faults, request: Any) -> Any:
        faults.send(request)
        mine = found(other.load("r1")).run
        applied(other.commit(evolve(mine, op_id="signal"), mine))
        return time_out(faults, request)

    faults.head(overtaken)
    with pytest.raises(OutcomeUnknown):
        storage.commit(evolve(run, cursor=1, op_id="mine"), run, (make_step(0, op_id="mine"),))
    loaded = found(storage.load("r1"))
    assert (loaded.run.op_id, [step.op_id for step in loaded.steps]) == ("signal", ["mine"])


def test_who_cannot_read_back_does_not_know(storage: S3Storage, faults: Faults) -> None:
    run = storage.create(make_run())
    faults.head(lose_reply)
    faults.all(time_out)
    with pytest.raises(OutcomeUnknown, match="reading it back failed"):
        storage.commit(evolve(run, owner="me"), run)
    faults.heal()
    assert found(storage.load("r1")).run.owner == "me"


def test_a_write_that_was_never_sent_was_not_done(storage: S3Storage, faults: Faults) -> None:
    run = storage.create(make_run())
    faults.all(refuse_connection)
    with pytest.raises(StorageUnavailable):
        storage.commit(evolve(run, owner="me"), run)
    faults.heal()
    assert found(storage.load("r1")).run == run
    applied(storage.commit(evolve(run, owner="me"), run))


def test_a_head_that_was_written_anew_is_still_the_same(
    storage: S3Storage, other: S3Storage
) -> None:
    """A restore or a copy changes the entity tag and not the record."""
    run = storage.create(make_run(), (make_step(0),))
    write_anew(other, run)
    applied(storage.commit(evolve(run, owner="me"), run, (make_step(1),)))
    assert numbers(storage.load("r1")) == [0, 1]


def test_equal_records_of_other_versions_are_other_bodies(
    storage: S3Storage, other: S3Storage
) -> None:
    first = storage.create(make_run(op_id="same"))
    second = applied(other.commit(evolve(first, owner="they"), first))
    other.commit(first, second)
    assert storage.commit(evolve(first, owner="me"), first) is STALE


def write_anew(storage: S3Storage, run: Run) -> None:
    key = storage._keys.head(name_of(run.run_id))
    stored = storage.bucket.get(key)
    assert stored is not None
    first, newline, rest = stored.data.partition(b"\n")
    storage.bucket.put(key, json.dumps(json.loads(first), indent=None).encode() + newline + rest)
    again = storage.bucket.get(key)
    assert again is not None
    assert again.etag != stored.etag


# -- mutants


def conflict_means_exists(patch: pytest.MonkeyPatch) -> None:
    write = Heads.write

    def mutant(self: Heads, name: str, head: Head, *rest: Any) -> tuple[bool, Head | None]:
        put_if = self._bucket.put_if

        def once(key: str, data: bytes, etag: str | None) -> str | Failed:
            answer = put_if(key, data, etag)
            if isinstance(answer, Failed) and answer.why is Put.CONFLICT:
                raise AssertionError("taken for there")
            return answer

        patch.setattr(self._bucket, "put_if", once)
        return write(self, name, head, *rest)

    patch.setattr(Heads, "write", mutant)


def no_rebase(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(heads, "_same", lambda *_: False)


def body_without_version(patch: pytest.MonkeyPatch) -> None:
    def pack(head: Head, storage: str) -> bytes:
        run = head.run and evolve(head.run, version=1)
        return pack_head(replace(head, run=run, nonce=""), storage)

    patch.setattr(heads, "pack_head", pack)


MUTANTS: dict[Callable[[pytest.MonkeyPatch], None], Callable[..., None]] = {
    conflict_means_exists: partial(test_a_creation_and_a_commit_survive, "409"),
    no_rebase: test_a_head_that_was_written_anew_is_still_the_same,
    body_without_version: test_equal_records_of_other_versions_are_other_bodies,
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_is_killed_by_the_test_named_for_it(
    mutant: Callable[[pytest.MonkeyPatch], None],
    storage: S3Storage,
    other: S3Storage,
    faults: Faults,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutant(monkeypatch)
    second = faults if mutant is conflict_means_exists else other
    with pytest.raises(AssertionError):
        MUTANTS[mutant](storage, second)


# -- races


def test_each_round_of_sixteen_writers_has_one_winner(storage: S3Storage) -> None:
    """`python -m tests.s3.race` does the same by the thousand."""
    assert {winners(storage, turn) for turn in range(12)} == {(1, 1)}


def test_the_race_can_fail(plain_moto: str, s3_url_at: S3Url, clock: FakeClock) -> None:
    """Negative control: on a server that checks and writes in two steps, two win."""
    storage = open_s3(s3_url_at(plain_moto), clock)
    assert isinstance(storage, S3Storage)
    try:
        assert any(raw_winners(storage.bucket, turn) > 1 for turn in range(300))
    finally:
        storage.close()


def raw_winners(bucket: Bucket, turn: int) -> int:
    key = f"{bucket.settings.prefix}/race{turn}"
    answers = race(16, lambda number: bucket.put_if(key, str(number).encode() * 1000, None))
    return sum(isinstance(answer, str) for answer in answers)

"""The daily repair: it comes round by itself, a little at a time, and once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from sequential.storage import In
from sequential.testing import FakeClock
from sequential.testing._storage_samples import let_pass, make_run
from sequential_s3 import rounds
from sequential_s3.bucket import Bucket
from sequential_s3.rounds import DAY, GIVEN_UP, SLICE
from sequential_s3.storage import S3Storage
from tests.s3.conftest import opened
from tests.s3.faults import Faults, meanwhile, reply

LOOKS = 12
MANY = 45


def look(storage: S3Storage) -> list[str]:
    return list(storage.due(100, None, 30.0))


def strand(storage: S3Storage, run_id: str) -> None:
    """Make a run that is due, and lose its marker."""
    storage.create(make_run(run_id, wake=In(0.0)))
    lose(storage)


def lose(storage: S3Storage) -> None:
    """Lose all markers, as by a rule of the bucket."""
    signs = (storage._keys.begun, storage._keys.done)
    keys = [key for key in storage.bucket.keys(storage._keys.markers) if key not in signs]
    storage.bucket.delete(keys)


def found_by(storage: S3Storage, run_id: str) -> int:
    """Return how many looks it takes until *run_id* is due."""
    for count in range(1, LOOKS):
        if run_id in look(storage):
            return count
    raise AssertionError(f"{run_id} is not found")


@pytest.fixture(autouse=True)
def server_goes_with_the_clock(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let objects be as old as they would be if the server's clock had moved too."""
    written: dict[str, float] = {}
    send, listed = Bucket._send, Bucket.listed

    def sending(self: Bucket, operation: str, **parameters: Any) -> Any:
        answer = send(self, operation, **parameters)
        if operation == "put_object":
            written[parameters["Key"]] = self.time.now() + clock.skew()
        return answer

    def listing(self: Bucket, *arguments: Any) -> Iterator[tuple[str, float]]:
        return ((key, written.get(key, at)) for key, at in listed(self, *arguments))

    monkeypatch.setattr(Bucket, "_send", sending)
    monkeypatch.setattr(Bucket, "listed", listing)


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING, "sequential"):
        yield caplog


def test_a_run_that_nobody_would_wake_is_woken_within_a_day_and_said(
    storage: S3Storage, clock: FakeClock, warned: pytest.LogCaptureFixture
) -> None:
    assert look(storage) == []
    strand(storage, "r1")
    let_pass(clock, DAY - 60.0)
    assert [look(storage) for _ in range(LOOKS)] == [[]] * LOOKS
    let_pass(clock, 61.0)
    found_by(storage, "r1")
    (record,) = warned.records
    assert "1 runs that nobody would have woken" in record.getMessage()
    assert storage.repair() == []


def test_it_comes_once_a_day_whoever_looks(
    storage: S3Storage, other: S3Storage, clock: FakeClock, faults: Faults
) -> None:
    strand(storage, "r1")
    look(storage)
    let_pass(clock, DAY + 1.0)
    for _ in range(LOOKS):
        look(storage)
        look(other)
    lose(storage)
    begin = len(faults.sent)
    for _ in range(LOOKS):
        assert look(storage) == look(other) == []
    # Nothing but to list what is due.
    assert set(faults.sent[begin:]) == {"ListObjectsV2"}
    assert len(faults.sent) - begin == LOOKS
    let_pass(clock, DAY + 1.0)
    found_by(storage, "r1")


def test_nothing_found_is_not_said(
    storage: S3Storage, clock: FakeClock, warned: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        storage.create(make_run(f"r{number}", wake=In(number * DAY)))
    look(storage)
    let_pass(clock, DAY + 1.0)
    for _ in range(LOOKS):
        look(storage)
    assert list(storage.bucket.keys(storage._keys.begun)) == [storage._keys.begun]
    assert warned.records == []


def test_no_look_takes_long(storage: S3Storage, clock: FakeClock, faults: Faults) -> None:
    for number in range(MANY):
        storage.create(make_run(f"r{number}", wake=None))
    look(storage)
    strand(storage, "last")
    let_pass(clock, DAY + 1.0)
    most = 0
    for _ in range(LOOKS):
        begin = len(faults.sent)
        if "last" in look(storage):
            break
        most = max(most, len(faults.sent) - begin)
    else:
        raise AssertionError("not found")
    # Besides the slice: the list, and to begin or to end a part.
    assert most <= SLICE * 1.5 + 3
    assert most > 3


def test_who_dies_at_it_is_followed_where_he_was(
    s3_url: str, storage: S3Storage, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "SLICE", 8)
    strand(storage, "r13")
    assert storage._keys.run("r13").startswith(storage._keys.part("f"))
    look(storage)
    let_pass(clock, DAY + 1.0)
    dead = opened(s3_url, clock)
    assert [look(dead) for _ in range(3)] == [[]] * 3
    dead.close()
    assert [look(storage) for _ in range(2)] == [[]] * 2
    let_pass(clock, GIVEN_UP + 1.0)
    assert found_by(storage, "r13") <= 3


def test_of_two_who_begin_one_goes_on(
    storage: S3Storage, other: S3Storage, clock: FakeClock, faults: Faults
) -> None:
    look(storage)
    let_pass(clock, DAY + 1.0)
    # The list and the object are read, and then another is first.
    faults.at(2, meanwhile(lambda: look(other)))
    look(storage)
    begun = storage.bucket.get(storage._keys.begun)
    assert begun is not None
    for _ in range(3):
        look(storage)
    assert storage.bucket.get(storage._keys.begun) == begun
    look(other)
    assert storage.bucket.get(storage._keys.begun) != begun


def test_an_error_of_the_repair_is_not_one_of_the_look(
    storage: S3Storage, clock: FakeClock, faults: Faults, warned: pytest.LogCaptureFixture
) -> None:
    strand(storage, "r1")
    look(storage)
    storage.create(make_run("r2", wake=In(DAY)))
    let_pass(clock, DAY + 2.0)
    faults.at(1, reply(403, "AccessDenied"))
    assert look(storage) == ["r2"]
    (record,) = warned.records
    assert "AccessDenied" in record.getMessage()
    let_pass(clock, GIVEN_UP + 1.0)
    found_by(storage, "r1")


@pytest.mark.parametrize("damage", [b"", b"null", b'{"part":"x"}', b'{"part":1e9}', b"\xff"])
def test_a_damaged_sign_begins_anew(damage: bytes, storage: S3Storage, clock: FakeClock) -> None:
    look(storage)
    strand(storage, "r1")
    storage.bucket.put(storage._keys.begun, damage)
    let_pass(clock, DAY + 1.0)
    found_by(storage, "r1")


def test_who_creates_or_wakes_a_run_meanwhile_is_not_taken_for_stranded(
    storage: S3Storage, other: S3Storage, clock: FakeClock, faults: Faults
) -> None:
    """A head that is younger than the list of markers has its marker all the same."""

    def create(number: int) -> None:
        other.create(make_run(f"r{number}", wake=In(0.0)))

    for number in range(60):
        faults.at(number, meanwhile(partial(create, number)))
    assert storage.repair() == []

"""A purge whose answer is lost is not made twice."""

from __future__ import annotations

import pytest

from sequential import Registry, Sequential, Steps, flow, save
from sequential._memory import MemoryStorage
from sequential.errors import OutcomeUnknown, RunMissing
from sequential.storage import Status
from sequential.testing import FakeClock
from sequential.testing._faulty import UNKNOWN, Fault, FaultyStorage

registry = Registry()


@flow(name="walk", registry=registry)
def walk() -> Steps[None]:
    yield save()


@pytest.fixture
def storage() -> FaultyStorage:
    return FaultyStorage(MemoryStorage(FakeClock()))


@pytest.fixture
def app(storage: FaultyStorage) -> Sequential:
    app = Sequential(storage, plugins=[], registry=registry, clock=FakeClock())
    app.run("walk", run_id="r1")
    return app


@pytest.mark.parametrize("fault", UNKNOWN)
def test_a_lost_answer_leaves_the_tombstone(
    app: Sequential, storage: FaultyStorage, fault: Fault
) -> None:
    storage.plan("purge", 0, fault)
    assert app.purge("r1")
    assert app.get("r1").status is Status.PURGED


@pytest.mark.parametrize("fault", UNKNOWN)
def test_a_tombstone_whose_removal_is_not_answered_is_removed(
    app: Sequential, storage: FaultyStorage, fault: Fault
) -> None:
    assert app.purge("r1")
    storage.plan("purge", 0, fault)
    assert app.purge("r1")
    with pytest.raises(RunMissing):
        app.get("r1")


def test_a_run_that_goes_on_is_not_purged(app: Sequential, storage: FaultyStorage) -> None:
    app.start("walk", run_id="r2")
    storage.plan("purge", 0, Fault.LOST)
    assert not app.purge("r2")
    assert app.get("r2").status is Status.PAUSED


def test_two_answers_that_are_lost_are_said(app: Sequential, storage: FaultyStorage) -> None:
    storage.plan("purge", 0, Fault.LOST)
    storage.plan("purge", 1, Fault.LOST)
    with pytest.raises(OutcomeUnknown):
        app.purge("r1")

"""Renewal, look by look: the thread is not waited for, its one function is called."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from sequential._calls import Hold
from sequential._drive import token
from sequential._leases import Leases
from sequential._memory import MemoryStorage
from sequential._model import At, Message, Payload, Run, Status, StepRecord, evolve
from sequential._protocol import NOW, Terms, claim, claimed, message, terminate
from sequential._storage import Stale
from sequential.errors import OutcomeUnknown, StorageUnavailable
from sequential.testing import FakeClock

# A lease so long that the thread, which looks every twelfth of it, never comes into a test.
LEASE = 3_600.0
TERMS = Terms(lease=LEASE, step_timeout=5 * LEASE)
THIRD = LEASE / 3


class Counting(MemoryStorage):
    """Counts commits, and fails or loses the answer of as many as it is told."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.commits = 0
        self.down = 0
        self.mute = 0

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        self.commits += 1
        if self.down:
            self.down -= 1
            raise StorageUnavailable("test", "down")
        answer = super().commit(run, expect, steps)
        if self.mute:
            self.mute -= 1
            raise OutcomeUnknown("test", "the answer was lost")
        return answer


class Desk:
    """A claimed run, and the leases that keep it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.storage = Counting(self.clock)
        self.leases = Leases(self.storage, TERMS, self.clock, token)
        fresh = Run("r", "f", Payload(b"null"), wake=NOW)
        self.run = self.storage.create(claimed(fresh, self.clock.now(), token(), TERMS))
        self.hold = Hold()

    @property
    def stored(self) -> Run:
        loaded = self.storage.load("r")
        assert loaded is not None
        return loaded.run

    @property
    def left(self) -> float:
        """Seconds until anybody else may claim the run."""
        wake = self.stored.wake
        assert isinstance(wake, At)
        return wake.time - self.clock.now()

    def pass_thirds(self, count: float) -> None:
        """Let *count* thirds of the lease pass, with a look after each twelfth."""
        for _ in range(int(count * 4)):
            self.clock.advance(LEASE / 12)
            self.leases.renew_due()

    def told(self, run: Run | None) -> Run:
        assert run is not None
        answer = self.storage.commit(evolve(run, op_id=token()), self.stored)
        assert isinstance(answer, Run)
        return answer


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.leases.close()


def test_a_lease_is_renewed_after_a_third_and_not_before(desk: Desk) -> None:
    desk.leases.add(desk.run, desk.hold)
    desk.clock.advance(THIRD - 1)
    desk.leases.renew_due()
    assert desk.stored.version == desk.run.version
    desk.clock.advance(1)
    desk.leases.renew_due()
    assert desk.stored.version == desk.run.version + 1
    assert desk.left == LEASE


def test_a_renewal_changes_nothing_but_the_wake(desk: Desk) -> None:
    desk.leases.add(desk.run, desk.hold)
    desk.pass_thirds(1)
    now = desk.stored
    assert now.op_id != desk.run.op_id
    assert evolve(now, wake=None, version=0, op_id="") == evolve(
        desk.run, wake=None, version=0, op_id=""
    )


def test_a_lease_lives_as_long_as_its_tool(desk: Desk) -> None:
    lease = desk.leases.add(desk.run, desk.hold)
    for _ in range(14):
        desk.pass_thirds(1)
        assert desk.left >= LEASE * 2 / 3
    assert not desk.hold.lost
    assert lease.run == desk.stored


def test_a_lease_that_was_removed_is_not_renewed(desk: Desk) -> None:
    lease = desk.leases.add(desk.run, desk.hold)
    desk.leases.remove(lease)
    desk.pass_thirds(6)
    assert desk.storage.commits == 0


def test_renewal_ends_at_the_step_timeout(desk: Desk) -> None:
    desk.leases.add(desk.run, desk.hold)
    desk.pass_thirds(15)  # the step timeout
    commits = desk.storage.commits
    assert commits == 14
    desk.pass_thirds(6)
    assert desk.storage.commits == commits
    assert desk.left <= 0


def test_a_heartbeat_starts_the_step_timeout_anew(desk: Desk) -> None:
    desk.leases.add(desk.run, desk.hold)
    desk.pass_thirds(14)
    desk.hold.beats += 1
    desk.pass_thirds(14)
    assert desk.left >= LEASE * 2 / 3
    desk.pass_thirds(9)
    assert desk.left <= 0


def test_a_lease_that_is_lost_is_said_to_be_lost_and_left_alone(desk: Desk) -> None:
    desk.leases.add(desk.run, desk.hold)
    desk.clock.advance(LEASE + 1)
    other = desk.told(claim(desk.stored, desk.clock.now(), "other", TERMS))
    desk.leases.renew_due()
    assert desk.hold.lost
    commits = desk.storage.commits
    desk.pass_thirds(6)
    assert desk.storage.commits == commits
    assert desk.stored == other


def test_a_terminated_run_is_not_revived(desk: Desk) -> None:
    desk.leases.add(desk.run, desk.hold)
    desk.told(terminate(desk.stored, desk.clock.now(), TERMS))
    desk.pass_thirds(2)
    assert desk.hold.lost
    assert desk.stored.status is Status.CANCELLED


def test_a_run_that_is_gone_is_a_lease_lost(desk: Desk) -> None:
    desk.leases.add(desk.run, desk.hold)
    desk.told(terminate(desk.stored, desk.clock.now(), TERMS))
    assert desk.storage.purge(desk.stored)
    assert desk.storage.purge(desk.stored)
    desk.pass_thirds(1)
    assert desk.hold.lost


def test_a_message_that_came_between_is_kept_and_the_lease_renewed_on_top(desk: Desk) -> None:
    lease = desk.leases.add(desk.run, desk.hold)
    sent = Message("m", "go", Payload(b"1"))
    desk.told(message(desk.stored, sent))
    desk.pass_thirds(1)  # finds the message
    assert not desk.hold.lost
    desk.leases.renew_due()
    assert desk.left == LEASE
    assert desk.stored.inbox == (sent,)
    assert lease.run == desk.stored


def test_a_storage_that_is_down_is_asked_again_at_the_next_look(desk: Desk) -> None:
    desk.leases.add(desk.run, desk.hold)
    desk.storage.down = 2
    desk.pass_thirds(1)
    assert desk.left < LEASE
    desk.leases.renew_due()
    desk.leases.renew_due()
    assert desk.left == LEASE
    assert not desk.hold.lost


def test_a_renewal_whose_answer_was_lost_loses_no_lease(desk: Desk) -> None:
    lease = desk.leases.add(desk.run, desk.hold)
    desk.storage.mute = 1
    desk.pass_thirds(1)
    desk.leases.renew_due()  # stale: our own renewal came between
    desk.leases.renew_due()
    assert not desk.hold.lost
    assert lease.run == desk.stored
    assert desk.left == LEASE


def test_one_lease_in_trouble_does_not_keep_others_from_being_renewed(desk: Desk) -> None:
    fresh = Run("second", "f", Payload(b"null"), wake=NOW)
    second = desk.storage.create(claimed(fresh, desk.clock.now(), token(), TERMS))
    desk.leases.add(desk.run, desk.hold)
    desk.leases.add(second, Hold())
    desk.storage.down = 1
    desk.pass_thirds(1)
    loaded = desk.storage.load("second")
    assert loaded is not None
    assert loaded.run.version == second.version + 1


def test_all_leases_of_a_process_share_one_thread(desk: Desk) -> None:
    before = set(threading.enumerate())
    for _ in range(5):
        desk.leases.add(desk.run, Hold())
    new = [thread for thread in threading.enumerate() if thread not in before]
    assert [thread.name for thread in new] == ["sequential-leases"]
    assert new[0].daemon
    desk.leases.close()
    new[0].join(10)
    assert not new[0].is_alive()

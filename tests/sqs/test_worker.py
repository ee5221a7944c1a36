"""Workers on a queue: two of them at once, a start from elsewhere, and the end of one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from sequential import Registry, Sequential, Steps, flow, sleep, tool
from sequential._memory import MemoryStorage
from sequential.outcomes import Completed
from sequential.storage import Status
from sequential.worker import Worker
from tests.fix_sqs import new_url

PATIENCE = 60.0
RUNS, STEPS = 20, 4


def until(enough: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not enough():
        assert time.monotonic() < end
        time.sleep(0.02)


class Fleet:
    """Applications on one storage in memory and one queue, each as in a process of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.storage = MemoryStorage()
        self.done: list[tuple[str, int]] = []
        self.apps: list[Sequential] = []

    def app(self) -> Sequential:
        registry = Registry()
        done = self.done

        @tool("shop", "add", registry=registry)
        def add(run_id: str, number: int) -> int:
            done.append((run_id, number))
            return number

        @flow(name="count", registry=registry)
        def count(run_id: str) -> Steps[int]:
            total = 0
            for number in range(STEPS):
                total += yield from add(run_id, number)
            return total

        @flow(name="nap", registry=registry)
        def nap() -> Steps[str]:
            yield from sleep(1.5)
            return "woken"

        app = Sequential(self.storage, self.url, "every-step", [_sqs()], registry=registry)
        self.apps.append(app)
        return app


def _sqs() -> object:
    import sequential_sqs.plugin

    return sequential_sqs.plugin


@pytest.fixture
def fleet(ministack: str) -> Iterator[Fleet]:
    fleet = Fleet(new_url(ministack))
    yield fleet
    for app in fleet.apps:
        app.close()


def started(worker: Worker) -> threading.Thread:
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    return thread


def test_two_workers_share_a_queue(fleet: Fleet) -> None:
    here = fleet.app()
    workers = [Worker(fleet.app(), sweep_every=3600.0) for _ in range(2)]
    threads = [started(worker) for worker in workers]
    ids = [f"r{number}" for number in range(RUNS)]
    for run_id in ids:
        here.start("count", {"run_id": run_id}, run_id=run_id)
    until(lambda: all(here.get(run_id).status is Status.COMPLETED for run_id in ids))
    for worker in workers:
        worker.stop()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(fleet.done) == sorted((run_id, n) for run_id in ids for n in range(STEPS))
    assert here.outcome(here.get("r0")) == Completed("r0", sum(range(STEPS)))
    # By messages, as the sweeps were an hour apart; and each of the two did some.
    assert all(worker.executed >= STEPS for worker in workers)


def test_a_sleep_ends_by_a_delayed_message(fleet: Fleet) -> None:
    here, worker = fleet.app(), Worker(fleet.app(), sweep_every=3600.0)
    thread = started(worker)
    here.start("nap", run_id="r1")
    until(lambda: here.get("r1").status is Status.COMPLETED)
    worker.stop()
    thread.join(PATIENCE)
    assert here.outcome(here.get("r1")) == Completed("r1", "woken")


def test_what_a_worker_left_is_there_for_the_next(fleet: Fleet) -> None:
    here, first = fleet.app(), Worker(fleet.app(), sweep_every=3600.0)
    thread = started(first)
    first.stop()
    thread.join(PATIENCE)
    here.start("count", {"run_id": "r1"}, run_id="r1")
    second = Worker(fleet.app(), sweep_every=3600.0)
    thread = started(second)
    until(lambda: here.get("r1").status is Status.COMPLETED)
    second.stop()
    thread.join(PATIENCE)
    assert fleet.done == [("r1", number) for number in range(STEPS)]

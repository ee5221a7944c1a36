"""What a step costs, in requests, as counted at the client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sequential import Registry, Sequential, Steps, flow, tool
from sequential._polling import PollingTransport
from sequential._projection import ProjectionFile, Projector
from sequential.outcomes import Completed
from sequential.testing import FakeClock
from sequential_s3.storage import S3Storage
from tests.s3.conftest import opened
from tests.s3.faults import Faults

STEPS = 6


def registry() -> Registry:
    found = Registry()

    @tool("t", "one", registry=found)
    def one(number: int) -> int:
        return number

    @flow(name="counting", registry=found)
    def counting(steps: int) -> Steps[int]:
        total = 0
        for number in range(steps):
            total += yield one(number)
        return total

    return found


@contextmanager
def application(storage: S3Storage, clock: FakeClock, pause: str) -> Iterator[Sequential]:
    transport = PollingTransport()
    with Sequential(
        storage, transport, plugins=[], registry=registry(), clock=clock, pause=pause
    ) as app:
        app.driver.time.is_now(storage._now())
        yield app


def since(faults: Faults, begin: int) -> Counter[str]:
    return Counter(faults.sent[begin:])


def test_an_inline_run_is_one_request_a_step(
    storage: S3Storage, clock: FakeClock, faults: Faults
) -> None:
    costs = []
    with application(storage, clock, "when-waiting") as app:
        for steps in (0, STEPS):
            begin = len(faults.sent)
            assert app.run("counting", {"steps": steps}) == sum(range(steps))
            costs.append(since(faults, begin))
    without, with_steps = costs
    assert with_steps - without == Counter(PutObject=STEPS)
    # create: index, marker, head; end: index, head, the old index.
    assert without.total() <= 3 + 3


def test_a_step_of_an_invocation_is_three_requests_warm(
    storage: S3Storage, clock: FakeClock, faults: Faults
) -> None:
    with application(storage, clock, "every-step") as app:
        run_id = app.start("counting", {"steps": STEPS})
        app.execute(run_id)
        for _ in range(STEPS - 2):
            begin = len(faults.sent)
            app.execute(run_id)
            assert since(faults, begin) == Counter(PutObject=3)


def test_a_step_of_an_invocation_is_four_requests_cold(
    s3_url: str, storage: S3Storage, clock: FakeClock
) -> None:
    with application(storage, clock, "every-step") as app:
        run_id = app.start("counting", {"steps": STEPS})
    for _ in range(STEPS - 1):
        process = opened(s3_url, clock)  # one request for a process: the deployment
        faults = Faults(process)
        with application(process, clock, "every-step") as app:
            app.execute(run_id)
        assert Counter(faults.sent) == Counter(GetObject=1, PutObject=3)


def test_start_and_end_are_three_requests_each(
    storage: S3Storage, clock: FakeClock, faults: Faults
) -> None:
    with application(storage, clock, "every-step") as app:
        begin = len(faults.sent)
        run_id = app.start("counting", {"steps": 0})
        assert since(faults, begin) == Counter(PutObject=3)
        begin = len(faults.sent)
        assert isinstance(app.execute(run_id), Completed)
        claim = 1 + 1  # load, head
        assert since(faults, begin).total() <= claim + 3


@pytest.mark.parametrize("waiting", [0, 5])
def test_looking_for_what_is_due_is_one_request_when_nothing_is(
    waiting: int, storage: S3Storage, clock: FakeClock, faults: Faults
) -> None:
    with application(storage, clock, "every-step") as app:
        for _ in range(waiting):
            app.start("counting", {"steps": 1})
        assert len(storage.due(10, None, 30.0)) == waiting  # and now they are held
        begin = len(faults.sent)
        assert list(storage.due(10, None, 30.0)) == []
        assert since(faults, begin) == Counter(ListObjectsV2=1)


LISTS = 2 + 4
"""What is paused or runs has one list, and each other status its own."""


def test_a_pass_of_a_projection_costs_what_is_open_and_what_is_new(
    storage: S3Storage, clock: FakeClock, faults: Faults, tmp_path: Path
) -> None:
    into = ProjectionFile(str(tmp_path / "p.db"), clock, "s3://bucket", storage.deployment)
    projector = Projector(storage, into)

    def a_pass() -> Counter[str]:
        begin = len(faults.sent)
        projector.go_on()
        return since(faults, begin)

    with application(storage, clock, "every-step") as app, closing(into):
        for number in range(10):
            app.run("counting", {"steps": 2}, run_id=f"done{number}")
        for number in range(4):
            app.start("counting", {"steps": 3}, run_id=f"open{number}")
        # The first reads each run, and once more for its steps if it has any; before, the time.
        assert a_pass() == Counter(ListObjectsV2=2 * LISTS, GetObject=3 + 14 + 10)
        # Then: the time, what is open, and what was created since shortly before the last pass.
        clock.set_skew(3600.0)
        app.start("counting", {"steps": 1}, run_id="new")
        assert a_pass() == Counter(ListObjectsV2=LISTS, GetObject=1 + 5 + 10)
        # An hour later no run that has ended is looked at but one, to see that it is older.
        assert a_pass() == Counter(ListObjectsV2=LISTS, GetObject=1 + 5 + 1)
        # A run that went on costs one more: its new steps.
        app.execute("open0")
        assert a_pass() == Counter(ListObjectsV2=LISTS, GetObject=1 + 5 + 1 + 1)
        for run_id in ("new", "open0", "done3"):
            loaded, copied = storage.load(run_id), into.load(run_id)
            assert loaded is not None
            assert copied is not None
            assert (copied.run, list(copied.steps)) == (loaded.run, list(loaded.steps))

"""Leases in real time: a long tool keeps its run, and a process that stood still loses it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sequential import Sequential
from sequential._model import Status
from sequential._storage import Loaded
from tests.acceptance.effects import Effects, Line, read
from tests.acceptance.history_check import Checker, Findings, Told
from tests.acceptance.kill_flows import write_to
from tests.acceptance.nursery import House, Nursery

PATIENCE = 40.0


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Poll until *holds*, and fail with *what* when it never does."""
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.01)


class Scene:
    """One run whose first tool waits for a gate, and processes that work on it."""

    def __init__(self, house: House, app: Sequential, nursery: Nursery) -> None:
        self.house = house
        self.app = app
        self.nursery = nursery
        self.gate = Path(house.folder) / "gate"

    def start(self) -> None:
        self.app.start("gate", {"number": 1, "path": str(self.gate)}, run_id="r")

    def lines(self, kind: str, pid: int) -> list[Line]:
        return [line for line in read(self.house.log) if (line.kind, line.pid) == (kind, pid)]

    def wait_for(self, kind: str, pid: int) -> None:
        wait_until(lambda: self.lines(kind, pid), f"{kind} by {pid}")

    def wait_for_end(self) -> None:
        wait_until(lambda: self.app.get("r").status is Status.COMPLETED, "the end of the run")

    def stored(self) -> Loaded:
        loaded = self.app.storage.load("r")
        assert loaded is not None
        return loaded

    def check(self) -> Findings:
        told = Told(self.nursery.killed)
        found = Checker(self.house.database, read(self.house.log), told).check()
        assert not found.violations
        return found


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    house = House(str(tmp_path), lease=1.0)
    with closing(Effects(house.log)) as log, house.open() as app, Nursery(house) as nursery:
        write_to(log)
        yield Scene(house, app, nursery)
        assert set(nursery.end_all()) == {0}


def test_a_tool_longer_than_its_lease_is_not_run_twice_while_others_look(scene: Scene) -> None:
    for _ in range(2):
        scene.nursery.worker()
    scene.start()
    wait_until(lambda: scene.app.get("r").status is Status.RUNNING, "a claim")
    claimed = scene.app.get("r").version
    # A renewal is made no sooner than a third of the lease after the one before.
    wait_until(lambda: scene.app.get("r").version >= claimed + 8, "eight renewals")
    scene.gate.touch()
    scene.wait_for_end()
    assert scene.app.get("r").fence == 1
    found = scene.check()
    assert (found.executions, found.extra) == (2, 0)


def test_a_process_that_stood_still_past_its_lease_cannot_write(scene: Scene) -> None:
    zombie = scene.nursery.worker()
    scene.start()
    scene.wait_for("start", zombie)
    scene.nursery.freeze(zombie)
    other = scene.nursery.worker()
    scene.wait_for("start", other)
    scene.gate.touch()
    scene.wait_for_end()
    before = scene.stored()

    scene.nursery.thaw(zombie)
    # Its tool comes to its end, its result is refused, and it runs no further tool.
    scene.wait_for("effect", zombie)
    scene.wait_for("lost", zombie)
    assert len(scene.lines("start", zombie)) == 1
    after = scene.stored()
    assert (after.run, after.steps) == (before.run, before.steps)
    [recorded] = [line for line in scene.lines("effect", other) if line.position == "0"]
    assert before.steps[0].fence == recorded.fence == 2
    found = scene.check()
    assert recorded.token in found.recorded
    assert (found.executions, found.extra, found.losses) == (3, 1, 1)


def test_a_late_result_is_welcome_if_nobody_claimed_the_run_since(scene: Scene) -> None:
    sleeper = scene.nursery.worker()
    scene.start()
    scene.wait_for("start", sleeper)
    scene.nursery.freeze(sleeper)
    scene.gate.touch()
    held = scene.app.get("r")
    wait_until(lambda: scene.app.storage.due(1, None, 0.0) == ["r"], "the end of the lease")
    scene.nursery.thaw(sleeper)
    scene.wait_for_end()
    assert scene.app.get("r").fence == held.fence == 1
    found = scene.check()
    assert (found.executions, found.extra) == (2, 0)


def test_a_killed_process_is_followed_by_another_after_its_lease(scene: Scene) -> None:
    first = scene.nursery.worker()
    scene.start()
    scene.wait_for("start", first)
    scene.nursery.kill(first)
    second = scene.nursery.worker()
    scene.wait_for("start", second)
    scene.gate.touch()
    scene.wait_for_end()
    starts = [line for line in read(scene.house.log) if line.kind == "start"]
    assert [(line.pid, line.position) for line in starts] == [
        (first, "0"),
        (second, "0"),
        (second, "1"),
    ]
    assert starts[0].key == starts[1].key
    assert scene.check().extra == 1

"""Paused flows in memory: bounded, oldest out first, valid only where the record stands."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from sequential import Steps, flow, save, set_progress, sleep, tool, wait_for_signal
from sequential._outcomes import Cancelled, Completed, Paused
from tests.fix_stage import Stage


def noting(stage: Stage) -> tuple[list[str], list[str]]:
    """Register the flow `noting`; return who began, and who was discarded or ended."""
    began: list[str] = []
    gone: list[str] = []

    @flow(registry=stage.registry, name="noting")
    def noting_flow(name: str, saves: int = 3) -> Steps[str]:
        began.append(name)
        try:
            for _ in range(saves):
                yield save()
        finally:
            gone.append(name)
        return name

    return began, gone


def test_a_warm_flow_is_not_called_again(stage: Stage) -> None:
    began, gone = noting(stage)
    app = stage.app()
    assert app.run("noting", {"name": "a"}) == "a"
    assert (began, gone) == (["a"], ["a"])


def test_the_oldest_is_discarded_first_and_still_ends(stage: Stage) -> None:
    _, gone = noting(stage)
    app = stage.app(warm=2)
    for name in "abc":
        app.start("noting", {"name": name}, run_id=name)
    for name in "abc":
        app.execute(name)
    assert gone == ["a"]
    app.execute("b")  # used just now, so c is the oldest
    app.execute("a")
    assert gone == ["a", "c"]
    for name in "abc" * 4:
        app.execute(name)
    assert {app.outcome(app.get(name)) for name in "abc"} == {Completed(n, n) for n in "abc"}
    assert len(app.driver.warm._turns) == 0


def test_without_room_every_flow_is_discarded_at_once(stage: Stage) -> None:
    _, gone = noting(stage)
    app = stage.app(warm=0)
    run_id = app.start("noting", {"name": "a"})
    app.execute(run_id)
    assert gone == ["a"]


def test_a_warm_flow_that_another_process_carried_on_catches_up(any_stage: Stage) -> None:
    began, _ = noting(any_stage)
    one, other = any_stage.app(), any_stage.app()
    run_id = one.start("noting", {"name": "a"})
    one.execute(run_id)
    other.execute(run_id)
    one.execute(run_id)
    assert one.execute(run_id) == Completed(run_id, "a")
    assert len(began) == 2
    assert [step.position for step in one.steps(run_id)] == ["0", "1", "2"]


def test_a_warm_flow_that_catches_up_does_not_say_its_old_progress(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    def saying() -> Steps[None]:
        for number in range(1, 5):
            set_progress(number / 4)
            yield wait_for_signal("next")

    one, other = any_stage.app(), any_stage.app()
    run_id = one.start(saying)
    one.execute(run_id)
    other.signal(run_id, "next", None)
    other.execute(run_id)
    half = other.progress(run_id)
    assert half is not None
    assert half.value == 0.5
    other.signal(run_id, "unheard", None)
    one.execute(run_id)
    assert other.progress(run_id) == half


def test_a_warm_flow_that_is_no_record_behind_does_not_say_its_old_progress(
    any_stage: Stage,
) -> None:
    @flow(registry=any_stage.registry)
    def saying() -> Steps[None]:
        set_progress("old")
        yield save()
        set_progress("new")
        yield wait_for_signal("next")

    one, other = any_stage.app(), any_stage.app()
    run_id = one.start(saying)
    one.execute(run_id)  # it has paused at the save, and not looked further
    other.execute(run_id)
    new = other.progress(run_id)
    assert new is not None
    assert new.value == "new"
    other.signal(run_id, "unheard", None)
    one.execute(run_id)
    assert other.progress(run_id) == new


def test_a_warm_flow_hears_of_signals_from_elsewhere(any_stage: Stage) -> None:
    began: list[int] = []

    @flow(registry=any_stage.registry)
    def waiting() -> Steps[list[Any]]:
        began.append(1)
        return [(yield wait_for_signal("a")), (yield wait_for_signal("b"))]

    one, other = any_stage.app(), any_stage.app()
    run_id = one.start(waiting)
    one.execute(run_id)
    other.signal(run_id, "a", 1)
    assert isinstance(one.execute(run_id), Paused)
    other.signal(run_id, "b", 2)
    assert one.execute(run_id) == Completed(run_id, [1, 2])
    assert began == [1]


def test_a_warm_flow_that_was_ended_elsewhere_is_discarded(any_stage: Stage) -> None:
    _, gone = noting(any_stage)
    one, other = any_stage.app(), any_stage.app()
    run_id = one.start("noting", {"name": "a"})
    one.execute(run_id)
    other.terminate(run_id)
    assert one.execute(run_id) == Cancelled(run_id)
    assert gone == ["a"]
    assert one.execute(run_id) == Cancelled(run_id)


def test_a_warm_flow_of_an_earlier_generation_is_not_gone_on_with(any_stage: Stage) -> None:
    began, _ = noting(any_stage)
    one, other = any_stage.app(), any_stage.app()
    run_id = one.start("noting", {"name": "a"})
    one.execute(run_id)
    other.terminate(run_id)
    other.retry(run_id)
    assert any_stage.drive(one, run_id) == Completed(run_id, "a")
    assert began == ["a", "a"]
    assert one.get(run_id).generation == 1


def test_a_warm_flow_that_sleeps_is_not_read_again_before_it_is_due(stage: Stage) -> None:
    @flow(registry=stage.registry)
    def sleepy() -> Steps[str]:
        yield sleep(10)
        return "awake"

    app = stage.app()
    run_id = app.start(sleepy)
    app.execute(run_id)
    stage.clock.advance(10)
    stage.counted.forget_counts()
    assert app.execute(run_id) == Completed(run_id, "awake")
    assert stage.counted.loads == 0


class Entrance:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self.inside = self.worst = 0
        self.lock = threading.Lock()

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            self.worst = max(self.worst, self.inside)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1


def test_two_threads_never_drive_one_flow_at_once(stage: Stage) -> None:
    entrance = Entrance()

    @tool("api", "work", registry=stage.registry)
    def work(n: int) -> int:
        with entrance:
            return n

    @flow(registry=stage.registry)
    def working() -> Steps[int]:
        total = 0
        for n in range(30):
            total += yield work(n)
        return total

    app = stage.app(pause="every-step")
    run_id = app.start(working)
    outcomes: list[Any] = []

    def drive() -> None:
        outcomes.extend(app.execute(run_id) for _ in range(100))

    threads = [threading.Thread(target=drive) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(outcomes) == 400
    assert app.execute(run_id) == Completed(run_id, sum(range(30)))
    assert entrance.worst == 1
    assert [step.number for step in app.steps(run_id)] == list(range(30))


@pytest.mark.parametrize("warm", [1, 256])
def test_a_flow_that_ended_is_not_kept(stage: Stage, warm: int) -> None:
    noting(stage)
    app = stage.app(warm=warm)
    app.run("noting", {"name": "a"})
    assert len(app.driver.warm._turns) == 0

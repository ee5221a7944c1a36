"""The ids of runs: what is allowed, and how new ones are made."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from sequential import Steps, flow
from sequential._run_id import check_run_id, new_run_id
from sequential.errors import RunIdInvalid
from tests.fix_stage import Stage

REFUSED: list[Any] = [
    "", "x" * 129, "x" * 1_000_000, ".", "..", "../x", "..%2f", "%2e%2e", "a/b", "a\\b", "/abs",
    "C:x", "a\0b", "a\n", "a\r\nX-H: 1", "a ", " a", "\uff41", "é", "e\u0301", "\u202egnp", "🦊",
    "' OR 1=1--", '"; DROP', "$(id)", "{{7*7}}", "<script>", "=cmd|'/c'!A1", "%s%n", "-1", "_a",
    "~a", "a:b", "a@b", "a+b", "٣", None, 0, 2**63, 1.5, True, [], {}, b"abc",
]  # fmt: skip
ALLOWED = ["a", "A", "0", "null", "CON", "a.", "a-b_c~d.e", "x" * 128, "9" * 128, "a..b"]


@pytest.mark.parametrize("run_id", REFUSED)
def test_an_id_that_cannot_be_one_is_refused(run_id: Any) -> None:
    with pytest.raises(RunIdInvalid) as caught:
        check_run_id(run_id)
    assert caught.value.run_id is run_id
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("run_id", ALLOWED)
def test_an_allowed_id_is_handed_back(run_id: str) -> None:
    assert check_run_id(run_id) == run_id


@pytest.mark.parametrize("run_id", REFUSED)
def test_every_entrance_refuses_it(stage: Stage, run_id: Any) -> None:
    @flow(registry=stage.registry)
    def short() -> Steps[None]:
        yield from ()
        return

    app = stage.app()
    entrances: list[Any] = [
        lambda: app.run(short, run_id=run_id),
        lambda: app.start(short, run_id=run_id),
        lambda: app.execute(run_id),
        lambda: app.get(run_id),
        lambda: app.steps(run_id),
        lambda: app.wait(run_id, timeout=0),
        lambda: app.signal(run_id, "go"),
        lambda: app.cancel(run_id),
        lambda: app.terminate(run_id),
        lambda: app.retry(run_id),
        lambda: app.redrive(run_id),
        lambda: app.fork(run_id, "0"),
        lambda: app.purge(run_id),
    ]
    # None asks `start` and `run` for a new id.
    for entrance in entrances[2:] if run_id is None else entrances:
        with pytest.raises(RunIdInvalid):
            entrance()


@pytest.mark.parametrize("run_id", ALLOWED)
def test_any_allowed_id_can_be_run(any_stage: Stage, run_id: str) -> None:
    @flow(registry=any_stage.registry)
    def short() -> Steps[int]:
        yield from ()
        return 1

    assert any_stage.app().run(short, run_id=run_id) == 1


def test_ids_that_differ_in_case_are_two(any_stage: Stage) -> None:
    @flow(registry=any_stage.registry)
    def short(n: int) -> Steps[int]:
        yield from ()
        return n

    app = any_stage.app()
    assert [app.run(short, {"n": 1}, run_id="a"), app.run(short, {"n": 2}, run_id="A")] == [1, 2]


def test_new_ids_are_uuids_of_version_seven_that_sort_by_time() -> None:
    made = [new_run_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    read = [uuid.UUID(each) for each in made]
    assert {(each.version, each.variant) for each in read} == {(7, uuid.RFC_4122)}
    times = [each.int >> 80 for each in read]
    assert times == sorted(times)
    assert all(check_run_id(each) == each for each in made)

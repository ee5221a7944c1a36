"""The checker sees what it is there to see: each kind of damage, made on purpose, is found."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from sequential import Sequential
from sequential._outcomes import Completed
from tests.acceptance.aimed import judge
from tests.acceptance.effects import Effects, Line, read
from tests.acceptance.failpoints import ALWAYS, PERHAPS, Point
from tests.acceptance.history_check import Checker, Told, where_hit
from tests.acceptance.kill_flows import write_to
from tests.acceptance.nursery import House
from tests.acceptance.watcher import Watcher

KILLED = 99_999_999
"""Pid of a process that never was."""


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(str(tmp_path), lease=60.0)


@pytest.fixture
def app(house: House) -> Iterator[Sequential]:
    with closing(Effects(house.log)) as log, house.open("when-waiting") as app:
        write_to(log)
        for name in ("chain", "weave", "insist"):
            app.start(name, {"number": 1}, run_id=name)
            while not isinstance(app.execute(name), Completed):
                pass
        yield app


def violations(house: House, lines: Sequence[Line], told: Told = Told()) -> str:  # noqa: B008
    return "\n".join(Checker(house.database, lines, told).check().violations)


def test_a_history_without_faults_has_no_violation(house: House, app: Sequential) -> None:
    found = Checker(house.database, read(house.log), Told()).check()
    assert found.violations == []
    assert (found.runs, found.extra, found.losses) == (3, 0, 0)
    # One by one: 5, 4, and 7 for two retries, two failures and one more.
    assert found.executions == 16


def start_of(house: House) -> Line:
    return next(line for line in read(house.log) if line.run_id == "chain")


def test_an_execution_that_nothing_explains_is_found(house: House, app: Sequential) -> None:
    extra = start_of(house)._replace(token="other", pid=KILLED)
    lines = [extra, *read(house.log)]
    assert "without need" in violations(house, lines)
    assert not violations(house, lines, Told([KILLED]))
    lost = Line("lost", KILLED, "-", "chain")
    assert not violations(house, [extra, lost, *read(house.log)])


@pytest.mark.parametrize(
    ("line", "told", "cause"),
    [
        (Line("died", KILLED, "step.before", "chain"), Told([KILLED]), "killed at step.before"),
        (Line("died", 1, "step.before", "chain"), Told([KILLED]), "killed at a random moment"),
        (Line("lost", KILLED, "-", "chain"), Told(frozen=[KILLED]), "stopped past its lease"),
        (Line("lost", KILLED, "-", "chain"), Told(), "overtaken while slow"),
        (Line("refused", KILLED, "X", "chain"), Told(), "the storage answered X"),
        (Line("refused", KILLED, "X", "weave"), Told(), "UNEXPLAINED"),
        (Line("lost", 1, "-", "chain"), Told(), "UNEXPLAINED"),
    ],
)
def test_an_extra_execution_is_brought_home_to_its_cause(
    house: House, app: Sequential, line: Line, told: Told, cause: str
) -> None:
    extra = start_of(house)._replace(token="other", pid=KILLED)
    found = Checker(house.database, [extra, line, *read(house.log)], told).check()
    assert found.causes == {cause: 1}
    assert bool(found.violations) == (cause == "UNEXPLAINED")


def test_a_loss_explains_one_execution_and_no_other(house: House, app: Sequential) -> None:
    first, second = [start_of(house)._replace(token=each, pid=KILLED) for each in "ab"]
    lost = Line("lost", KILLED, "-", "chain")
    assert not violations(house, [first, lost, second, lost, *read(house.log)])
    assert "without need" in violations(house, [first, second, lost, *read(house.log)])


def test_a_loss_before_an_execution_does_not_explain_it(house: House, app: Sequential) -> None:
    extra = start_of(house)._replace(token="other", pid=KILLED)
    lost = Line("lost", KILLED, "-", "chain")
    assert "without need" in violations(house, [lost, extra, *read(house.log)])


def test_a_killed_process_that_went_on_explains_nothing(house: House, app: Sequential) -> None:
    first, *rest = [line for line in read(house.log) if line.kind == "start"]
    extra = [line._replace(token=f"t{n}", pid=KILLED) for n, line in enumerate([first, rest[0]])]
    assert "without need" in violations(house, [*extra, *read(house.log)], Told([KILLED]))


def test_a_value_that_no_execution_emitted_is_found(house: House, app: Sequential) -> None:
    lines = [line for line in read(house.log) if line.kind != "effect"]
    assert "emitted by []" in violations(house, lines)
    moved = [line._replace(position="9") for line in read(house.log)]
    assert "no record of" in violations(house, moved)


def test_two_keys_for_one_step_and_one_key_for_two_are_found(house: House, app: Sequential) -> None:
    first, *rest = read(house.log)
    assert "under the keys" in violations(
        house, [first._replace(key="k", token="t", pid=KILLED), first, *rest], Told([KILLED])
    )
    assert "was used for" in violations(house, [line._replace(key="k") for line in [first, *rest]])


def damage(house: House, statement: str) -> None:
    with closing(sqlite3.connect(house.database)) as connection, connection:
        assert connection.execute(statement).rowcount > 0


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("DELETE FROM steps WHERE run_id = 'chain' AND number = 2", "has records [0, 1, 3, 4]"),
        ("UPDATE steps SET fence = 7 WHERE run_id = 'chain' AND number = 1", "under fences"),
        ("UPDATE steps SET value = '\"x\"' WHERE run_id = 'chain' AND number = 1", "returned"),
        ("DELETE FROM runs WHERE run_id = 'chain'", "2 are stored"),
    ],
)
def test_damage_to_the_storage_is_found(
    house: House, app: Sequential, statement: str, sentence: str
) -> None:
    damage(house, statement.replace("'\"x\"'", "CAST('\"x\"' AS BLOB)"))
    assert sentence in violations(house, read(house.log))


def test_a_run_that_was_started_and_is_not_there_is_found(house: House, app: Sequential) -> None:
    told = Told(started=["chain", "gone"])
    assert "1 runs are lost, 3 are stored: ['gone']" in violations(house, read(house.log), told)


def test_a_purged_run_is_found_unless_it_was_to_be_purged(house: House, app: Sequential) -> None:
    assert app.purge("weave")
    assert "weave is purged" in violations(house, read(house.log))
    assert not violations(house, read(house.log), Told(purged=["weave"]))


def test_what_half_a_purge_leaves_is_found(house: House, app: Sequential) -> None:
    damage(house, "UPDATE runs SET status = 'purged' WHERE run_id = 'weave'")
    said = violations(house, read(house.log), Told(purged=["weave"]))
    assert "4 rows of steps belong to weave, which is purged" in said
    assert "1 rows of stored_values belong to weave" in said


def test_a_large_value_that_was_damaged_is_found(house: House, app: Sequential) -> None:
    damage(house, "UPDATE stored_values SET data = CAST('\"x\"' AS BLOB)")
    assert "weave returned" in violations(house, read(house.log))


def test_a_run_that_has_not_ended_is_found(house: House, app: Sequential) -> None:
    app.start("chain", {"number": 2}, run_id="late")
    assert "late is paused" in violations(house, read(house.log))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE steps SET attempts = 9 WHERE run_id = 'chain' AND number = 1",
        "DELETE FROM steps WHERE run_id = 'chain' AND number = 4",
    ],
)
def test_the_watcher_sees_a_record_change_or_vanish(
    house: House, app: Sequential, statement: str
) -> None:
    watcher = Watcher(house.database)
    watcher.look()
    watcher.look()
    assert watcher.violations == []
    damage(house, statement)
    watcher.look()
    assert len(watcher.violations) == 1
    assert "('chain', 0," in watcher.violations[0]


def test_the_watcher_lets_a_run_be_purged_as_a_whole(house: House, app: Sequential) -> None:
    watcher = Watcher(house.database)
    watcher.look()
    assert app.purge("chain")
    watcher.look()
    assert watcher.violations == []


def test_a_failpoint_is_judged_by_what_came_of_its_deaths() -> None:
    points = [Point("a", "F1"), Point("b", "F2", ALWAYS), Point("c", "F3", PERHAPS)]
    kills = Counter(a=2, b=2, c=2)
    assert judge(points, 2, kills, Counter(b=2, c=1)) == []
    assert judge(points, 3, kills, Counter(b=2)) == [f"2 died at {name}" for name in "abc"]
    assert judge(points, 2, kills, Counter(a=1, b=1, c=3)) == [
        "1 executions again for 2 deaths at a",
        "only 1 executions again for 2 deaths at b",
        "3 executions again for 2 deaths at c",
    ]


def test_where_a_kill_hit_is_read_from_the_log() -> None:
    lines = [
        Line("start", 1, "a", "r"),
        Line("start", 2, "b", "r"),
        Line("effect", 2, "b", "r"),
        Line("start", 3, "c", "r"),
        Line("effect", 3, "c", "r"),
    ]
    assert where_hit(lines, {1, 2, 3, 4}, {"c"}) == {
        "tool running": 1,
        "effect done, not recorded": 1,
        "between steps": 1,
        "before its first tool": 1,
    }

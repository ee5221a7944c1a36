"""The checker sees what it is there to see: each kind of damage, made on purpose, is found."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from sequential import Sequential
from sequential._outcomes import Completed
from tests.acceptance.effects import Effects, Line, read
from tests.acceptance.history_check import Checker, Watcher, where_hit
from tests.acceptance.kill_flows import write_to
from tests.acceptance.nursery import House

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


def violations(app: Sequential, lines: Sequence[Line], killed: Sequence[int] = ()) -> str:
    return "\n".join(Checker(app.storage, lines, killed).check().violations)


def test_a_history_without_faults_has_no_violation(house: House, app: Sequential) -> None:
    found = Checker(app.storage, read(house.log), ()).check()
    assert found.violations == []
    assert (found.runs, found.extra, found.losses) == (3, 0, 0)
    # One by one: 5, 4, and 7 for two retries, two failures and one more.
    assert found.executions == 16


def start_of(house: House) -> Line:
    return next(line for line in read(house.log) if line.run_id == "chain")


def test_an_execution_that_nothing_explains_is_found(house: House, app: Sequential) -> None:
    extra = start_of(house)._replace(token="other", pid=KILLED)
    lines = [extra, *read(house.log)]
    assert "without need" in violations(app, lines)
    assert not violations(app, lines, [KILLED])
    lost = Line("lost", KILLED, "-", "chain")
    assert not violations(app, [extra, lost, *read(house.log)])


def test_a_killed_process_that_went_on_explains_nothing(house: House, app: Sequential) -> None:
    first, *rest = [line for line in read(house.log) if line.kind == "start"]
    extra = [line._replace(token=f"t{n}", pid=KILLED) for n, line in enumerate([first, rest[0]])]
    assert "without need" in violations(app, [*extra, *read(house.log)], [KILLED])


def test_a_value_that_no_execution_emitted_is_found(house: House, app: Sequential) -> None:
    lines = [line for line in read(house.log) if line.kind != "effect"]
    assert "emitted by []" in violations(app, lines)
    moved = [line._replace(position="9") for line in read(house.log)]
    assert "no record of" in violations(app, moved)


def test_two_keys_for_one_step_and_one_key_for_two_are_found(house: House, app: Sequential) -> None:
    first, *rest = read(house.log)
    assert "under the keys" in violations(
        app, [first._replace(key="k", token="t", pid=KILLED), first, *rest], [KILLED]
    )
    assert "was used for" in violations(app, [line._replace(key="k") for line in [first, *rest]])


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
    assert sentence in violations(app, read(house.log))


def test_a_run_that_has_not_ended_is_found(house: House, app: Sequential) -> None:
    app.start("chain", {"number": 2}, run_id="late")
    assert "late is paused" in violations(app, read(house.log))


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
    look: Callable[[], None]
    with closing(sqlite3.connect(house.database)) as connection:
        look = lambda: watcher.look(connection)  # noqa: E731
        look()
        look()
        assert watcher.violations == []
        damage(house, statement)
        look()
    assert len(watcher.violations) == 1
    assert "('chain', 0," in watcher.violations[0]


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

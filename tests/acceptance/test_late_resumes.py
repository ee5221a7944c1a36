"""Resume messages that come when all is over, once and again: nothing changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sequential import Outcome, Sequential
from sequential._outcomes import Cancelled, Completed, Failed, Purged
from sequential.errors import RunStatusWrong
from tests.acceptance.effects import Effects, read
from tests.acceptance.kill_flows import write_to
from tests.acceptance.late import execute_afresh
from tests.acceptance.nursery import House

ENDINGS = ("completed", "failed", "cancelled", "terminated")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(str(tmp_path), lease=60.0)


@pytest.fixture
def app(house: House) -> Iterator[Sequential]:
    with closing(Effects(house.log)) as log, house.open() as app:
        write_to(log)
        yield app


def everything(house: House) -> list[tuple[object, ...]]:
    """Return every row of every table."""
    with closing(sqlite3.connect(house.database)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return [
            (name, *row)
            for (name,) in sorted(names)
            for row in sorted(connection.execute(f"SELECT * FROM {name}"), key=repr)
        ]


def bring_to(ending: str, app: Sequential) -> Outcome:
    """Bring the run that is named like its *ending* to it."""
    flow = {"completed": "chain", "failed": "fall"}.get(ending, "ask")
    app.start(flow, {"number": 3}, run_id=ending)
    outcome = app.execute(ending)
    if ending == "cancelled":
        app.cancel(ending)
        outcome = app.execute(ending)
    elif ending == "terminated":
        app.terminate(ending)
        outcome = Cancelled(ending)
    return outcome


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_resume_after_the_end_changes_nothing_and_is_answered_from_the_record(
    house: House, app: Sequential, ending: str
) -> None:
    outcome = bring_to(ending, app)
    kind = {"completed": Completed, "failed": Failed}.get(ending, Cancelled)
    assert isinstance(outcome, kind)
    before, done = everything(house), read(house.log)
    assert len(before) > 1

    for _ in range(5):
        assert app.execute(ending) == outcome
    with house.open("every-step") as other:
        assert other.execute(ending) == outcome
    assert execute_afresh(house, ending, ending) == [repr(outcome)] * 2

    assert everything(house) == before
    assert read(house.log) == done


def test_a_frame_kept_warm_is_not_gone_on_with_after_the_run_ended_elsewhere(
    house: House, app: Sequential
) -> None:
    with house.open("every-step") as warm:
        warm.start("chain", {"number": 3}, run_id="r")
        warm.execute("r")
        outcome = app.execute("r")
        assert isinstance(outcome, Completed)
        before, done = everything(house), read(house.log)
        assert warm.execute("r") == outcome
        assert warm.execute("r") == outcome
    assert everything(house) == before
    assert read(house.log) == done
    assert len({line.position for line in done if line.kind == "start"}) == 5


@pytest.mark.parametrize("ending", ENDINGS)
def test_starting_telling_and_sweeping_after_the_end_change_nothing(
    house: House, app: Sequential, ending: str
) -> None:
    bring_to(ending, app)
    before = everything(house)
    flow = app.get(ending).flow
    assert app.start(flow, {"number": 3}, run_id=ending) == ending
    for tell in (lambda: app.signal(ending, "go", "late"), lambda: app.terminate(ending)):
        with pytest.raises(RunStatusWrong):
            tell()
    assert app.storage.due(10, None, 0.0) == []
    assert app.sweep() == 0
    assert everything(house) == before


def test_a_tombstone_answers_a_resume_that_comes_days_later(house: House, app: Sequential) -> None:
    bring_to("completed", app)
    assert app.purge("completed")
    before, done = everything(house), read(house.log)
    assert app.execute("completed") == Purged("completed")
    assert execute_afresh(house, "completed") == [repr(Purged("completed"))]
    assert everything(house) == before
    assert read(house.log) == done

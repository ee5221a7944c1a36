"""What somebody wrote into the storage past us: refused or blocked, never guessed, and curable.

One run of a file is damaged, another is not: that one goes on, and the damaged one does too once
its row is as it was.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sequential import Registry, Sequential, Steps, flow, save, tool, tool_call
from sequential._outcomes import Blocked, Completed, NotMine, Outcome, Paused
from sequential._sqlite import open_sqlite
from sequential.errors import SequentialError
from sequential.testing import FakeClock
from sequential.worker import Worker
from tests.fix_cli import CommandLine
from tests.hostile.lists import Entry, cases, clear, stored

RESULT = [{"id": 1}, "second"]

registry = Registry()
calls: list[object] = []


@tool("t", "echo", registry=registry)
def echo(value: object) -> object:
    calls.append(value)
    return value


@flow(name="two", registry=registry)
def two(input: object) -> Steps[object]:
    first = yield tool_call("t", "echo", {"value": input})
    yield save()
    second = yield tool_call("t", "echo", {"value": "second"})
    return [first, second]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in which the runs `sick` and `well` have made their first step and are due."""
    path = tmp_path_factory.mktemp("rows") / "flows.db"
    with opened(path) as app:
        for run_id in ("sick", "well"):
            app.start("two", {"id": 1}, run_id=run_id)
            assert isinstance(app.execute(run_id), Paused)
    return path


@pytest.fixture
def path(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(prepared, tmp_path / "flows.db"))


@contextmanager
def opened(path: Path, **settings: Any) -> Iterator[Sequential]:
    """Open *path* in a new process, as it were."""
    clock = FakeClock()
    storage = open_sqlite(f"sqlite:///{path}?synchronous=normal", clock)
    settings = {"plugins": [], "pause": "every-step", "clock": clock, **settings}
    with Sequential(storage, registry=registry, **settings) as app:
        yield app


def raw(path: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run one statement past us."""
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement, values).fetchall()


def state(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        raw(path, "SELECT state FROM runs WHERE run_id='sick'")[0][0]
    )
    return found


def set_state(path: Path, found: dict[str, Any]) -> None:
    raw(path, "UPDATE runs SET state = ? WHERE run_id = 'sick'", json.dumps(found).encode())


def to_end(app: Sequential, run_id: str) -> Outcome:
    outcome = app.execute(run_id)
    while isinstance(outcome, Paused) and outcome.reason in ("step", "save"):
        outcome = app.execute(run_id)
    return outcome


def held(app: Sequential) -> None:
    """Insist that the sick run is refused or blocked, and that the other goes on."""
    looks: list[Callable[[], object]] = [
        lambda: app.get("sick"),
        lambda: app.steps("sick"),
        lambda: app.replay("sick"),
        lambda: app.start("two", {"id": 1}, run_id="sick"),
        lambda: [app.value(app.get("sick"), step) for step in app.steps("sick")],
    ]
    for look in looks:
        tried(look)
    calls.clear()
    outcome = tried(lambda: to_end(app, "sick"))
    assert outcome is None or isinstance(outcome, Blocked | NotMine), outcome
    assert calls == []
    assert "well" in [run.run_id for run in app.find().runs]
    assert "well" in app.storage.due(10, None, 0.0)
    ended = to_end(app, "well")
    assert isinstance(ended, Completed)
    assert ended.result == RESULT


def tried(work: Callable[[], Any]) -> Any:
    """Return what *work* returns; None for an error of ours, which is one clear sentence."""
    try:
        return work()
    except SequentialError as error:
        clear(error)
        return None


def healed(app: Sequential) -> None:
    """Insist that the run goes on to its end as if nothing had been."""
    if app.get("sick").attention is not None:
        app.redrive("sick")
    ended = to_end(app, "sick")
    assert isinstance(ended, Completed), ended
    assert ended.result == RESULT
    assert [step.number for step in app.steps("sick")] == [0, 1, 2]


@pytest.mark.parametrize("entry", cases("run_rows"))
def test_a_damaged_row_of_a_run_is_held_until_it_is_mended(path: Path, entry: Entry) -> None:
    column = entry.more["column"]
    [(before,)] = raw(path, f"SELECT {column} FROM runs WHERE run_id = 'sick'")
    raw(path, f"UPDATE runs SET {column} = ? WHERE run_id = 'sick'", stored(entry.value))
    with opened(path) as app:
        held(app)
    raw(path, f"UPDATE runs SET {column} = ? WHERE run_id = 'sick'", before)
    with opened(path) as app:
        healed(app)


@pytest.mark.parametrize("entry", cases("state_fields"))
def test_a_damaged_field_of_the_state_is_held_until_it_is_mended(path: Path, entry: Entry) -> None:
    name, found = entry.more["field"], state(path)
    before = found.pop(name, None)
    set_state(path, found if entry.more.get("missing") else {**found, name: entry.value})
    with opened(path) as app:
        held(app)
    found = {key: value for key, value in state(path).items() if key != name}
    set_state(path, found if before is None else {**found, name: before})
    with opened(path) as app:
        healed(app)


@pytest.mark.parametrize("entry", cases("step_rows"))
def test_a_damaged_row_of_a_step_is_held_until_it_is_mended(path: Path, entry: Entry) -> None:
    column = entry.more["column"]
    [before] = raw(path, "SELECT * FROM steps WHERE run_id = 'sick'")
    raw(path, f"UPDATE steps SET {column} = ? WHERE run_id = 'sick'", stored(entry.value))
    with opened(path) as app:
        if entry.more.get("fits"):
            healed(app)
            return
        held(app)
    raw(path, "DELETE FROM steps WHERE run_id = 'sick'")
    raw(path, f"INSERT INTO steps VALUES ({', '.join('?' * len(before))})", *before)
    with opened(path) as app:
        healed(app)


@pytest.mark.parametrize("number", [0, 1, 5], ids=["twice", "one too many", "after a gap"])
def test_records_that_the_cursor_does_not_count_are_held(path: Path, number: int) -> None:
    [row] = raw(path, "SELECT * FROM steps WHERE run_id = 'sick'")
    added = [*row]
    added[2], added[3] = number, "4"
    if number == 0:
        with pytest.raises(sqlite3.IntegrityError):
            raw(path, f"INSERT INTO steps VALUES ({', '.join('?' * len(row))})", *added)
        raw(path, "UPDATE steps SET number = 1, position = '1' WHERE run_id = 'sick'")
    else:
        raw(path, f"INSERT INTO steps VALUES ({', '.join('?' * len(row))})", *added)
    with opened(path) as app:
        held(app)
    raw(path, "DELETE FROM steps WHERE run_id = 'sick'")
    raw(path, f"INSERT INTO steps VALUES ({', '.join('?' * len(row))})", *row)
    with opened(path) as app:
        healed(app)


def test_a_lost_record_is_held_and_not_made_again(path: Path) -> None:
    [row] = raw(path, "SELECT * FROM steps WHERE run_id = 'sick'")
    raw(path, "DELETE FROM steps WHERE run_id = 'sick'")
    with opened(path) as app:
        held(app)
        assert app.steps("sick") == []
    raw(path, f"INSERT INTO steps VALUES ({', '.join('?' * len(row))})", *row)
    with opened(path) as app:
        healed(app)


def test_every_page_is_found_past_damaged_rows(path: Path) -> None:
    with opened(path) as app:
        for number in range(6):
            app.start("two", {"id": 1}, run_id=f"more-{number}")
        for damaged in ("sick", "more-0", "more-1", "more-4"):
            raw(path, "UPDATE runs SET state = ? WHERE run_id = ?", b"gone", damaged)
        for damaged, created in (("sick", "text"), ("more-0", 9e999), ("more-1", -9e999)):
            raw(path, "UPDATE runs SET created = ? WHERE run_id = ?", created, damaged)
        found, after = [], None
        for _ in range(9):
            page = app.find(limit=1, after=after)
            found += [run.run_id for run in page.runs]
            after = page.next
            if after is None:
                break
    assert sorted(found) == ["more-2", "more-3", "more-5", "well"]


def test_a_worker_carries_on_what_is_whole(path: Path) -> None:
    raw(path, "UPDATE runs SET state = ? WHERE run_id = 'sick'", b"gone")
    with opened(path) as app:
        worker = Worker(app, 2, grace=5.0)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            outcome = app.wait("well", timeout=1e6)
        finally:
            worker.stop()
            thread.join(20)
    assert isinstance(outcome, Completed)
    assert not thread.is_alive()
    assert raw(path, "SELECT state FROM runs WHERE run_id = 'sick'") == [(b"gone",)]


@pytest.mark.parametrize(
    ("column", "value"),
    [("state", b"gone"), ("wake", 1e300), ("created", 1e18), ("status", "\x1b[2J"), ("tags", "[]")],
)
def test_the_command_line_shows_the_others(
    path: Path, command_line: CommandLine, column: str, value: object
) -> None:
    raw(path, f"UPDATE runs SET {column} = ? WHERE run_id = 'sick'", value)
    with_storage = ("--storage", f"sqlite:///{path}")
    result = command_line("list", *with_storage)
    assert (result.exit_code, result.exception) == (0, None), result.output
    assert "well" in result.stdout
    shown = command_line("show", "sick", *with_storage)
    assert shown.exit_code in (0, 1)
    assert shown.exit_code == 0 or shown.stderr.count("\n") == 1
    assert "unexpected" not in shown.stderr
    assert "\x1b" not in result.output + shown.output

from __future__ import annotations

import pytest

from sequential._model import At, evolve
from sequential._plugins import PluginInfo
from sequential._sqlite.storage import SqliteStorage
from sequential._storage import Stale
from tests.fix_cli import CommandLine


def test_doctor_finds_nothing_in_a_healthy_storage(command_line: CommandLine) -> None:
    command_line.ok("run", "shop.py:buy", "--input", '{"item": "x"}')
    command_line.ok("start", "shop.py:ask")
    said = command_line.json("doctor")
    assert (said["runs"], said["findings"]) == (2, [])
    assert len(said["deployment"]) == 32
    assert any("read back" in line for line in said["checks"])
    text = command_line.ok("doctor")
    assert "2 runs looked at, 0 need somebody" in text


def test_doctor_names_runs_that_need_somebody(command_line: CommandLine) -> None:
    command_line.ok("run", "shop.py:gone", "--run-id", "blocked", code=3)
    for run_id in ("overdue", "lost", "due"):
        command_line.ok("start", "shop.py:ask", "--run-id", run_id)
    with command_line.app() as app:
        for run_id, wake in (("overdue", At(1.0)), ("lost", None)):
            run = app.get(run_id)
            assert not isinstance(app.storage.commit(evolve(run, wake=wake), run), Stale)
    found = command_line.json("doctor", code=1)["findings"]
    assert {each["run_id"]: each["what"] for each in found} == {
        "blocked": "blocked",
        "overdue": "overdue",
        "lost": "damaged",
    }
    text = command_line.ok("doctor", code=1)
    assert "nothing will ever look at it" in text
    assert "start a worker that has flow 'ask'" in text


def test_doctor_stops_at_its_limit(command_line: CommandLine) -> None:
    for number in range(5):
        command_line.ok("start", "shop.py:ask", "--run-id", f"r{number}")
    assert command_line.json("doctor", "--limit", "3")["runs"] == 3


def test_migrate_sets_up_a_storage(command_line: CommandLine) -> None:
    assert not command_line.database.exists()
    assert "flows.db?synchronous=normal is up to date" in command_line.ok("migrate")
    assert command_line.database.exists()
    first, again = command_line.json("migrate"), command_line.json("migrate")
    assert first == again


def test_plugins_lists_a_broken_one_with_its_reason(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Found:
        def __init__(self, *_: object) -> None:
            self.found = [
                PluginInfo("good", "sequential-good", "1.0", ("sequential_storages",)),
                PluginInfo("bad", "sequential-bad", "2.0", (), "ImportError: no driver"),
            ]

    from sequential.cli import operate

    monkeypatch.setattr(operate, "Plugins", Found)
    assert command_line.ok("plugins").splitlines() == [
        "PLUGIN  PACKAGE          VERSION  HOOKS",
        "good    sequential-good  1.0      storages",
        "bad     sequential-bad   2.0      broken: ImportError: no driver",
    ]
    assert [each["error"] for each in command_line.lines("plugins")] == [
        None,
        "ImportError: no driver",
    ]


def test_plugins_says_when_there_are_none(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sequential._plugins._installed", lambda _: ())
    result = command_line("plugins")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no plugins are installed" in result.stderr


def test_demo_makes_a_run_of_each_kind(command_line: CommandLine) -> None:
    runs = {run["run_id"]: run["shown"] for run in command_line.lines("demo")}
    assert runs == {
        "demo-summary": "completed",
        "demo-refund": "failed",
        "demo-approval": "waiting",
        "demo-reminder": "waiting",
        "demo-order": "blocked",
    }
    assert "+ asked:" in command_line.ok("show", "demo-order")
    # Once more finds the same runs.
    assert len(command_line.lines("demo")) == 5


def test_demo_without_a_storage_takes_a_file_to_throw_away(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEQUENTIAL_STORAGE")
    monkeypatch.setattr("tempfile.tempdir", str(command_line.directory))
    result = command_line("demo")
    assert result.exit_code == 0
    assert len(list(command_line.directory.glob("sequential-demo-*/demo.db"))) == 1
    assert not (command_line.directory / "sequential.db").exists()
    assert "look around:  sequential --storage sqlite:///" in result.stderr


def test_doctor_repairs_a_storage_that_can(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "2 runs were armed that nobody would have woken"
    assert "nothing to repair" in command_line.ok("doctor", "--repair")
    monkeypatch.setattr(SqliteStorage, "repair", lambda _: [said], raising=False)
    assert f"repaired: {said}" in command_line.ok("doctor", "--repair")
    assert command_line.json("doctor", "--repair")["repaired"] == [said]
    assert command_line.json("doctor")["repaired"] == []
    elsewhere = f"sqlite:///{command_line.database}.values"
    assert command_line.json("doctor", "--repair", "--values", elsewhere)["repaired"] == [said] * 2

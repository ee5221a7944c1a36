"""Repairs of many runs at once: which are chosen, what is asked first, what is noted."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pytest

from sequential import Sequential
from sequential.cli import _deeds
from tests.fix_cli import CommandLine

WHY = ("--reason", "mended", "--as", "ada")


@pytest.fixture
def failing(command_line: CommandLine) -> CommandLine:
    """Three failed runs of one flow, a failed and an open one of others."""
    command_line.write("more.py", MORE)
    for number in range(3):
        tagged = ("--tag", "team=a") if number else ()
        command_line.ok("run", "shop.py:fail", "--run-id", f"f{number}", *tagged, code=4)
    command_line.ok("run", "more.py:other", "--run-id", "other", code=4)
    command_line.ok("start", "shop.py:ask", "--run-id", "open")
    return command_line


MORE = """
from sequential import flow, save

@flow
async def other() -> None:
    await save()
    raise ValueError("another trouble")
"""


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def generations(line: CommandLine) -> dict[str, int]:
    return {run["run_id"]: run["generation"] for run in line.lines("list")}


@pytest.mark.parametrize(
    ("filters", "chosen"),
    [
        (("--flow", "fail"), {"f0", "f1", "f2"}),
        (("--status", "failed"), {"f0", "f1", "f2", "other"}),
        (("--tag", "team=a"), {"f1", "f2"}),
        (("--error-like", "SOLD out"), {"f0", "f1", "f2"}),
        (("--error-like", "ValueError: another"), {"other"}),
        (("--since", "1h", "--flow", "other"), {"other"}),
        (("--before", "1h"), set[str]()),
        (("--flow", "fail", "--limit", "2"), {"f1", "f2"}),
        (("--status", "cancelled"), set[str]()),
    ],
)
def test_filters_choose_the_runs_that_are_retried(
    failing: CommandLine, filters: tuple[str, ...], chosen: set[str]
) -> None:
    said = failing.lines("retry", *filters, "--dry-run")
    assert {each["run_id"] for each in said} == chosen
    assert {each["would"] for each in said} <= {"retry"}
    failing.ok("retry", *filters, "--yes", *WHY)
    assert {run for run, made in generations(failing).items() if made} == chosen


def test_a_dry_run_shows_and_changes_nothing(failing: CommandLine) -> None:
    said = failing.ok("retry", "--flow", "fail", "--limit", "2", "--dry-run")
    assert "would retry 2 runs, of more than --limit 2; nothing was done" in said
    assert "f2" in said
    assert "would terminate 1 run; nothing was done" in failing.ok("terminate", "f0", "--dry-run")
    assert set(generations(failing).values()) == {0}


def test_somebody_is_asked_unless_told_not_to(
    failing: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("retry", "--flow", "fail", *WHY)
    refused = failing(*asked)
    assert refused.exit_code == 2
    assert "this would retry 3 runs; add --yes, or --dry-run" in refused.stderr
    monkeypatch.setattr(_deeds, "_can_ask", lambda: True)
    declined = failing(*asked, stdin="n\n")
    assert "retry 3 runs? [y/N]" in declined.stderr
    assert "nothing was done" in declined.stderr
    assert set(generations(failing).values()) == {0}
    assert "retry: 3 done" in failing.ok(*asked, stdin="y\n")
    assert sorted(generations(failing).values()) == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("retry",), "name runs, or choose them by filters"),
        (("retry", "f0", "--flow", "fail"), "name runs, or choose them by filters"),
        (("retry", "--flow", "fail", "--yes"), "add --reason TEXT"),
        (("retry", "--flow", "fail", "--yes", "--reason", " "), "add --reason TEXT"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    failing: CommandLine, arguments: tuple[str, ...], said: str
) -> None:
    result = failing(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_each_deed_is_noted_before_and_after(failing: CommandLine, tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    failing.ok("retry", "--flow", "fail", "--limit", "1", "--yes", *WHY, "--audit", str(audit))
    asked, done = rows(audit)
    assert (asked["viewer"], asked["action"], asked["reason"]) == ("ada", "retry", "mended")
    assert (asked["result"], done["result"], asked["run_id"]) == ("asked", "done", "f2")
    assert "generation 1" in done["note"]


def test_a_deed_to_one_run_is_noted_too_with_the_user_of_the_system(
    failing: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQUENTIAL_AUDIT", str(tmp_path / "audit.jsonl"))
    monkeypatch.setattr(getpass, "getuser", lambda: "grace")
    assert failing("cancel", "f0", "--reason", "no").exit_code == 1
    asked, failed = rows(tmp_path / "audit.jsonl")
    assert (asked["viewer"], failed["result"]) == ("grace", "failed")
    assert "it is failed" in failed["note"]

    def nameless() -> str:
        raise KeyError("uid")

    monkeypatch.setattr(getpass, "getuser", nameless)
    failing.ok("terminate", "open")
    assert rows(tmp_path / "audit.jsonl")[-1]["viewer"].startswith("uid ")


def test_what_cannot_be_noted_is_not_done(failing: CommandLine, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "no" / "audit.jsonl")
    assert failing("retry", "f0", "--audit", nowhere).exit_code == 1
    assert generations(failing)["f0"] == 0


def test_a_deed_is_a_log_record(failing: CommandLine, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "sequential.audit"):
        failing.ok("retry", "f0", *WHY)
    assert [record.__dict__["audit"]["result"] for record in caplog.records] == ["asked", "done"]


def test_one_that_is_refused_stops_none_of_the_others(failing: CommandLine) -> None:
    result = failing("retry", "f0", "open", "f1")
    assert result.exit_code == 1
    assert "open: cannot retry run 'open': it is paused" in result.stderr
    assert generations(failing) == {"f0": 1, "f1": 1, "f2": 0, "other": 0, "open": 0}
    said = failing.lines("retry", "f2", "open", code=1)
    assert said[0] == {"run_id": "f2"}
    assert "error" in said[1]


def test_open_runs_are_cancelled_ended_and_purged_by_filters(failing: CommandLine) -> None:
    failing.ok("cancel", "--flow", "ask", "--yes", *WHY)
    failing.ok("terminate", "--flow", "ask", "--yes", *WHY)
    assert "purge: 5 done" in failing.ok("purge", "--since", "1h", "--yes", *WHY)
    assert {run["status"] for run in failing.lines("list")} == {"purged"}
    # A tombstone is removed by its id only.
    assert failing.ok("purge", "--since", "1h", "--yes", *WHY) == ""


def test_what_somebody_purged_meanwhile_keeps_its_tombstone(
    failing: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = _deeds._found

    def slow(app: Sequential, *rest: Any) -> Any:
        found = search(app, *rest)
        assert app.purge("f1")
        return found

    monkeypatch.setattr(_deeds, "_found", slow)
    result = failing("purge", "--flow", "fail", "--yes", *WHY)
    assert (result.exit_code, result.stdout) == (1, "purge: 2 done, 1 refused\n")
    assert "cannot purge run 'f1': it is purged" in result.stderr
    assert {run["run_id"] for run in failing.lines("list", "--status", "purged")} == {
        "f0", "f1", "f2",
    }  # fmt: skip


def test_blocked_runs_are_redriven_by_what_blocks_them(failing: CommandLine) -> None:
    failing.ok("run", "shop.py:gone", "--run-id", "gone", code=3)
    assert failing.lines("redrive", "--error-like", "else", "--dry-run") == []
    chosen = failing.lines("redrive", "--error-like", "nobody.answers", "--dry-run")
    assert [each["run_id"] for each in chosen] == ["gone"]
    assert "redrive: 1 done" in failing.ok("redrive", "--status", "blocked", "--yes", *WHY)


def test_many_runs_are_forked_at_once(failing: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    chosen = ("--tag", "team=a", "--at", "1")
    assert "would fork 2 runs" in failing.ok("fork", *chosen, "--dry-run")
    assert "fork: 2 done" in failing.ok("fork", *chosen, "--yes", *WHY, "--audit", str(file))
    done = [row for row in rows(file) if row["result"] == "done"]
    assert {row["run_id"] for row in done} == {"f1", "f2"}
    for row in done:
        forked = failing.json("show", row["note"])
        assert (forked["tags"]["forked_from"], forked["steps"]) == (row["run_id"], 1)
    assert set(generations(failing).values()) == {0}


def test_a_fork_that_is_refused_stops_none_of_the_others(failing: CommandLine) -> None:
    said = failing.lines("fork", "f0", "open", "f1", "--at", "1", code=1)
    assert [each.get("forked_from", each["run_id"]) for each in said] == ["f0", "open", "f1"]
    assert "no step at position '1'" in said[1]["error"]


@pytest.mark.parametrize("option", [("--edit", "1"), ("--run-id", "new")])
@pytest.mark.parametrize("chosen", [("--flow", "fail"), ("f0", "f1")])
def test_an_edit_and_an_id_are_for_one_run(
    failing: CommandLine, chosen: tuple[str, ...], option: tuple[str, ...]
) -> None:
    result = failing("fork", *chosen, "--at", "1", *option, *WHY)
    assert result.exit_code == 2
    assert "for one run; name it" in result.output

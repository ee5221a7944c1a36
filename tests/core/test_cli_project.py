"""``sequential project``, and the other commands over what it made."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sequential._clock import SystemClock
from sequential._memory import MemoryStorage
from sequential._plugins import Plugins
from sequential._projection import Copied, Projector
from sequential.errors import StorageRefused, StorageUnavailable
from tests.fix_cli import CommandLine

COPY = "projection:///copy.db"


@pytest.fixture
def projected(command_line: CommandLine) -> CommandLine:
    command_line.ok("run", "shop.py:buy", "--input", '{"item": "pear"}', "--run-id", "bought")
    command_line.ok("start", "shop.py:ask", "--run-id", "asked", "--tag", "team=a")
    said = command_line.ok("project", "--into", "copy.db", "--once")
    assert said == "2 runs looked at, 2 copied, 0 removed\n"
    return command_line


def test_list_and_show_say_the_same_of_the_copy(projected: CommandLine) -> None:
    for command in (["list"], ["list", "--tag", "team=a"], ["list", "--count"], ["show", "bought"]):
        assert projected.ok(*command, "--storage", COPY) == projected.ok(*command)


def test_a_second_pass_copies_what_changed(projected: CommandLine) -> None:
    projected.ok("signal", "asked", "answer", '"yes"')
    said = projected.json("project", "--into", "copy.db", "--once")
    assert (said["written"], said["removed"]) == (1, 0)
    projected.ok("purge", "bought")
    said = projected.json("project", "--into", "copy.db", "--once", "--whole")
    assert said == {"looked": 2, "written": 1, "removed": 0}
    assert projected.json("show", "bought", "--storage", COPY)["status"] == "purged"


@pytest.mark.parametrize(
    "command",
    [
        ["start", "shop.py:ask"], ["execute", "asked"], ["signal", "asked", "answer"],
        ["cancel", "asked"], ["terminate", "asked"], ["purge", "bought"],
        ["run", "shop.py:buy", "--input", '{"item": "fig"}'],
    ],
)  # fmt: skip
def test_whoever_wants_to_act_is_told_where(projected: CommandLine, command: list[str]) -> None:
    done = projected(*command, "--storage", COPY)
    assert done.exit_code == 1
    assert "to act name sqlite:///flows.db" in done.stderr


def test_doctor_looks_at_the_copy(projected: CommandLine) -> None:
    said = projected.json("doctor", "--storage", COPY)
    assert said["runs"] == 2
    assert any("sqlite:///flows.db" in line for line in said["checks"])


def test_the_addresses_of_both_are_not_taken_for_each_other(projected: CommandLine) -> None:
    assert (
        "open it as projection:///copy.db"
        in projected("list", "--storage", "sqlite:///copy.db").stderr
    )
    assert (
        "open it as sqlite:///flows.db"
        in projected("list", "--storage", "projection:///flows.db").stderr
    )
    assert projected("project", "--into", "flows.db", "--once").exit_code == 1


def test_secrets_of_the_source_are_not_written_down(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plugins, "open_storage", lambda *_: MemoryStorage())
    address = "postgresql://ada:hunter2@db.example/runs"
    command_line.ok("project", "--storage", address, "--into", "copy.db", "--once")
    monkeypatch.undo()
    written = (command_line.directory / "copy.db").read_bytes()
    assert b"db.example/runs" in written
    assert b"hunter2" not in written


class Passes:
    """Stands for the projector in the loop: each pass does or raises what is planned."""

    def __init__(self, *planned: Copied | BaseException) -> None:
        self.planned = list(planned)
        self.waited: list[float] = []

    def go_on(self) -> Copied:
        found = self.planned.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Passes]:
    def plan(*passes: Copied | BaseException) -> Passes:
        found = Passes(*passes)
        monkeypatch.setattr(Projector, "go_on", found.go_on)
        monkeypatch.setattr(SystemClock, "wait", found.wait)
        return found

    return plan


def test_it_goes_on_until_it_is_stopped_and_tells_what_it_did(
    command_line: CommandLine, planned: Callable[..., Passes]
) -> None:
    passes = planned(
        Copied(1, 0, 0), Copied(2, 0, 0), StorageUnavailable("the source", "it is away"),
        Copied(3, 1, 0), KeyboardInterrupt(),
    )  # fmt: skip
    done = command_line("project", "--into", "copy.db", "--every", "30s")
    assert done.exit_code == 0
    assert passes.waited == [30.0] * 4
    assert [line[:20] for line in done.stdout.splitlines()] == [
        "1 runs looked at, 0 ",
        "3 runs looked at, 1 ",
    ]
    assert "the next pass tries again" in done.stderr


def test_what_will_not_heal_ends_it(
    command_line: CommandLine, planned: Callable[..., Passes]
) -> None:
    planned(Copied(), StorageRefused("copy.db", "the disk is full"))
    done = command_line("project", "--into", "copy.db")
    assert (done.exit_code, "the disk is full" in done.stderr) == (1, True)

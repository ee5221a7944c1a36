from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from sequential import Sequential, _plugins
from sequential._outcomes import Completed, Failed
from sequential.cli import Session, with_session
from sequential.cli._output import aligned, one_line, shown
from tests.fix_cli import CommandLine

# -- run and start


def test_run_prints_the_steps_and_the_result(command_line: CommandLine) -> None:
    result = command_line("run", "shop.py:buy", "--input", '{"item": "lamp"}', "--run-id", "r1")
    lines = result.stdout.splitlines()
    assert (result.exit_code, result.stderr) == (0, "")
    assert lines[0].split() == ["STEP", "WHAT", "OUTCOME", "TRIES", "TOOK", "RESULT"]
    assert [line.split()[:3] for line in lines[1:4]] == [
        ["0", "shop.price", "value"],
        ["1", "save", "value"],
        ["2", "shop.price", "value"],
    ]
    assert lines[4] == 'completed: {"item": "lamp", "cost": 8}'


def test_run_with_json_prints_one_document_and_nothing_else(command_line: CommandLine) -> None:
    command_line.write("loud.py", LOUD)
    result = command_line("run", "loud.py:loud", "--json")
    said = json.loads(result.stdout)
    assert (said["outcome"], said["result"]) == ("completed", 3)
    assert [step["position"] for step in said["steps"]] == ["0"]
    assert "from the tool" in result.stderr


LOUD = """
from sequential import flow, tool

@tool("loud", "speak")
def speak() -> int:
    print("from the tool")
    return 3

@flow
async def loud() -> int:
    return await speak()
"""


def test_run_again_finds_the_run_that_was_made(command_line: CommandLine) -> None:
    arguments = ("run", "shop.py:buy", "--input", '{"item": "lamp"}', "--run-id", "r1")
    first, again = command_line.json(*arguments), command_line.json(*arguments)
    assert first == again


def test_run_says_the_id_that_it_chose(command_line: CommandLine) -> None:
    result = command_line("run", "shop.py:ask", "--input", "{}", "--pause", "nonsense")
    assert result.exit_code == 1
    result = command_line("run", "shop.py:buy", "--input", '{"item": "x"}')
    with command_line.app() as app:
        [run] = app.find().runs
    assert result.stderr == f"run {run.run_id}\n"


@pytest.mark.parametrize(
    ("flow", "code", "said"),
    [("fail", 4, "ToolError"), ("gone", 3, "no tool answers to nobody.answers")],
)
def test_run_exits_with_what_became_of_the_run(
    command_line: CommandLine, flow: str, code: int, said: str
) -> None:
    result = command_line("run", f"shop.py:{flow}", "--run-id", "r1")
    assert result.exit_code == code
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_run_of_a_cancelled_run_exits_with_five(command_line: CommandLine) -> None:
    command_line.ok("start", "shop.py:buy", "--input", '{"item": "x"}', "--run-id", "r1")
    command_line.ok("terminate", "r1")
    command_line.ok("run", "shop.py:buy", "--input", '{"item": "x"}', "--run-id", "r1", code=5)


@pytest.mark.parametrize("pause", ["every-step", "when-waiting", "budget:1steps", "budget:30s"])
def test_every_pause_policy_comes_to_the_same(command_line: CommandLine, pause: str) -> None:
    said = command_line.json("run", "shop.py:buy", "--input", '{"item": "ab"}', "--pause", pause)
    assert said["result"] == {"item": "ab", "cost": 4}


def test_the_input_comes_from_a_file_or_stdin(command_line: CommandLine) -> None:
    command_line.write("given.json", '{"item": "abc"}')
    for given, stdin in (("@given.json", None), ("-", '{"item": "abc"}')):
        said = command_line.ok("run", "shop.py:buy", "--input", given, "--json", stdin=stdin)
        assert json.loads(said)["result"]["cost"] == 6


def test_dollar_keys_of_the_input_are_data(command_line: CommandLine) -> None:
    command_line.write(
        "echo.py",
        "from sequential import flow\n@flow\ndef echo(input):\n    return input\n    yield\n",
    )
    given = '{"$": "decimal", "v": "1"}'
    assert command_line.json("run", "echo.py:echo", "--input", given)["result"] == json.loads(given)


def test_values_are_printed_as_plain_json(command_line: CommandLine) -> None:
    command_line.write("values.py", VALUES)
    assert command_line.json("run", "values.py:values")["result"] == {
        "decimal": "1.10",
        "date": "2026-01-31",
        "lasting": 86401.5,
        "tuple": [1, [2]],
        "bytes": "AAE=",
    }


VALUES = """
import datetime, decimal
from sequential import flow

@flow
def values():
    return {
        "decimal": decimal.Decimal("1.10"), "date": datetime.date(2026, 1, 31),
        "lasting": datetime.timedelta(1, 1, 500000), "tuple": (1, (2,)), "bytes": bytes([0, 1]),
    }
    yield
"""


def test_start_prints_the_id_and_runs_nothing(command_line: CommandLine) -> None:
    out = command_line.ok(
        "start", "shop.py:buy", "--input", '{"item": "x"}', "--tag", "a=1", "--tag", "b=x=y"
    )
    with command_line.app() as app:
        [run] = app.find().runs
    assert out == f"{run.run_id}\n"
    assert (run.cursor, run.tags) == (0, {"a": "1", "b": "x=y"})


def test_start_later_is_not_due_yet(command_line: CommandLine) -> None:
    command_line.ok("start", "shop.py:ask", "--run-id", "r1", "--in", "1h")
    assert command_line.json("show", "r1")["shown"] == "waiting"


# -- execute, wait, sweep, worker


def test_execute_makes_one_invocation(command_line: CommandLine) -> None:
    command_line.ok("start", "shop.py:buy", "--input", '{"item": "x"}', "--run-id", "r1")
    first = command_line.json("execute", "r1", "--load", "shop.py")
    assert (first["outcome"], first["reason"], first["position"]) == ("paused", "save", "1")
    assert command_line.json("execute", "r1", "--load", "shop.py")["outcome"] == "completed"


def test_execute_leaves_a_flow_that_it_does_not_have_alone(command_line: CommandLine) -> None:
    command_line.ok("start", "shop.py:ask", "--run-id", "r1")
    from sequential._registry import REGISTRY

    REGISTRY.flows.clear()
    out = command_line.ok("execute", "r1")
    assert "left alone: flow 'ask' is not registered here; name its module with --load" in out


def test_the_configuration_names_the_modules(command_line: CommandLine) -> None:
    command_line.write("sequential.toml", 'modules = ["shop"]\npause = "every-step"\n')
    command_line.ok("start", "buy", "--input", '{"item": "x"}', "--run-id", "r1")
    assert command_line.json("execute", "r1")["reason"] == "step"
    assert command_line.json("execute", "r1", "--pause", "budget")["reason"] == "save"


def test_wait_says_how_a_run_ended(command_line: CommandLine) -> None:
    command_line.ok("run", "shop.py:fail", "--run-id", "r1", code=4)
    assert command_line.json("wait", "r1", code=4)["outcome"] == "failed"


def test_wait_gives_up_after_its_time(command_line: CommandLine) -> None:
    command_line.ok("start", "shop.py:ask", "--run-id", "r1")
    result = command_line("wait", "r1", "--timeout", "1ms")
    assert (result.exit_code, "has not ended yet" in result.stderr) == (1, True)


def test_sweep_says_how_many_messages_it_sent(command_line: CommandLine) -> None:
    assert command_line.json("sweep") == {"sent": 0}
    assert "0 resume messages sent" in command_line.ok("sweep")


def test_worker_is_given_the_flows_and_the_concurrency(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sequential import _worker

    made: list[Any] = []

    class FakeWorker:
        def __init__(self, app: Sequential, concurrency: int) -> None:
            made.append((concurrency, app.engine.policy.every_step, sorted(app.registry.flows)))

        def run(self) -> None:
            made.append("ran")

    monkeypatch.setattr(_worker, "Worker", FakeWorker)
    command_line.ok(
        "worker", "--load", "shop.py", "--concurrency", "2", "--pause", "every-step", "--json"
    )
    assert made[0][:2] == (2, True)
    assert {"buy", "ask"} <= set(made[0][2])
    assert made[1] == "ran"


# -- telling and repairing


def test_a_signal_answers_a_run(command_line: CommandLine) -> None:
    command_line.ok("start", "shop.py:ask", "--run-id", "r1")
    command_line.ok("execute", "r1")
    assert command_line.json("signal", "r1", "answer", '{"yes": 1}', "--signal-id", "s")["accepted"]
    again = command_line.json("signal", "r1", "answer", "2", "--signal-id", "s")
    assert again == {"run_id": "r1", "accepted": False}
    assert command_line.json("execute", "r1")["result"] == {"yes": 1}


def test_a_signal_without_a_value_is_null(command_line: CommandLine) -> None:
    command_line.ok("start", "shop.py:ask", "--run-id", "r1")
    command_line.ok("signal", "r1", "answer")
    assert command_line.json("execute", "r1")["result"] is None


def test_a_signal_of_another_type_is_one_line_and_can_be_sent_anyway(
    command_line: CommandLine,
) -> None:
    command_line.write("typed.py", TYPED)
    command_line.ok("start", "typed.py:typed", "--run-id", "r1")
    command_line.ok("execute", "r1", "--load", "typed.py")
    said = command_line("signal", "r1", "n", '"one"')
    assert said.exit_code == 1
    assert "$ does not fit what it waits for: Expected `int`, got `str`" in said.stderr
    assert "accepted" in command_line.ok("signal", "r1", "n", '"one"', "--unchecked")


TYPED = """
from sequential import flow, wait_for_signal

@flow
async def typed() -> int:
    return await wait_for_signal("n", int)
"""


def test_cancel_ends_a_run_at_its_next_step(command_line: CommandLine) -> None:
    command_line.ok("start", "shop.py:ask", "--run-id", "r1")
    assert "asked to stop" in command_line.ok("cancel", "r1", "--reason", "enough")
    assert "asked to stop before" in command_line.ok("cancel", "r1")
    command_line.ok("execute", "r1", code=5)


def test_retry_goes_on_from_the_step_that_failed(command_line: CommandLine) -> None:
    command_line.ok("run", "shop.py:fail", "--run-id", "r1", code=4)
    assert "generation 1, with 1 steps kept" in command_line.ok("retry", "r1")
    assert command_line.json("show", "r1")["generation"] == 1


def test_fork_takes_another_result(command_line: CommandLine) -> None:
    command_line.ok("run", "shop.py:buy", "--input", '{"item": "ab"}', "--run-id", "r1")
    out = command_line.ok("fork", "r1", "--at", "0", "--edit", "100", "--run-id", "r2")
    assert out == "r2\n"
    command_line.ok("execute", "r2")
    assert command_line.json("execute", "r2")["result"]["cost"] == 102
    assert command_line.json("show", "r1")["result"]["cost"] == 4


def test_redrive_looks_at_a_blocked_run_at_once(command_line: CommandLine) -> None:
    command_line.ok("run", "shop.py:gone", "--run-id", "r1", code=3)
    command_line.ok("redrive", "r1")
    command_line.ok("execute", "r1", code=3)


def test_purge_leaves_a_tombstone_and_then_nothing(command_line: CommandLine) -> None:
    command_line.ok("run", "shop.py:fail", "--run-id", "r1", code=4)
    assert "a tombstone is left" in command_line.ok("purge", "r1")
    command_line.ok("execute", "r1", code=1)
    assert "its tombstone is removed" in command_line.ok("purge", "r1")
    command_line.ok("show", "r1", code=1)


def test_purge_refuses_a_run_that_goes_on(command_line: CommandLine) -> None:
    command_line.ok("start", "shop.py:ask", "--run-id", "r1")
    result = command_line("purge", "r1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "purge is for a run that has ended" in result.stderr


# -- the face


def test_every_command_has_a_page_of_help(command_line: CommandLine) -> None:
    text = command_line.ok("--help")
    commands = text.partition("Commands:")[2].split("\n  ")
    names = [line.split()[0] for line in commands if line.strip() and line[0] != " "]
    asked = """run start execute wait worker sweep list show signal cancel terminate retry fork
        redrive replay purge plugins doctor migrate demo"""
    assert set(names) >= set(asked.split())
    for name in asked.split():
        page = command_line.ok(name, "--help")
        assert all(option in page for option in ("--storage", "--transport", "--json", "--debug"))


def test_common_options_stand_before_or_after_the_command(command_line: CommandLine) -> None:
    command_line.ok("--storage", "sqlite:///other.db", "migrate")
    command_line.ok("migrate", "--storage", "sqlite:///third.db")
    assert (command_line.directory / "other.db").exists()
    assert (command_line.directory / "third.db").exists()
    assert not command_line.database.exists()


def test_wrong_usage_is_one_line_and_exit_code_two(command_line: CommandLine) -> None:
    for arguments in (("nonsense",), ("show",), ("show", "a", "b"), ("list", "--limit", "0")):
        result = command_line(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        assert "--help)" in result.stderr


def test_debug_shows_the_traceback(command_line: CommandLine) -> None:
    assert "Traceback" not in command_line("show", "nobody").output
    assert "Traceback" in command_line("--debug", "show", "nobody").stderr
    assert "Traceback" in command_line("show", "nobody", "--debug").stderr


def test_an_interrupt_is_exit_code_130(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Sequential, "wait", interrupted)
    result = command_line("wait", "r1")
    assert (result.exit_code, "interrupted" in result.stderr) == (130, True)


def test_an_error_of_ours_is_one_line_all_the_same(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        msg = "first\nsecond"
        raise AssertionError(msg)

    monkeypatch.setattr(Sequential, "wait", broken)
    result = command_line("wait", "r1")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: AssertionError: first second (unexpected; --debug")


def test_an_observer_of_a_closed_pipe_gets_no_traceback(command_line: CommandLine) -> None:
    command_line.ok("run", "shop.py:buy", "--input", '{"item": "x"}')
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "sequential", "list"],
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_plugin_brings_a_command_with_the_common_options(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command("brew")
    @click.argument("cups", type=int)
    @with_session
    def brew(session: Session, cups: int) -> int:
        with session.app() as app:
            session.output.document({"cups": cups, "runs": len(app.find().runs)})
        return 3

    monkeypatch.setattr(_plugins.Plugins, "commands", lambda _, cli: cli.add_command(brew))
    from sequential.cli import cli

    monkeypatch.setattr(cli, "commands", {})
    monkeypatch.setattr(cli, "_asked_plugins", False)
    assert command_line.json("brew", "2", "--storage", "sqlite:///x.db", code=3) == {
        "cups": 2,
        "runs": 0,
    }
    assert "brew" in command_line.ok("--help")


def test_help_works_with_a_broken_configuration(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sequential.cli import cli

    monkeypatch.setattr(cli, "commands", {})
    monkeypatch.setattr(cli, "_asked_plugins", False)
    command_line.write("sequential.toml", "nonsense = 1\n")
    result = command_line("--help")
    assert (result.exit_code, "Commands:" in result.stdout) == (0, True)
    assert "note: no commands of plugins" in result.stderr


# -- printing


def test_control_characters_of_a_run_do_not_reach_the_terminal() -> None:
    assert shown("a\x1b[31mb\u202e\x9bc\nd") == r"a\x1b[31mb\u202e\x9bc\nd"
    assert shown("Grüße, 世界 🙂") == "Grüße, 世界 🙂"


def test_an_error_is_one_line_without_secrets() -> None:
    text = one_line("cannot reach\n  postgresql://ada:s3cret@host/db\x1b")
    assert text == r"cannot reach postgresql://***@host/db\x1b"


def test_columns_stand_under_each_other() -> None:
    assert aligned([["A", "LONG", "C"], ["aaa", "b", ""]]) == ["A    LONG  C", "aaa  b"]


def on_a_terminal(directory: Path, *args: str) -> str:
    """Run the command with a terminal for stdout and stderr; return what it showed."""
    main, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sequential", *args],
        stdin=subprocess.DEVNULL,
        stdout=other,
        stderr=other,
        cwd=directory,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "NO_COLOR": ""},
    )
    os.close(other)
    shown_text = b""
    while True:
        try:
            block = os.read(main, 65536)
        except OSError:
            break
        if not block:
            break
        shown_text += block
    os.close(main)
    assert process.wait(30) == 0, shown_text
    return shown_text.decode()


def test_a_terminal_gets_colours_and_a_table(command_line: CommandLine) -> None:
    text = on_a_terminal(
        command_line.directory,
        "run",
        "shop.py:buy",
        "--input",
        '{"item": "[red]x"}',
        "--run-id",
        "r",
    )
    assert "shop.price" in text
    assert "[red]x" in text
    assert "\x1b[" in text
    assert "\x1b[32mcompleted" in on_a_terminal(command_line.directory, "list")


# -- the processes


def test_python_m_sequential_is_the_command_line(command_line: CommandLine) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sequential", "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("sequential")


@pytest.mark.parametrize("module", ["click", "rich", "tomllib"])
def test_importing_the_package_imports_nothing_of_the_command_line(module: str) -> None:
    # Not measured: coverage imports what it needs itself.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    code = f"import sequential, sys; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0


def test_each_invocation_is_made_in_a_fresh_process(command_line: CommandLine) -> None:
    command_line.write("pids.py", PIDS)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sequential", "run", "pids.py:pids", "--pause", "every-step"),
            *("--fresh-processes", "--run-id", "r1"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    said = [line.split()[3] for line in lines if line.startswith("invocation")]
    assert [line.split("  ")[-1] for line in lines[:3]] == [
        "paused (step)",
        "paused (step)",
        "completed",
    ]
    with command_line.app() as app:
        outcome = app.outcome(app.get("r1"))
    assert isinstance(outcome, Completed)
    assert isinstance(outcome.result, list)
    assert [str(pid) for pid in outcome.result] == said[:2]
    assert len(set(said)) == 3


PIDS = """
import os
from sequential import flow, tool

@tool("process", "id")
def process_id() -> int:
    return os.getpid()

@flow
def pids():
    first = yield from process_id()
    second = yield from process_id()
    return [first, second]
"""


def test_a_fresh_process_that_dies_costs_one_attempt_and_not_the_run(
    command_line: CommandLine,
) -> None:
    command_line.write("dies.py", DIES)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sequential", "run", "dies.py:dies", "--fresh-processes"),
            *("--run-id", "r1", "--json"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "SEQUENTIAL_LEASE": "0.2"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"] == "alive"
    assert "died of signal 9" in done.stderr


DIES = """
import os, pathlib, signal
from sequential import flow, tool

@tool("dies", "once")
def once() -> str:
    mark = pathlib.Path("died")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"

@flow
def dies():
    return (yield from once())
"""


def test_fresh_processes_find_a_flow_by_its_registered_name(command_line: CommandLine) -> None:
    command_line.write("sequential.toml", 'modules = ["shop"]\n')
    command_line.ok("run", "fail", "--fresh-processes", "--run-id", "r1", code=4)
    with command_line.app() as app:
        assert isinstance(app.outcome(app.get("r1")), Failed)


def test_fresh_processes_need_a_storage_that_stays(command_line: CommandLine) -> None:
    result = command_line("run", "shop.py:ask", "--fresh-processes", "--storage", "memory:")
    assert (result.exit_code, "use --storage sqlite:///" in result.stderr) == (2, True)

from __future__ import annotations

import pytest

from sequential._model import Status
from sequential._storage import Stale
from tests.fix_cli import CommandLine


@pytest.fixture
def some_runs(command_line: CommandLine) -> CommandLine:
    """One run of each kind, oldest first: completed, failed, blocked, signal, sleep, due."""
    command_line.ok("run", "shop.py:buy", "--input", '{"item": "ab"}', "--run-id", "done")
    command_line.ok("run", "shop.py:fail", "--run-id", "failed", "--tag", "team=a", code=4)
    command_line.ok("run", "shop.py:gone", "--run-id", "blocked", code=3)
    for run_id, flow in (("signal", "ask"), ("sleep", "nap")):
        command_line.ok("start", f"shop.py:{flow}", "--run-id", run_id, "--tag", "team=b")
        command_line.ok("execute", run_id)
    command_line.ok("start", "shop.py:ask", "--run-id", "due", "--tag", "team=a")
    return command_line


# -- list


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "due sleep signal blocked failed done"),
        (("--flow", "ask"), "due signal"),
        (("--status", "completed"), "done"),
        (("--status", "paused"), "due sleep signal blocked"),
        (("--status", "waiting"), "sleep signal"),
        (("--status", "due"), "due"),
        (("--status", "blocked", "--status", "failed"), "blocked failed"),
        (("--status", "stalled"), ""),
        (("--tag", "team=a"), "due failed"),
        (("--tag", "team=a", "--status", "failed"), "failed"),
        (("--since", "1h"), "due sleep signal blocked failed done"),
        (("--since", "2999-01-01"), ""),
        (("--before", "2999-01-01", "--flow", "ask"), "due signal"),
        (("--before", "1h"), ""),
        (("--search", "s"), "sleep signal"),
        (("--search", "si", "--flow", "ask"), "signal"),
        (("--search", "S"), ""),
    ],
)
def test_list_filters(some_runs: CommandLine, arguments: tuple[str, ...], expected: str) -> None:
    assert [run["run_id"] for run in some_runs.lines("list", *arguments)] == expected.split()


def test_list_is_aligned_text_when_it_is_piped(some_runs: CommandLine) -> None:
    lines = some_runs.ok("list", "--status", "waiting").splitlines()
    assert lines[0].split() == ["RUN", "FLOW", "STATUS", "STEPS", "CREATED", "WAKE"]
    assert {
        line.index(word) for line, word in zip(lines, ("STATUS", "waiting", "waiting"), strict=True)
    } == {lines[0].index("STATUS")}


def test_list_counts_all_pages_by_flow_and_status(some_runs: CommandLine) -> None:
    text = some_runs.ok("list", "--count", "--limit", "1", "--search", "s")
    assert [line.split() for line in text.splitlines()] == [
        ["FLOW", "STATUS", "RUNS"],
        ["ask", "paused", "1"],
        ["nap", "paused", "1"],
        ["2"],
    ]
    assert some_runs.lines("list", "--count", "--status", "failed") == [
        {"flow": "fail", "status": "failed", "count": 1}
    ]
    assert some_runs("list", "--count", "--flow", "none").stderr == "no runs\n"


def test_what_is_only_shown_cannot_be_counted(some_runs: CommandLine) -> None:
    result = some_runs("list", "--count", "--status", "due", "--status", "failed")
    assert result.exit_code == 2
    assert "due is part of paused" in result.stderr


def test_list_goes_on_where_the_page_before_ended(some_runs: CommandLine) -> None:
    seen, after = [], None
    for _ in range(10):
        more = () if after is None else ("--after", after)
        result = some_runs("list", "--json", "--limit", "2", *more)
        seen += [line.split('"')[3] for line in result.stdout.splitlines()]
        if not result.stderr:
            break
        after = result.stderr.removeprefix("more: --after ").strip()
    assert seen == ["due", "sleep", "signal", "blocked", "failed", "done"]


def test_list_of_nothing_says_so_on_stderr(command_line: CommandLine) -> None:
    result = command_line("list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no runs\n")


def test_looking_imports_no_flow_modules(command_line: CommandLine) -> None:
    command_line.ok("run", "shop.py:buy", "--input", '{"item": "ab"}', "--run-id", "done")
    command_line.write("sequential.toml", 'modules = ["explodes"]\n')
    command_line.write("explodes.py", "raise RuntimeError('imported')\n")
    for arguments in (("list",), ("show", "done"), ("doctor",), ("plugins",), ("purge", "done")):
        command_line.ok(*arguments)
    assert "imported" in command_line("execute", "done").stderr


# -- show


def test_show_tells_everything_about_a_run(some_runs: CommandLine) -> None:
    text = some_runs.ok("show", "done")
    head, _, steps = text.partition("\n\n")
    fields = dict(line.split(maxsplit=1) for line in head.splitlines())
    assert fields["flow"] == "buy (version 1)"
    assert fields["status"] == "completed"
    assert fields["input"] == '{"item": "ab"}'
    assert fields["result"] == '{"item": "ab", "cost": 4}'
    assert [line.split()[1] for line in steps.splitlines()[1:]] == [
        "shop.price",
        "save",
        "shop.price",
    ]


def test_show_says_why_a_run_failed(some_runs: CommandLine) -> None:
    text = some_runs.ok("show", "failed")
    assert "LookupError: sold out" in text
    assert some_runs.json("show", "failed")["error"]["type"] == "ToolError"


@pytest.mark.parametrize(
    ("run_id", "status", "said"),
    [
        ("signal", "waiting", "step 0: waits for signal 'answer'"),
        ("sleep", "waiting", "step 0: sleeps until"),
        ("blocked", "blocked", "tool-not-found: no tool answers to nobody.answers"),
        ("due", "due", "wake"),
    ],
)
def test_show_says_what_a_run_waits_for(
    some_runs: CommandLine, run_id: str, status: str, said: str
) -> None:
    assert some_runs.json("show", run_id)["shown"] == status
    assert said in some_runs.ok("show", run_id)


def test_show_prints_the_diff_of_a_run_whose_code_changed(command_line: CommandLine) -> None:
    command_line.ok("start", "shop.py:buy", "--input", '{"item": "ab"}', "--run-id", "r1")
    command_line.ok("execute", "r1")
    change(command_line)
    command_line.ok("execute", "r1", code=3)
    text = command_line.ok("show", "r1")
    assert '  - recorded: tool call shop.price {"item":"ab"}' in text
    assert '  + asked:    tool call shop.price {"item":"dear ab"}' in text


def change(line: CommandLine) -> None:
    """Deploy another version of the flow ``buy``, as if this were a new process."""
    from sequential._registry import REGISTRY
    from sequential._targets import import_modules

    text = (line.directory / "shop.py").read_text(encoding="utf-8")
    line.write("shop2.py", text.replace('{"item": item})', '{"item": f"dear {item}"})', 1))
    REGISTRY.flows.clear()
    REGISTRY.tools.clear()
    import_modules(["shop2.py"], line.directory)


# -- replay


def test_replay_agrees_with_what_the_same_code_recorded(some_runs: CommandLine) -> None:
    found = some_runs.lines("replay")
    assert {each["run_id"] for each in found} == {
        "due", "sleep", "signal", "blocked", "failed", "done"
    }  # fmt: skip
    assert all(each["agrees"] for each in found), found
    assert some_runs.ok("replay", "done") == "1 of 1 histories agree\n"


def test_replay_shows_how_changed_code_differs(some_runs: CommandLine) -> None:
    change(some_runs)
    [found] = some_runs.lines("replay", "done", code=3)
    assert (found["agrees"], found["reason"]) == (False, "changed")
    text = some_runs.ok("replay", "--flow", "buy", code=3)
    assert "+ asked:" in text
    assert "0 of 1 histories agree" in text


def test_replay_runs_no_tool_and_writes_nothing(some_runs: CommandLine) -> None:
    with some_runs.app() as app:
        before = [(run.run_id, run.version) for run in app.find().runs]
    path = some_runs.directory / "shop.py"
    text = path.read_text(encoding="utf-8").replace("return len(item)", "raise SystemExit(9)")
    path.write_text(text, encoding="utf-8")
    from sequential._registry import REGISTRY

    REGISTRY.flows.clear()
    REGISTRY.tools.clear()
    path.rename(some_runs.directory / "shop3.py")
    some_runs.ok("replay", "--load", "shop3.py")
    with some_runs.app() as app:
        assert [(run.run_id, run.version) for run in app.find().runs] == before


CAUGHT = """
    try:
        yield tool_call("shop", "refuse")
    except Exception:
        pass
"""


@pytest.mark.parametrize(
    ("run_id", "old", "new", "reason"),
    [
        ("done", '"cost": cost + again', '"cost": cost', "result"),
        ("done", "    yield save()\n", "", "changed"),
        ("done", '    return {"item"', '    yield save()\n    return {"item"', "changed"),
        ("failed", 'yield tool_call("shop", "refuse")', "return", "changed"),
        ("failed", '    yield tool_call("shop", "refuse")\n', CAUGHT, "changed"),
        ("signal", 'wait_for_signal("answer")', 'wait_for_signal("other")', "changed"),
        ("signal", 'return (yield wait_for_signal("answer"))', "return 1\n    yield", "changed"),
        ("sleep", "yield sleep(86_400)", "yield save()", "changed"),
    ],
)  # fmt: skip
def test_replay_finds_every_way_to_end_otherwise(
    some_runs: CommandLine, run_id: str, old: str, new: str, reason: str
) -> None:
    from sequential._registry import REGISTRY

    text = (some_runs.directory / "shop.py").read_text(encoding="utf-8")
    assert old in text
    some_runs.write("changed.py", text.replace(old, new))
    REGISTRY.flows.clear()
    REGISTRY.tools.clear()
    [found] = some_runs.lines("replay", run_id, "--load", "changed.py", code=3)
    assert found["reason"] == reason
    assert found["diff"].count("\n") == 2


def test_replay_of_a_large_result_reads_it_from_the_storage(command_line: CommandLine) -> None:
    given = '{"item": "' + "x" * 200_000 + '"}'
    command_line.write("given.json", given)
    command_line.ok("run", "shop.py:buy", "--input", "@given.json", "--run-id", "r1", "--json")
    assert command_line.lines("replay", "r1")[0]["agrees"]


def test_replay_of_a_terminated_run_may_stand_anywhere(some_runs: CommandLine) -> None:
    some_runs.ok("terminate", "signal")
    some_runs.ok("cancel", "due")
    some_runs.ok("execute", "due", code=5)
    assert all(each["agrees"] for each in some_runs.lines("replay", "signal", "due"))


def test_replay_refuses_what_is_not_there(some_runs: CommandLine) -> None:
    assert "there is no run 'nobody'" in some_runs("replay", "nobody").stderr
    some_runs.ok("purge", "done")
    assert "cannot replay run 'done': it is purged" in some_runs("replay", "done").stderr
    assert len(some_runs.lines("replay")) == 5


def test_replay_finds_records_that_are_missing(some_runs: CommandLine) -> None:
    import sqlite3

    connection = sqlite3.connect(some_runs.database)
    with connection:
        connection.execute("DELETE FROM steps WHERE number = 1")
    connection.close()
    [found] = some_runs.lines("replay", "done", code=3)
    assert (found["reason"], found["message"]) == ("corrupt", "2 of 3 step records are there")
    result = some_runs("doctor")
    assert result.exit_code == 1
    assert "2 of 3 step records are there" in result.stdout


def test_a_stalled_run_is_shown_and_found(command_line: CommandLine) -> None:
    from sequential._model import At, evolve

    command_line.ok("start", "shop.py:ask", "--run-id", "r1")
    with command_line.app() as app:
        run = app.get("r1")
        held = evolve(run, status=Status.RUNNING, owner="o", fence=1, wake=At(1.0))
        assert not isinstance(app.storage.commit(held, run), Stale)
    assert [run["run_id"] for run in command_line.lines("list", "--status", "stalled")] == ["r1"]
    assert "its lease ended" in command_line.ok("doctor", code=1)

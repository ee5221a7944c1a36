"""Histories as files: written, held against code, and refused when they are not what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sequential import Registry, Sequential, Steps, flow, tool, wait_for_signal
from sequential._history import parse, read
from sequential._registry import REGISTRY
from sequential.codecs import Seal
from sequential.errors import HistoryUnreadable, RecordCorrupt, RunMissing, RunStatusWrong
from sequential.testing import histories, verify_replay
from tests.core.recorded_flows import FOLDER
from tests.core.recorded_flows import REGISTRY as RECORDED
from tests.fix_cli import CommandLine
from tests.fix_stage import Stage

WHOLE = (FOLDER / "0.1.0/completed.json").read_bytes()
KEY = bytes(range(32))


def shop(stage: Stage) -> Callable[..., Any]:
    @tool("shop", "price", registry=stage.registry)
    def price(item: str) -> str:
        return f"price of {item}" * 20_000

    @flow(registry=stage.registry, name="buy")
    def buy(item: str) -> Steps[int]:
        first = yield from price(item)
        answer = yield wait_for_signal("go", str)
        return len(first) + len(answer)

    return buy


# -- from a storage


def test_values_by_reference_and_in_codecs_stand_in_the_file_as_plain_json(
    any_stage: Stage, tmp_path: Path
) -> None:
    shop(any_stage)
    app = any_stage.app(plugins=[Seal({"k1": KEY})], payload=["zlib", "seal"])
    app.start("buy", {"item": "CANARY"}, run_id="r")
    app.execute("r")
    app.signal("r", "go", "yes")
    app.execute("r")
    assert app.steps("r")[0].value.codecs == ("zlib", "seal")
    path = tmp_path / "r.json"
    path.write_text(app.export("r"), "utf-8")
    written = json.loads(path.read_text("utf-8"))
    assert written["run"]["input"] == {"item": "CANARY"}
    assert written["steps"][0]["input"] == {"item": "CANARY"}
    assert written["steps"][0]["value"] == "price of CANARY" * 20_000
    assert "fingerprint" not in written["steps"][0]
    assert any_stage.app().replay_history(path).agrees


def test_a_sealed_input_that_was_not_kept_is_compared_by_its_tool_alone(
    stage: Stage, tmp_path: Path
) -> None:
    @tool("shop", "length", registry=stage.registry)
    def length(text: str) -> int:
        return len(text)

    @flow(registry=stage.registry, name="measure")
    def measure() -> Steps[int]:
        return (yield from length("x" * 70_000))

    app = stage.app(plugins=[Seal({"k1": KEY})], payload=["seal"])
    app.run("measure", run_id="r")
    path = tmp_path / "r.json"
    path.write_text(app.export("r"), "utf-8")
    assert json.loads(path.read_text("utf-8"))["steps"][0]["fingerprint"].startswith("seal:k1:")
    assert stage.app().replay_history(path).agrees


def test_exporting_twice_gives_the_same_bytes(stage: Stage) -> None:
    shop(stage)
    app = stage.app()
    app.start("buy", {"item": "pear"}, run_id="r")
    app.execute("r")
    assert app.export("r") == app.export("r")


def test_what_has_no_history_is_not_exported(stage: Stage) -> None:
    shop(stage)
    app = stage.app()
    with pytest.raises(RunMissing):
        app.export("nobody")
    app.start("buy", {"item": "pear"}, run_id="r")
    app.execute("r")
    app.terminate("r")
    assert app.purge("r")
    with pytest.raises(RunStatusWrong, match="cannot export run 'r': it is purged"):
        app.export("r")


def test_a_history_with_a_hole_is_not_exported(stage: Stage, monkeypatch: Any) -> None:
    shop(stage)
    app = stage.app()
    app.start("buy", {"item": "pear"}, run_id="r")
    app.execute("r")
    loaded = app.storage.load("r")
    assert loaded is not None
    monkeypatch.setattr(app.storage, "load", lambda _: loaded._replace(steps=()))
    with pytest.raises(RecordCorrupt, match="0 of 1 step records are there"):
        app.export("r")


# -- what is read is not trusted


def changed(place: str, value: object) -> bytes:
    """Return a whole file with *value* at *place*, or without it if that is `...`."""
    whole = json.loads(WHOLE)
    inner: Any = whole
    *way, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    for key in way:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(whole).encode()


BAD = {
    "empty": (b"", "truncated"),
    "no JSON": (b"pickle: \x80\x04.", "malformed"),
    "a list": (b"[]", "Expected `object`"),
    "another document": (b"{}", "its `format` is '', not 'sequential-history'"),
    "a byte order mark": (b"\xef\xbb\xbf" + WHOLE, "malformed"),
    "not UTF-8": (WHOLE.replace(b"pear", b"\xff"), "'utf-8' codec can't decode byte 0xff"),
    "nested for ever": (b'{"x": ' + b"[" * 99_999, "too deep"),
    "nested too deep": (changed("run.input", json.loads("[" * 70 + "]" * 70)), "64 levels deep"),
    "a newer form": (changed("v", 2), "it has form 2, this version knows 1; install a newer one"),
    "an unknown field": (changed("run.code", "os.system"), "unknown field `code`"),
    "an unknown field of a step": (changed("steps.0.__reduce__", []), "unknown field"),
    "an unknown kind": (changed("steps.0.kind", "eval"), "Invalid enum value 'eval'"),
    "an unknown status": (changed("run.status", "bored"), "Invalid enum value 'bored'"),
    "purged": (changed("run.status", "purged"), "a purged run has no history"),
    "no run": (changed("run", ...), "missing required field `run`"),
    "no deployment": (changed("deployment", ...), "missing required field `deployment`"),
    "no position": (changed("steps.0.position", ...), "missing required field `position`"),
    "steps of another type": (changed("steps", {}), "Expected `array`, got `object`"),
    "a negative generation": (changed("run.generation", -1), "Expected `int` >= 0"),
    "a time without end": (changed("run.created", 1e300), "Expected `float` <= "),
    "an unknown tag": (changed("run.input", {"$": "os.system", "v": "id"}), "no tag 'os.system'"),
    "a damaged tag": (changed("steps.0.value", {"$": "decimal", "v": "x"}), "`$.steps[0].value`"),
    "completed without a result": (changed("run.result", ...), "only a completed run has a result"),
    "an error that did not fail": (changed("run.error", {"type": "X"}), "only a failed run"),
    "an error of other parts": (changed("steps.0.outcome", "error"), "four parts"),
    "seeds that begin too late": (changed("run.seeds", [[3, "x"]]), "must count from 0"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "said"), BAD.values(), ids=BAD)
def test_a_file_that_is_none_of_ours_is_refused_in_one_sentence(
    data: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(data)
    with pytest.raises(HistoryUnreadable) as raised:
        read(path)
    assert said in raised.value.reason
    assert str(raised.value).startswith(f"{path} cannot be read as an exported history: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("end", range(0, len(WHOLE) - 2, 37))
def test_a_truncated_file_is_refused(end: int) -> None:
    with pytest.raises(HistoryUnreadable):
        parse(WHOLE[:end], "cut")


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_a_file_with_one_byte_changed_is_read_or_refused_and_nothing_else(
    data: st.DataObject,
) -> None:
    at = data.draw(st.integers(0, len(WHOLE) - 1))
    byte = data.draw(st.integers(0, 255))
    with Sequential("memory:", plugins=[], registry=RECORDED) as app:
        try:
            found = parse(WHOLE[:at] + bytes((byte,)) + WHOLE[at + 1 :], "changed")
        except HistoryUnreadable:
            return
    assert found.run.cursor == len(found.steps)
    assert app is not None


def test_what_cannot_be_opened_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HistoryUnreadable, match="No such file"):
        read(tmp_path / "nobody.json")
    with pytest.raises(HistoryUnreadable, match="no file"):
        read(Path("nul\0.json"))
    monkeypatch.setattr("sequential._history.MOST", 10)
    with pytest.raises(HistoryUnreadable, match="and 10 is the most that is read"):
        read(FOLDER / "0.1.0/completed.json")


def test_a_text_that_is_replaced_everywhere_leaves_the_history_whole(tmp_path: Path) -> None:
    path = tmp_path / "redacted.json"
    text = (FOLDER / "0.1.0/completed-by-yield.json").read_text("utf-8")
    assert text.count("fig") == 2
    path.write_text(text.replace("fig", "redacted"), "utf-8")
    assert verify_replay(RECORDED.flows["order_by_yield"], path, registry=RECORDED).returned


# -- verify_replay and histories


def test_verify_replay_tells_what_was_recorded() -> None:
    played = verify_replay(
        RECORDED.flows["failing"], FOLDER / "0.1.0/failed.json", registry=RECORDED
    )
    assert played.error is not None
    assert "Rejected: for good" in str(played.error)
    assert (played.returned, list(played.calls), played.slept) == (None, [], 0.0)
    assert [(step.what, step.input) for step in played.steps] == [
        ("shop.refuse", {"reason": "first"}),
        ("shop.refuse", {"reason": "for good"}),
    ]
    cancelled = verify_replay(
        RECORDED.flows["cleaning"], FOLDER / "0.1.0/cancelled.json", registry=RECORDED
    )
    assert type(cancelled.error).__name__ == "RunCancelled"
    waiting = verify_replay(
        RECORDED.flows["order"], FOLDER / "0.1.0/waiting-for-a-signal.json", registry=RECORDED
    )
    assert (waiting.result, waiting.error, len(waiting.steps)) == (None, None, 2)


def test_verify_replay_shows_how_a_flow_does_not_fit() -> None:
    own = Registry()

    @flow(registry=own, name="order")
    def cheaper(item: str, count: int) -> Steps[None]:
        yield {"__tool": ["shop", "price", {"item": "fig"}]}

    path = FOLDER / "0.1.0/completed.json"
    with pytest.raises(AssertionError) as raised:
        verify_replay(cheaper, path, registry=own)
    assert str(raised.value).splitlines() == [
        f"flow order does not fit the history in {path}",
        "step 0",
        '  - recorded: tool call shop.price {"item":"pear"}',
        '  + asked:    tool call shop.price {"item":"fig"}',
    ]
    with pytest.raises(AssertionError, match="no flow named 'order' is registered"):
        verify_replay(RECORDED.flows["heavy"], path, registry=RECORDED)


def test_histories_are_found_by_folder_and_flow(tmp_path: Path) -> None:
    folder = FOLDER / "0.1.0"
    assert len(histories(folder)) == 14
    names = [path.stem for path in histories(folder, RECORDED.flows["order"])]
    assert names == ["completed", "created", "forked", "waiting-for-a-signal"]
    with pytest.raises(HistoryUnreadable, match=r"the folder has no \.json file"):
        histories(tmp_path)
    (tmp_path / "one.json").write_bytes(WHOLE)
    with pytest.raises(ValueError, match="has no histories of flow 'heavy'"):
        histories(tmp_path, RECORDED.flows["heavy"])


# -- the command line


@pytest.fixture
def exported(command_line: CommandLine) -> CommandLine:
    command_line.ok("run", "shop.py:buy", "--input", '{"item": "ab"}', "--run-id", "done")
    command_line.ok("run", "shop.py:fail", "--run-id", "failed", "--tag", "team=a", code=4)
    command_line.ok("start", "shop.py:nap", "--run-id", "sleep", "--tag", "team=a")
    command_line.ok("execute", "sleep")
    command_line.ok("export", "done", "failed", "sleep")
    return command_line


def test_export_names_its_files_and_replay_holds_the_code_against_them(
    exported: CommandLine,
) -> None:
    exported.database.unlink()
    assert exported.ok("replay", "--histories", "histories", "--load", "shop.py").splitlines() == [
        "ok            histories/done.json: buy, 3 steps",
        "ok            histories/failed.json: fail, 2 steps",
        "ok            histories/sleep.json: nap, 0 steps",
        "3 of 3 histories agree",
    ]
    assert not exported.database.exists()
    found = exported.lines("replay", "--histories", "histories/done.json", "--load", "shop.py")
    assert [(each["file"], each["run_id"], each["agrees"]) for each in found] == [
        ("histories/done.json", "done", True)
    ]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--flow", "buy"), "done"),
        (("--tag", "team=a"), "failed sleep"),
        (("--status", "waiting"), "sleep"),
        (("--since", "1h"), "done failed sleep"),
        (("--since", "1h", "--limit", "1"), "sleep"),
        (("--since", "2999-01-01"), ""),
    ],
)
def test_export_by_filters(exported: CommandLine, arguments: tuple[str, ...], names: str) -> None:
    found = exported.lines("export", "--out", "some/folder", *arguments)
    assert sorted(each["run_id"] for each in found) == names.split()
    files = exported.directory.glob("some/folder/*")
    assert sorted(path.name for path in files) == [f"{name}.json" for name in names.split()]


def test_export_wants_either_runs_or_filters(exported: CommandLine) -> None:
    for arguments in ((), ("done", "--flow", "buy")):
        assert "name runs, or choose them" in exported("export", *arguments).stderr
    result = exported("export", "nobody")
    assert (result.exit_code, "there is no run 'nobody'" in result.stderr) == (1, True)
    assert "leave out RUN_ID" in exported("replay", "done", "--histories", "histories").stderr


def test_replay_of_files_has_a_line_and_an_exit_code_for_every_way(exported: CommandLine) -> None:
    changed = (exported.directory / "shop.py").read_text("utf-8").replace("yield save()", "pass")
    exported.write("changed.py", changed.replace("def nap", "def doze"))
    REGISTRY.flows.clear()
    REGISTRY.tools.clear()
    told = exported.ok("replay", "--histories", "histories", "--load", "changed.py", code=3)
    assert [line.split(":")[0] for line in told.splitlines() if not line.startswith(" ")] == [
        "differs       histories/done.json",
        "step 1",
        "ok            histories/failed.json",
        "flow missing  histories/sleep.json",
        "1 of 3 histories agree",
    ]
    exported.write("histories/cut.json", "{")
    told = exported.ok("replay", "--histories", "histories", "--load", "changed.py", code=1)
    assert told.splitlines()[0] == (
        "unreadable    histories/cut.json: Input data was truncated; export it anew"
    )
    found = exported.lines("replay", "--histories", "histories", "--load", "changed.py", code=1)
    assert [each["reason"] for each in found] == ["unreadable", "changed", "", "flow-not-found"]


def test_replay_of_files_needs_neither_the_storage_nor_its_keys(exported: CommandLine) -> None:
    exported.write(
        "sequential.toml",
        'storage = "postgresql://nowhere/db"\nmodules = ["shop.py"]\npayload = ["seal"]\n',
    )
    told = exported("replay", "--histories", "histories/done.json")
    assert (told.exit_code, told.stdout.splitlines()[-1]) == (0, "1 of 1 histories agree")
    exported.directory.joinpath("empty").mkdir()
    told = exported("replay", "--histories", "empty")
    assert (told.exit_code, "has no .json file" in told.stderr) == (1, True)

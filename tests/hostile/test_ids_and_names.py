"""Ids, names and filters that somebody else chose, at every entrance: one sentence, or data."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from click.testing import Result

from sequential import Registry, Steps, create_flow_executor, flow, tool, wait_for_signal
from sequential._flow import Flow
from sequential._outcomes import Blocked, Completed, Paused
from sequential.errors import ConfigError, PositionMissing, RunIdInvalid, SequentialError
from tests.fix_cli import CommandLine
from tests.fix_stage import Stage
from tests.hostile.lists import Entry, cases, clear

LONGEST_LINE = 1500

COMMANDS: dict[str, tuple[str, ...]] = {
    "start": ("start", "shop.py:ask", "--run-id"),
    "run": ("run", "shop.py:ask", "--run-id"),
    **{name: (name, "--") for name in ("show", "execute", "wait", "cancel", "terminate", "retry")},
    **{name: (name, "--") for name in ("redrive", "purge", "replay")},
    "signal": ("signal", "--signal-id", "s", "--"),
    "fork": ("fork", "--at", "0", "--"),
}


def lines(database: Any) -> list[tuple[Any, ...]]:
    """Return all runs and steps of a file, as rows."""
    with closing(sqlite3.connect(database)) as connection:
        runs = connection.execute("SELECT * FROM runs ORDER BY 1").fetchall()
        return [*runs, *connection.execute("SELECT * FROM steps ORDER BY 1, 2, 3").fetchall()]


def one_clear_line(result: Result, *codes: int) -> None:
    """Insist on one printable line on stderr and an exit code among *codes*."""
    assert result.exit_code in codes, result.output
    text = result.stderr
    assert text.count("\n") == 1, text
    assert len(text) < LONGEST_LINE
    assert text[:-1].isprintable()
    assert "Traceback" not in text
    assert "unexpected" not in text


def stage_with_flow(stage: Stage) -> Any:
    @flow(name="ask", registry=stage.registry)
    def ask(input: object = None) -> Steps[object]:
        return (yield wait_for_signal("answer"))

    app = stage.app()
    app.start("ask", {"n": 1}, run_id="kept")
    app.execute("kept")
    return app


# -- ids


@pytest.mark.parametrize("entry", cases("ids"))
def test_an_id_is_allowed_or_refused_by_every_method(any_stage: Stage, entry: Entry) -> None:
    app, run_id = stage_with_flow(any_stage), entry.value
    kept = app.get("kept")
    if entry.more.get("allowed"):
        assert app.start("ask", {"n": 2}, run_id=run_id) == run_id
        assert app.get(run_id).run_id == run_id
        assert isinstance(app.execute(run_id), Paused)
        assert app.signal(run_id, "answer", run_id)
        outcome = app.execute(run_id)
        assert isinstance(outcome, Completed)
        assert outcome.result == run_id
        assert app.get("kept") == kept
        return
    entrances: list[Callable[[], object]] = [
        lambda: app.start("ask", run_id=run_id),
        lambda: app.start_many("ask", {run_id: None}),
        lambda: app.run("ask", run_id=run_id),
        lambda: app.signal(run_id, "answer"),
        lambda: app.fork(run_id, "0"),
        *(
            (lambda name=name: getattr(app, name)(run_id))
            for name in ("execute", "get", "steps", "wait", "cancel", "terminate", "retry")
        ),
        *(
            (lambda name=name: getattr(app, name)(run_id))
            for name in ("redrive", "purge", "replay")
        ),
    ]
    if type(run_id).__hash__ is None:
        del entrances[1]
    for entrance in entrances:
        with pytest.raises(RunIdInvalid) as caught:
            entrance()
        assert len(str(caught.value)) < 300
    assert [run.run_id for run in app.find().runs] == ["kept"]
    assert app.get("kept") == kept


TEXTS = [case for case in cases("ids") if isinstance(case.values[0].value, str)]


@pytest.mark.parametrize("entry", TEXTS)
def test_an_id_is_allowed_or_refused_by_every_command(
    command_line: CommandLine, entry: Entry
) -> None:
    command_line.ok("start", "shop.py:ask", "--run-id", "kept")
    # A command line cannot hold more than some 100 kB in one argument.
    run_id = entry.value[:100_000]
    if entry.more.get("allowed"):
        assert command_line.ok("start", "shop.py:ask", "--run-id", run_id) == f"{run_id}\n"
        assert command_line.json("show", "--", run_id)["run_id"] == run_id
        return
    before = lines(command_line.database)
    for name in COMMANDS if len(run_id) < 2 else ("start", "show", "signal"):
        arguments = COMMANDS[name]
        more = ("answer",) if arguments[0] == "signal" else ()
        result = command_line(*arguments, run_id, *more)
        one_clear_line(result, 1)
        assert "cannot be a run id" in result.stderr
    assert lines(command_line.database) == before


# -- names


@pytest.mark.parametrize("entry", cases("names"))
def test_a_name_of_a_signal_is_data_or_refused(any_stage: Stage, entry: Entry) -> None:
    app, name = stage_with_flow(any_stage), entry.value
    before = app.get("kept")
    try:
        app.signal("kept", name, "early")
    except (SequentialError, ValueError) as error:
        clear(error)
        assert app.get("kept") == before
    else:
        [message] = app.get("kept").inbox
        assert message.name == name
    outcome = app.execute("kept")
    assert isinstance(outcome, Paused)
    assert app.signal("kept", "answer", 7)
    assert app.execute("kept").result == 7


@pytest.mark.parametrize("entry", cases("names"))
def test_a_name_of_a_flow_is_data_or_refused(any_stage: Stage, entry: Entry) -> None:
    app, registry = stage_with_flow(any_stage), any_stage.registry

    def named_by(name: str) -> Flow[..., object]:
        # An empty name means the function's own.
        @flow(name=name, registry=registry)
        def named(input: object) -> Steps[object]:
            yield from ()
            return input

        return named

    try:
        named = named_by(entry.value)
        run_id = app.start(named, {"n": 3})
    except SequentialError as error:
        clear(error)
        assert len(app.find().runs) == 1
        return
    assert app.get(run_id).flow == named.name
    assert app.execute(run_id) == Completed(run_id, {"n": 3})
    assert [run.run_id for run in app.find(flow=named.name).runs] == [run_id]


@pytest.mark.parametrize("entry", cases("names"))
def test_a_tag_is_found_by_exactly_itself_or_refused(any_stage: Stage, entry: Entry) -> None:
    app, text = stage_with_flow(any_stage), entry.value
    for tags in ({text: "v"}, {"k": text}):
        try:
            run_id = app.start("ask", tags=tags)
        except SequentialError:
            assert [run.run_id for run in app.find(tags={"k": "v"}).runs] == []
            continue
        assert dict(app.get(run_id).tags) == tags
        assert [run.run_id for run in app.find(tags=tags).runs] == [run_id]
        assert app.terminate(run_id)
        assert app.purge(run_id)
    assert [run.run_id for run in app.find(status="paused").runs] == ["kept"]


@pytest.mark.parametrize("entry", cases("names"))
def test_a_tool_that_a_flow_names_is_called_by_its_name_or_blocks_the_run(
    any_stage: Stage, entry: Entry
) -> None:
    registry = any_stage.registry

    @tool("t", "known", registry=registry)
    def known() -> str:
        raise AssertionError("a tool of another name was called")

    @flow(name="asks", registry=registry)
    def asks(input: Any) -> Steps[object]:
        return (yield input)

    app = any_stage.app()
    for literal in (["t", entry.value], [entry.value, "known"], [entry.value, entry.value, {}]):
        run_id = app.start("asks", {"__tool": literal}) if _is_text(entry.value) else ""
        outcome = app.execute(run_id) if run_id else None
        assert outcome is None or isinstance(outcome, Blocked)
        assert outcome is None or outcome.reason == "tool-not-found"


def _is_text(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


@pytest.mark.parametrize("entry", cases("names"))
def test_a_category_of_a_tool_is_a_word_or_refused(entry: Entry) -> None:
    if re.fullmatch("[a-z_]{1,64}", entry.value):
        tool(entry.value, "name", registry=Registry())
        return
    with pytest.raises(ValueError, match="cannot be a tool's category"):
        tool(entry.value, "name", registry=Registry())


ARGUMENTS: list[tuple[str, ...]] = [
    ("signal", "kept", "{}", "1"),
    ("signal", "kept", "answer", "1", "--signal-id={}"),
    ("cancel", "other", "--reason={}"),
    ("start", "--", "{}"),
    ("start", "--", "shop.py:{}"),
    ("start", "--", "{}:ask"),
    ("start", "--", "{}/flows.py:ask"),
    ("start", "shop.py:ask", "--tag={}=v"),
    ("start", "shop.py:ask", "--tag=k={}"),
    ("start", "shop.py:ask", "--in={}"),
    ("start", "shop.py:ask", "--input={}"),
    ("start", "shop.py:ask", "--input=@{}"),
    ("list", "--flow={}"),
    ("list", "--tag={}=v"),
    ("list", "--tag=k={}"),
    ("list", "--after={}"),
    ("list", "--since={}"),
    ("list", "--status={}"),
    ("list", "--limit={}"),
    ("list", "--storage={}"),
    ("list", "--storage=sqlite:///no/such/{}"),
    ("list", "--transport={}"),
    ("fork", "kept", "--at={}"),
    ("fork", "kept", "--at=0", "--run-id={}"),
    ("wait", "kept", "--timeout={}"),
    ("execute", "kept", "--load={}"),
    ("--", "{}"),
]


# Each command in a directory of its own takes a while: only names that could mean something there.
TYPED = {
    *("1 MB", "dollar cancel", "NUL", "newline", "half a pair", "low half", "escape"),
    *("right to left", "module and flow", "dunder", "traversal", "drop", "format"),
}


@pytest.mark.parametrize("entry", [case for case in cases("names") if case.values[0].name in TYPED])
def test_an_argument_of_any_command_is_data_or_one_clear_line(
    command_line: CommandLine, entry: Entry
) -> None:
    command_line.ok("start", "shop.py:ask", "--run-id", "kept")
    command_line.ok("start", "shop.py:ask", "--run-id", "other")
    text = entry.value[:30_000]
    if not text:
        return  # an empty option is not given
    for arguments in ARGUMENTS:
        result = command_line(*(part.replace("{}", text) for part in arguments))
        if result.exit_code:
            one_clear_line(result, 1, 2)
        else:
            assert "\x1b" not in result.output
            assert "Traceback" not in result.output
    assert command_line.json("show", "kept")["shown"] in ("due", "waiting", "completed")


# What an environment can hold.
VARIABLES = [
    case
    for case in cases("names")
    if case.values[0].value and not {"\0", "\ud800"} & {*case.values[0].value}
]


@pytest.mark.parametrize("entry", VARIABLES)
def test_a_variable_of_any_setting_is_one_clear_line(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch, entry: Entry
) -> None:
    for name in ("STORAGE", "TRANSPORT", "PAUSE", "CHECK", "LEASE", "WARM", "TELEMETRY"):
        with monkeypatch.context() as changed:
            changed.setenv(f"SEQUENTIAL_{name}", entry.value[:10_000])
            one_clear_line(command_line("list"), 1)


# -- filters


@pytest.mark.parametrize("entry", cases("filters"))
def test_a_filter_finds_what_it_names_and_nothing_else(any_stage: Stage, entry: Entry) -> None:
    app, text = stage_with_flow(any_stage), entry.value
    filters: list[dict[str, Any]] = [
        {"flow": text},
        {"tags": {text: text}},
        {"tags": {"k": text}},
        {"status": text},
        {"after": text},
    ]
    for each in filters:
        try:
            page = app.find(**each)
        except SequentialError as error:
            clear(error)
            continue
        except ValueError:
            assert each == {"status": text}
            continue
        # A token that has the right form is only a place to begin at.
        assert page.runs in ([], ()) or each.keys() == {"after"} or each == {"status": ""}
    with pytest.raises(PositionMissing):
        app.fork("kept", text)
    assert [run.run_id for run in app.find(tags={}, flow="ask").runs] == ["kept"]


@pytest.mark.parametrize("entry", cases("limits"))
def test_a_limit_is_a_whole_number_or_refused(any_stage: Stage, entry: Entry) -> None:
    app = stage_with_flow(any_stage)
    with pytest.raises(ConfigError, match="limit"):
        app.find(limit=entry.value)


# -- the face of the seed


class Dicts:
    """A store of five methods."""

    def __init__(self) -> None:
        self.states: dict[Any, Any] = {}
        self.results: dict[Any, Any] = {}

    def get(self, run_id: str) -> Any:
        return self.states.get(run_id)

    def set(self, run_id: str, state: Any) -> None:
        self.states[run_id] = state

    def delete(self, run_id: str) -> None:
        del self.states[run_id]

    def get_result(self, run_id: str, step: int) -> Any:
        return self.results.get((run_id, step))

    def set_result(self, run_id: str, step: int, result: Any) -> None:
        self.results[run_id, step] = result


def pair(input: object) -> Steps[object]:
    first = yield {"__tool": ["t", "a", input]}
    second = yield {"__tool": ["t", "b", input]}
    return [first, second]


pair.__qualname__ = "two"


@pytest.mark.parametrize("entry", cases("ids"))
def test_an_id_reaches_a_store_of_ones_own_only_if_it_is_allowed(entry: Entry) -> None:
    store, run_id = Dicts(), entry.value
    executor = create_flow_executor(store, lambda *call: 1, registry=Registry())
    if entry.more.get("allowed"):
        executor.execute(pair, run_id, {"id": 1})
        assert list(store.states) == [run_id]
        return
    with pytest.raises(RunIdInvalid):
        executor.execute(pair, run_id, {"id": 1})
    with pytest.raises(RunIdInvalid):
        executor.resume(run_id)
    assert store.states == {}


@pytest.mark.parametrize("entry", cases("own_states"))
def test_a_state_that_a_store_hands_back_is_read_or_refused(entry: Entry) -> None:
    store = Dicts()
    store.states["r"] = entry.value
    made: list[object] = []
    executor = create_flow_executor(store, lambda *call: made.append(call), registry=Registry())
    with pytest.raises(SequentialError) as caught:
        executor.execute(pair, "r", {"id": 1} if "input" in str(entry.value) else None)
    assert len(str(caught.value)) < 1000
    assert made == []
    assert store.states == {"r": entry.value}
    assert store.results == {}


@pytest.mark.parametrize("entry", cases("own_results"))
def test_a_result_that_a_store_hands_back_is_data_or_refused(entry: Entry) -> None:
    store = Dicts()
    store.states["r"] = {"step": 1}
    store.results["r", 0] = entry.value
    made: list[object] = []
    executor = create_flow_executor(store, lambda *call: made.append(call), registry=Registry())
    try:
        executor.execute(pair, "r", {"id": 1})
    except SequentialError as error:
        clear(error)
        assert made == []
        assert store.states == {"r": {"step": 1}}
    else:
        assert [call[:2] for call in made] == [("t", "b")]  # type: ignore[index]
    store.results["r", 0] = "whole"
    store.states["r"] = {"step": 1}
    store.results.pop(("r", 1), None)
    executor.execute(pair, "r", {"id": 1})
    assert executor.execute(pair, "r", {"id": 1}) == ["whole", None]

"""JSON that clients send and values that tools return: refused in a sentence, or data for ever."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sequential import Sequential, Steps, flow, tool, tool_call, wait_for_signal
from sequential._codec import decode, decode_plain
from sequential._model import StepOutcome
from sequential._outcomes import Completed
from sequential.errors import NotDecodable, ValuesError
from tests.data.hostile_values import GADGETS, REFUSED, Text
from tests.fix_cli import CommandLine
from tests.fix_stage import Stage
from tests.hostile.lists import Entry, as_bytes, cases
from tests.hostile.test_ids_and_names import lines, one_clear_line

FLOWS = """
from sequential import Steps, flow, wait_for_signal

@flow
def order(item: str) -> Steps[object]:
    return [item, (yield wait_for_signal("go"))]

@flow
def anything(input: object) -> Steps[object]:
    return [input, (yield wait_for_signal("go"))]
"""

# -- bodies


@pytest.mark.parametrize("entry", cases("bodies"))
def test_a_body_is_data_or_one_clear_line(command_line: CommandLine, entry: Entry) -> None:
    command_line.write("flows.py", FLOWS)
    command_line.ok("start", "flows.py:anything", "--input", '"kept"', "--run-id", "kept")
    body = as_bytes(entry.value)
    (command_line.directory / "body.json").write_bytes(body)
    before = lines(command_line.database)
    sent: list[tuple[tuple[str, ...], bytes | None]] = [
        (("start", "flows.py:{}", "--run-id", "new", "--input", "@body.json"), None),
        (("start", "flows.py:{}", "--run-id", "new", "--input", "-"), body),
        (("run", "flows.py:{}", "--run-id", "new", "--input", "@body.json"), None),
        (("signal", "kept", "go", "@body.json"), None),
        (("signal", "kept", "go", "-"), body),
    ]
    if not entry.more.get("json"):
        for arguments, stdin in sent:
            one_clear_line(
                command_line(*(part.format("anything") for part in arguments), stdin=stdin), 2
            )
        assert lines(command_line.database) == before
        return
    if not entry.more.get("fits"):
        for arguments, stdin in sent[:3]:
            result = command_line(*(part.format("order") for part in arguments), stdin=stdin)
            one_clear_line(result, 1)
            assert "does not fit flow order" in result.stderr
        assert lines(command_line.database) == before
    value = json.loads(body)
    given = sent[0][0]
    command_line.ok(*(part.format("anything") for part in given))
    command_line.ok("signal", "new", "go", "@body.json")
    command_line.ok("execute", "new", "--load", "flows.py")
    shown = command_line.json("show", "new")
    # Whatever a body says of code, state or result: it is data, and the record is ours.
    assert shown["result"] == [{} if value is None else value, value]
    assert (shown["shown"], shown["steps"], shown["flow"]) == ("completed", 1, "anything")
    assert lines(command_line.database)[0] == before[0]


@pytest.mark.parametrize("entry", cases("bodies"))
def test_a_body_is_read_as_json_reads_it_or_refused(entry: Entry) -> None:
    body = as_bytes(entry.value)
    if entry.more.get("json"):
        assert decode_plain(body) == json.loads(body)
        return
    with pytest.raises(NotDecodable) as caught:
        decode_plain(body)
    assert len(str(caught.value)) < 300


# -- what tools return


def sent_back(make: Callable[[], object], stage: Stage) -> tuple[Sequential, str, list[Any]]:
    """Run a flow whose tool returns what *make* makes, and then one more; return the results."""

    @tool("t", "hostile", registry=stage.registry)
    def hostile() -> object:
        return make()

    @tool("t", "next", registry=stage.registry)
    def following(seen: object) -> str:
        return "went on"

    @flow(name="hostile", registry=stage.registry)
    def asks() -> Steps[object]:
        first = yield tool_call("t", "hostile", errors="return")
        second = yield tool_call("t", "next", {"seen": None})
        return [first, second]

    app = stage.app()
    run_id = app.start("hostile")
    outcome = app.execute(run_id)
    assert isinstance(outcome, Completed), outcome
    result: Any = outcome.result
    return app, run_id, result


@pytest.mark.parametrize("row", REFUSED, ids=[row[0] for row in REFUSED])
def test_a_result_that_cannot_be_stored_is_a_recorded_error(any_stage: Stage, row: Any) -> None:
    _, make, path, reason = row
    app, run_id, (error, after) = sent_back(make, any_stage)
    assert after == "went on"
    assert path in error["__error"]
    assert reason in error["__error"]
    first, _ = app.steps(run_id)
    assert first.outcome is StepOutcome.ERROR
    assert app.value(app.get(run_id), first)["type"] == "ResultNotEncodable"
    # A fresh process is told the same, without running the tool again.
    assert any_stage.app().replay(run_id).agrees


class Float(float):
    def __repr__(self) -> str:
        return "no float"


class Whole(int):
    def __repr__(self) -> str:
        return "no integer"


class Odd:
    """Raises what it likes wherever it is looked at."""

    def __class_getitem__(cls, item: object) -> object:
        raise SystemExit


def of_hostile_metaclass() -> object:
    class Hostile(type):
        def __getattribute__(cls, name: str) -> object:
            raise KeyError(name)

        def __eq__(cls, other: object) -> bool:
            raise KeyError

        def __hash__(cls) -> int:
            return 1

    # Made here: pytest looks at what a module holds.
    return Hostile("OfHostile", (), {})()


SUBCLASSES = [
    (lambda: Float(1.5), 1.5),
    (lambda: Whole(7), 7),
    (lambda: Text("seven"), "seven"),
    (lambda: [Float(0.5), {"k": Text("t")}], [0.5, {"k": "t"}]),
    (lambda: {Text("key"): 1}, {"key": 1}),
    (lambda: -0.0, -0.0),
    (lambda: "a\0b\u202e\U0001f600", "a\0b\u202e\U0001f600"),
    (lambda: 10**4299, 10**4299),
    (lambda: {"$": "os.system", "v": "id"}, {"$": "os.system", "v": "id"}),
    (lambda: {"__error": "none", "code": 1, "state": 2, "result": 3}, {
        "__error": "none", "code": 1, "state": 2, "result": 3
    }),
]  # fmt: skip


@pytest.mark.parametrize(("make", "plain"), SUBCLASSES)
def test_a_result_of_a_subclass_comes_back_as_the_plain_value(
    any_stage: Stage, make: Callable[[], object], plain: object
) -> None:
    _, _, result = sent_back(make, any_stage)
    assert result == [plain, "went on"]
    assert json.dumps(result) == json.dumps([plain, "went on"])


@pytest.mark.parametrize("make", [Odd, of_hostile_metaclass, lambda: Odd])
def test_an_object_that_raises_when_looked_at_is_a_recorded_error(
    any_stage: Stage, make: Callable[[], object]
) -> None:
    _, _, (error, after) = sent_back(make, any_stage)
    assert "__error" in error
    assert after == "went on"


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


ERRORS: list[Callable[[], BaseException]] = [
    Unspeakable,
    lambda: ValueError("\ud800"),
    lambda: ValueError("x" * 10_000_000),
    lambda: ValueError("\x1b[2J\r\nX-H: 1"),
    lambda: type("\x1b[2J" * 10, (Exception,), {})("named"),
    lambda: ExceptionGroup("many", [ValueError("one")]),
]


@pytest.mark.parametrize("make", ERRORS)
def test_an_exception_of_a_tool_is_recorded_whatever_it_says(
    any_stage: Stage, make: Callable[[], BaseException]
) -> None:
    def raises() -> object:
        raise make()

    _, run_id, (error, after) = sent_back(raises, any_stage)
    assert len(error["__error"].encode()) <= 4096
    assert after == "went on"
    assert any_stage.app().replay(run_id).agrees


@pytest.mark.parametrize("make", ERRORS)
def test_an_exception_of_a_flow_is_one_clear_line(
    command_line: CommandLine, make: Callable[[], BaseException]
) -> None:
    @flow(name="raises")
    def raises() -> Steps[None]:
        yield from ()
        raise make()

    one_clear_line(command_line("run", "raises", "--run-id", "new"), 4)
    result = command_line("execute", "new")
    assert result.exit_code == 4
    assert result.output.count("\n") == 1
    assert result.output[:-1].isprintable()


# -- nothing that is stored runs anything

# An audit hook cannot be taken away again: there is one, and it looks when it is told to.
_watched: list[str] | None = None
_FORBIDDEN = ("import", "exec", "compile", "subprocess.", "os.", "socket.", "ctypes.", "pickle.")


def _audit(event: str, _: object) -> None:
    if _watched is not None and event.startswith(_FORBIDDEN):
        _watched.append(event)


sys.addaudithook(_audit)


@contextmanager
def audited() -> Iterator[list[str]]:
    """Give what happens meanwhile that data must never cause."""
    seen: list[str] = []
    globals()["_watched"] = seen
    try:
        yield seen
    finally:
        globals()["_watched"] = None


@pytest.mark.parametrize("data", GADGETS, ids=range(len(GADGETS)))
def test_a_gadget_goes_through_a_run_as_data(any_stage: Stage, data: bytes) -> None:
    gadget = json.loads(data)

    @tool("t", "same", registry=any_stage.registry)
    def same(value: object) -> object:
        return value

    @flow(name="gadget", registry=any_stage.registry)
    def carries(input: object) -> Steps[object]:
        result = yield tool_call("t", "same", {"value": input})
        sent = yield wait_for_signal("go")
        return [input, result, sent]

    app = any_stage.app()
    warm = app.start("gadget", "plain")
    app.execute(warm)
    app.signal(warm, "go", "plain")
    app.execute(warm)
    with audited() as seen:
        run_id = app.start("gadget", gadget)
        app.execute(run_id)
        app.signal(run_id, "go", gadget)
        outcome = app.execute(run_id)
        steps = [app.value(app.get(run_id), step) for step in app.steps(run_id)]
    assert seen == []
    assert outcome == Completed(run_id, [gadget] * 3)
    assert steps == [gadget] * 2


@pytest.mark.parametrize("data", GADGETS, ids=range(len(GADGETS)))
def test_a_gadget_written_past_us_runs_nothing(data: bytes) -> None:
    decode(b'{"$":"path","v":"x"}')
    with audited() as seen:
        for read in (decode, decode_plain):
            try:
                read(data)
            except ValuesError:
                continue
    assert seen == []


def test_the_hook_sees_what_it_must_see() -> None:
    with audited() as seen:
        exec("import json")
    assert {"compile", "exec"} <= {*seen}

"""Wrong use gets one clear error that says what to do; nothing is lost, and the right use works."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from sequential import RunBlocked, RunFailed, Sequential
from sequential._registry import REGISTRY
from sequential._targets import import_modules
from sequential.errors import (
    ConfigError,
    NotEncodable,
    PositionMissing,
    RunTaken,
    SignalMismatch,
    ValueMismatch,
)
from tests.fix_cli import CommandLine

FLOWS = """
import asyncio
from sequential import Steps, flow, gather, race, run_child, sleep, tool, wait_for_signal

@tool("t", "add")
def add(a: int, b: int) -> int:
    return a + b

@flow
async def waits() -> int:
    return await wait_for_signal("go", int)

@flow
def racing() -> Steps[int]:
    return (yield from race(*[])).value

@flow
async def child(number: int) -> int:
    return number

@flow
async def parent(number: int) -> int:
    return await run_child(child, {"number": number}, run_id="taken")

@flow
async def adding() -> int:
    return await add(await add(1, 2), 3)

@flow
async def foreign() -> int:
    async def branch() -> int:
        await asyncio.sleep(1)
        return 3
    return sum(await gather(add(1, 2), branch()))
"""


class Wrong(NamedTuple):
    """One wrong use.

    Attributes:
        name: What is wrong.
        prepare: Commands that come before.
        command: The wrong one.
        code: Its exit code.
        says: What its one line on stderr must say, of the cause and of the remedy.
        mend: A change of the file that takes the cause away: what is replaced by what.
        right: Commands that are right, and what the last one prints.
    """

    name: str
    prepare: list[str]
    command: str
    code: int
    says: list[str]
    mend: tuple[str, str] | None
    right: tuple[list[str], str]


TABLE = (
    Wrong(
        "a signal of the wrong type", ["start f.py:waits --run-id r", "execute r"],
        'signal r go "seven"', 1,
        ["did not take signal 'go'", "got `str`", 'send {"type":"integer"}'],
        None, (["signal r go 7", "execute r"], "completed: 7"),
    ),
    Wrong(
        "a race without branches", [], "run f.py:racing --run-id r", 4,
        ["race needs a branch", "give it steps or sub-flows", "sequential retry r"],
        ("race(*[])", "race(add(1, 2), sleep(60))"),
        (["retry r", "execute r"], "completed: 3"),
    ),
    Wrong(
        "a child with a taken id and other input",
        ['start f.py:child --run-id taken --input {"number":1}'],
        'run f.py:parent --run-id r --input {"number":2}', 4,
        ["run 'taken' exists with another input", "use the same flow and input, or another run id"],
        ('run_id="taken"', 'run_id="mine"'),
        (["retry r", "execute r", "execute mine", "execute r"], "completed: 2"),
    ),
    Wrong(
        "a fork at a position that does not exist", ["run f.py:adding --run-id r"],
        "fork r --at 7 --run-id new", 1,
        ["run 'r' has no step at position '7'", "`sequential show r` lists them"],
        None, (["fork r --at 1 --run-id new", "execute new"], "completed: 6"),
    ),
    Wrong(
        "an edit that the codec refuses", ["run f.py:adding --run-id r"],
        "fork r --at 1 --edit [NaN] --run-id new", 2,
        ["'--edit'", "JSON has no NaN; send null or a string"],
        None, (["fork r --at 1 --edit 9 --run-id new", "execute new"], "completed: 9"),
    ),
    Wrong(
        "a branch that awaits a foreign awaitable", [], "run f.py:foreign --run-id r", 3,
        ["f.py:32", "an event loop, which is not a step; make it a tool (@tool)"],
        ("await asyncio.sleep(1)", "await sleep(0)"),
        (["redrive r", "execute r"], "completed: 6"),
    ),
)  # fmt: skip


NAMES = [wrong.name for wrong in TABLE]


def forget() -> None:
    """Let the file of flows be read anew, as a new process does."""
    REGISTRY.flows.clear()
    REGISTRY.tools.clear()
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).endswith("/f.py"):
            del sys.modules[name]


@pytest.mark.parametrize("wrong", TABLE, ids=NAMES)
def test_the_command_line_says_it_in_one_line(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch, wrong: Wrong
) -> None:
    path = command_line.write("f.py", FLOWS)
    monkeypatch.setenv("SEQUENTIAL_MODULES", "f.py")
    for command in wrong.prepare:
        command_line.ok(*command.split())
    result = command_line(*wrong.command.split())
    assert result.exit_code == wrong.code, result.output
    assert "Traceback" not in result.output
    line = result.stderr.strip().splitlines()[-1]
    for words in wrong.says:
        assert words in line
    if wrong.mend is not None:
        path.write_text(FLOWS.replace(*wrong.mend), encoding="utf-8")
        forget()
    *before, last = wrong.right[0]
    for command in before:
        command_line.ok(*command.split())
    assert wrong.right[1] in command_line.ok(*last.split())


# -- in Python -----------------------------------------------------------------------------------

Use = Callable[[Sequential], object]


def waiting(app: Sequential) -> object:
    app.start("waits", run_id="r")
    app.execute("r")
    return app.signal("r", "go", "seven")


def taken(app: Sequential) -> object:
    app.start("child", {"number": 1}, run_id="taken")
    return app.start("child", {"number": 2}, run_id="taken")


def taken_by_a_parent(app: Sequential) -> object:
    app.start("child", {"number": 1}, run_id="taken")
    return app.run("parent", {"number": 2})


def forked(at: str, edit: Any) -> Use:
    def use(app: Sequential) -> object:
        app.run("adding", run_id="r")
        try:
            return app.fork("r", at, edit=edit, new_id="new")
        finally:
            assert not app.find(search="new").runs

    return use


PYTHON: list[tuple[str, Use, type[BaseException], str]] = [
    (NAMES[0], waiting, SignalMismatch, r"go.*got `str`; send"),
    (NAMES[1], lambda app: app.run("racing"), RunFailed, "race needs a branch.*give it"),
    (NAMES[2], taken, RunTaken, "use the same flow and input, or another run id"),
    (NAMES[2], taken_by_a_parent, RunFailed, "use the same flow and input, or another run id"),
    (NAMES[3], forked("7", None), PositionMissing, "no step at position '7'; `sequential show r`"),
    (NAMES[4], forked("1", (object(),)), NotEncodable, r"cannot store \$.*return a dict"),
    (NAMES[4], forked("1", ([1, {2}, {"a": 1j}],)), NotEncodable, r"cannot store \$\[2\].a"),
    (NAMES[4], forked("1", ("nine",)), ValueMismatch, r"edit of step 1 is no tool t.add result"),
    (NAMES[4], forked("1", 9), ConfigError, r"in a tuple of one, such as edit=\(5,\)"),
    (NAMES[5], lambda app: app.run("foreign"), RunBlocked, r"f.py:32 .*make it a tool"),
]


@pytest.mark.parametrize(("name", "use", "error", "says"), PYTHON)
def test_python_raises_it(
    command_line: CommandLine, name: str, use: Use, error: type[BaseException], says: str
) -> None:
    command_line.write("f.py", FLOWS)
    import_modules(["f.py"], command_line.directory)
    assert name in NAMES
    with (
        Sequential("memory:", plugins=[], registry=REGISTRY) as app,
        pytest.raises(error, match=says) as raised,
    ):
        use(app)
    assert "\n" not in str(raised.value).strip()

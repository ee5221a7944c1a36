"""The command line in this process, in a directory of its own, leaving nothing behind."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import sequential
from sequential import Sequential
from sequential._registry import REGISTRY
from sequential.cli import cli

FLOWS = """
from sequential import Steps, flow, save, sleep, tool, tool_call, wait_for_signal

@tool("shop", "price")
def price(item: str) -> int:
    return len(item)

@tool("shop", "refuse")
def refuse() -> None:
    raise LookupError("sold out")

@flow
def buy(item: str) -> Steps[dict]:
    cost = yield tool_call("shop", "price", {"item": item})
    yield save()
    again = yield tool_call("shop", "price", {"item": item})
    return {"item": item, "cost": cost + again}

@flow
def ask(question: str = "well?") -> Steps[object]:
    return (yield wait_for_signal("answer"))

@flow
def fail() -> Steps[None]:
    yield tool_call("shop", "price", {"item": "x"})
    yield tool_call("shop", "refuse")

@flow
def nap() -> Steps[str]:
    yield sleep(86_400)
    return "rested"

@flow
def gone() -> Steps[None]:
    yield tool_call("shop", "price", {"item": "x"})
    yield tool_call("nobody", "answers")

not_a_flow = 1
"""


class CommandLine:
    """Runs ``sequential`` in a directory with the file ``shop.py``, on ``flows.db`` there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.database = directory / "flows.db"

    def __call__(self, *args: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(cli, args, input=stdin)

    def ok(self, *args: str, stdin: str | bytes | None = None, code: int = 0) -> str:
        """Run it, insist on the exit code, and return what it printed."""
        result = self(*args, stdin=stdin)
        assert (result.exit_code, "Traceback" in result.output) == (code, False), result.output
        return result.stdout

    def json(self, *args: str, code: int = 0) -> Any:
        """Run it with ``--json`` and return the document."""
        return json.loads(self.ok("--json", *args, code=code))

    def lines(self, *args: str, code: int = 0) -> list[Any]:
        """Run it with ``--json`` and return the document of each line."""
        return [json.loads(line) for line in self.ok("--json", *args, code=code).splitlines()]

    def app(self) -> Sequential:
        """Open the same storage in code, without any flow."""
        return Sequential(f"sqlite:///{self.database}")

    def write(self, name: str, text: str) -> Path:
        """Write a file beside ``shop.py``."""
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return path


@pytest.fixture
def clean_interpreter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take back what importing files of flows leaves behind."""
    monkeypatch.setattr(REGISTRY, "flows", dict(REGISTRY.flows))
    monkeypatch.setattr(REGISTRY, "tools", dict(REGISTRY.tools))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if not name.startswith(("sequential", "rich", "click")):
            del sys.modules[name]


@pytest.fixture
def command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_interpreter: None
) -> CommandLine:
    """Give the command line on ``flows.db`` in an empty directory."""
    for name in [name for name in os.environ if name.startswith("SEQUENTIAL_")]:
        monkeypatch.delenv(name)
    # Processes that a test starts stand in another directory.
    monkeypatch.setenv("PYTHONPATH", str(Path(sequential.__file__).parents[1]))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("SEQUENTIAL_STORAGE", "sqlite:///flows.db?synchronous=normal")
    monkeypatch.chdir(tmp_path)
    line = CommandLine(tmp_path)
    line.write("shop.py", FLOWS)
    return line

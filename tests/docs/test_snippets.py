"""Every fenced block of the README and of the documentation is run, or is data that is read.

A page is played from top to bottom in a directory of its own, where `docs/examples` is present:

* ``python`` blocks are one script, in one process. A block whose first line is ``# name.py`` is
  saved under that name instead, for a ``console`` block to run.
* ``console`` blocks: lines after ``$`` are run by a shell, with ``sequential`` and ``python`` of
  this interpreter; what follows is the expected output, where ``...`` stands for anything.
  What sets up an environment (`SETS_UP`) is left out.
* ``toml`` and ``json`` blocks are parsed; a ``toml`` block whose first line is ``# name.toml`` is
  saved. ``text`` is for drawings.

Any other fence fails.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import sequential

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if ".mkdocs" not in page.parts),
]

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,})(?P<label>[^\n`]*)$")
SAVED_AS = re.compile(r"# ([\w.-]+\.(?:py|toml))\n")

# Commands that make an environment: the tests have one already. `.ci/run` runs the last.
SETS_UP = (
    "python3 -m venv .venv && source .venv/bin/activate",
    "python -m pip install",
    "pip install ./core",
    "pip install nox uv && nox",
    "nox",
)
NEITHER_INSTALLED_NOR_TESTED = re.compile(r"^pip install [^&]+ && (?=sequential )")

PATIENCE = 180.0
"""Seconds after which a command or a block is taken for one that hangs; a kit takes a minute."""

# Blocks arrive as lines of JSON and share one namespace, as the lines of a script do.
SCRIPT = """
import json, sys
for line in sys.stdin:
    block = json.loads(line)
    exec(compile("\\n" * block["above"] + block["code"], block["page"], "exec"), globals())
    print("\\0", flush=True)
"""


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    label: str
    code: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    opened: re.Match[str] | None = None
    start, inside = 0, list[str]()
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        found = FENCE.match(line)
        if opened is None:
            if found is not None:
                opened, start, inside = found, number, []
        elif found is not None and found["ticks"] == opened["ticks"] and not found["label"]:
            indent = len(opened["indent"])
            code = "".join(f"{each[indent:]}\n" for each in inside)
            yield Block(page, start, opened["label"].strip(), code)
            opened = None
        else:
            inside.append(line)
    assert opened is None, f"{page}:{start} opens a block that nothing closes"


class Play:
    """One page under way: its directory, its script, the commands on its path."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        commands = directory / ".commands"
        commands.mkdir()
        make_command(commands / "python", f'exec "{sys.executable}" "$@"')
        make_command(commands / "sequential", f'exec "{sys.executable}" -m sequential "$@"')
        (directory / "docs").mkdir()
        shutil.copytree(ROOT / "docs/examples", directory / "docs/examples")
        path = f"{commands}{os.pathsep}{os.environ['PATH']}"
        kept = {name: text for name, text in os.environ.items() if "SEQUENTIAL" not in name}
        # The page may be played from anywhere; a relative PYTHONPATH means this directory.
        given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        package = str(Path(sequential.__file__).parents[1])
        search = os.pathsep.join([package, *map(os.path.abspath, given)])
        own = {"COLUMNS": "100", "NO_COLOR": "1", "PATH": path, "PYTHONPATH": search}
        self.environment = {**kept, **own}
        self.script: subprocess.Popen[str] | None = None
        self.uses: dict[str, Callable[[Block], object]] = {
            "console": self.console,
            "json": lambda block: json.loads(block.code),
            "python": self.python,
            "text": lambda block: None,
            "toml": lambda block: tomllib.loads(block.code),
        }
        self.errors = directory / ".stderr"

    def take(self, block: Block) -> str | None:
        """Run or save or read *block*; return a fault if none of these can be done."""
        name = SAVED_AS.match(block.code)
        if name is not None:
            (self.directory / name[1]).write_text(block.code, "utf-8")
        use = self.uses.get(block.label)
        if use is None:
            return f"{block.place} is a block of {block.label or 'no label'}"
        if name is None or block.label == "toml":
            use(block)
        return None

    def started(self) -> subprocess.Popen[str]:
        with self.errors.open("w") as errors:
            return subprocess.Popen(
                [sys.executable, "-c", SCRIPT],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def python(self, block: Block) -> None:
        script = self.script = self.script or self.started()
        assert script.stdin is not None
        assert script.stdout is not None
        page = str(block.page.relative_to(ROOT))
        order = {"above": block.line, "code": block.code, "page": page}
        script.stdin.write(json.dumps(order) + "\n")
        script.stdin.flush()
        hung = threading.Timer(PATIENCE, script.kill)
        hung.start()
        try:
            if any(line == "\0\n" for line in script.stdout):
                return
        finally:
            hung.cancel()
        raise AssertionError(f"{block.place} failed:\n{self.errors.read_text()}")

    def console(self, block: Block) -> None:
        for command, expected in commands_in(block):
            ran = subprocess.run(
                ["bash", "-c", command],
                check=False,
                cwd=self.directory,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE,
            )
            assert matches(expected, ran.stdout), (
                f"{block.place} $ {command}\nexpected:\n{expected}\nprinted:\n{ran.stdout}"
            )

    def end(self) -> int:
        """Let the script come to its end; return its exit status."""
        if self.script is None:
            return 0
        with self.script as script:
            try:
                script.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                script.kill()
        return script.returncode


def make_command(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n", "utf-8")
    path.chmod(0o755)


def commands_in(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command that is to be run, and what it is expected to print."""
    parts = re.split(r"^\$ ", block.code, flags=re.MULTILINE)
    assert not parts[0].strip(), f"{block.place} does not begin with a command"
    for part in parts[1:]:
        lines = part.splitlines()
        command = lines.pop(0)
        while command.endswith("\\"):
            command = f"{command[:-1]}{lines.pop(0).lstrip()}"
        if not command.startswith(SETS_UP) or "&& sequential" in command:
            yield NEITHER_INSTALLED_NOR_TESTED.sub("", command), "\n".join(lines)


def matches(expected: str, printed: str) -> bool:
    """Compare by words: a column that became wider is no difference, a word is."""
    if not expected.strip():
        return True
    words = [re.escape(word).replace(r"\.\.\.", ".*?") for word in expected.split()]
    return (
        re.fullmatch(" ".join(words).replace(" .*? ", " .*?"), " ".join(printed.split()))
        is not None
    )


def play(page: Path, directory: Path) -> list[str]:
    """Play *page*; return what was not run, which is a fault of the page."""
    playing, blocks = Play(directory), list(blocks_of(page))
    saved = [name for block in blocks if (name := SAVED_AS.match(block.code)) is not None]
    asked = "".join(block.code for block in blocks if block.label == "console")
    try:
        faults = [fault for block in blocks if (fault := playing.take(block)) is not None]
    finally:
        status = playing.end()
    if status:
        faults.append(f"the script ended with {status}: {playing.errors.read_text()}")
    modules = [name[1] for name in saved if name[1].endswith(".py")]
    return faults + [
        f"{page} saves {name}, which nothing runs"
        for name in modules
        if Path(name).stem not in asked
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if 'storage = "postgresql:///"' in page.read_text("utf-8"):
        request.getfixturevalue("postgres_of_libpq")
    if 'storage = "s3://my-flows' in page.read_text("utf-8"):
        request.getfixturevalue("s3_of_environment")
    if 'transport = "sqs://flows' in page.read_text("utf-8"):
        request.getfixturevalue("sqs_of_environment")
    assert play(page, tmp_path) == []


def page_with(directory: Path, text: str) -> Path:
    page = directory / "page.md"
    page.write_text(text, "utf-8")
    return page


@pytest.fixture
def own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "root/docs/examples").mkdir(parents=True)
    monkeypatch.setitem(globals(), "ROOT", tmp_path / "root")
    (tmp_path / "work").mkdir()
    return tmp_path


BROKEN = {
    "a python block that raises": "```python\nassert 1 == 2\n```\n",
    "a second block that cannot see what the first did not say": (
        "```python\na = 1\n```\n```python\nassert b\n```\n"
    ),
    "a command that prints something else": "```console\n$ echo two\none\n```\n",
    "output that goes on longer than expected": "```console\n$ echo one two\none\n```\n",
    "toml that is none": "```toml\n= 1\n```\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_page_is_found(text: str, own_root: Path) -> None:
    page = page_with(own_root / "root", text)
    with pytest.raises((AssertionError, tomllib.TOMLDecodeError)):
        play(page, own_root / "work")


@pytest.mark.parametrize("text", ["```\na\n```\n", "```sh\na\n```\n", "```python\n# a.py\n```\n"])
def test_a_block_that_nothing_runs_is_a_fault(text: str, own_root: Path) -> None:
    assert play(page_with(own_root / "root", text), own_root / "work")


def test_blocks_of_a_page_run_in_order_in_one_place(own_root: Path) -> None:
    text = (
        "```python\na = 1\n```\n"
        "```python\n# named.py\nprint('from', 'a file')\n```\n"
        "```console\n$ python named.py\nfrom ... file\n$ echo out > made.txt\n```\n"
        "```python\nassert open('made.txt').read() == 'out\\n' * a\n```\n"
    )
    assert play(page_with(own_root / "root", text), own_root / "work") == []

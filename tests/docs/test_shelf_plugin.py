"""The example of a third party's plugin: built, installed and used, and its tutorial with it.

What is clean: a new virtual environment, into which pip installs the wheels of the core and of the
plugin, without an index; nothing of this checkout is on its path. What is shared: the libraries
that both depend on, and pytest, stand in this environment's site-packages and are only pointed at,
since tests may not ask a package index for them. Their versions are thus not resolved here.
"""

from __future__ import annotations

import ensurepip
import errno
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from sequential import Registry, Rejected, Sequential, Steps, flow
from sequential.errors import (
    ConfigError,
    OutcomeUnknown,
    RecordCorrupt,
    SchemaTooNew,
    StorageForeign,
    StorageRefused,
    StorageUnavailable,
    ValueCorrupt,
)
from sequential.storage import STALE, Payload, Run, evolve
from sequential.testing import FakeClock
from tests.docs.test_snippets import Block, blocks_of, commands_in, matches

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "docs/examples/shelf_plugin"
PAGE = ROOT / "docs/tutorial/write-a-plugin.md"
BLOCKS = list(blocks_of(PAGE))
DIARY = next(block.code for block in BLOCKS if block.code.startswith("# diary.py\n"))
SESSIONS = [block for block in BLOCKS if block.label == "text" and block.code.startswith("$ ")]


# -- installed


class Environment:
    """A virtual environment with the plugin in it."""

    def __init__(self, place: Path) -> None:
        self.wheels = place / "wheels"
        self.bin = place / "venv/bin"
        for project in (ROOT / "core", PROJECT):
            build = ("-m", "hatchling", "build", "-t", "wheel", "-d", str(self.wheels))
            self.call(sys.executable, *build, at=project)
        self.call(sys.executable, "-m", "venv", "--without-pip", str(place / "venv"), at=place)
        wheels = [str(wheel) for wheel in self.wheels.glob("*.whl")]
        self.pip("install", "--no-index", "--no-deps", *wheels)
        (packages,) = (place / "venv").glob("lib/*/site-packages")
        shared = place / "shared"
        shared.mkdir()
        for each in Path(msgspec.__file__).parents[1].iterdir():
            # Neither our packages nor their entry points: they are what is installed here.
            if "sequential" not in each.name:
                (shared / each.name).symlink_to(each)
        (packages / "shared.pth").write_text(str(shared), "utf-8")
        self.packages = packages

    def pip(self, verb: str, *options: str) -> None:
        # The pip that Python brings along, run as it lies there: to install it first takes longer
        # than all the rest.
        (pip,) = Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")
        self.call("python", f"{pip}/pip", verb, "-q", *options, at=self.wheels)

    def call(self, *command: str, at: Path) -> str:
        done = self.tried(*command, at=at)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def tried(self, *command: str, at: Path) -> subprocess.CompletedProcess[str]:
        left_out = ("PYTHON", "PIP_", "SEQUENTIAL_", "SHELF_", "COV")
        kept = {name: text for name, text in os.environ.items() if not name.startswith(left_out)}
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        own = {"COLUMNS": "100", "NO_COLOR": "1", "PATH": path, "PIP_CONFIG_FILE": os.devnull}
        own["PYTEST_ADDOPTS"] = "--numprocesses=2 -p no:cacheprovider"
        found = shutil.which(command[0], path=path)  # by the new PATH, not by this process's
        assert found is not None
        return subprocess.run(
            [found, *command[1:]], check=False, cwd=at, env={**kept, **own}, text=True, timeout=300,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip


# It runs the whole contract kit in there, which may take its time beside other tests.
@pytest.mark.timeout(400)
def test_the_plugin_is_installed_used_and_taken_away(tmp_path: Path) -> None:
    installed = Environment(tmp_path / "installed")
    at = tmp_path / "work"
    at.mkdir()
    what_runs_is_what_was_installed(installed, at)
    the_tutorial_goes_as_it_says(installed, at)
    without_the_plugin_the_error_names_what_is_missing(installed, at)


def what_runs_is_what_was_installed(installed: Environment, at: Path) -> None:
    ask = "import sequential, sequential_shelf as s; print(sequential.__file__, s.__file__)"
    files = installed.call("python", "-c", ask, at=at).split()
    assert len(files) == 2
    assert all(Path(file).is_relative_to(installed.packages) for file in files)
    assert (installed.packages / "sequential_shelf/py.typed").exists()


def the_tutorial_goes_as_it_says(installed: Environment, at: Path) -> None:
    shutil.copytree(PROJECT, at / "docs/examples/shelf_plugin")
    (at / "diary.py").write_text(DIARY, "utf-8")
    assert len(SESSIONS) == 2
    told = [pair for block in SESSIONS for pair in commands_in(block)]
    assert told[0][0] == 'pip install "./docs/examples/shelf_plugin[test]"'  # it is by now
    for command, expected in told[1:]:
        printed = installed.call("bash", "-c", command, at=at)
        assert matches(expected, printed), f"$ {command}\n{printed}"
        assert not re.search(r"\d (skipped|xfailed|deselected)", printed)
    # Each invocation was a process of its own, and all of them wrote into the folder.
    (run,) = (at / "flows/runs").iterdir()
    assert len(run.read_text("utf-8").splitlines()) == 4


def without_the_plugin_the_error_names_what_is_missing(installed: Environment, at: Path) -> None:
    installed.pip("uninstall", "--yes", "sequential-shelf-example")
    failed = installed.tried("sequential", "list", "--storage", "shelf:///flows", at=at)
    assert failed.returncode == 1
    assert "no storage opens shelf:// (known: memory, projection, sqlite)" in failed.stdout
    assert "Traceback" not in failed.stdout
    assert "shelf" not in installed.call("sequential", "plugins", at=at)


# -- the page and the project


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.label in {"python", "toml"} and block.code != DIARY],
    ids=lambda block: f"line {block.line}",
)
def test_a_block_of_the_tutorial_stands_in_the_project(block: Block) -> None:
    files = [*PROJECT.rglob("*.py"), PROJECT / "pyproject.toml"]
    texts = [f"\n{path.read_text('utf-8')}" for path in files]
    lines = [f"\n{block.code}", f"\n{textwrap.indent(block.code, '    ', lambda _: True)}"]
    lines = [lines[0], re.sub(r"(?m)^ +$", "", lines[1])]
    assert any(each in text for each in lines for text in texts)


def test_only_public_names_are_used() -> None:
    found = {
        line
        for path in PROJECT.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"(from|import) sequential\b.*\b_", line)
    }
    assert found == set()


def test_its_contract_test_has_ten_lines() -> None:
    lines = (PROJECT / "tests/test_shelf.py").read_text("utf-8").splitlines()
    code = [line for line in lines if line and not line.startswith(("from ", "import "))]
    assert len(code) <= 10


# -- what the kit cannot see from outside


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give the module of the storage, imported from the project itself."""
    monkeypatch.syspath_prepend(str(PROJECT))
    yield importlib.import_module("sequential_shelf.storage")
    for name in [name for name in sys.modules if name.startswith("sequential_shelf")]:
        del sys.modules[name]


RUN = Run("r", "f", Payload(b"1", size=1), op_id="first")


def opened(shelf: Any, folder: Path) -> Any:
    return shelf.ShelfStorage(folder, FakeClock())


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.suffix == ".jsonl"}


def test_a_write_that_fails_early_changes_nothing_and_one_that_fails_late_says_so(
    shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = opened(shelf, tmp_path / "shelf")
    run = storage.create(RUN)
    real, calls = os.fsync, list[int | None]()

    def fsync(descriptor: int) -> None:
        failure = calls.pop(0)
        if failure is not None:
            raise OSError(failure, os.strerror(failure))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    before = files_in(tmp_path)
    for failure, expected in ((errno.ENOSPC, StorageRefused), (errno.EIO, StorageUnavailable)):
        calls[:] = [failure]
        with pytest.raises(expected):
            storage.commit(evolve(run, op_id="second"), run)
        assert files_in(tmp_path) == before
    calls[:] = [None, errno.EIO]  # the file is there, its new name may not be durable
    with pytest.raises(OutcomeUnknown):
        storage.commit(evolve(run, op_id="second"), run)
    assert storage.load("r").run.op_id == "second"
    assert storage.commit(evolve(run, op_id="second"), run) is STALE


def test_a_draft_that_a_killed_process_left_does_no_harm(shelf: Any, tmp_path: Path) -> None:
    storage = opened(shelf, tmp_path / "shelf")
    run = storage.create(RUN)
    (path,) = files_in(tmp_path)
    Path(f"{path}.draft").write_bytes(b'["r", 0, 2, "half a')
    assert storage.load("r").run == run
    assert storage.commit(run, run).version == 2
    assert list(files_in(tmp_path)) == [path]


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"[1,", b'["r"]', b'[{"a":1}]', b"\xff", b"[]", b"5", b"[" * 99_999]
)
def test_a_damaged_file_is_never_taken_for_a_run(shelf: Any, tmp_path: Path, damage: bytes) -> None:
    storage = opened(shelf, tmp_path / "shelf")
    storage.create(RUN)
    (path,) = files_in(tmp_path)
    Path(path).write_bytes(damage)
    with pytest.raises(RecordCorrupt):
        storage.load("r")


def test_a_folder_of_other_things_is_left_alone(shelf: Any, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear", "utf-8")
    with pytest.raises(StorageForeign, match=r"letter\.txt"):
        opened(shelf, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_shelf_of_a_newer_version_is_not_touched(shelf: Any, tmp_path: Path) -> None:
    opened(shelf, tmp_path / "shelf")
    about = tmp_path / "shelf/shelf.json"
    about.write_text(json.dumps({"format": 2, "deployment": "d"}), "utf-8")
    with pytest.raises(SchemaTooNew):
        opened(shelf, tmp_path / "shelf")


def test_the_folder_above_must_be_there(shelf: Any, tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match="no/shelf"):
        opened(shelf, tmp_path / "no/shelf")


@pytest.mark.parametrize(
    "url", ["shelf:", "shelf://flows", "shelf:///", "shelf:///a?b=c", "shelf:///a%00"]
)
def test_a_url_that_names_no_folder_is_refused(shelf: Any, url: str) -> None:
    with pytest.raises(ConfigError, match="shelf:///folder"):
        shelf.folder_in(url)


def test_a_url_names_a_relative_or_an_absolute_folder(shelf: Any) -> None:
    assert shelf.folder_in("shelf:///my%20flows") == Path("my flows")
    assert shelf.folder_in("shelf:////srv/flows") == Path("/srv/flows")


def test_time_does_not_go_back_from_one_process_to_the_next(shelf: Any, tmp_path: Path) -> None:
    storage = shelf.ShelfStorage(tmp_path / "shelf", FakeClock(start=1000.0))
    storage.create(RUN)
    slow = shelf.ShelfStorage(tmp_path / "shelf", FakeClock(start=900.0))
    assert slow.load("r").now == 1000.0


def test_a_value_that_was_changed_is_found_out(shelf: Any, tmp_path: Path) -> None:
    storage = opened(shelf, tmp_path / "shelf")
    digest = storage.put_value("r", b"1000")
    (path,) = tmp_path.rglob(digest)
    path.write_bytes(b"9999")
    with pytest.raises(ValueCorrupt):
        storage.get_value("r", digest)


# -- the tools


@pytest.fixture
def tools(shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SHELF_FILES", str(tmp_path))
    return importlib.import_module("sequential_shelf.tools")


def test_a_line_is_added_once_however_often_the_call_is_repeated(
    tools: Any, tmp_path: Path
) -> None:
    add: Callable[..., int] = tools.add_line.function
    first, second = SimpleNamespace(idempotency_key="k1"), SimpleNamespace(idempotency_key="k2")
    assert [add(first, "a.txt", "one"), add(second, "a.txt", "two\u2028")] == [1, 2]
    assert [add(first, "a.txt", "one"), add(second, "a.txt", "two\u2028")] == [1, 2]
    assert (tmp_path / "a.txt").read_text("utf-8") == "k1 one\nk2 two\u2028\n"
    with pytest.raises(Rejected, match="line break"):
        add(first, "a.txt", "one\nk2 forged")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "", ".", "a/../../x", "out/x"])
def test_a_path_that_leads_outside_is_refused(tools: Any, tmp_path: Path, path: str) -> None:
    (tmp_path / "out").symlink_to("/")
    for call in (tools.read.function, lambda asked: tools.write.function(asked, "text")):
        with pytest.raises(Rejected, match="name a file in it"):
            call(path)


def test_the_tools_come_with_the_plugin_and_are_called_by_name(tools: Any, tmp_path: Path) -> None:
    registry = Registry()

    @flow(registry=registry)
    def copy() -> Steps[str]:
        yield {"__tool": ["files", "write", {"path": "a.txt", "text": "Dear"}]}
        text: str = yield {"__tool": ["files", "read", {"path": "a.txt"}]}
        failed = yield {"__tool": ["files", "read", {"path": "../b"}]}
        return f"{text}{failed['__error']}"

    plugin = importlib.import_module("sequential_shelf.plugin")
    url = f"shelf:///{tmp_path}/flows"
    with Sequential(url, registry=registry, plugins=[plugin]) as app:
        assert app.run(copy) == f"Dear'../b' is not in {tmp_path}; name a file in it"
    assert registry.tool_names() == ["files.add_line", "files.read", "files.write"]

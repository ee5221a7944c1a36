"""The README's first command does what the README says, from a copy of the tree."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sequential

ROOT = Path(__file__).parents[2]
PACKAGE = str(Path(sequential.__file__).parents[1])
INSTALLS = "pip install ./core && "


def first_command() -> str:
    readme = (ROOT / "README.md").read_text("utf-8")
    found = re.search(rf"^\$ {re.escape(INSTALLS)}(sequential run .+)$", readme, re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.fixture
def copy_of_the_tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    left_out = shutil.ignore_patterns("__pycache__", ".*", "site", "*.db")
    for name in ("core", "docs"):
        shutil.copytree(ROOT / name, tree / name, ignore=left_out)
    shutil.copy(ROOT / "README.md", tree)
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "sequential").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sequential "$@"\n')
    (commands / "sequential").chmod(0o755)
    return tree


@pytest.mark.parametrize(("user_id", "name"), [(1, "Mara Lindqvist"), (4, "Jonah Petrov")])
def test_the_first_command_makes_each_invocation_a_process(
    user_id: int, name: str, copy_of_the_tree: Path
) -> None:
    command = first_command().replace('{"userId": 1}', json.dumps({"userId": user_id}))
    assert f'"userId": {user_id}' in command
    kept = {key: text for key, text in os.environ.items() if "SEQUENTIAL" not in key}
    path = f"{copy_of_the_tree.parent / 'bin'}{os.pathsep}{kept['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        check=False,
        cwd=copy_of_the_tree,
        env={**kept, "PATH": path, "PYTHONPATH": PACKAGE},
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    pids = re.findall(r"^invocation \d+ +pid (\d+)", ran.stdout, re.MULTILINE)
    assert len(pids) == 4  # one for each of three tool calls, one for the end
    assert len(set(pids)) == len(pids)
    table = re.findall(r"^(\d) +(api\.\w+) +value ", ran.stdout, re.MULTILINE)
    assert table == [("0", "api.user"), ("1", "api.posts"), ("2", "api.comments")]
    assert name in ran.stdout
    assert (copy_of_the_tree / "sequential.db").exists()


def test_the_second_command_is_what_ci_runs() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "\n$ pip install nox uv && nox\n" in readme
    assert "pip install nox uv && nox\n" in (ROOT / ".ci/run").read_text("utf-8")

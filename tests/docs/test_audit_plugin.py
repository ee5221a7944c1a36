"""The example plugin is installed as a user would install it, and does what its page says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

import sequential

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/examples/audit_plugin"
FLOW = f"{EXAMPLE}/transfer.py:transfer"
COMMAND = (sys.executable, "-m", "sequential")
GIVEN = '{"iban": "DE00-canary", "amount": 5}'


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a search path with the installed plugin and the core, metadata and all.

    Built by its own build backend, which is here: an installer would ask a package index for it.
    A wheel of plain Python is installed by unpacking it.
    """
    place = tmp_path_factory.mktemp("installed")
    source, packages = place / "source", place / "packages"
    shutil.copytree(EXAMPLE, source)
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)], source)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(packages)
    return os.pathsep.join([str(packages), str(Path(sequential.__file__).parents[1])])


def run(command: list[str], directory: Path, **variables: str) -> str:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    ran = subprocess.run(
        command, check=False, cwd=directory, env={**kept, **variables},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_plugin_is_listed(installed: str, tmp_path: Path) -> None:
    printed = run([*COMMAND, "plugins"], tmp_path, PYTHONPATH=installed)
    (line,) = [line for line in printed.splitlines() if line.startswith("audit")]
    assert "sequential-audit-example" in line
    assert "call_tool" in line


def test_every_attempt_leaves_a_line_and_no_value(installed: str, tmp_path: Path) -> None:
    command = [*COMMAND, "run", FLOW, "--input", GIVEN, "--run-id", "r"]
    assert "5 sent" in run(command, tmp_path, PYTHONPATH=installed)
    text = (tmp_path / "audit.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["tool"], line["attempt"], line["outcome"]) for line in lines] == [
        ("bank.transfer", 1, "Rejected"),
        ("bank.transfer", 2, "ok"),
        ("mail.receipt", 1, "ok"),
    ]
    assert {line["run"] for line in lines} == {"r"}
    assert lines[0]["input"] == ["amount", "iban"]
    assert "canary" not in text


def test_attempts_keep_their_distance(installed: str, tmp_path: Path) -> None:
    command = [*COMMAND, "run", FLOW, "--input", GIVEN]
    settings = {"AUDIT_FILE": str(tmp_path / "other"), "AUDIT_PER_SECOND": "5"}
    run(command, tmp_path, PYTHONPATH=installed, **settings)
    lines = (tmp_path / "other").read_text("utf-8").splitlines()
    at = [json.loads(line)["at"] for line in lines]
    assert len(at) == 3
    # The clock in a line is read a moment after the attempt was let go.
    assert all(later - earlier > 0.15 for earlier, later in pairwise(at))

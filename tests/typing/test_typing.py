"""mypy and pyright know the types of flows and tools, and refuse wrong uses of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import sequential

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = Path(sequential.__file__).parents[1]
EXAMPLES = [
    *(ROOT / "docs/examples").glob("*.py"),
    *(ROOT / "docs/examples/known_flows").glob("[!_t]*.py"),
]
GOOD = [HERE / "typed_flows.py", *sorted(EXAMPLES)]


def by_mypy(*paths: Path) -> dict[int, str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", *map(str, paths)]
    ran = subprocess.run(command, capture_output=True, check=False, cwd=ROOT, text=True)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    found = re.findall(r"^.+?:(\d+): error: (.+)$", ran.stdout, re.MULTILINE)
    assert bool(found) == bool(ran.returncode), ran.stdout
    return {int(line): text for line, text in found}


def by_pyright(*paths: Path) -> dict[int, str]:
    directory = paths[0].parent
    settings = directory / "pyrightconfig.json"
    if directory != HERE:
        strict = {"typeCheckingMode": "strict", "extraPaths": [str(PACKAGE)]}
        settings.write_text(json.dumps(strict), "utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    ran = subprocess.run(
        [*command, *map(str, paths)],
        capture_output=True,
        check=False,
        cwd=ROOT if directory == HERE else directory,
        text=True,
    )
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    found = json.loads(ran.stdout)
    assert found["summary"]["filesAnalyzed"] == len(paths)
    return {
        each["range"]["start"]["line"] + 1: each["message"]
        for each in found["generalDiagnostics"]
        if each["severity"] == "error"
    }


CHECKERS = [by_mypy, by_pyright]
Checker = Callable[..., dict[int, str]]


@pytest.mark.parametrize("check", CHECKERS)
def test_right_uses_are_known_exactly(check: Checker) -> None:
    assert check(*GOOD) == {}


@pytest.mark.parametrize("check", CHECKERS)
def test_wrong_uses_are_refused_where_they_stand(check: Checker, tmp_path: Path) -> None:
    text = (HERE / "wrong_uses.py.txt").read_text("utf-8")
    (tmp_path / "wrong_uses.py").write_text(text, "utf-8")
    lines = text.splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if "# expect-error" in line}
    found = check(tmp_path / "wrong_uses.py")
    assert set(found) == wrong, found


@pytest.mark.parametrize("check", CHECKERS)
def test_a_wrong_claim_about_a_type_is_found(check: Checker, tmp_path: Path) -> None:
    text = (HERE / "typed_flows.py").read_text("utf-8")
    claim = "assert_type(user, User)"
    (tmp_path / "claims.py").write_text(text.replace(claim, "assert_type(user, str)"), "utf-8")
    wrong = {number for number, line in enumerate(text.splitlines(), 1) if claim in line}
    assert wrong
    assert set(check(tmp_path / "claims.py")) == wrong

"""The example of a tested flow: its tests pass as a user would run them, and can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sequential

EXAMPLE = Path(__file__).parents[2] / "docs/examples/tested_flow"
PACKAGE = str(Path(sequential.__file__).parents[1])


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the example that no configuration of this repository reaches."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    shutil.copytree(EXAMPLE, tmp_path / "tested_flow", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run(directory: Path) -> subprocess.CompletedProcess[str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PY")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tested_flow"],
        capture_output=True,
        check=False,
        cwd=directory,
        env={**kept, "PYTHONPATH": PACKAGE},
        text=True,
        timeout=100,
    )


def test_the_tests_of_the_example_pass(copy: Path) -> None:
    done = run(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


def test_the_tests_of_the_example_find_an_order_that_is_not_released(copy: Path) -> None:
    file = copy / "tested_flow/order.py"
    text = file.read_text("utf-8")
    broken = text.replace("        await release(reservation)\n", "")
    assert broken != text
    file.write_text(broken, "utf-8")
    done = run(copy)
    assert done.returncode == 1
    assert "1 failed, 5 passed" in done.stdout
    assert "test_an_order_that_nobody_agrees_to_is_released" in done.stdout


def test_the_tests_of_the_example_find_an_order_that_rolls_dice(copy: Path) -> None:
    file = copy / "tested_flow/order.py"
    text = file.read_text("utf-8")
    broken = text.replace("reserve(item)", "reserve(Item(str(time.time_ns()), 3))")
    broken = broken.replace("from datetime", "import time\nfrom datetime", 1)
    assert "time_ns" in broken
    file.write_text(broken, "utf-8")
    done = run(copy)
    assert done.returncode == 1
    assert "does not do the same when it is replayed" in done.stdout
    assert "recorded:" in done.stdout

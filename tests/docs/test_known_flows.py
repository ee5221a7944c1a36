"""The well-known flows: their tests pass as a user would run them, and find what is left out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sequential

EXAMPLE = Path(__file__).parents[2] / "docs/examples/known_flows"
PACKAGE = str(Path(sequential.__file__).parents[1])


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the examples that no configuration of this repository reaches."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    shutil.copytree(EXAMPLE, tmp_path / "known_flows", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run(directory: Path, what: str = "") -> subprocess.CompletedProcess[str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PY")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"known_flows/{what}"],
        capture_output=True,
        check=False,
        cwd=directory,
        env={**kept, "PYTHONPATH": PACKAGE},
        text=True,
        timeout=110,
    )


def test_the_tests_of_the_examples_pass(copy: Path) -> None:
    done = run(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "26 passed" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "found_by"),
    [
        (
            "order_saga",
            "        undo.undo_with(refund, payment)\n",
            "test_an_order_that_cannot_be_shipped_is_undone_the_last_first",
        ),
        (
            "outside_job",
            "        undo.undo_with(stop, job)\n",
            "test_a_job_that_takes_a_day_is_stopped",
        ),
        (
            "subscription",
            "    begun = begun or det.now()\n",
            "test_a_subscription_is_renewed_every_month_for_three_years",
        ),
        (
            "agent",
            '    yield from ask("operator", f"may I {what}?")\n',
            "test_who_does_not_answer_is_reminded_and_means_no",
        ),
    ],
    ids=lambda given: given.strip() if given.startswith(" ") else "",
)
def test_their_tests_find_a_line_that_is_missing(
    copy: Path, file: str, line: str, found_by: str
) -> None:
    module = copy / f"known_flows/{file}.py"
    text = module.read_text("utf-8")
    assert text.count(line) == 1
    module.write_text(text.replace(line, ""), "utf-8")
    done = run(copy, f"test_{file}.py::{found_by}")
    assert done.returncode == 1, done.stdout
    assert "1 failed" in done.stdout

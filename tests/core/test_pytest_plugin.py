"""The fixtures for users, in a pytest of their own: a subprocess, far from this configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sequential
from sequential.testing import pytest_plugin

PACKAGE = str(Path(sequential.__file__).parents[1])

TESTS = """
from sequential import Sequential, flow, sleep, tool
from sequential.testing import FakeClock


@tool("a", "b")
def b(n: int) -> int:
    return n + 1


@flow
async def slow(n: int) -> int:
    await sleep(3_600)
    return await b(n)


def test_play(play) -> None:
    assert play(slow, {"n": 1}, tools={b: [5]}).result == 5


def test_the_app_is_on_the_clock(sequential_app, sequential_clock) -> None:
    assert isinstance(sequential_app, Sequential)
    assert isinstance(sequential_clock, FakeClock)
    run_id = sequential_app.start(slow, {"n": 1}, run_id="one")
    sequential_app.execute(run_id)
    sequential_clock.advance(3_600)
    assert sequential_app.execute(run_id).result == 2


def test_the_app_is_new_for_each_test(sequential_app) -> None:
    assert sequential_app.find().runs == ()
"""


def run(directory: Path, tests: str, *options: str) -> subprocess.CompletedProcess[str]:
    (directory / "pytest.ini").write_text("[pytest]\n")
    (directory / "test_it.py").write_text(tests, "utf-8")
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PY")}
    return subprocess.run(
        # Named, so that it is the same where the package is installed and where it is not.
        [sys.executable, "-m", "pytest", "-p", pytest_plugin.__name__, *options],
        capture_output=True,
        check=False,
        cwd=directory,
        env={**kept, "PYTHONPATH": PACKAGE},
        text=True,
        timeout=100,
    )


def test_the_fixtures_do_what_they_say(tmp_path: Path) -> None:
    done = run(tmp_path, TESTS, "-q", "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_fixtures_are_listed_with_their_sentence(tmp_path: Path) -> None:
    listed = run(tmp_path, "", "--fixtures").stdout
    assert "Return a clock that stands still until the test moves it." in listed
    assert "Give an application in memory" in listed
    assert "Return `sequential.testing.play`." in listed


def test_a_failing_flow_shows_the_line_that_raised(tmp_path: Path) -> None:
    tests = """
from sequential import flow, save


@flow
async def broken() -> int:
    await save()
    return [][0]  # here


def test_it(play) -> None:
    assert play(broken).result == 1
"""
    done = run(tmp_path, tests)
    assert done.returncode == 1
    assert "return [][0]  # here" in done.stdout
    assert "RunFailed" in done.stdout


def test_only_the_plugin_imports_pytest() -> None:
    code = "import sequential.testing._crashes, sys; sys.exit('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, env={"PYTHONPATH": PACKAGE})
    assert done.returncode == 0


@pytest.mark.parametrize("name", ["play", "sequential_app", "sequential_clock"])
def test_every_fixture_is_documented(name: str) -> None:
    assert getattr(pytest_plugin, name).__doc__

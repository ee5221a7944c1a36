"""The example with a store of its own prints what its page says, and leaves nothing behind."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import sequential
from sequential.executor import Paused, create_flow_executor

EXAMPLE = Path(__file__).parents[2] / "docs/examples/own_store.py"
DONE = {"user": {"id": 1, "name": "Alice"}, "postsCount": 2, "commentsCount": 3}


@pytest.fixture
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("own_store", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def printed(directory: Path) -> list[list[str]]:
    """Return what each invocation of the example prints, line by line."""
    package = str(Path(sequential.__file__).parents[1])
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        capture_output=True,
        check=True,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": package},
        text=True,
        timeout=60,
    )
    assert ran.stderr == ""
    return [each.strip().split("\n  ") for each in ran.stdout.split("invocation ")[1:]]


def test_three_invocations_make_a_call_each_and_the_fourth_returns(tmp_path: Path) -> None:
    said = printed(tmp_path)
    state = "'flow': 'workflow', 'input': {'userId': 1}"
    for step, (call, invocation) in enumerate(
        zip(
            ["user {'id': 1}", "posts {'uid': 1}", "comments {'postIds': [101, 102]}"],
            said,
            strict=False,
        )
    ):
        assert invocation == [
            str(step + 1),
            f"tool api.{call}",
            "resume: would POST /resume/exec-001",
            f"answer {{'paused': 'exec-001', 'step': {step}}}",
            f"stored {{'exec-001': {{'step': {step + 1}, {state}}}}}",
        ]
    assert said[3] == ["4", f"answer {DONE}", "stored {}"]


def test_the_store_of_the_example_is_clean_in_the_end(example: ModuleType) -> None:
    store, calls = example.Store(), list[str]()

    def call(category: str, name: str, input: Any) -> Any:
        calls.append(name)
        return example.ANSWERS[name]

    executor = create_flow_executor(store, call)
    other = executor.execute(example.workflow, "other", {"userId": 1})
    answers = [executor.execute(example.workflow, "r", {"userId": 1}) for _ in range(4)]
    assert [type(each) for each in answers] == [Paused, Paused, Paused, dict]
    assert answers[3] == DONE
    assert calls == ["user", "user", "posts", "comments"]
    assert (other, list(store.runs), list(store.results)) == (
        {"paused": "other", "step": 0}, ["other"], [("other", 0)]
    )  # fmt: skip

"""Every example is run, from the command line as a user would."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sequential

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"
PACKAGE = str(Path(sequential.__file__).parents[1])


def rows(table: str) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads((EXAMPLES / f"data/{table}.json").read_text("utf-8"))
    return read


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: text for name, text in os.environ.items() if "SEQUENTIAL" not in name}
    return subprocess.run(
        [sys.executable, "-m", "sequential", *arguments],
        capture_output=True,
        check=False,
        cwd=directory,
        env={**kept, "PYTHONPATH": PACKAGE},
        text=True,
        timeout=60,
    )


def summary(directory: Path, given: object) -> subprocess.CompletedProcess[str]:
    target = f"{EXAMPLES / 'summary.py'}:summary"
    return run(directory, "run", target, "--input", json.dumps(given), "--json")


def test_every_example_is_known_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"own_store.py", "summary.py"}


def test_the_data_fit_together() -> None:
    users = {user["id"] for user in rows("users")}
    posts = {post["id"] for post in rows("posts")}
    assert (len(users), len(posts), len(rows("comments"))) == (10, 30, 60)
    assert {post["userId"] for post in rows("posts")} <= users
    assert {comment["postId"] for comment in rows("comments")} <= posts


@pytest.mark.parametrize("user_id", [1, 3, 10])
def test_the_summary_counts_what_the_data_hold(user_id: int, tmp_path: Path) -> None:
    posts = [post for post in rows("posts") if post["userId"] == user_id]
    ids = {post["id"] for post in posts}
    done = summary(tmp_path, {"userId": user_id})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"] == {
        "user": next(user["name"] for user in rows("users") if user["id"] == user_id),
        "posts": [post["title"] for post in posts],
        "comments": sum(comment["postId"] in ids for comment in rows("comments")),
    }


def test_an_unknown_user_fails_the_flow_and_says_why(tmp_path: Path) -> None:
    failed = summary(tmp_path, {"userId": 11})
    assert failed.returncode == 4
    assert "there is no user 11; the data has 1 to 10" in failed.stdout


def test_the_example_works_from_a_copy_without_the_checkout(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "mine")
    done = run(tmp_path, "run", "mine/summary.py:summary", "--input", '{"userId": 2}')
    assert done.returncode == 0, done.stderr
    assert re.search(r"^2 +api\.comments +value", done.stdout, re.MULTILINE)

"""`sequential dashboard` from a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import streamlit as st

from sequential.cli import cli
from sequential_dashboard import serving
from sequential_dashboard.board import current
from sequential_dashboard.command import shown


def run(*args: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: each for name, each in os.environ.items() if "SEQUENTIAL" not in name}
    return subprocess.run(
        [sys.executable, "-m", "sequential", "dashboard", *args],
        cwd=cwd, env=kept | environ, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_the_plugin_brings_no_heavy_library_into_the_command_line() -> None:
    script = (
        "import sys, sequential.cli, sequential_dashboard.plugin, sequential_dashboard.command;"
        "print(sorted({'streamlit', 'pandas', 'altair', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_it_listens_nowhere_else_without_a_login(tmp_path: Path) -> None:
    done = run("--storage", "sqlite:///x.db", "--host", "0.0.0.0", cwd=tmp_path)
    assert done.returncode == 1
    assert "SEQUENTIAL_DASHBOARD_TOKEN" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_short_token_is_refused_and_not_repeated(tmp_path: Path) -> None:
    done = run("--storage", "sqlite:///x.db", cwd=tmp_path, SEQUENTIAL_DASHBOARD_TOKEN="hunter2")
    assert done.returncode == 1
    assert "hunter2" not in done.stderr


def test_without_runs_to_show_it_says_how_to_name_some(tmp_path: Path) -> None:
    done = run(cwd=tmp_path)
    assert done.returncode == 1
    assert "--demo" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("sqlite:///flows.db?timeout=3", "sqlite:///flows.db"),
        ("postgresql://u:p/w@host/db?password=x", "postgresql://host/db"),
        ("memory:", "memory:"),
    ],
)
def test_no_page_shows_a_password_of_the_storage(url: str, seen: str) -> None:
    assert shown(url) == seen


class Served:
    """What a server was started with, in place of a server."""

    config: dict[str, Any]
    paths: list[str]

    def __init__(self, script: Path, routes: Any) -> None:
        self.script = script
        Served.paths = [each.path for each in routes]

    def run(self, config: dict[str, Any]) -> None:
        Served.config = config
        board = current()
        Served.seen = {
            "can_act": board.actor.can_act,
            "runs": len(board.reader.app.find(limit=1000).runs),
            "demo": board.settings.demo,
        }

    seen: dict[str, Any]


@pytest.mark.parametrize(
    ("args", "seen"),
    [
        (("--storage", "sqlite:///x.db"), {"can_act": False, "runs": 0, "demo": False}),
        (("--storage", "sqlite:///x.db", "--actions"), {"can_act": True, "runs": 0, "demo": False}),
        # 240 that begin by themselves, 21 to be repaired, and 24 child runs.
        (("--demo",), {"can_act": True, "runs": 285, "demo": True}),
    ],
)
def test_it_serves_the_runs_that_it_was_told_of(
    args: tuple[str, ...], seen: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(st, "App", Served)
    cli.main(["dashboard", *args, "--port", "8503"], standalone_mode=False)
    assert Served.seen == seen
    assert Served.config["server.port"] == 8503
    assert Served.paths == ["/metrics", "/healthz"]
    assert Served.config["server.address"] == "127.0.0.1"
    with pytest.raises(RuntimeError, match="sequential dashboard"):
        current()
    assert serving.SCRIPT.is_file()

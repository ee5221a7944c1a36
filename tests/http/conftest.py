"""Servers as processes, ended with the test."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fix_http import KEY, TOKEN
from tests.http.process import Serving, Start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Give what starts servers in the test's directory, on SQLite unless told otherwise."""
    environ = {name: text for name, text in os.environ.items() if "SEQUENTIAL" not in name}
    environ |= {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "SEQUENTIAL_STORAGE": f"sqlite:///{tmp_path}/flows.db?synchronous=normal",
        "SEQUENTIAL_HTTP_KEYS": KEY,
        "SEQUENTIAL_HTTP_TOKENS": TOKEN,
        "SEQUENTIAL_LEASE": "1s",
    }
    started: list[Serving] = []

    def run(*arguments: str, **variables: str | None) -> Serving:
        given: dict[str, Any] = {**environ, **variables}
        given = {name: text for name, text in given.items() if text is not None}
        started.append(Serving(tmp_path, given, *arguments))
        return started[-1]

    yield run
    for each in started:
        if each.process.poll() is None:
            each.end(signal.SIGKILL)

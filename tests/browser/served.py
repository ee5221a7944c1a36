"""Processes as a user starts them: dashboards, and workers beside them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

from tests.fix_http import until
from tests.fix_s3 import free_port

PATIENCE = 60.0

ROOT = Path(__file__).parents[2]


class Dashboard(NamedTuple):
    """A dashboard that listens at *url*, over ``runs.db`` in *folder*."""

    url: str
    folder: Path

    @property
    def storage(self) -> str:
        """Return the URL of the runs."""
        return f"sqlite:///{self.folder / 'runs.db'}"


def prepared(folder: Path, runs: int) -> None:
    """Make ``runs.db`` in *folder*."""
    made = [sys.executable, "-m", "tests.browser.runs", str(folder / "runs.db"), str(runs)]
    subprocess.run(made, cwd=ROOT, check=True, timeout=PATIENCE)


@contextmanager
def serving(folder: Path, *options: str, **variables: str) -> Iterator[Dashboard]:
    """Serve ``runs.db`` in *folder*, until the context ends."""
    port = free_port()
    made = Dashboard(f"http://127.0.0.1:{port}", folder)
    with started(made, "dashboard", f"--port={port}", *options, **variables) as process:
        until(lambda: process.poll() is not None or _answers(made.url), PATIENCE)
        assert process.poll() is None, (folder / "dashboard.log").read_text()
        yield made


@contextmanager
def started(
    dashboard: Dashboard, command: str, *options: str, **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of Sequential over the dashboard's runs; it is told to stop at the end."""
    kept = {name: text for name, text in os.environ.items() if "SEQUENTIAL" not in name}
    with (dashboard.folder / f"{command}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sequential", f"--storage={dashboard.storage}", command,
             *options],
            cwd=dashboard.folder, env={**kept, **variables}, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def call(dashboard: Dashboard, *command: str) -> str:
    """Run a command of Sequential over the dashboard's runs; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "sequential", f"--storage={dashboard.storage}", *command],
        cwd=dashboard.folder, capture_output=True, check=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    return done.stdout


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/_stcore/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, ConnectionError):
        return False

"""A dashboard over runs that stand in every way, opened as `sequential dashboard` opens it.

The demonstration's runs are made once for a test process; whoever changes them gets a copy.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sequential import Sequential
from sequential.storage import STALE, evolve
from sequential.testing import FakeClock

NOW = 1_800_000_000.0
"""When the demonstration ends; everything before it is the same in each test process."""


@pytest.fixture(scope="session")
def demo_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the database of the demonstration; not to be changed."""
    from sequential_dashboard.demo import make

    path = tmp_path_factory.mktemp("dashboard") / "demo.db"
    make(path, runs=60, now=NOW)
    return path


class Opened:
    """A dashboard in this process: the board, an application to change runs with, the clock."""

    def __init__(self, stack: ExitStack, url: str, settings: Any) -> None:
        from sequential_dashboard.board import Board, hold
        from sequential_dashboard.readonly import ReadOnlyStorage

        self.clock = FakeClock(NOW)
        self.app = stack.enter_context(Sequential(url, plugins=[], clock=self.clock))
        looking = Sequential(ReadOnlyStorage(self.app.storage), plugins=[], clock=self.clock)
        acting = self.app if settings.actions else None
        self.board = Board(settings, looking, acting)
        hold(self.board)
        stack.callback(hold, None)

    def settle(self, **changes: Any) -> None:
        """Give the board other settings."""
        self.board.settings = replace(self.board.settings, **changes)

    def runs(self, state: str) -> list[str]:
        """Return the ids of the runs in *state*, the newest first."""
        from sequential_dashboard.reading import Filter

        found = self.board.reader.page(Filter(states=(state,)), limit=1000)
        return [run.run_id for run in found.runs]

    def expect(self, run_id: str, schema: str) -> None:
        """Let the signals that the run waits for have *schema*, in JSON."""
        run = self.app.get(run_id)
        opened = {key: each._replace(schema=schema) for key, each in run.open.items()}
        stored = self.app.storage.commit(evolve(run, open=opened, op_id="schema"), run)
        assert stored is not STALE


@pytest.fixture
def open_dashboard() -> Iterator[Callable[..., Opened]]:
    """Return what opens a dashboard at a URL, with these settings."""
    from sequential_dashboard.settings import Settings

    with ExitStack() as stack:
        yield lambda url, **settings: Opened(stack, url, Settings(storage="a test", **settings))


@pytest.fixture
def demo(demo_file: Path, tmp_path: Path, open_dashboard: Callable[..., Opened]) -> Opened:
    """Return a dashboard over a copy of the demonstration, whose local user may do everything."""
    shutil.copy(demo_file, tmp_path / "demo.db")
    return open_dashboard(f"sqlite:///{tmp_path / 'demo.db'}", actions=True, payloads=True)


@pytest.fixture
def empty(tmp_path: Path, open_dashboard: Callable[..., Opened]) -> Opened:
    """Return a dashboard over no runs at all."""
    return open_dashboard(f"sqlite:///{tmp_path / 'empty.db'}", actions=True, payloads=True)

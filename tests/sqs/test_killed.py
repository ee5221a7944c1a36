"""Two workers on one queue and one Postgres, one of which is killed again and again."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from sequential import Sequential
from sequential.outcomes import Completed
from sequential.storage import Status
from tests.fix_postgres import Server
from tests.fix_sqs import new_url
from tests.sqs import killed_flows

PATIENCE = 100.0
CONCURRENCY = 4


class Workers:
    """Two workers as processes; one that was killed is followed by another."""

    def __init__(self, storage: str, transport: str, folder: Path) -> None:
        self.packed = folder / "packed"
        self.said = folder / "said"
        self._command = [
            *(sys.executable, "-m", "sequential", "worker"),
            *("--load", killed_flows.__file__, "--concurrency", str(CONCURRENCY)),
            *("--storage", storage, "--transport", transport),
        ]
        self._environment = {
            **os.environ,
            "PACKED": str(self.packed),
            "SEQUENTIAL_LEASE": "2s",
            "SEQUENTIAL_PAUSE": "every-step",
        }
        self._processes = [self._started() for _ in range(2)]

    def kill(self) -> None:
        """Kill the second worker, and start another in its place."""
        process = self._processes.pop()
        process.kill()
        process.wait()
        self._processes.append(self._started())

    def end(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        with self.said.open("ab") as said:
            return subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )


def survive(
    app: Sequential, workers: Workers, runs: int, steps: int, pause: float, patience: float
) -> None:
    """Start *runs*, kill a worker every *pause* seconds until they ended, and look at all."""
    ids = [f"r{number}" for number in range(runs)]
    for run_id in ids:
        app.start(killed_flows.parcel, {"run_id": run_id, "steps": steps}, run_id=run_id)
    end, kills = time.monotonic() + patience, 0
    while app.find(status=[Status.PAUSED, Status.RUNNING], limit=1).runs:
        assert time.monotonic() < end, workers.said.read_text()
        time.sleep(pause)
        workers.kill()
        kills += 1
    assert kills >= 2
    for run_id in ids:
        assert app.outcome(app.get(run_id)) == Completed(run_id, sum(range(steps)))
        assert [step.number for step in app.steps(run_id)] == list(range(steps))
    packed = Counter(workers.packed.read_text().splitlines())
    wanted = {f"{run_id} {number}" for run_id, number in itertools.product(ids, range(steps))}
    assert set(packed) == wanted
    # A killed worker had as many steps under way as it has places, and no others are repeated.
    assert packed.total() - len(wanted) <= kills * CONCURRENCY


@pytest.fixture
def storage(postgres18: Server) -> str:
    return postgres18.url(postgres18.emptied())


def test_killed_workers_lose_and_repeat_nothing(
    storage: str, ministack: str, tmp_path: Path
) -> None:
    transport = new_url(ministack, visibility="2s")
    workers = Workers(storage, transport, tmp_path)
    try:
        with Sequential(storage, transport) as app:
            survive(app, workers, 60, 8, 2.0, PATIENCE)
    finally:
        workers.end()


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_killed_workers_lose_and_repeat_nothing_of_very_many_runs(
    storage: str, ministack: str, tmp_path: Path
) -> None:
    transport = new_url(ministack, visibility="2s")
    workers = Workers(storage, transport, tmp_path)
    try:
        with Sequential(storage, transport) as app:
            survive(app, workers, 500, 20, 4.0, 1100)
    finally:
        workers.end()

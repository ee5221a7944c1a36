"""Eight threads on one database: invocations, beside the same statements without an engine.

Floor and subject take turns, a few runs of each at a time; what is compared is steps a second.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

from sequential import Sequential
from sequential._model import Run
from sequential._storage_rules import as_created

from .floors import new_run, record
from .grounds import Ground, connect
from .measure import Row, Size, median, subject, timed

_THREADS = 8
_STEPS = 20


def measure(ground: Ground, size: Size) -> Iterator[Row]:
    """Measure the throughput of both."""
    made = subject(lambda n: None)
    floors: list[float] = []
    carried: list[float] = []
    bare = _Bare(ground.with_tables())
    with Sequential(ground.url(), registry=made.registry) as app:
        for _ in range(max(5, round(size.operations / _STEPS / _THREADS))):
            ids = [bare.create() for _ in range(_THREADS)]
            floors.append(_per_step(bare.carry, ids))
            ids = [app.start(made.flow, {"count": _STEPS}) for _ in range(_THREADS)]
            carried.append(_per_step(app.execute, ids))
    bare.close()
    floor, step = median(floors), median(carried)
    what = f"8 threads, {ground.name}, a step / bare statements"
    yield Row(what, floor, step, floor / step, 0.6, least=True)


def _per_step(carry: Callable[[str], object], ids: list[str]) -> float:
    jobs: SimpleQueue[str] = SimpleQueue()
    for run_id in ids:
        jobs.put(run_id)

    def work() -> None:
        while True:
            try:
                run_id = jobs.get_nowait()
            except Empty:
                return
            carry(run_id)

    threads = [threading.Thread(target=work) for _ in range(_THREADS)]

    def whole() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return timed(whole) / (len(ids) * _STEPS)


class _Bare:
    """The statements of an invocation; connections are kept for the next, as by a storage."""

    def __init__(self, url: str) -> None:
        self._runs: dict[str, Run] = {}
        self._first = connect(url)
        self._free = [self._first, *(connect(url) for _ in range(_THREADS - 1))]

    def create(self) -> str:
        """Put a run into the table."""
        run = as_created(new_run(f"run-{os.urandom(8).hex()}"), time.time())
        self._first.create(run)
        self._runs[run.run_id] = run
        return run.run_id

    def carry(self, run_id: str) -> None:
        """Load, claim, commit each step, end."""
        bare = self._free.pop()
        run = self._runs.pop(run_id)
        bare.load(run_id)
        run = bare.save(run)
        for number in range(_STEPS):
            run = bare.save(run, record(number))
        bare.save(run)
        self._free.append(bare)

    def close(self) -> None:
        """Close the connections."""
        for bare in self._free:
            bare.close()

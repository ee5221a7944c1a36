"""How runs stand as gauges, for whoever watches a fleet: OpenMetrics text of a few cheap queries.

Gauges of the storage, not of a process: one dashboard tells them, however many workers there are.
No name of a flow and no id is in them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from sequential.errors import StorageError
from sequential.storage import Query, Status

from .reading import Reader
from .words import OPEN, state_of, wake_of

CACHED = 15.0
"""Seconds that an answer is given again."""

COUNTED = 1_000
"""Runs that are counted one by one, at most."""

TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_STATES = (Status.PAUSED, Status.RUNNING, Status.QUARANTINED)


class Gauge(NamedTuple):
    """One gauge: its *readings* by the state that they are of, or under an empty text."""

    name: str
    help: str
    readings: Mapping[str, float]
    unit: str = ""


def gauges(reader: Reader) -> Sequence[Gauge]:
    """Return how runs stand now.

    Raises:
        StorageError: The storage does not answer.
    """
    # First something that is answered with the storage's time.
    counts = reader.app.storage.count(Query(statuses=_STATES))
    now = reader.now()
    by_state = dict.fromkeys(map(str, _STATES), 0.0)
    for (_, status), count in counts.items():
        by_state[str(status)] += count
    late = reader.by_wake((Status.RUNNING,), now, None, COUNTED).runs
    stalled = sum(1 for run in late if state_of(run, now) == "stalled")
    due = reader.by_wake(OPEN, now, None, 1).runs
    wake = wake_of(due[0]) if due else None
    oldest = 0.0 if wake is None else max(0.0, now - wake)
    waits = [
        now - (step.started or run.created)
        for run in reader.oldest(Status.PAUSED)
        for step in run.open.values()
        if step.kind == "signal"
    ]
    return [
        Gauge("sequential_run_open", "Runs that have not ended, by stored status.", by_state),
        Gauge(
            "sequential_run_stalled",
            f"Runs whose invocation was lost; {COUNTED} stands for that many or more.",
            {"": stalled},
        ),
        Gauge(
            "sequential_queue_oldest_age_seconds",
            "How long the longest due run has waited for somebody to look at it.",
            {"": oldest}, "seconds",
        ),
        Gauge(
            "sequential_signal_oldest_wait_seconds",
            "The longest wait for a signal, among the paused runs that were created first.",
            {"": max(waits, default=0.0)}, "seconds",
        ),
    ]  # fmt: skip


def openmetrics(found: Iterable[Gauge]) -> str:
    """Return gauges as OpenMetrics text."""
    lines: list[str] = []
    for gauge in found:
        lines.append(f"# TYPE {gauge.name} gauge")
        if gauge.unit:
            lines.append(f"# UNIT {gauge.name} {gauge.unit}")
        lines.append(f"# HELP {gauge.name} {gauge.help}")
        for state, value in gauge.readings.items():
            label = f'{{state="{state}"}}' if state else ""
            lines.append(f"{gauge.name}{label} {value:.12g}")
    return "\n".join([*lines, "# EOF", ""])


class Watched:
    """The text of gauges, made again after `CACHED` seconds. Safe for use by several threads."""

    def __init__(self, reader: Reader, monotonic: Callable[[], float]) -> None:
        self._reader = reader
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._made: tuple[float, str | None] | None = None

    def text(self) -> str | None:
        """Return the text; None if the storage did not answer when it was last asked."""
        with self._lock:
            now = self._monotonic()
            if self._made is None or not 0 <= now - self._made[0] < CACHED:
                self._made = now, self._asked()
            return self._made[1]

    def _asked(self) -> str | None:
        try:
            return openmetrics(gauges(self._reader))
        except StorageError:
            # Its message may name a host: who probes gets the fact alone.
            return None

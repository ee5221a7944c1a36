"""Runs, moments and durations in words, as every page says them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sequential.spans import trace_id_of
from sequential.storage import At, Run, Status

STORED: Mapping[str, Status] = {
    "waiting": Status.PAUSED,
    "due": Status.PAUSED,
    "blocked": Status.PAUSED,
    "running": Status.RUNNING,
    "stalled": Status.RUNNING,
    "quarantined": Status.QUARANTINED,
    "failed": Status.FAILED,
    "cancelled": Status.CANCELLED,
    "completed": Status.COMPLETED,
    "purged": Status.PURGED,
}
"""Every word that a run is shown by, and the stored status that it is part of."""

OPEN = (Status.PAUSED, Status.RUNNING)

COLORS = {
    "waiting": "blue",
    "due": "blue",
    "running": "violet",
    "stalled": "orange",
    "blocked": "orange",
    "quarantined": "red",
    "failed": "red",
    "cancelled": "gray",
    "completed": "green",
    "purged": "gray",
}
"""How words are coloured; never the only difference: the word stands there too."""


def wake_of(run: Run) -> float | None:
    """Return when the run must next be looked at, in seconds since the epoch."""
    return run.wake.time if isinstance(run.wake, At) else None


def trace_of(run: Run) -> str:
    """Return the id of the run's trace, 32 hex digits, as tracing tools show it."""
    return f"{trace_id_of(run.run_id, run.created):032x}"


def state_of(run: Run, now: float) -> str:
    """Return the word that *run* is shown by at *now*: its status, or what it waits for."""
    wake = wake_of(run)
    over = wake is not None and wake <= now
    if run.status is Status.RUNNING:
        return "stalled" if over else "running"
    if run.status is not Status.PAUSED:
        return str(run.status)
    if run.attention is not None:
        return "blocked"
    return "due" if over else "waiting"


def moment(seconds: float | None) -> str:
    """Return seconds since the epoch as a time in UTC; nothing for None."""
    if seconds is None:
        return ""
    try:
        found = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        # A sleep of a million years, or a damaged record: no reason to show no run at all.
        return f"@{seconds:g}"
    return found.isoformat(" ", "seconds").replace("+00:00", "Z")


def lasting(seconds: float) -> str:
    """Return a duration in words, to two figures or so."""
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    for limit, unit, divisor, digits in (
        (1e-3, "ms", 1e-3, 1), (1, "ms", 1e-3, 0), (60, "s", 1, 1), (3600, "min", 60, 1),
        (86_400, "h", 3600, 1),
    ):  # fmt: skip
        if seconds < limit:
            return f"{sign}{seconds / divisor:.{digits}f} {unit}"
    return f"{sign}{seconds / 86_400:.1f} d"


def ago(seconds: float, now: float) -> str:
    """Return how long before *now* a moment was, or how far ahead it is."""
    passed = now - seconds
    return f"in {lasting(-passed)}" if passed < 0 else f"{lasting(passed)} ago"


def many(count: int, noun: str) -> str:
    """Return *count* and *noun*, in the plural unless there is one."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def cut(text: str, limit: int = 120) -> str:
    """Return *text* in one line of at most *limit* characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def notes_of(run: Run) -> list[str]:
    """Return why a signal that *run* waits for may have missed it, a sentence each."""
    waited = {each.name: each for each in run.open.values() if each.kind == "signal"}
    if run.status is not Status.PAUSED or not waited:
        return []
    found = [
        f"a signal {name!r} came, did not fit and was dropped: {cut(each.error, 300)};"
        " send one that fits"
        for name, each in waited.items()
        if each.error
    ]
    others = {sent.name: None for sent in run.inbox if sent.name not in waited}
    names = ", ".join(repr(name) for name in waited)
    return found + [
        f"it waits for {names}, and {name!r}, which nothing has asked for, lies in its inbox;"
        " if that was meant, send it under the right name"
        for name in others
        if not name.startswith("$")
    ]


def waits_for(run: Run, now: float) -> str:
    """Return in a few words what an open run is at or waits for; nothing for one that ended."""
    if run.status not in OPEN:
        return ""
    if run.attention is not None:
        return cut(f"{run.attention.reason}: {run.attention.message}")
    said = []
    for found in run.open.values():
        words = {"signal": f"signal {found.name}", "sleep": "timer", "child": f"run {found.tool}"}
        what = words.get(found.kind, found.tool)
        if found.kind == "tool" and found.attempt > 1:
            what += f", attempt {found.attempt}"
        due = "" if found.due is None or found.due <= now else f" {ago(found.due, now)}"
        said.append(f"{what or found.kind}{due}")
    return cut("; ".join(said))

"""Failed runs in groups: those that went wrong in the same place in the same way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sequential.storage import Run, Status

from .reading import LOOKED_THROUGH, Reader
from .words import cut

TOLD_APART = 50
"""Groups whose failed step is looked at, at most, when those of one tool are wanted."""

_VARYING = (
    (re.compile(r"https?://\S+|\w+://\S+"), "<url>"),
    (re.compile(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}\b|\b[0-9a-f]{16,}\b"), "<id>"),
    (re.compile(r"'[^']{0,200}'|\"[^\"]{0,200}\""), "<text>"),
    (re.compile(r"\b\w*\d\w*\b"), "#"),
)
"""What differs from one failure to the next of one kind, and what stands for it."""


class Group(NamedTuple):
    """Runs that failed alike.

    Attributes:
        flow: Their flow.
        error: Name of the exception's class.
        where: Position of the step that failed it; empty where the flow itself raised.
        pattern: The message without what varies.
        sample: The message of the last of them.
        run_ids: All of them, newest first.
        first: When the first of them failed.
        last: When the last did.
    """

    flow: str
    error: str
    where: str
    pattern: str
    sample: str
    run_ids: Sequence[str]
    first: float
    last: float

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.run_ids)


class Groups(NamedTuple):
    """The groups, largest first, how many runs were looked at, and where to look on."""

    groups: Sequence[Group]
    looked: int
    next: str | None


def look(reader: Reader, flow: str = "", after: str | None = None) -> Groups:
    """Group the failed runs, `LOOKED_THROUGH` of them, newest first."""
    page = reader.app.find(
        flow=flow or None, status=Status.FAILED, after=after, limit=LOOKED_THROUGH
    )
    return Groups(grouped(page.runs), len(page.runs), page.next)


def of_tool(reader: Reader, groups: Sequence[Group], tool: str) -> list[Group]:
    """Return those of the first `TOLD_APART` *groups* whose last run failed in a call of *tool*.

    A record of a run names the step that failed it, and not its tool: one step of each is read.
    """
    return [
        each for each in groups[:TOLD_APART]
        if each.where and reader.tool_at(each.run_ids[0], each.where) == tool
    ]  # fmt: skip


def grouped(runs: Iterable[Run]) -> list[Group]:
    """Return *runs* that failed in groups, the largest first."""
    found: dict[tuple[str, str, str, str], list[Run]] = {}
    for run in runs:
        if run.error is not None:
            key = (run.flow, run.error.type, run.error.position, pattern_of(run.error.message))
            found.setdefault(key, []).append(run)
    groups = [_group(key, alike) for key, alike in found.items()]
    return sorted(groups, key=lambda each: (-each.size, -each.last))


def help_for(run: Run) -> str:
    """Return what would help *run*, which failed, in a sentence."""
    position = "" if run.error is None else run.error.position
    return help_at(position)


def help_at(position: str) -> str:
    """Return what would help runs that failed by the step at *position*; empty for the flow."""
    if position:
        return (
            f"mend the cause of what step {position} says, then retry from the failed step;"
            " what was recorded before it is kept."
        )
    return (
        "the flow raised this itself, and would again over the same results. If one of them is"
        " wrong, fork from that step, with another result or to do it anew; if the flow is wrong,"
        " deploy it mended, then retry."
    )


def pattern_of(message: str) -> str:
    """Return *message* without numbers, ids, addresses and quoted text."""
    text = cut(message, 300)
    for varying, stand_in in _VARYING:
        text = varying.sub(stand_in, text)
    return text


def _group(key: tuple[str, str, str, str], runs: Sequence[Run]) -> Group:
    flow, error, where, pattern = key
    times = [run.ended or run.created for run in runs]
    newest = max(runs, key=lambda run: run.ended or run.created)
    sample = "" if newest.error is None else cut(newest.error.message, 500)
    ids = [run.run_id for run in runs]
    return Group(flow, error, where, pattern, sample, ids, min(times), max(times))

"""Rows for tables: what a page shows of runs, steps and findings, and nothing that it hides.

A hidden column still reaches the browser, so a frame holds only what its viewer may see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pandas as pd

from sequential.storage import Run

from .attention import Finding
from .comparing import Row
from .failures import Group
from .timeline.spans import Span
from .tools import Tool
from .values import Values
from .words import ago, cut, lasting, moment, state_of, waits_for

RUN_COLUMNS = ("Run", "Flow", "State", "Steps", "Progress", "Created", "Took", "Waits for, or why")


def run_address(run_id: str, step: str = "") -> str:
    """Return the address of the run's page, relative to the page that names it."""
    at = f"&step={quote(step, safe='')}" if step else ""
    return f"run?id={quote(run_id, safe='')}{at}"


def run_cells(run: Run, now: float, values: Values) -> list[Any]:
    """Return the cells of one run under `RUN_COLUMNS`."""
    end = now if run.ended is None else run.ended
    why = waits_for(run, now)
    if run.error is not None:
        why = cut(f"{run.error.type}: {run.error.message}")
    found = values.of_progress(run)
    return [
        run.run_id, run.flow, state_of(run, now), run.cursor,
        "" if found is None else cut(found.text), moment(run.created),
        lasting(max(0.0, end - run.created)), values.text(why),
    ]  # fmt: skip


def run_frame(runs: Sequence[Run], now: float, values: Values) -> pd.DataFrame:
    """Return one page of runs, with the address of each run's page."""
    cells = [[run_address(run.run_id), *run_cells(run, now, values)] for run in runs]
    return pd.DataFrame(cells, columns=["Open", *RUN_COLUMNS])


STEPS = 100
"""Rows of one page of a table of steps."""

STEP_COLUMNS = ("Step", "What", "State", "Begins", "Took", "Attempts", "Note")


def step_cells(spans: Sequence[Span], now: float, values: Values) -> list[list[Any]]:
    """Return the rows of a timeline as cells under `STEP_COLUMNS`."""
    depth: list[int] = []
    cells: list[list[Any]] = []
    begin = spans[0].start
    for span in spans:
        depth.append(0 if span.parent < 0 else depth[span.parent] + 1)
        took = lasting(_lasted(span, now)) + ("" if span.end is not None else " so far")
        cells.append([
            span.key, "\u2003" * depth[-1] + span.name, span.status,
            f"+{lasting(span.start - begin)}", took, span.tries, values.text(span.note),
        ])  # fmt: skip
    return cells


def step_frame(spans: Sequence[Span], now: float, values: Values, begin: int = 0) -> pd.DataFrame:
    """Return a page of the rows of a timeline as a table: for reading aloud, and for copying."""
    shown = step_cells(spans, now, values)[begin : begin + STEPS]
    return pd.DataFrame(shown, columns=list(STEP_COLUMNS))


def attempt_frame(parts: Sequence[Span], now: float) -> pd.DataFrame:
    """Return the attempts of one step, and the waits between them."""
    cells = [
        [each.name, moment(each.start), lasting(_lasted(each, now)), each.status, each.note]
        for each in parts
    ]
    return pd.DataFrame(cells, columns=["What", "Began", "Took", "State", "Error"])


def finding_frame(found: Sequence[Finding], now: float, values: Values) -> pd.DataFrame:
    """Return what needs somebody."""
    cells = [
        [
            run_address(each.run_id, each.step), each.run_id, each.flow, each.what,
            values.text(each.why), each.fix, "" if each.since is None else ago(each.since, now),
        ]
        for each in found
    ]  # fmt: skip
    return pd.DataFrame(cells, columns=["Open", "Run", "Flow", "What", "Why", "Do", "Since"])


def group_frame(groups: Sequence[Group], now: float, values: Values) -> pd.DataFrame:
    """Return failures in groups."""
    cells = [
        [
            each.size, each.flow, each.error, each.where, values.text(each.sample),
            ago(each.first, now), ago(each.last, now),
        ]
        for each in groups
    ]  # fmt: skip
    columns = ["Runs", "Flow", "Error", "Step", "The last message", "First", "Last"]
    return pd.DataFrame(cells, columns=columns)


TOOL_COLUMNS = (
    "Tool", "Calls", "Failed", "Attempts per call", "p50", "p95", "p99", "Slowest",
)  # fmt: skip


def tool_cells(tool: Tool) -> list[Any]:
    """Return the cells of one tool under `TOOL_COLUMNS`."""
    times = [tool.percentile(share) for share in (0.5, 0.95, 0.99)]
    return [
        tool.name, tool.calls, f"{tool.error_rate:.1%}", round(tool.attempts_per_call, 2),
        *map(_took, times), lasting(tool.longest),
    ]  # fmt: skip


def tool_frame(tools: Sequence[Tool]) -> pd.DataFrame:
    """Return what is known of tools, each with the address of the runs that failed in it."""
    cells = [[f"failures?tool={quote(each.name, safe='')}", *tool_cells(each)] for each in tools]
    return pd.DataFrame(cells, columns=["Open", *TOOL_COLUMNS])


def compare_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Return two runs side by side."""
    cells = [
        [row.position, row.left, row.right, _took(row.left_seconds), _took(row.right_seconds),
         _delta(row), row.differs]
        for row in rows
    ]  # fmt: skip
    columns = ["Step", "First run", "Second run", "Took", "Took there", "Δ", "Differs in"]
    return pd.DataFrame(cells, columns=columns)


def ledger_frame(shares: Mapping[str, float], words: Mapping[str, str]) -> pd.DataFrame:
    """Return where the time of a run went, in seconds."""
    whole = sum(shares.values()) or 1.0
    cells = [
        [kind, words[kind], seconds, lasting(seconds), seconds / whole]
        for kind, seconds in shares.items()
    ]
    return pd.DataFrame(cells, columns=["kind", "what", "seconds", "time", "share"])


def _lasted(span: Span, now: float) -> float:
    return max(0.0, (now if span.end is None else span.end) - span.start)


def _took(seconds: float | None) -> str:
    return "" if seconds is None else lasting(seconds)


def _delta(row: Row) -> str:
    if row.left_seconds is None or row.right_seconds is None:
        return ""
    return lasting(row.right_seconds - row.left_seconds)

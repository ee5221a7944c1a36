"""Tools: how often each was called, how long it took, how often it failed, and since when.

Shows what the storage has counted by the hour, with one query; no step is read.
"""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from sequential.spans import Rolled, Rollup

from ..board import Board
from ..exports import csv_text
from ..frames import TOOL_COLUMNS, tool_cells, tool_frame
from ..gate import enter
from ..tools import WINDOWS, Tool, by_tool, heat, over_time
from ..words import ago, moment
from .address import remember
from .parts import ROWS, table, title

FIRST = "24 h"
"""The window that a page begins with."""

LATE = 2 * 3600.0
"""Seconds that rollups may be behind before the page says what to do."""


def show() -> None:
    """Draw the page."""
    board, _ = enter()
    title("Tools", "The recorded calls of each tool, with all their attempts.")
    _begin()
    chosen = st.segmented_control("Of the last", list(WINDOWS), key="tools_window", required=True)
    window = chosen or FIRST
    rolled = board.reader.rollups(WINDOWS[window].seconds)
    if rolled is None:
        st.info(
            "This storage keeps no statistics of steps. Project its runs into a SQLite database"
            " with `sequential project`, and open the dashboard on that."
        )
        return
    found = by_tool(rolled.rows)
    tool = _chosen(found)
    remember(window=window if window != FIRST else "", tool=tool)
    _as_of(board, rolled)
    if not found:
        st.info("No call of a tool was recorded in that time.")
        return
    _table(found, board.reader.now())
    rows = [row for row in rolled.rows if tool in ("", row.tool)]
    left, right = st.columns(2)
    with left:
        st.subheader("How many failed")
        _errors(rows, window)
    with right:
        st.subheader("How long they took")
        _heat(rows, window)


def _begin() -> None:
    """Take the window and the tool out of the address when the session first comes here."""
    state, query = st.session_state, st.query_params
    if "tools_window" not in state:
        window = query.get("window", "")
        state["tools_window"] = window if window in WINDOWS else FIRST
        state["tools_tool"] = query.get("tool", "")[:300]


def _chosen(found: Sequence[Tool]) -> str:
    names = ["", *sorted(tool.name for tool in found)]
    if st.session_state.get("tools_tool", "") not in names:
        names.append(st.session_state["tools_tool"])
    chosen = st.selectbox("Tool", names, key="tools_tool", format_func=lambda name: name or "all")
    return chosen or ""


def _as_of(board: Board, rolled: Rolled) -> None:
    now = board.reader.now()
    if now - rolled.until <= LATE:
        st.caption(f"As of {moment(rolled.until)}, {ago(rolled.until, now)}.")
        return
    missing = (
        f"is not counted after {moment(rolled.until)}" if rolled.until > 0 else "was never counted"
    )
    st.warning(
        f"What was recorded {missing}: the sweeper does it. Start a worker, or call"
        " `sequential sweep` every few minutes."
    )


def _table(found: Sequence[Tool], now: float) -> None:
    frame = tool_frame(found[:ROWS])
    table(frame, key="tools_table")
    if len(found) > ROWS:
        st.caption(f"The {ROWS} with most calls, of {len(found)}.")
    st.caption("“open” leads to the runs that failed in a call of the tool.")
    st.download_button(
        "CSV", csv_text(TOOL_COLUMNS, [tool_cells(each) for each in found]),
        f"tools-{moment(now)[:10]}.csv", "text/csv", key="tools_csv", on_click="ignore",
    )  # fmt: skip


def _errors(rows: Sequence[Rollup], window: str) -> None:
    """Draw the share of calls that failed over time."""
    width = WINDOWS[window].column
    cells = [
        [_time(each.start), each.failed / each.calls, each.calls, each.failed]
        for each in over_time(rows, width)
        if each.calls
    ]
    frame = pd.DataFrame(cells, columns=["from", "share", "calls", "failed"])
    chart = (
        alt.Chart(frame)
        .mark_line(point=True, interpolate="step-after", color="#d9534f")
        .encode(
            x=alt.X("from:T", title=None),
            y=alt.Y("share:Q", title=None, axis=alt.Axis(format="%")),
            tooltip=["from:T", alt.Tooltip("share:Q", format=".1%"), "failed:Q", "calls:Q"],
        )
    )
    st.altair_chart(chart, key="tools_errors")


def _heat(rows: Sequence[Rollup], window: str) -> None:
    """Draw how long calls took over time, on a scale of doublings."""
    width = WINDOWS[window].column
    cells = [
        [_time(each.start), _time(each.start + width), each.low, each.high, each.calls]
        for each in heat(rows, width)
    ]
    frame = pd.DataFrame(cells, columns=["from", "to", "low", "high", "calls"])
    chart = (
        alt.Chart(frame)
        .mark_rect()
        .encode(
            x=alt.X("from:T", title=None),
            x2="to:T",
            y=alt.Y(
                "low:Q", title="seconds", scale=alt.Scale(type="log", base=10),
                axis=alt.Axis(format="~g"),
            ),
            y2="high:Q",
            color=alt.Color("calls:Q", scale=alt.Scale(type="log", scheme="blues"), legend=None),
            tooltip=["from:T", "low:Q", "high:Q", "calls:Q"],
        )
    )  # fmt: skip
    st.altair_chart(chart, key="tools_heat")


def _time(seconds: float) -> pd.Timestamp:
    return pd.Timestamp(seconds, unit="s", tz="UTC")

"""How many runs stand how, by flow, and what was started lately."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from sequential.storage import Run, Status

from ..attention import look
from ..board import Board
from ..gate import enter
from ..reading import LOOKED_THROUGH, Counts
from ..words import OPEN, lasting, moment, wake_of
from .address import WINDOWS
from .parts import title

EVERY = 10.0
"""Seconds between two looks."""

BINS = 40
"""Bars over time, at most."""

HIGH = 360
"""Pixels of a chart."""

LINE, LEGEND, HIGHEST = 18, 90, 1_200
"""Pixels of a bar, of the legend below, and of a chart with many bars at most."""

_COLORS = {
    "completed": "#2e9e5b", "failed": "#d9534f", "cancelled": "#8c8c96", "running": "#8a63d2",
    "paused": "#4c7bd9", "quarantined": "#a94442", "purged": "#c9c9d1",
}  # fmt: skip


def show() -> None:
    """Draw the page."""
    board, _ = enter()
    title("Overview")
    if board.settings.demo:
        st.info("These runs were made for show; the database goes with the server.")
    window = st.segmented_control(
        "Created", list(WINDOWS), default="last week", key="overview_window", required=True
    )
    st.fragment(_all, run_every=EVERY)(WINDOWS[window])


def _all(window: float) -> None:
    board, _ = enter()
    now = board.reader.now()
    counts = board.reader.counts(now - window if window else None)
    if not counts:
        st.info("There are no runs of that time. `sequential start` begins one.")
        return
    _tiles(board, counts)
    left, right = st.columns(2)
    with left:
        st.subheader("By flow")
        _by_flow(counts)
    with right:
        st.subheader("Started lately")
        _lately(board)


def _tiles(board: Board, counts: Counts) -> None:
    sums: dict[str, int] = {}
    for (_, status), count in counts.items():
        sums[str(status)] = sums.get(str(status), 0) + count
    ended = sum(sums.get(each, 0) for each in ("completed", "failed", "cancelled"))
    failed = sums.get("failed", 0)
    needy = look(board.reader)
    with st.container(horizontal=True):
        st.metric("Runs", f"{sum(sums.values()):,}", border=True)
        st.metric("Running", f"{sums.get('running', 0):,}", border=True)
        st.metric("Paused", f"{sums.get('paused', 0):,}", border=True)
        st.metric("Failed", f"{failed:,}", border=True)
        st.metric("Failure rate", f"{failed / ended:.1%}" if ended else "none ended", border=True)
        more = "+" if needy.next is not None else ""
        st.metric("Need somebody", f"{len(needy.findings)}{more}", border=True)
    said = []
    if needy.findings:
        said.append("[why some need somebody, and what helps](attention)")
    if failed:
        said.append("[which failed alike, to retry them](failures)")
    if sums.get("paused", 0):
        said.append("[what is waited for, to answer it](waiting)")
    if said:
        st.markdown("See " + " · ".join(said))


def _by_flow(counts: Counts) -> None:
    rows = [[flow, str(status), count] for (flow, status), count in counts.items()]
    frame = pd.DataFrame(rows, columns=["flow", "status", "runs"])
    scale = alt.Scale(domain=list(_COLORS), range=list(_COLORS.values()))
    legend = alt.Legend(orient="bottom", title=None, columns=4)
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("runs:Q", title=None),
            y=alt.Y("flow:N", title=None, sort="-x", axis=alt.Axis(labelOverlap=False)),
            color=alt.Color("status:N", scale=scale, legend=legend),
            tooltip=["flow:N", "status:N", "runs:Q"],
        )
        .properties(height=min(HIGHEST, max(HIGH, LINE * frame["flow"].nunique() + LEGEND)))
    )
    st.altair_chart(chart, key="overview_flows")


def _lately(board: Board) -> None:
    """Draw the newest runs over time, by how they stand."""
    page = board.reader.app.find(limit=LOOKED_THROUGH)
    now = board.reader.now()
    frame = _binned(page.runs)
    scale = alt.Scale(domain=list(_COLORS), range=list(_COLORS.values()))
    chart = (
        alt.Chart(frame)
        .mark_bar(size=9)  # an interval, with an end as well, is drawn lying and not stacked
        .encode(
            x=alt.X("from:T", title=None),
            y=alt.Y("runs:Q", title=None, stack=True),
            color=alt.Color("status:N", scale=scale, legend=None),
            tooltip=["status:N", "runs:Q", alt.Tooltip("from:T", format="%b %d %H:%M")],
        )
        .properties(height=HIGH)
    )
    st.altair_chart(chart, key="overview_lately")
    took = sorted(
        (run.ended or 0.0) - run.created for run in page.runs if run.status is Status.COMPLETED
    )
    said = f"The {len(page.runs):,} newest, since {moment(page.runs[-1].created)}."
    if took:
        half, most = took[len(took) // 2], took[min(len(took) - 1, len(took) * 95 // 100)]
        said += f" Of those that completed, half took up to {lasting(half)}, 95 % {lasting(most)}."
    due = board.reader.by_wake(OPEN, now, None, 1).runs
    if due and (wake := wake_of(due[0])) is not None and wake < now:
        said += f" The longest due has been so for {lasting(now - wake)}."
    st.caption(said)


def _binned(runs: Sequence[Run]) -> pd.DataFrame:
    """Count *runs* by when they were created and how they stand: a row a bar, not a row a run."""
    first, last = runs[-1].created, runs[0].created
    wide = max(1.0, (last - first) / BINS)
    counted: dict[tuple[int, str], int] = {}
    for run in runs:
        key = int((run.created - first) / wide), str(run.status)
        counted[key] = counted.get(key, 0) + 1
    cells = [
        [_time(first + number * wide), status, count] for (number, status), count in counted.items()
    ]
    return pd.DataFrame(cells, columns=["from", "status", "runs"])


def _time(seconds: float) -> pd.Timestamp:
    return pd.Timestamp(seconds, unit="s", tz="UTC")

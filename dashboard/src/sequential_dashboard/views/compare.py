"""Two runs side by side: steps by position, where they part, what differs in a step."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from sequential.errors import RunIdInvalid, RunMissing, StorageError
from sequential.storage import Loaded

from ..access import Viewer
from ..board import Board
from ..comparing import Row, difference, first_difference, rows
from ..frames import compare_frame
from ..gate import enter
from .address import remember
from .parts import ROWS, escaped, table, title, values_for

BARS = 50
"""Steps whose times are drawn, at most."""


def show() -> None:
    """Draw the page."""
    board, viewer = enter()
    title("Compare", "Two runs of one flow: where they part, and what took longer.")
    pair = _pair(board)
    if pair is None:
        return
    left, right = pair
    if left.run.flow != right.run.flow:
        st.warning(escaped(f"These are runs of two flows: {left.run.flow} and {right.run.flow}."))
    found = rows(left, right)
    first = first_difference(found)
    if first is None:
        st.success("Every step is the same, but for the time that it took.")
    else:
        st.warning(escaped(f"They part at step {first.position}: {first.differs}."))
    # From a little before they part: what is the same in both needs no look.
    begin = 0 if first is None else max(0, found.index(first) - ROWS // 2)
    shown = found[begin : begin + ROWS]
    table(compare_frame(shown), key="compare_table")
    if len(shown) < len(found):
        st.caption(f"Rows {begin + 1:,} to {begin + len(shown):,} of {len(found):,}.")
    _bars(shown)
    _values(board, viewer, left, right, shown)


def _pair(board: Board) -> tuple[Loaded, Loaded] | None:
    query = st.query_params
    one, two = st.columns(2)
    names = []
    for column, name, label in ((one, "a", "First run"), (two, "b", "Second run")):
        st.session_state.setdefault(f"compare_{name}", query.get(name, ""))
        names.append(column.text_input(label, key=f"compare_{name}").strip())
    if not all(names):
        st.info("Give the ids of two runs.")
        return None
    remember(a=names[0], b=names[1])
    try:
        return board.reader.loaded(names[0]), board.reader.loaded(names[1])
    except (RunMissing, RunIdInvalid, StorageError) as error:
        st.error(escaped(str(error)))
        return None


def _bars(found: list[Row]) -> None:
    """Draw how long each step took in both."""
    shown = [row for row in found if row.left_seconds is not None or row.right_seconds is not None]
    cells = [
        [row.position, name, seconds]
        for row in shown[:BARS]
        for name, seconds in (("first", row.left_seconds), ("second", row.right_seconds))
        if seconds is not None
    ]
    frame = pd.DataFrame(cells, columns=["step", "run", "seconds"])
    order = [row.position for row in shown[:BARS]]
    base = alt.Chart(frame).encode(y=alt.Y("step:N", sort=order, title=None))
    line = base.mark_line(color="#9a9aa5").encode(x=alt.X("seconds:Q"), detail="step:N")
    dots = base.mark_point(filled=True, size=70).encode(
        x="seconds:Q", color=alt.Color("run:N", legend=alt.Legend(orient="top", title=None)),
        shape="run:N", tooltip=["step:N", "run:N", "seconds:Q"],
    )  # fmt: skip
    st.altair_chart(line + dots, key="compare_bars")


def _values(board: Board, viewer: Viewer, left: Loaded, right: Loaded, found: list[Row]) -> None:
    values = values_for(board, viewer)
    places = ["input of the run", *(row.position for row in found)]
    chosen = st.selectbox("What differs in", places, key="compare_step")
    pairs = []
    for loaded in (left, right):
        step = next((each for each in loaded.steps if each.position == chosen), None)
        if chosen == places[0]:
            pairs.append({"input": values.of_input(loaded.run).data})
        elif step is None:
            pairs.append({})
        else:
            pairs.append(
                {
                    "input": values.of_step_input(loaded.run, step).data,
                    "value": values.of_step(loaded.run, step).data,
                }
            )
    text = difference(*pairs)
    if text:
        st.code(text, language="diff")
    else:
        st.caption("Nothing that you may see differs.")

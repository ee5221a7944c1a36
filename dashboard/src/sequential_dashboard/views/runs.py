"""All runs: filters, a page at a time, and actions on those that are ticked.

Ticks are positions in a table, which move when runs arrive. So what was ticked is turned into ids
at once, and while anything is ticked the table stands still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from ..access import Viewer
from ..actions import ACTIONS, possible
from ..board import Board
from ..exports import csv_text
from ..frames import RUN_COLUMNS, run_cells, run_frame
from ..gate import enter
from ..reading import PAGE, Filter, RunPage, is_by_wake
from ..words import many, moment, state_of
from .address import chosen_filter
from .parts import act_on_many, columns, dressed, flows_for, title, values_for

EVERY = 5.0
"""Seconds between two looks at the runs, while nothing is ticked."""

TABLE = "runs_table"
_SHOWN, _TICKED, _FROZEN, _PLACES = "runs_shown", "runs_ticked", "runs_frozen", "runs_places"


def show() -> None:
    """Draw the page."""
    board, _ = enter()
    title("Runs")
    wanted = chosen_filter(flows_for(board), board.reader.now())
    places = st.session_state.get(_PLACES)
    # A window moves with time, and is the same window.
    sign = replace(wanted, since=None), st.session_state["f_window"]
    if places is None or places[0] != sign:
        st.session_state[_PLACES] = (sign, [None])
        _untick()
    pause = st.toggle("Pause", key="runs_pause", help="Stop looking for new runs")
    still = pause or bool(st.session_state.get(_TICKED))
    st.fragment(_rows, run_every=None if still else EVERY)(wanted)


def _rows(wanted: Filter) -> None:
    board, viewer = enter()
    page = _page(board, wanted)
    if not page.runs:
        st.info(_nothing(page))
    else:
        _table(board, viewer, page)
    _turn(page)
    _ticked_actions(board, viewer, page)


def _page(board: Board, wanted: Filter) -> RunPage:
    """Return the page to show: the frozen one while anything is ticked."""
    state = st.session_state
    frozen = state.get(_FROZEN)
    if state.get(_TICKED) and isinstance(frozen, RunPage):
        newer = _newer(board, wanted, frozen)
        if newer:
            st.caption(f"{newer} newer; shown when nothing is ticked.")
        return frozen
    page = board.reader.page(wanted, state[_PLACES][1][-1])
    state[_FROZEN] = page
    state[_SHOWN] = [run.run_id for run in page.runs]
    return page


def _newer(board: Board, wanted: Filter, frozen: RunPage) -> str:
    if len(st.session_state[_PLACES][1]) > 1 or not frozen.runs or is_by_wake(wanted):
        return ""
    begin = frozen.runs[0].created
    fresh = board.reader.page(wanted).runs
    count = sum(1 for run in fresh if run.created > begin)
    return f"{count}+" if count >= PAGE else str(count or "")


def _table(board: Board, viewer: Viewer, page: RunPage) -> None:
    frame = run_frame(page.runs, page.now, values_for(board, viewer))
    st.dataframe(
        dressed(frame), key=TABLE, hide_index=True, on_select=ticked, selection_mode="multi-row",
        column_config=columns(frame), height="content",
    )  # fmt: skip


def ticked() -> None:
    """Turn the ticked positions into ids: of the rows that stood there when they were ticked."""
    state = st.session_state
    shown: Sequence[str] = state.get(_SHOWN, ())
    chosen = _positions(state.get(TABLE))
    state[_TICKED] = [shown[each] for each in chosen if 0 <= each < len(shown)]


def _positions(selection: Any) -> Sequence[int]:
    found = selection["selection"]["rows"] if selection else ()
    return [each for each in found if isinstance(each, int)]


def _untick() -> None:
    state = st.session_state
    state[_TICKED] = []
    state.pop(TABLE, None)


def _turn(page: RunPage) -> None:
    """Draw the way to the next page and back."""
    state = st.session_state
    tokens = state[_PLACES][1]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Newer", disabled=len(tokens) < 2, on_click=_back, key="runs_back")
        st.button(
            "Older", disabled=page.next is None, on_click=_on, args=(page.next,), key="runs_on"
        )
        st.caption(
            f"page {len(tokens)}, {len(page.runs)} of {page.looked} looked at,"
            f" at {moment(page.now)}"
        )


def _back() -> None:
    st.session_state[_PLACES][1].pop()
    _untick()


def _on(token: str | None) -> None:
    st.session_state[_PLACES][1].append(token)
    _untick()


def _ticked_actions(board: Board, viewer: Viewer, page: RunPage) -> None:
    ids = st.session_state.get(_TICKED) or []
    chosen = [run for run in page.runs if run.run_id in set(ids)]
    values = values_for(board, viewer)
    rows = chosen or page.runs
    if rows:
        st.download_button(
            f"CSV of {many(len(rows), 'run')}",
            csv_text(RUN_COLUMNS, [run_cells(run, page.now, values) for run in rows]),
            "runs.csv", "text/csv", key="runs_csv", on_click="ignore",
        )  # fmt: skip
    if not chosen:
        return
    with st.container(border=True):
        states = {state_of(run, page.now) for run in chosen}
        names = [
            name for name in ACTIONS
            if all(name in possible(state, many=True) for state in states)
        ]  # fmt: skip
        st.subheader(f"{len(chosen)} ticked")
        if not names:
            st.caption("No action is for all of them; tick runs of one state.")
        act_on_many(board, viewer, [run.run_id for run in chosen], names, "runs")


def _nothing(page: RunPage) -> str:
    if page.next is not None:
        return f"None of the {page.looked} runs looked at is like that; there are older ones."
    return "There are no runs like that."

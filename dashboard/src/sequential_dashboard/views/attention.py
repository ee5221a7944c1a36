"""Runs that need somebody, each with its reason, and what would help."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from ..access import Viewer
from ..actions import ACTIONS
from ..attention import Finding, look, lost
from ..board import Board
from ..exports import csv_text
from ..frames import finding_frame
from ..gate import enter
from ..words import moment
from .parts import ROWS, act_on_many, table, title, values_for

_PLACES, _LOST = "attention_places", "attention_lost"


def show() -> None:
    """Draw the page."""
    board, viewer = enter()
    title("Attention", "Blocked, quarantined, stalled, overdue and lost runs, and what would help.")
    st.toggle(
        "Look for lost runs and dropped signals instead", key=_LOST, on_change=_begin_anew,
        help="Paused runs that wait for nothing, or for a signal that came with a value of another"
        " type, have no wake time to be found by. This goes"
        " through paused runs page by page; `sequential doctor` goes through all of them.",
    )  # fmt: skip
    places: list[str | None] = st.session_state.setdefault(_PLACES, [None])
    found = (lost if st.session_state[_LOST] else look)(board.reader, places[-1])
    now, values = board.reader.now(), values_for(board, viewer)
    if not found.findings:
        st.success(f"None of the {found.looked} runs looked at needs anybody.")
    else:
        shown = found.findings[:ROWS]
        frame = finding_frame(shown, now, values)
        kinds = sorted({each.what for each in found.findings})
        with st.container(horizontal=True):
            for kind in kinds:
                count = sum(1 for each in found.findings if each.what == kind)
                st.metric(kind.capitalize(), count, border=True)
        table(frame, key="attention_table")
        if len(shown) < len(found.findings):
            st.caption(f"The first {ROWS} of {len(found.findings)}.")
        if found.more:
            st.caption(
                "There are more quarantined runs: [the page of runs](runs?state=quarantined)"
                " has all of them."
            )
        rows = frame.drop(columns="Open")
        st.download_button(
            "CSV", csv_text(list(rows.columns), rows.values.tolist()), "attention.csv", "text/csv",
            key="attention_csv", on_click="ignore",
        )  # fmt: skip
        _fix(board, viewer, shown)
    _turn(found.looked, found.next, now)


def _fix(board: Board, viewer: Viewer, findings: Sequence[Finding]) -> None:
    names = [name for name in ACTIONS if any(each.action == name for each in findings)]
    if "resume" in names and not board.reader.app.transport.carries:
        names.remove("resume")
        st.caption(
            "Nothing carries messages here: workers find stalled and overdue runs by themselves."
            " Start one that has their flow, with `sequential worker`."
        )
    if not names:
        return
    with st.container(border=True):
        st.subheader("Help them")
        chosen = st.segmented_control(
            "What", names, format_func=lambda name: ACTIONS[name].label, key="attention_what"
        )
        ids = [each.run_id for each in findings if each.action == chosen]
        if chosen:
            picked = st.multiselect("Runs", ids, key=f"attention_ids_{chosen}")
            act_on_many(board, viewer, picked, [chosen], "attention")


def _turn(looked: int, token: str | None, now: float) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        first = len(st.session_state[_PLACES]) < 2
        st.button("Back", disabled=first, on_click=_back, key="attention_back")
        st.button(
            "Look on", disabled=token is None, on_click=_on, args=(token,), key="attention_on"
        )
        st.caption(f"{looked} runs looked at, those due longest first, at {moment(now)}")


def _begin_anew() -> None:
    st.session_state[_PLACES] = [None]


def _back() -> None:
    st.session_state[_PLACES].pop()


def _on(token: str | None) -> None:
    st.session_state[_PLACES].append(token)

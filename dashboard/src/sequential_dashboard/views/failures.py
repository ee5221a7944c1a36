"""Failed runs in groups that went wrong alike; a group can be retried from the failed step."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from ..access import Viewer
from ..board import Board
from ..exports import csv_text
from ..failures import Group, help_at, look
from ..frames import group_frame, run_address
from ..gate import enter
from ..words import cut, moment
from .parts import act_on_many, escaped, flows_for, table, title, values_for

AT_ONCE = 100
"""Runs of a group that are retried at once, at most."""


def show() -> None:
    """Draw the page."""
    board, viewer = enter()
    title(
        "Failures", "Runs that failed in the same step with the same message, but for what varies."
    )
    flow = st.selectbox(
        "Flow", ["", *flows_for(board)], key="failures_flow", format_func=lambda name: name or "any"
    )
    found = look(board.reader, flow or "")
    now, values = board.reader.now(), values_for(board, viewer)
    if not found.groups:
        st.success("No run has failed." if not flow else f"No run of {escaped(flow)} has failed.")
        return
    frame = group_frame(found.groups, now, values)
    table(frame, key="failures_table")
    more = "" if found.next is None else "; there are older ones"
    st.caption(f"{found.looked} failed runs looked at, at {moment(now)}{more}")
    st.download_button(
        "CSV", csv_text(list(frame.columns), frame.values.tolist()), "failures.csv", "text/csv",
        key="failures_csv", on_click="ignore",
    )  # fmt: skip
    _one(board, viewer, found.groups)


def _one(board: Board, viewer: Viewer, groups: Sequence[Group]) -> None:
    values = values_for(board, viewer)
    names = {values.text(_key(group)): group for group in groups}
    chosen = st.selectbox("Group", list(names), key="failures_group")
    group = names[chosen]
    with st.container(border=True):
        st.code(values.text(group.sample), language=None, wrap_lines=True)
        st.info(escaped(f"What helps: {help_at(group.where)}"))
        st.text("The latest of them:")
        for run_id in group.run_ids[:5]:
            st.markdown(f"[{escaped(run_id)}]({run_address(run_id, group.where)})")
        if group.size > AT_ONCE:
            st.caption(f"{group.size} runs; {AT_ONCE} are retried at once, the newest first.")
        act_on_many(board, viewer, group.run_ids[:AT_ONCE], ["retry"], "failures")


def _key(group: Group) -> str:
    where = f" at step {group.where}" if group.where else ""
    return f"{group.size} of {group.flow}: {group.error}{where}: {cut(group.pattern, 80)}"

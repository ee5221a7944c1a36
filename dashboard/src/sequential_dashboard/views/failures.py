"""Failed runs in groups that went wrong alike; a group can be retried from the failed step."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from ..access import Viewer
from ..board import Board
from ..exports import csv_text
from ..failures import Group, help_at, look, of_tool
from ..frames import group_frame, run_address
from ..gate import enter
from ..words import cut, moment
from .address import remember
from .parts import (
    act_on_many,
    begin_anew,
    escaped,
    flows_for,
    table,
    title,
    token_of,
    turn,
    values_for,
)

AT_ONCE = 100
"""Runs of a group that are retried at once, at most."""


def show() -> None:
    """Draw the page."""
    board, viewer = enter()
    title(
        "Failures", "Runs that failed in the same step with the same message, but for what varies."
    )
    flow, tool = _chosen(flows_for(board))
    found = look(board.reader, flow, token_of("failures"))
    groups = of_tool(board.reader, found.groups, tool) if tool else found.groups
    now, values = board.reader.now(), values_for(board, viewer)
    looked = f"{found.looked} failed runs looked at, at {moment(now)}"
    if not groups:
        st.success(escaped(_none(flow, tool)))
        return turn("failures", found.next, looked)
    frame = group_frame(groups, now, values)
    table(frame, key="failures_table")
    turn("failures", found.next, looked)
    st.download_button(
        "CSV", csv_text(list(frame.columns), frame.values.tolist()), "failures.csv", "text/csv",
        key="failures_csv", on_click="ignore",
    )  # fmt: skip
    return _one(board, viewer, groups)


def _chosen(flows: list[str]) -> tuple[str, str]:
    """Return the flow and the tool that failures are wanted of; both stand in the address."""
    state, query = st.session_state, st.query_params
    if "failures_tool" not in state:
        state["failures_flow"] = query.get("flow", "")
        state["failures_tool"] = query.get("tool", "")[:300]
    if state["failures_flow"] and state["failures_flow"] not in flows:
        flows = [*flows, state["failures_flow"]]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        flow = st.selectbox(
            "Flow",
            ["", *flows],
            key="failures_flow",
            format_func=lambda name: name or "any",
            on_change=begin_anew,
            args=("failures",),
        )
        tool = st.text_input(
            "Failed in a call of",
            key="failures_tool",
            placeholder="any tool",
            on_change=begin_anew,
            args=("failures",),
        )
    remember(flow=flow or "", tool=tool.strip())
    return flow or "", tool.strip()


def _none(flow: str, tool: str) -> str:
    if tool:
        return (
            f"No run failed in a call of {tool}, of those that were looked at. Calls whose flow"
            " went on are counted with the tool, and fail no run."
        )
    return f"No run of {flow} has failed." if flow else "No run has failed."


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

"""A page's filter in its address, so that a saved view is a link.

The address is read when the session first comes to the page, and follows what is chosen after.
"""

from __future__ import annotations

import streamlit as st

from ..reading import Filter
from ..words import STORED

WINDOWS = {"any time": 0.0, "last hour": 3600.0, "last day": 86_400.0, "last week": 604_800.0,
           "last 30 days": 2_592_000.0}  # fmt: skip


def chosen_filter(flows: list[str], now: float) -> Filter:
    """Draw the filter and return it."""
    _begin()
    state = st.session_state
    if state["f_flow"] and state["f_flow"] not in flows:
        flows = [*flows, state["f_flow"]]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.multiselect("State", list(STORED), key="f_state", placeholder="any")
        st.selectbox("Flow", ["", *flows], key="f_flow", format_func=lambda name: name or "any")
        st.selectbox("Created", list(WINDOWS), key="f_window")
        st.text_input("Tag", key="f_tag", placeholder="team=shop")
        st.text_input("Search", key="f_search", placeholder="run id")
    seconds = WINDOWS[state["f_window"]]
    name, _, value = state["f_tag"].partition("=")
    found = Filter(
        state["f_flow"] or "",
        tuple(state["f_state"]),
        {name.strip(): value.strip()} if name.strip() else {},
        # To the minute, so that a page asks the same within it.
        (now - seconds) // 60 * 60 if seconds else None,
        state["f_search"].strip(),
    )
    _follow()
    return found


def remember(**query: str | list[str]) -> None:
    """Put *query* into the address, without what is empty; nothing is sent if it is there."""
    wanted = {name: each for name, each in query.items() if each}
    known = {name: st.query_params.get_all(name) for name in st.query_params}
    if known != {name: [each] if isinstance(each, str) else each for name, each in wanted.items()}:
        st.query_params.from_dict(wanted)


def _begin() -> None:
    """Take the filter out of the address, as far as it can be one."""
    state, query = st.session_state, st.query_params
    if "f_state" in state:
        return
    state["f_state"] = [each for each in query.get_all("state") if each in STORED]
    state["f_flow"] = query.get("flow", "")
    window = query.get("window", "")
    state["f_window"] = window if window in WINDOWS else "any time"
    state["f_tag"] = query.get("tag", "")[:400]
    state["f_search"] = query.get("search", "")[:200]


def _follow() -> None:
    state = st.session_state
    window = "" if state["f_window"] == "any time" else state["f_window"]
    remember(
        state=list(state["f_state"]), flow=state["f_flow"], window=window, tag=state["f_tag"],
        search=state["f_search"],
    )  # fmt: skip

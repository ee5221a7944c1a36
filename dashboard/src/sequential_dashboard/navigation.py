"""Which pages there are, under which addresses. Strangers get the gate, whatever they ask for."""

from __future__ import annotations

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from .board import current
from .gate import enter, who
from .views import (
    attention,
    compare,
    failures,
    overview,
    run,
    runs,
    system,
    tools,
    waiting,
)


def pages() -> StreamlitPage:
    """Return the page of the address, for somebody who may look."""
    # Said to strangers too, though not shown: else the address that they came to is forgotten
    # while they log in.
    page = st.navigation(
        [
            st.Page(
                overview.show, title="Overview", icon=":material/dashboard:",
                url_path="overview", default=True,
            ),
            st.Page(runs.show, title="Runs", icon=":material/list:", url_path="runs"),
            st.Page(attention.show, title="Attention", icon=":material/warning:",
                    url_path="attention"),
            st.Page(failures.show, title="Failures", icon=":material/error:", url_path="failures"),
            st.Page(waiting.show, title="Waiting", icon=":material/hourglass:",
                    url_path="waiting"),
            st.Page(run.show, title="Run", icon=":material/timeline:", url_path="run"),
            st.Page(tools.show, title="Tools", icon=":material/speed:", url_path="tools"),
            st.Page(compare.show, title="Compare", icon=":material/compare_arrows:",
                    url_path="compare"),
            st.Page(system.show, title="System", icon=":material/settings:", url_path="system"),
        ],
        position="hidden" if who(current()) is None else "top",
    )  # fmt: skip
    enter()
    return page

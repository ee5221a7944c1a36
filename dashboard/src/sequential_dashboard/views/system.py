"""The installation: storage, plugins, who may do what, and what was done from here."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from ..access import Right, Viewer
from ..attention import OVERDUE
from ..board import Board
from ..exports import csv_text
from ..gate import enter
from ..gauges import gauges
from ..words import ago, lasting, many, moment
from .parts import table, title


def show() -> None:
    """Draw the page."""
    board, viewer = enter()
    title("System")
    _storage(board)
    _health(board)
    _plugins(board)
    _rights(board, viewer)
    if viewer.may(Right.ACT):
        _audit(board)


def _storage(board: Board) -> None:
    app = board.reader.app
    st.subheader("Storage")
    facts = {
        "address": board.settings.storage,
        "schema": getattr(app.storage, "schema", None),
        "deployment": app.storage.deployment,
        "time": moment(board.reader.now()),
        "messages": "carried" if app.transport.carries else "none: workers look by themselves",
    }
    upto = getattr(app.storage, "upto", None)
    if upto is not None:
        facts["copied until"] = moment(upto)
    frame = pd.DataFrame([[name, str(fact)] for name, fact in facts.items()], columns=["", "is"])
    table(frame, key="system_storage")
    st.caption("`sequential doctor` tries what the storage promises; this page only reads.")


def _health(board: Board) -> None:
    """Say whether somebody looks at due runs, and how far what the sweeper counts goes."""
    st.subheader("Sweeping")
    reader = board.reader
    found = {each.name: each.readings for each in gauges(reader)}
    age = found["sequential_queue_oldest_age_seconds"][""]
    stalled = int(found["sequential_run_stalled"][""])
    now, rolled = reader.now(), reader.rollups(0.0)
    counted = "not by this storage" if rolled is None else "never"
    if rolled is not None and rolled.until > 0:
        counted = f"until {moment(rolled.until)}, {ago(rolled.until, now)}"
    facts = {
        "longest due": "nothing is due" if not age else f"for {lasting(age)}",
        "stalled": many(stalled, "run"),
        "calls of tools counted": counted,
        "attempts, calls and log lines": "kept" if reader.spans is not None else "not kept",
    }
    frame = pd.DataFrame(list(map(list, facts.items())), columns=["", "is"])
    table(frame, key="system_health")
    if age > OVERDUE:
        st.warning(
            f"A run has been due for {lasting(age)}, and nobody looks at it. Start a worker that"
            " has its flow, or call `sequential sweep` every minute where messages are carried."
        )
    st.caption("The same is at `/metrics` for monitoring, and `/healthz` says whether it is well.")


def _plugins(board: Board) -> None:
    st.subheader("Plugins")
    found = board.reader.app.plugins.found
    if not found:
        st.caption("None is installed; sqlite:, memory: and poll: need none.")
        return
    cells = [
        [each.name, each.distribution, each.version, ", ".join(each.hooks), each.error or ""]
        for each in found
    ]
    frame = pd.DataFrame(cells, columns=["Plugin", "Package", "Version", "Hooks", "Broken"])
    table(frame, key="system_plugins")


def _rights(board: Board, viewer: Viewer) -> None:
    st.subheader("You")
    st.text(f"{viewer.name}: {', '.join(sorted(viewer.rights))}")
    if board.settings.oidc:
        st.button("Log out", on_click=st.logout, key="system_logout")


def _audit(board: Board) -> None:
    st.subheader("Done from here")
    rows = board.audit.last()
    if not rows:
        st.caption("Nothing was done since the server started.")
        return
    columns = ["When", "Who", "Action", "Run", "Reason", "Result", "Note"]
    cells = [[moment(row.time), *row[1:]] for row in rows]
    table(pd.DataFrame(cells, columns=columns), key="system_audit")
    st.download_button(
        "CSV", csv_text(columns, cells), "audit.csv", "text/csv", key="audit_csv",
        on_click="ignore",
    )  # fmt: skip

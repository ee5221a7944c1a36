"""What open runs wait for: signals, with a form to answer each, and timers that are due next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd
import streamlit as st

from sequential.storage import Run, Status

from ..access import Right, Viewer
from ..board import Board
from ..frames import run_address
from ..gate import enter
from ..reading import LOOKED_THROUGH
from ..words import ago, lasting, moment, notes_of
from .parts import ROWS, escaped, table, title, token_of, turn, values_for
from .repairing import answer

FAR = 100 * 365 * 86_400.0
"""Seconds from now within which times are looked for: all that anybody waits for."""


class Wait(NamedTuple):
    """One thing that a run waits for."""

    run: Run
    position: str
    kind: str
    name: str
    since: float
    due: float | None
    schema: str
    note: str


def show() -> None:
    """Draw the page."""
    board, viewer = enter()
    title(
        "Waiting",
        "What open runs wait for: first where another signal came than is waited for, then the"
        " longest wait; and times.",
    )
    reader, now = board.reader, board.reader.now()
    after = token_of("waiting")
    page = reader.app.find(status=Status.PAUSED, after=after, limit=LOOKED_THROUGH)
    signals = sorted(
        (each for each in waits(page.runs) if each.kind == "signal"),
        key=lambda each: (not each.note, each.since),
    )
    # The times that come next are found by them, however many runs there are.
    soon = reader.by_wake((Status.PAUSED,), now + FAR, None, ROWS)
    timers = sorted(
        (each for each in waits(soon.runs) if each.due is not None),
        key=lambda each: each.due or 0.0,
    )
    one, two = st.tabs([f"Signals ({len(signals)})", f"Timers ({len(timers)})"])
    with one:
        _signals(board, viewer, signals, now)
        looked = f"{len(page.runs)} paused runs looked at, at {moment(now)}"
        turn("waiting", page.next, f"{looked}; the first {ROWS} signals are shown")
    with two:
        _timers(timers, now)
        st.caption(f"Of the {len(soon.runs)} paused runs that wake next, at {moment(now)}.")


def waits(runs: Sequence[Run]) -> Iterator[Wait]:
    """Yield what *runs* wait for."""
    for run in runs:
        for position, step in run.open.items():
            kind, name = str(step.kind), step.name or step.tool or str(step.kind)
            since = step.started or run.created
            note = "; ".join(notes_of(run)) if kind == "signal" else ""
            yield Wait(run, position, kind, name, since, step.due, step.schema, note)


def _signals(board: Board, viewer: Viewer, found: Sequence[Wait], now: float) -> None:
    if not found:
        st.info("No run waits for a signal.")
        return
    values = values_for(board, viewer)
    names = sorted({each.name for each in found})
    with st.container(horizontal=True):
        for name in names[:8]:
            st.metric(escaped(name), sum(1 for each in found if each.name == name), border=True)
    cells = [
        [run_address(each.run.run_id, each.position), each.run.run_id, each.run.flow, each.name,
         lasting(now - each.since), "" if each.due is None else ago(each.due, now),
         values.text(each.note)]
        for each in found[:ROWS]
    ]  # fmt: skip
    columns = ["Open", "Run", "Flow", "Signal", "Waits", "Until", "Note"]
    frame = pd.DataFrame(cells, columns=columns)
    table(frame, key="waiting_signals")
    if not board.actor.can_act or not viewer.may(Right.ACT):
        return
    with st.container(border=True):
        keys = {f"{each.run.run_id} · {each.name}": each for each in found[:ROWS]}
        chosen = st.selectbox("Answer", list(keys), key="waiting_answer", index=None)
        if chosen is not None:
            wait = keys[chosen]
            answer(board, wait.run.run_id, wait.name, wait.schema)


def _timers(found: Sequence[Wait], now: float) -> None:
    if not found:
        st.info("No run waits for a time.")
        return
    cells = [
        [run_address(each.run.run_id, each.position), each.run.run_id, each.run.flow, each.name,
         moment(each.due), ago(each.due or now, now)]
        for each in found[:ROWS]
    ]  # fmt: skip
    frame = pd.DataFrame(cells, columns=["Open", "Run", "Flow", "What", "Due", "In"])
    table(frame, key="waiting_timers")

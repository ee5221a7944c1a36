"""One run: where it stands, where its time went, its timeline, its steps, what can be done."""

from __future__ import annotations

import json
from collections.abc import Sequence

import altair as alt
import streamlit as st

from sequential.errors import RunIdInvalid, RunMissing, StorageError
from sequential.spans import SpanRow
from sequential.storage import Loaded, Run

from ..access import Viewer
from ..attention import findings
from ..board import Board
from ..failures import help_for
from ..frames import STEPS, ledger_frame, run_address, step_frame
from ..gate import enter
from ..timeline.canvas import draw
from ..timeline.enriching import enriched
from ..timeline.gaps import KINDS, WORDS, Ledger, Piece, ledger_of, pieces_of
from ..timeline.payload import payload_of
from ..timeline.spans import Span, cut_off, spans_of
from ..words import ago, lasting, moment, notes_of, state_of, wake_of
from . import inspecting, repairing
from .address import remember
from .parts import escaped, state_badge, table, title, values_for

EVERY = 2.0
"""Seconds between two looks at a run that is under way."""

SELDOM = 10.0
"""Seconds between two looks at one that waits."""

LINKED = 5
"""Children that the header links to, at most; the timeline has a row for each."""

_LOADED, _DRAWN = "run_loaded", "run_drawn"
"""Where the session keeps the one run that it looks at."""

_COLORS = {
    "working": "#2e9e5b", "retrying": "#e08a1e", "signal": "#4c7bd9", "child": "#7a5bd0",
    "timer": "#9db7ea", "queued": "#b9b9c3", "blocked": "#d9534f", "stalled": "#a94442",
    "ended": "#8c8c96",
}  # fmt: skip


def show() -> None:
    """Draw the page of the run that the address names."""
    board, _ = enter()
    run_id = st.query_params.get("id", "")
    if not run_id:
        title("Run", "One run, by its id.")
        found = st.text_input("Run id", key="run_id")
        if found:
            st.query_params["id"] = found
            st.rerun()
        return
    try:
        run = board.reader.app.get(run_id)
    except (RunMissing, RunIdInvalid, StorageError) as error:
        title("Run")
        st.error(escaped(str(error)))
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        title(run.flow)
        live = run.ended is None and st.toggle("Follow", value=True, key="run_follow")
    # The row of the address, as it was when the page was opened: it must not change (see `draw`).
    first = st.session_state.setdefault(f"first:{run_id}", st.query_params.get("step", ""))
    waits = state_of(run, board.reader.now()) in ("waiting", "blocked", "quarantined")
    every = SELDOM if waits else EVERY
    st.fragment(_run, run_every=every if live else None)(run_id, first)


def _run(run_id: str, first: str) -> None:
    board, viewer = enter()
    try:
        loaded = _loaded(board, run_id)
        children = board.reader.children(run_id)
    except (RunMissing, StorageError) as error:
        st.error(escaped(str(error)))
        return
    spans, pieces, _ = _drawn(loaded, children, _rows(board, loaded))
    ledger = ledger_of(pieces)
    _header(loaded, ledger, spans)
    _progress(board, viewer, loaded.run)
    _trouble(board, viewer, loaded)
    _ledger(ledger)
    if cut_off(loaded):
        st.caption(f"The first {cut_off(loaded):,} steps are not drawn.")
    # A click runs this part alone.
    st.fragment(_details)(run_id, first)


def _details(run_id: str, first: str) -> None:
    """Draw the timeline and what is selected in it, of the run as it was last looked at."""
    board, viewer = enter()
    loaded: Loaded = st.session_state[_LOADED]
    _, spans, _, payload = st.session_state[_DRAWN]
    selected = draw(payload, key=f"timeline:{run_id}", focus=first) or first
    if selected:
        remember(id=run_id, step=selected)
    if st.toggle("The same as a table", key="run_table"):
        begin = _turned(len(spans))
        frame = step_frame(spans, loaded.now, values_for(board, viewer), begin)
        table(frame, key="run_steps")
    inspecting.inspect(board, viewer, loaded, spans, selected)
    repairing.repair(board, viewer, loaded, selected)


def _turned(rows: int) -> int:
    """Draw what turns the pages of the table, if there are several; return where one begins."""
    if rows <= STEPS:
        return 0
    pages = -(-rows // STEPS)
    page = st.number_input(f"Page, of {pages}", 1, pages, key="run_table_page")
    return (page - 1) * STEPS


def _loaded(board: Board, run_id: str) -> Loaded:
    """Return the run; its steps are not read again while its record is the same."""
    known: Loaded | None = st.session_state.get(_LOADED)
    same = known is not None and known.run.run_id == run_id
    loaded = board.reader.loaded(run_id, known if same else None)
    st.session_state[_LOADED] = loaded
    return loaded


def _rows(board: Board, loaded: Loaded) -> Sequence[SpanRow]:
    """Return what the span store knows of the run; without it the records say enough."""
    try:
        return board.reader.spans_of(loaded.run)
    except StorageError as error:
        st.caption(escaped(f"Its attempts and calls cannot be read: {error}"))
        return ()


def _drawn(
    loaded: Loaded, children: Sequence[Run], rows: Sequence[SpanRow]
) -> tuple[Sequence[Span], Sequence[Piece], str]:
    """Return what is drawn of the run; of one that ended it is worked out once."""
    run = loaded.run
    versions = [child.version for child in children]
    # Rows of an ended run still arrive for some seconds, and none of them changes.
    sign = (run.run_id, run.version, run.op_id, versions, len(rows))
    known = st.session_state.get(_DRAWN)
    if known is not None and known[0] == sign and run.ended is not None:
        return known[1:]  # type: ignore[no-any-return]
    spans = enriched(loaded, spans_of(loaded, children), rows)
    pieces = pieces_of(loaded, spans)
    found = spans, pieces, json.dumps(payload_of(spans, pieces), separators=(",", ":"))
    st.session_state[_DRAWN] = (sign, *found)
    return found


def _header(loaded: Loaded, ledger: Ledger, spans: Sequence[Span]) -> None:
    run, now = loaded.run, loaded.now
    with st.container(horizontal=True, vertical_alignment="center"):
        state_badge(state_of(run, now))
        st.code(run.run_id, language=None, width="content")
        if run.parent is not None:
            address = run_address(run.parent.run_id, run.parent.position)
            st.link_button(f"Parent {escaped(run.parent.run_id)}", address)
        children = [each.run_id for each in spans if each.run_id]
        for child in children[:LINKED]:
            st.link_button(f"Child {escaped(child)}", run_address(child))
        if len(children) > LINKED:
            st.text(f"and {len(children) - LINKED} children more, in the timeline")
    tries = sum(span.tries - 1 for span in spans if span.kind == "tool")
    columns = st.columns(6)
    for column, (label, value) in zip(
        columns,
        (
            ("Steps", f"{run.cursor:,}"),
            ("Took" if run.ended else "So far", lasting(ledger.wall)),
            ("Working", lasting(ledger.active)),
            ("Retries", str(tries)),
            ("Generation", str(run.generation)),
            ("Version", run.flow_version),
        ), strict=True,
    ):  # fmt: skip
        column.metric(label, escaped(value))
    wake = wake_of(run)
    said = [f"created {moment(run.created)}"]
    if run.ended is not None:
        said.append(f"ended {moment(run.ended)}")
    elif wake is not None:
        said.append(f"wakes {moment(wake)} ({ago(wake, now)})")
    if run.deadline is not None:
        said.append(f"deadline {moment(run.deadline)}")
    said += [f"{name}={value}" for name, value in run.tags.items()]
    st.text(" · ".join(said))


def _progress(board: Board, viewer: Viewer, run: Run) -> None:
    found = values_for(board, viewer).of_progress(run)
    if found is None:
        return
    if found.fraction is None:
        st.text(f"Progress: {found.text}")
    else:
        st.progress(found.fraction, text=escaped(found.text))


def _trouble(board: Board, viewer: Viewer, loaded: Loaded) -> None:
    run, values = loaded.run, values_for(board, viewer)
    if run.attention is not None:
        st.warning(escaped(f"{run.attention.reason}: {values.text(run.attention.message)}"))
        if run.attention.diff:
            st.code(values.text(run.attention.diff), language="diff")
    if run.error is not None:
        where = f" at step {run.error.position}" if run.error.position else ""
        st.error(escaped(f"{run.error.type}{where}: {values.text(run.error.message)}"))
    for found in findings([run], loaded.now):
        if found.what != "blocked":
            st.warning(escaped(f"{found.what}: {values.text(found.why)}"))
        st.info(escaped(f"What helps: {found.fix}."))
    if run.status == "failed":
        st.info(escaped(f"What helps: {help_for(run)}"))
    for note in notes_of(run):
        st.warning(escaped(values.text(note)))


def _ledger(ledger: Ledger) -> None:
    """Draw where the time went, as one bar."""
    if not ledger.shares:
        return
    order = [kind for kind in KINDS if kind in ledger.shares]
    frame = ledger_frame({kind: ledger.shares[kind] for kind in order}, WORDS)
    colors = alt.Scale(domain=order, range=[_COLORS[kind] for kind in order])
    chart = (
        alt.Chart(frame)
        .mark_bar(size=24)
        .encode(
            x=alt.X("seconds:Q", stack="normalize", axis=None),
            color=alt.Color("kind:N", scale=colors, legend=alt.Legend(orient="top", title=None)),
            order=alt.Order("index:Q"),
            tooltip=["what:N", "time:N", alt.Tooltip("share:Q", format=".1%")],
        )
        .transform_calculate(index=f"indexof({order!r}, datum.kind)")
        .properties(height=34)
    )
    st.altair_chart(chart, key="run_ledger", height=80)
    said = ", ".join(
        f"{lasting(ledger.shares[kind])} {WORDS[kind].split(':')[0]}" for kind in order
    )
    st.caption(said)

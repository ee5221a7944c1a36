"""Pieces that several pages draw. Data never becomes markup: it is escaped, or shown as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from ..access import Right, Viewer
from ..actions import ACTIONS, ActionRefused, Asked, possible
from ..board import Board
from ..frames import run_address
from ..gate import who
from ..values import Values
from ..words import COLORS, many

_MARKUP = re.compile(r"([!-/:-@\[-`{-~])")

LINK = "Open"

_COLORS = {
    **COLORS, "overdue": "orange", "retrying": "orange", "lost": "orange", "value": "green",
    "dropped": "orange", "error": "red", "timeout": "orange",
}  # fmt: skip

_WIDE = {"Why": 360, "Do": 330}
"""Pixels of columns that would push others out of sight."""

ROWS = 100
"""Rows of a table of findings or waits, at most: the first of them."""

LATE = 7 * 86_400.0
"""Seconds within which a flow must have begun a run to be offered in a list: they are counted."""

ASKED_AGAIN = 60.0
"""Seconds after which a session asks again which flows there are: counting is not free."""


def escaped(text: str) -> str:
    """Return *text* so that markdown shows it as it is: no link, image, colour or emoji."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def values_for(board: Board, viewer: Viewer) -> Values:
    """Return what opens values as *viewer* may see them."""
    return Values(board.reader.app, whole=viewer.may(Right.PAYLOADS))


def flows_for(board: Board) -> list[str]:
    """Return the names of flows with runs of late; this session asks again after a minute."""
    now = board.clock.monotonic()
    known = st.session_state.get("flows_known")
    if known is None or not 0 <= now - known[0] < ASKED_AGAIN:
        since = board.reader.now() - LATE
        known = now, sorted({flow for flow, _ in board.reader.counts(since)})
        st.session_state["flows_known"] = known
    return list(known[1])


def title(text: str, caption: str = "") -> None:
    """Draw the head of a page."""
    st.title(escaped(text))
    if caption:
        st.caption(caption)


def state_badge(state: str) -> None:
    """Draw the word for the state of a run."""
    st.badge(state, color=COLORS.get(state, "gray"))  # type: ignore[arg-type]


def table(frame: pd.DataFrame, *, key: str, height: int | None = None) -> None:
    """Draw *frame*; a column `LINK` opens pages."""
    st.dataframe(
        dressed(frame), key=key, hide_index=True, column_config=columns(frame),
        height="auto" if height is None else height,
    )  # fmt: skip


def dressed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return *frame* with its states as a table colours them: each a list of one word."""
    made = frame.copy()
    for name in _states_in(frame):
        made[name] = [[each] for each in frame[name]]
    return made


def columns(frame: pd.DataFrame) -> Mapping[str, Any]:
    """Return how the columns of *frame* are drawn: what opens pages, what is coloured, how wide."""
    made: dict[str, Any] = {
        LINK: st.column_config.LinkColumn(LINK, display_text="open", width=60),
        **{name: st.column_config.Column(name, width=wide) for name, wide in _WIDE.items()},
        **{
            name: st.column_config.MultiselectColumn(
                name, options=list(_COLORS), color=list(_COLORS.values()), width=110
            )
            for name in _states_in(frame)
        },
    }
    return {name: each for name, each in made.items() if name in frame.columns}


def _states_in(frame: pd.DataFrame) -> list[str]:
    """Return the columns of *frame* whose every cell is the word for a state."""
    return [
        name for name in ("State", "What")
        if name in frame.columns and set(frame[name]) <= _COLORS.keys()
    ]  # fmt: skip


# -- one page after the other


def token_of(key: str) -> str | None:
    """Return where the page begins that is looked at under *key*; None for the first."""
    tokens: list[str | None] = st.session_state.setdefault(f"{key}_places", [None])
    return tokens[-1]


def begin_anew(key: str) -> None:
    """Go back to the first page."""
    st.session_state[f"{key}_places"] = [None]


def turn(key: str, token: str | None, said: str) -> None:
    """Draw the way to the next page, which begins at *token*, and back, and what is *said*."""
    tokens = st.session_state[f"{key}_places"]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Newer", disabled=len(tokens) < 2, on_click=tokens.pop, key=f"{key}_back")
        st.button(
            "Older", disabled=token is None, on_click=tokens.append, args=(token,), key=f"{key}_on"
        )
        st.caption(said)


# -- actions


def act_on(board: Board, viewer: Viewer, run_id: str, state: str, version: int, key: str) -> None:
    """Draw the actions of one run: choose, say why, confirm."""
    names = [name for name in possible(state) if name not in ("signal", "fork", "again")]
    if not board.reader.app.transport.carries and "resume" in names:
        # There is nobody to tell: workers look for themselves.
        names.remove("resume")
    if not _may_act(board, viewer):
        return
    if not names:
        st.caption("There is nothing to do to a run in this state.")
        return
    chosen = st.selectbox(
        "Action", names, format_func=lambda name: ACTIONS[name].label, key=f"{key}_action"
    )
    st.caption(ACTIONS[chosen].says)
    confirm(board, key, lambda reason: [Asked(chosen, run_id, reason, version)])


def act_on_many(
    board: Board, viewer: Viewer, run_ids: Sequence[str], names: Sequence[str], key: str
) -> None:
    """Draw the actions of several runs, named one by one before anything is done."""
    if not _may_act(board, viewer) or not names or not run_ids:
        return
    ids = tuple(run_ids)
    chosen = st.selectbox(
        "Action", list(names), format_func=lambda name: ACTIONS[name].label, key=f"{key}_action"
    )
    st.caption(f"{ACTIONS[chosen].says} For {many(len(ids), 'run')}:")
    st.code("\n".join(ids), language=None, height=min(200, 40 + 24 * len(ids)))
    confirm(board, key, lambda reason: [Asked(chosen, run_id, reason) for run_id in ids])


def confirm(board: Board, key: str, asked: Callable[[str], list[Asked]]) -> None:
    """Draw the reason, the confirmation and the button; say what came of it."""
    st.text_input("Reason", key=f"{key}_reason", max_chars=500)
    sure = st.checkbox("I mean it", key=f"{key}_sure")
    st.button(
        "Do it", key=f"{key}_do", type="primary", disabled=not sure,
        on_click=_do, args=(board, key, asked),
    )  # fmt: skip
    told(key)


def told(key: str) -> None:
    """Say what came of the last action under *key*."""
    for done, text, address in st.session_state.get(f"{key}_told", ()):
        link = f" [Open it]({address})" if address else ""
        (st.success if done else st.error)(escaped(text) + link)


def _do(board: Board, key: str, asked: Callable[[str], list[Asked]]) -> None:
    """Do what was asked for. A callback: it runs before the page, and asks for the right itself."""
    state = st.session_state
    results: list[tuple[bool, str, str]] = []
    viewer = who(board)
    if not state.get(f"{key}_sure"):
        results.append((False, "confirm it first", ""))
    else:
        try:
            wanted = asked(state.get(f"{key}_reason", ""))
        except ValueError as error:
            wanted, results = [], [(False, str(error), "")]
        for each in wanted:
            results.append(_done(board, viewer, each))
    state[f"{key}_told"] = results
    state[f"{key}_sure"] = False


def _done(board: Board, viewer: Viewer | None, asked: Asked) -> tuple[bool, str, str]:
    try:
        done = board.actor.act(viewer, asked)
    except ActionRefused as refused:
        return False, f"{asked.run_id}: {refused}", ""
    forked = done.removeprefix("new run ") if asked.action == "fork" else ""
    return True, f"{asked.run_id}: {done}", run_address(forked) if forked else ""


def _may_act(board: Board, viewer: Viewer) -> bool:
    if not board.actor.can_act:
        st.caption("This dashboard only reads; start it with `--actions` to change runs.")
        return False
    if not viewer.may(Right.ACT):
        st.caption("You may look, and not act; an operator can.")
        return False
    return True

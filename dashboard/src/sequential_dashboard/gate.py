"""The way into every page: says who is looking, or lets nobody further.

Each page and each fragment begins with `enter`; callbacks ask `who`, because they run before the
page does. Nothing that was found once is believed the next time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import streamlit as st

from .access import Viewer, by_claims, by_place, by_token
from .board import Board, current

_TOKEN = "_token"  # noqa: S105  (a key of the session)


def who(board: Board) -> Viewer | None:
    """Return who is looking; None for a stranger. Draws nothing."""
    settings = board.settings
    if settings.is_open:
        return by_place(settings)
    if settings.oidc:
        found = by_claims(settings, claims())
        if found is not None:
            return found
    given = st.session_state.get(_TOKEN, "")
    return by_token(settings, given) if given else None


def claims() -> Mapping[str, Any]:
    """Return what the login provider says of who is looking; nothing without a login."""
    return st.user.to_dict()


def enter() -> tuple[Board, Viewer]:
    """Return the board and who is looking; draw a login and end the run of the page for others."""
    board = current()
    viewer = who(board)
    if viewer is None:
        _login(board)
        st.stop()
    return board, viewer


def _login(board: Board) -> None:
    st.title("Sequential")
    settings = board.settings
    if settings.oidc:
        if claims().get("is_logged_in"):
            st.error("You are logged in, and not on the list of those who may look.")
            st.button("Log out", on_click=st.logout)
        else:
            st.button("Log in", on_click=st.login, type="primary")
    if settings.token or settings.operator_token:
        with st.form("login"):
            st.text_input("Token", type="password", key="given_token")
            st.form_submit_button("Go on", on_click=_take, args=(board,))
        if st.session_state.pop("_token_wrong", False):
            st.error("Nobody has this token. After ten wrong ones, wait for a minute.")


def _take(board: Board) -> None:
    given = st.session_state.get("given_token", "")
    found = hashlib.sha256(given.encode("utf-8", "replace")).hexdigest()
    if board.tries.allowed() and by_token(board.settings, found) is not None:
        st.session_state[_TOKEN] = found
    else:
        board.tries.wrong()
        st.session_state["_token_wrong"] = True
    st.session_state["given_token"] = ""

"""What can be done to one run: actions, a signal with a form, a fork with an edited result."""

from __future__ import annotations

import json
import uuid
from typing import Any

import streamlit as st

from sequential.storage import Loaded

from ..access import Right, Viewer
from ..actions import Asked, possible
from ..board import Board
from ..forms import Field, fields_of, value_of
from ..values import LOADED_AT_ONCE
from ..words import state_of
from .parts import act_on, confirm, escaped, values_for


def repair(board: Board, viewer: Viewer, loaded: Loaded, selected: str) -> None:
    """Draw everything that can be done to the run; *selected* is the position of a step, if any."""
    run = loaded.run
    state = state_of(run, loaded.now)
    with st.expander("Actions", icon=":material/build:"):
        act_on(board, viewer, run.run_id, state, run.version, "run")
        if not board.actor.can_act or not viewer.may(Right.ACT):
            return
        for found in run.open.values():
            if found.kind == "signal":
                answer(board, run.run_id, found.name, found.schema)
        if "fork" in possible(state) and loaded.steps:
            _fork(board, loaded, selected)
        if "again" in possible(state):
            _again(board, viewer, loaded)


def answer(board: Board, run_id: str, name: str, schema: str) -> None:
    """Draw a form for the signal *name* that run *run_id* waits for."""
    key = f"signal:{run_id}:{name}"
    fields = fields_of(schema)
    st.subheader(escaped(f"Answer {name}"))
    for field in fields:
        _field(key, field)
    # One id per form: pressed twice, or sent again after a lost answer, it is one signal.
    sent = st.session_state.setdefault(f"{key}:id", uuid.uuid4().hex)

    def asked(reason: str) -> list[Asked]:
        answers = {field.name: st.session_state.get(f"{key}:{field.name}") for field in fields}
        value = value_of(fields, answers)
        return [Asked("signal", run_id, reason, name=name, value=value, key=sent)]

    confirm(board, key, asked)


def _field(key: str, field: Field) -> None:
    label = escaped(field.name) or "Value"
    at = f"{key}:{field.name}"
    note = escaped(field.note) or None
    default: Any = field.default
    if field.kind == "boolean":
        st.checkbox(label, value=bool(default), key=at, help=note)
    elif field.kind == "choice":
        st.selectbox(label, list(field.choices), key=at, help=note)
    elif field.kind in ("integer", "number"):
        whole = field.kind == "integer"
        first = default if isinstance(default, int | float) else (0 if whole else 0.0)
        st.number_input(
            label, value=int(first) if whole else float(first), step=1 if whole else 0.1, key=at,
            help=note,
        )  # fmt: skip
    elif field.kind == "json":
        st.text_area(label, value=default or "null", key=at, help=note)
    else:
        st.text_input(label, value=default or "", key=at, help=note)


def _fork(board: Board, loaded: Loaded, selected: str) -> None:
    run = loaded.run
    st.subheader("Fork")
    st.caption("A new run keeps the steps before the chosen one; this run stays as it is.")
    # Typed, not chosen from a list: thousands of steps would be sent with every look.
    recorded = {step.position for step in loaded.steps}
    first = selected if selected in recorded else loaded.steps[-1].position
    at = st.text_input("From step", value=first, key=f"fork_at:{first}").strip()
    edits = st.checkbox("Use another result for this step instead of doing it", key="fork_edits")
    if edits:
        st.text_area("Result, as JSON", value="null", key="fork_edit")

    def asked(reason: str) -> list[Asked]:
        edit: tuple[Any] | None = None
        if edits:
            try:
                edit = (json.loads(st.session_state.get("fork_edit") or ""),)
            except ValueError as error:
                raise ValueError(f"the result is no JSON: {error}") from None
        return [Asked("fork", run.run_id, reason, at=at, edit=edit)]

    confirm(board, "fork", asked)


def _again(board: Board, viewer: Viewer, loaded: Loaded) -> None:
    run = loaded.run
    st.subheader("Start again with another input")
    st.caption(
        "A new run of the flow, from its beginning. The dashboard must know the flow: name its"
        " module in the configuration."
    )
    # What is masked must not be started with: who may not see the input types it.
    given: Any = {}
    if viewer.may(Right.PAYLOADS) and run.input.size <= LOADED_AT_ONCE:
        given = values_for(board, viewer).of_input(run).data
    key = f"again:{run.run_id}"
    text = json.dumps(given, indent=2, ensure_ascii=False)
    st.text_area("Input, as JSON", value=text, key=f"{key}:input")
    new_id = st.session_state.setdefault(f"{key}:id", uuid.uuid4().hex)

    def asked(reason: str) -> list[Asked]:
        try:
            value = json.loads(st.session_state.get(f"{key}:input") or "")
        except ValueError as error:
            raise ValueError(f"the input is no JSON: {error}") from None
        return [Asked("again", run.run_id, reason, value=value, key=new_id)]

    confirm(board, key, asked)

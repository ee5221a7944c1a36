"""The inspector below a timeline: input, output, error and record of a step, or of the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import streamlit as st

from sequential.storage import Loaded, StepRecord

from ..access import Right, Viewer
from ..board import Board
from ..exports import csv_text, replay_test, run_json
from ..frames import STEP_COLUMNS, step_cells
from ..timeline.spans import Span
from ..values import LOADED_AT_ONCE, Value, Values
from ..words import ago, lasting, many, moment
from .parts import escaped, values_for


def inspect(
    board: Board, viewer: Viewer, loaded: Loaded, spans: Sequence[Span], selected: str
) -> None:
    """Draw what is known of the *selected* row; of the run if none is."""
    values = values_for(board, viewer)
    step = next((each for each in loaded.steps if each.position == selected), None)
    span = next((each for each in spans if each.key == selected), None)
    with st.container(border=True):
        if step is not None:
            _step(loaded, step, values)
        elif span is not None and span.kind != "run":
            _in_flight(loaded, span, values)
        else:
            _whole(loaded, values)
        _exports(board, viewer, loaded, spans, values)


def _whole(loaded: Loaded, values: Values) -> None:
    run = loaded.run
    given, result, inbox, raw = st.tabs(["Input", "Result", "Inbox", "Record"])
    with given:
        _value("run:input", run.input.size, lambda: values.of_input(run))
    with result:
        if run.result is None:
            st.caption("There is none: the run has not completed.")
        else:
            _value("run:result", run.result.size, lambda: values.of_result(run))
    with inbox:
        if not run.inbox:
            st.caption("Nothing waits in its inbox.")
        for message in run.inbox:
            st.text(f"{message.name}, sent {moment(message.sent)}")
    with raw:
        st.json(
            {
                "run_id": run.run_id, "flow": run.flow, "status": str(run.status),
                "generation": run.generation, "cursor": run.cursor, "fence": run.fence,
                "stalls": run.stalls, "version": run.version, "created": run.created,
                "started": run.started, "ended": run.ended, "tags": dict(run.tags),
                "trace": dict(run.trace),
            }
        )  # fmt: skip


def _step(loaded: Loaded, step: StepRecord, values: Values) -> None:
    run = loaded.run
    st.subheader(escaped(f"{step.position} · {step.tool or step.kind}"))
    took = lasting(max(0.0, step.ended - step.started))
    tries = many(step.attempts, "attempt")
    st.text(f"{step.outcome} after {tries}, {took}, from {moment(step.started)}")
    failed = step.outcome != "value"
    given, output, raw = st.tabs(["Input", "Error" if failed else "Output", "Record"])
    with given:
        size = 0 if step.input is None else step.input.size
        _value(f"{step.position}:input", size, lambda: values.of_step_input(run, step))
    with output:
        _value(f"{step.position}:value", step.value.size, lambda: values.of_step(run, step))
    with raw:
        st.json(
            {
                "position": step.position, "number": step.number, "kind": str(step.kind),
                "tool": step.tool, "outcome": str(step.outcome), "attempts": step.attempts,
                "started": step.started, "ended": step.ended, "invocation": step.fence,
                "size": step.value.size, "stored elsewhere": step.value.ref is not None,
                "codecs": list(step.value.codecs),
            }
        )  # fmt: skip


def _in_flight(loaded: Loaded, span: Span, values: Values) -> None:
    st.subheader(escaped(f"{span.key} · {span.name}"))
    due = "" if span.due is None else f", next look {ago(span.due, loaded.now)}"
    st.text(f"{span.status}, attempt {span.tries}, since {moment(span.start)}{due}")
    if span.note:
        st.caption("The last error")
        st.code(values.text(span.note), language=None)


def _value(key: str, size: int, read: Callable[[], Value]) -> None:
    """Show a value; one that is large only when it is asked for."""
    if size > LOADED_AT_ONCE and not st.toggle(f"Load {size:,} bytes", key=f"load:{key}"):
        return
    found = read()
    if found.note:
        st.caption(escaped(found.note))
    if isinstance(found.data, dict | list):
        st.json(found.data)
    else:
        st.code(json.dumps(found.data, ensure_ascii=False), language="json")


def _exports(
    board: Board, viewer: Viewer, loaded: Loaded, spans: Sequence[Span], values: Values
) -> None:
    run_id = loaded.run.run_id
    with st.container(horizontal=True):
        st.download_button(
            "Steps as CSV",
            lambda: _steps_csv(loaded, spans, values),
            f"{run_id}.csv", "text/csv", on_click="ignore", key="run_csv",
        )  # fmt: skip
        st.download_button(
            "Run as JSON", lambda: run_json(loaded, values), f"{run_id}.json", "application/json",
            on_click="ignore", key="run_json",
        )  # fmt: skip
        # A history holds every value as it is.
        if viewer.may(Right.PAYLOADS):
            st.download_button(
                "Replay test", lambda: _replay(board, loaded), f"{run_id}-replay.zip",
                "application/zip", on_click="ignore", key="run_replay",
                help="A pytest module and the history that it replays",
            )  # fmt: skip


def _steps_csv(loaded: Loaded, spans: Sequence[Span], values: Values) -> str:
    return csv_text(STEP_COLUMNS, step_cells(spans, loaded.now, values))


def _replay(board: Board, loaded: Loaded) -> bytes:
    app, run = board.reader.app, loaded.run
    known = app.registry.flows.get(run.flow)
    function = getattr(known, "function", None)
    place = None if function is None else (function.__module__, function.__name__)
    return replay_test(run.run_id, run.flow, app.export(run.run_id), place)

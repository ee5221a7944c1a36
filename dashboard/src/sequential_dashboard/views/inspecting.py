"""The inspector below a timeline: input, output, error and record of a step, or of the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

import streamlit as st

from sequential.errors import StorageError
from sequential.spans import SpanRow
from sequential.storage import Loaded, StepRecord

from ..access import Right, Viewer
from ..board import Board
from ..exports import csv_text, replay_test, run_json
from ..frames import STEP_COLUMNS, attempt_frame, run_address, step_cells
from ..otlp import otlp_json
from ..settings import log_address
from ..timeline.spans import Span
from ..values import LOADED_AT_ONCE, Value, Values
from ..words import ago, lasting, many, moment, trace_of
from .parts import escaped, table, values_for


def inspect(
    board: Board, viewer: Viewer, loaded: Loaded, spans: Sequence[Span], selected: str
) -> None:
    """Draw what is known of the *selected* row; of the run if none is."""
    values = values_for(board, viewer)
    seen = Seen(board, loaded, spans, values)
    span = next((each for each in spans if each.key == selected), None)
    at = selected if span is None or not span.step else span.step
    step = next((each for each in loaded.steps if each.position == at), None)
    with st.container(border=True):
        if span is not None and span.row is not None and span.kind in ("invocation", "foreign"):
            _foreign(seen, span, span.row)
        elif step is not None:
            _step(seen, step, opened_at=span)
        elif span is not None and span.run_id:
            _child(loaded, span)
        elif span is not None and span.kind not in ("run", "branch"):
            _in_flight(seen, next((each for each in spans if each.key == at), span))
        else:
            _whole(seen)
        _exports(board, viewer, loaded, spans, values)


class Seen(NamedTuple):
    """What an inspector looks at: a run, its rows, and its values as one viewer may see them."""

    board: Board
    loaded: Loaded
    spans: Sequence[Span]
    values: Values


def _whole(seen: Seen) -> None:
    run, values = seen.loaded.run, seen.values
    given, result, inbox, logs, raw = st.tabs(["Input", "Result", "Inbox", "Logs", "Raw"])
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
    with logs:
        _logs(seen, None)
    with raw:
        st.json(
            {
                "run_id": run.run_id, "flow": run.flow, "status": str(run.status),
                "generation": run.generation, "cursor": run.cursor, "fence": run.fence,
                "stalls": run.stalls, "version": run.version, "created": run.created,
                "started": run.started, "ended": run.ended, "tags": dict(run.tags),
                "trace": dict(run.trace), "trace_id": trace_of(run),
            }
        )  # fmt: skip


def _step(seen: Seen, step: StepRecord, opened_at: Span | None) -> None:
    run, values = seen.loaded.run, seen.values
    st.subheader(escaped(f"{step.position} · {step.tool or step.kind}"))
    took = lasting(max(0.0, step.ended - step.started))
    tries = many(step.attempts, "attempt")
    st.text(f"{step.outcome} after {tries}, {took}, from {moment(step.started)}")
    outcome = "Error" if step.outcome != "value" else "Output"
    # Whoever chose an attempt in the timeline wants to see attempts.
    chosen = "Attempts" if opened_at is not None and opened_at.step else "Input"
    given, output, tried, logs, raw = st.tabs(
        ["Input", outcome, "Attempts", "Logs", "Raw"], default=chosen
    )
    with given:
        size = 0 if step.input is None else step.input.size
        _value(f"{step.position}:input", size, lambda: values.of_step_input(run, step))
    with output:
        _value(f"{step.position}:value", step.value.size, lambda: values.of_step(run, step))
    with tried:
        _attempts(seen, step.position, step.attempts)
    with logs:
        _logs(seen, step.position)
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


def _in_flight(seen: Seen, span: Span) -> None:
    st.subheader(escaped(f"{span.key} · {span.name}"))
    due = "" if span.due is None else f", next look {ago(span.due, seen.loaded.now)}"
    st.text(f"{span.status}, attempt {span.tries}, since {moment(span.start)}{due}")
    error, tried, logs = st.tabs(["Error", "Attempts", "Logs"])
    with error:
        if span.note:
            st.caption("The last error")
            st.code(seen.values.text(span.note), language=None)
        else:
            st.caption("No attempt of it has failed.")
    with tried:
        _attempts(seen, span.key, span.tries)
    with logs:
        _logs(seen, span.key)


def _child(loaded: Loaded, span: Span) -> None:
    st.subheader(escaped(f"{span.key} · {span.name}"))
    end = loaded.now if span.end is None else span.end
    st.text(f"{span.status}, {lasting(max(0.0, end - span.start))}, from {moment(span.start)}")
    st.link_button(f"Open {escaped(span.run_id)}", run_address(span.run_id))


def _foreign(seen: Seen, span: Span, row: SpanRow) -> None:
    """Draw what one span says that is no step: an invocation, or a call that a tool made."""
    st.subheader(escaped(seen.values.text(span.name)))
    failed = f", failed with {span.note}" if span.note else ""
    st.text(f"{lasting(row.ended - row.started)} from {moment(row.started)}{failed}")
    if row.service:
        st.text(f"in {row.service}")
    said = {
        name: seen.values.text(value) if isinstance(value, str) else value
        for name, value in row.attributes.items()
    }
    st.json(
        {
            "span": row.span,
            "kind": row.kind,
            **said,
            "linked to": [list(each) for each in row.links],
        }
    )


def _attempts(seen: Seen, position: str, tries: int) -> None:
    parts = [each for each in seen.spans if each.step == position]
    frame = attempt_frame([each for each in parts if each.kind != "foreign"], seen.loaded.now)
    if not frame.empty:
        table(frame, key="run_attempts")
    elif tries > 1:
        st.caption(
            f"{tries} attempts were made. When, and with which errors, is known where telemetry"
            ' keeps spans: `telemetry = "stored"`.'
        )
    else:
        st.caption("One attempt was made.")


def _logs(seen: Seen, position: str | None) -> None:
    """Draw the last lines that a step logged; the whole run's for None."""
    link = seen.board.settings.log_link
    if link:
        st.link_button("Logs elsewhere", log_address(link, seen.loaded.run, position or ""))
    try:
        lines = seen.board.reader.logs_of(seen.loaded.run, position)
    except StorageError as error:
        st.caption(escaped(f"They cannot be read: {error}"))
        return
    if not lines:
        st.caption("No lines are kept of it.")
        return
    text = "\n".join(
        f"{moment(each.time)} {each.level:<8} {each.logger}: {seen.values.text(each.message)}"
        for each in lines
    )
    st.code(text, language=None, height=min(400, 60 + 20 * len(lines)))


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
        st.download_button(
            "Trace as OTLP", lambda: _otlp(board, loaded, values), f"{run_id}-otlp.json",
            "application/json", on_click="ignore", key="run_otlp",
            help="For Jaeger, Tempo and others, with the ids of live telemetry; no values",
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


def _otlp(board: Board, loaded: Loaded, values: Values) -> str:
    try:
        rows = board.reader.spans_of(loaded.run)
    except StorageError:
        rows = ()  # the records tell the run without them
    return otlp_json(loaded, rows, values.text)


def _replay(board: Board, loaded: Loaded) -> bytes:
    app, run = board.reader.app, loaded.run
    known = app.registry.flows.get(run.flow)
    function = getattr(known, "function", None)
    place = None if function is None else (function.__module__, function.__name__)
    return replay_test(run.run_id, run.flow, app.export(run.run_id), place)

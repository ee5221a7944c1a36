"""Whole runs on processes of their own, as a backend of OpenTelemetry gets to see them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sequential import Sequential
from sequential._events import RunEnded, StepRecorded
from sequential.spans import invocation_span_id, run_span_id, step_span_id, trace_id_of
from sequential.telemetry import Telemetry
from tests.acceptance.told_canary import CANARY
from tests.otlp import Capture, attributes, capture

ROOT = Path(__file__).parents[2]


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Capture]:
    with capture() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
        monkeypatch.setenv("SEQUENTIAL_STORAGE", f"sqlite:///{tmp_path}/runs.db")
        yield found


def carried(run_id: str, ends: str) -> int:
    """Carry the run to its end, every step in a process of its own; return how many it took."""
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SEQUENTIAL_TELEMETRY": "otlp",
        "SEQUENTIAL_PAUSE": "every-step",
    }
    command = [sys.executable, "-m", "tests.acceptance.told_flows", run_id, ends]
    for process in range(1, 20):
        ran = subprocess.run(
            command, check=False, capture_output=True, text=True, env=environ, timeout=120
        )
        assert ran.returncode == 0, ran.stderr
        if ran.stdout in ("completed", "failed"):
            return process
    raise AssertionError("the run does not end")


def names(captured: Capture) -> Counter[str]:
    return Counter(span.name for span in captured.told)


def test_a_run_over_many_processes_is_one_trace_whose_ids_are_derived(captured: Capture) -> None:
    processes = carried("r1", "well")
    with Sequential.from_config() as app:
        run, steps = app.get("r1"), app.steps("r1")
    told, trace, root = captured.spans, trace_id_of("r1", run.created), run_span_id("r1")
    assert processes >= 3
    assert len(captured.told) == len(told)
    assert {span.trace_id for span in told.values()} == {trace.to_bytes(16)}
    assert names(captured) == {
        "run order": 1, "execute_tool shop.charge": 1, "attempt shop.charge": 2,
        "backoff shop.charge": 1, "sleep": 1, "invocation": processes,
    }  # fmt: skip
    for step in steps:
        span = told[step_span_id("r1", 0, step.position).to_bytes(8)]
        assert span.parent_span_id == root.to_bytes(8)
        assert (span.start_time_unix_nano, span.end_time_unix_nano) == (
            int(step.started * 1e9), int(step.ended * 1e9),
        )  # fmt: skip
    assert {invocation_span_id("r1", fence + 1).to_bytes(8) for fence in range(processes)} <= set(
        told
    )
    whole = told[root.to_bytes(8)]
    assert attributes(whole)["sequential.run.outcome"] == "success"
    assert attributes(whole)["sequential.run.retries"] == 1
    assert {each["service.name"] for each in captured.resources} == {"shop"}
    assert len({each["service.instance.id"] for each in captured.resources}) == processes
    assert captured.metrics >= {
        "sequential.run.started", "sequential.run.finished", "sequential.resume.lag",
        "sequential.step.duration", "sequential.wait.duration", "gen_ai.execute_tool.duration",
    }  # fmt: skip


def test_what_is_told_again_replaces_what_was_told(captured: Capture) -> None:
    carried("r1", "well")
    before, count = dict(captured.spans), len(captured.told)
    with Sequential.from_config() as app:
        run, steps = app.get("r1"), app.steps("r1")
    again = Telemetry.otlp()
    for step in steps:
        again.sequential_observe(StepRecorded(run, step))
    again.sequential_observe(RunEnded(run, run.ended or 0.0))
    assert again.flush(30.0)
    again.close()
    assert len(captured.told) == count + len(steps) + 1
    assert captured.spans.keys() == before.keys()
    for span_id, span in captured.spans.items():
        assert span.name == before[span_id].name
        assert span.start_time_unix_nano == before[span_id].start_time_unix_nano


def test_no_secret_is_in_what_leaves(captured: Capture) -> None:
    carried("r2", "badly")
    assert names(captured)["attempt shop.refuse"] == 1
    failed = [span for span in captured.told if span.status.code == 2]
    assert {span.name for span in failed} == {
        "run order", "attempt shop.charge", "execute_tool shop.refuse", "attempt shop.refuse",
    }  # fmt: skip
    assert {attributes(span)["error.type"] for span in failed} == {"Refused", "ToolError"}
    assert {event.name for span in failed for event in span.events} == {"exception"}
    assert not any(span.status.message for span in failed)
    assert len(captured.bodies) > 8
    assert not any(CANARY.encode() in body for body in captured.bodies)

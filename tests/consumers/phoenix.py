"""Exports a few runs by OTLP to Phoenix, which reads OpenTelemetry and is not ours; asks it back.

``python -m tests.consumers.phoenix PYTHON``: of the environment that Phoenix is installed in. Its
server gets a folder and a port of its own on loopback, and may tell nobody anything.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from sequential import RetryPolicy, Sequential, Steps, ToolContext, flow, sleep, tool
from sequential.errors import RunFailed
from sequential.spans import run_span_id, step_span_id, trace_id_of

_START = 300.0
_ARRIVE = 60.0

Span = dict[str, Any]


@tool("shop", "charge", retry=RetryPolicy(max_attempts=2, first=0.05, jitter=False))
def charge(context: ToolContext) -> str:
    """Fail once."""
    if context.attempt == 1:
        raise ConnectionError
    return "paid"


@tool("shop", "refuse")
def refuse() -> None:
    """Fail."""
    raise PermissionError


@flow(name="order")
def order(ends: str) -> Steps[str]:
    """Charge, wait, and end well or not."""
    paid = yield from charge()
    yield from sleep(0.2)
    if ends == "badly":
        yield from refuse()
    return paid


@contextmanager
def server(python: str, folder: str) -> Iterator[str]:
    """Run Phoenix for the block; give its URL."""
    port, grpc = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    environ = {
        **os.environ,
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_WORKING_DIR": folder,
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
    }
    with (Path(folder) / "server.log").open("w+") as log:
        command = [python, "-m", "phoenix.server.main", "serve"]
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, cwd=folder)
        try:
            until = time.monotonic() + _START
            while not answers(url):
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise SystemExit(f"Phoenix does not start:\n{log.read()[-2000:]}")
                time.sleep(0.5)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answers(url: str) -> bool:
    """Tell whether somebody answers at *url*."""
    try:
        return httpx.get(f"{url}/healthz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def spans_at(url: str, wanted: int) -> list[Span]:
    """Return the spans that Phoenix has, once there are *wanted*."""
    until, found = time.monotonic() + _ARRIVE, list[Span]()
    while len(found) < wanted and time.monotonic() < until:
        answer = httpx.get(f"{url}/v1/projects/default/spans", params={"limit": 500}, timeout=10)
        found = answer.json()["data"] if answer.status_code == 200 else []
        time.sleep(0.5)
    return found


def check(app: Sequential, run_id: str, found: list[Span], failed: dict[str, str]) -> int:
    """Compare the spans of one run with its records; return how many there are."""
    run, steps = app.get(run_id), app.steps(run_id)
    trace = f"{trace_id_of(run_id, run.created):032x}"
    spans = {
        each["context"]["span_id"]: each for each in found if each["context"]["trace_id"] == trace
    }
    root = f"{run_span_id(run_id):016x}"
    assert spans[root]["name"] == "run order"
    assert spans[root]["parent_id"] is None
    for step in steps:
        told = spans[f"{step_span_id(run_id, 0, step.position):016x}"]
        assert told["parent_id"] == root, told
        times = (moment(told["start_time"]), moment(told["end_time"]))
        assert max(abs(times[0] - step.started), abs(times[1] - step.ended)) < 0.001, told
    for told in spans.values():
        assert told["parent_id"] is None or told["parent_id"] in spans, told
        assert told["attributes"]["sequential.run.id"] == run_id, told
    wrong = {each["name"]: each["attributes"]["error.type"] for each in spans.values()
             if each["status_code"] == "ERROR"}  # fmt: skip
    assert wrong == failed, wrong
    return len(spans)


def moment(text: str) -> float:
    """Return a time of Phoenix in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def main(python: str) -> None:
    """Export, ask, compare, and say what was seen."""
    with tempfile.TemporaryDirectory() as folder, server(python, folder) as url:
        os.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_METRICS_EXPORTER": "none"}
        storage = f"sqlite:///{folder}/runs.db"
        with Sequential(storage, pause="every-step", plugins=[], telemetry="otlp") as app:
            app.run(order, {"ends": "well"}, run_id="good")
            with suppress(RunFailed):
                app.run(order, {"ends": "badly"}, run_id="bad")
            assert app.flush(30.0)
            found = spans_at(url, 21)
            first = {"attempt shop.charge": "ConnectionError"}
            names = ("attempt shop.refuse", "execute_tool shop.refuse")
            last = dict.fromkeys(names, "PermissionError")
            counts = (
                check(app, "good", found, first),
                check(app, "bad", found, first | last | {"run order": "ToolError"}),
            )
        sys.stdout.write(f"Phoenix shows {len(found)} spans; of the two runs {counts}: the tree, ")
        sys.stdout.write("names, times and errors are those of the records\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

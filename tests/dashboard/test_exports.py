"""Files to take away."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sequential_dashboard.exports import csv_text, replay_test, run_json
from sequential_dashboard.values import Values
from tests.fix_dashboard import Opened


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "=cmd|'/c calc'!A1"]
)
def test_no_cell_is_a_formula(cell: str) -> None:
    text = csv_text([cell], [[cell, "plain"]])
    for row in csv.reader(io.StringIO(text, newline="")):
        assert not row[0].lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
        assert row[0] == f"'{cell}"


def test_what_is_no_formula_stays_and_reads_back() -> None:
    rows = [["a,b", 'say "x"', -1.5, None, "line\nbreak"]]
    found = list(csv.reader(io.StringIO(csv_text(list("abcde"), rows), newline="")))
    assert found[1] == ["a,b", 'say "x"', "-1.5", "", "line\nbreak"]


def test_a_run_as_json_holds_values_only_as_its_viewer_may_see_them(demo: Opened) -> None:
    run_id = next(each for each in demo.runs("completed") if each.startswith("order"))
    loaded = demo.board.reader.loaded(run_id)
    whole = json.loads(run_json(loaded, Values(demo.app, whole=True)))
    masked = json.loads(run_json(loaded, Values(demo.app, whole=False)))
    assert whole["steps"][1]["input"]["card_token"].startswith("tok-")
    assert masked["steps"][1]["input"]["card_token"] == "•••"
    assert [each["position"] for each in whole["steps"]] == ["0", "1", "2", "3", "4"]


FLOWS = """
from sequential import Steps, flow, sleep, tool_call

@flow(name="order")
def order(item: str, amount: int) -> Steps[str]:
    held = yield tool_call("shop", "reserve", {{"item": item}})
    yield tool_call("bank", "charge", {{"amount": amount, "card_token": f"tok-{{held}}"}})
    yield tool_call("shop", "{third}", {{"item": item}})
    yield sleep(1800.0)
    return (yield tool_call("shop", "ship", {{"item": item}}))
"""


@pytest.mark.parametrize(("third", "code"), [("pack", 0), ("wrap", 1)])
def test_a_run_becomes_a_test_that_holds_the_code_against_it(
    demo: Opened, tmp_path: Path, third: str, code: int
) -> None:
    run_id = next(each for each in demo.runs("completed") if each.startswith("order"))
    packed = replay_test(run_id, "order", demo.app.export(run_id), ("flows", "order"))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(tmp_path)
    (tmp_path / "flows.py").write_text(FLOWS.format(third=third), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path,
         tmp_path],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr


@pytest.mark.parametrize("flow", ['x"""\nimport os', "a\nb", "a'b\\", "{run_id}"])
def test_no_name_of_a_flow_escapes_from_the_docstring(flow: str) -> None:
    packed = replay_test("r", flow, "{}", None)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        source = archive.read("test_r.py").decode()
    compile(source, "test_r.py", "exec")
    assert "\nimport os" not in source

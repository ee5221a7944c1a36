"""One session of nox really runs both type checkers over this directory."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_types_session_runs_these_tests_and_requires_the_checkers() -> None:
    noxfile = ast.parse((ROOT / "noxfile.py").read_text("utf-8"))
    sessions = [node for node in noxfile.body if isinstance(node, ast.FunctionDef)]
    types = next(session for session in sessions if session.name == "types")
    runs = [ast.unparse(node) for node in ast.walk(types) if isinstance(node, ast.Call)]
    asked = [run for run in runs if run.startswith("session.run('pytest', 'tests/typing'")]
    assert len(asked) == 1
    assert "'CHECKERS': 'required'" in asked[0]

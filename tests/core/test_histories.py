"""Histories that released versions recorded are replayed by the code of today."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sequential import Sequential
from sequential._checking import Replayed
from sequential.testing import verify_replay
from tests.core.recorded_flows import FOLDER, RECORDINGS, REGISTRY, record

FILES = sorted(FOLDER.glob("*/*.json"))


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def replayed(path: Path) -> Replayed:
    with Sequential("memory:", plugins=[], registry=REGISTRY) as app:
        return app.replay_history(path)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_recorded_history_is_replayed(path: Path) -> None:
    found = replayed(path)
    assert (found.agrees, found.message) == (True, "")
    assert verify_replay(REGISTRY.flows[found.flow], path, registry=REGISTRY).calls == ()


def test_every_release_recorded_all_that_there_was() -> None:
    folders = {path.parent.name for path in FILES}
    assert "0.1.0" in folders
    assert {path.stem for path in FILES if path.parent.name == "0.1.0"} == set(RECORDINGS)


@pytest.mark.parametrize("name", RECORDINGS)
def test_what_is_recorded_today_has_the_form_of_the_newest(name: str, tmp_path: Path) -> None:
    path = tmp_path / "new.json"
    path.write_text(record(name), "utf-8")
    assert replayed(path).agrees
    newest = max(FOLDER.iterdir(), key=lambda each: [int(part) for part in each.name.split(".")])
    assert path.read_text("utf-8") == (newest / f"{name}.json").read_text("utf-8")


def steps_that_say_what_was_asked() -> list[Any]:
    found = []
    for path in FILES:
        for number, step in enumerate(json.loads(path.read_text("utf-8"))["steps"]):
            if step["kind"] in ("tool", "signal"):
                found.append(pytest.param(path, number, id=f"{named(path)}-{number}"))
    return found


@pytest.mark.parametrize(("path", "number"), steps_that_say_what_was_asked())
def test_a_step_that_was_another_is_seen(path: Path, number: int, tmp_path: Path) -> None:
    whole = json.loads(path.read_text("utf-8"))
    step = whole["steps"][number]
    if step["kind"] == "signal":
        step["tool"] = "another"
    elif "input" in step:
        step["input"] = {"another": 1}
    else:
        step["fingerprint"] = "0" * 64
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(whole), "utf-8")
    found = replayed(changed)
    assert (found.agrees, found.reason) == (False, "changed")
    assert found.diff.startswith(f"step {number}\n")

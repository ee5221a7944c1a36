from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sequential._registry import REGISTRY
from sequential._targets import find_flow, import_modules, load_module
from sequential.errors import FlowNotFound, FlowUnreadable

FLOW = """
from sequential import flow

@flow(name="{name}")
def greet(who: str):
    return who
    yield
"""


@pytest.fixture(autouse=True)
def _clean(clean_interpreter: None) -> None:
    pass


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_flow_is_found_in_a_file(tmp_path: Path) -> None:
    write(tmp_path / "deep/greeting.py", FLOW.format(name="t1"))
    assert find_flow("deep/greeting.py:greet", REGISTRY, tmp_path).name == "t1"


def test_a_flow_is_found_in_a_file_named_from_the_root(tmp_path: Path) -> None:
    path = write(tmp_path / "greeting2.py", FLOW.format(name="t2"))
    assert find_flow(f"{path}:greet", REGISTRY, Path("elsewhere")).name == "t2"


def test_a_flow_is_found_in_a_module_of_the_directory(tmp_path: Path) -> None:
    write(tmp_path / "pack_t3/__init__.py", "")
    write(tmp_path / "pack_t3/flows.py", FLOW.format(name="t3"))
    assert find_flow("pack_t3.flows:greet", REGISTRY, tmp_path).name == "t3"


def test_a_registered_name_is_found_without_importing(tmp_path: Path) -> None:
    write(tmp_path / "greeting4.py", FLOW.format(name="greet:v4"))
    import_modules(["greeting4.py"], tmp_path)
    assert find_flow("greet:v4", REGISTRY, tmp_path).name == "greet:v4"


def test_a_file_imports_its_neighbours_as_a_script_does(tmp_path: Path) -> None:
    write(tmp_path / "a/neighbour_t5.py", 'NAME = "t5"\n')
    text = "from neighbour_t5 import NAME\n" + FLOW.replace('"{name}"', "NAME")
    write(tmp_path / "a/greeting5.py", text)
    assert find_flow("a/greeting5.py:greet", REGISTRY, tmp_path).name == "t5"


def test_a_file_may_have_the_name_of_a_module_that_is_there(tmp_path: Path) -> None:
    write(tmp_path / "json.py", FLOW.format(name="t6"))
    before = sys.modules["json"]
    assert find_flow("json.py:greet", REGISTRY, tmp_path).name == "t6"
    assert sys.modules["json"] is before


def test_a_file_is_loaded_once(tmp_path: Path) -> None:
    write(tmp_path / "once_t7.py", FLOW.format(name="t7") + "loads = object()\n")
    assert load_module("once_t7.py", tmp_path) is load_module("./once_t7.py", tmp_path)


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    write(tmp_path / "a/same_t8.py", FLOW.format(name="t8a"))
    write(tmp_path / "b/same_t8.py", FLOW.format(name="t8b"))
    names = [find_flow(f"{x}/same_t8.py:greet", REGISTRY, tmp_path).name for x in "ab"]
    assert names == ["t8a", "t8b"]


def test_a_module_may_be_listed_with_its_flow(tmp_path: Path) -> None:
    write(tmp_path / "greeting9.py", FLOW.format(name="t9"))
    import_modules(["greeting9:greet"], tmp_path)
    assert "t9" in REGISTRY.flows


def test_a_file_that_failed_can_be_mended_and_loaded_again(tmp_path: Path) -> None:
    path = write(tmp_path / "mended_t10.py", "1 / 0\n")
    with pytest.raises(FlowUnreadable, match="ZeroDivisionError"):
        load_module("mended_t10.py", tmp_path)
    write(path, FLOW.format(name="t10, mended"))
    assert find_flow("mended_t10.py:greet", REGISTRY, tmp_path).name == "t10, mended"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("missing.py:greet", "there is no file"),
        ("nowhere_t:greet", "there is no module 'nowhere_t'"),
        ("nowhere_t.below:greet", "there is no module 'nowhere_t'"),
        ("not a module:greet", "neither a module's name nor"),
        (":greet", "neither a module's name nor"),
        ("broken_t.py:greet", "broken_t.py:2 is not Python"),
        ("broken_t:greet", "broken_t.py:2 is not Python"),
        ("raises_t.py:greet", "raised RuntimeError: boom"),
        ("leaves_t.py:greet", "raised SystemExit: 3"),
        ("wants_t.py:greet", "imports 'absent_t', which is missing"),
        ("good_t.py:other", "has no 'other'; its flows are: greet"),
        ("good_t.py:number", "'number' is int, not a flow; decorate"),
        ("good_t.py", "add the name of the flow: good_t.py:greet"),
        ("good_t.py:", "add the name of the flow: good_t.py:greet"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, target: str, reason: str) -> None:
    write(tmp_path / "broken_t.py", "x = 1\ndef :\n")
    write(tmp_path / "raises_t.py", 'raise RuntimeError("boom")\n')
    write(tmp_path / "leaves_t.py", "raise SystemExit(3)\n")
    write(tmp_path / "wants_t.py", "import absent_t\n")
    write(tmp_path / "good_t.py", FLOW.format(name="good_t") + "number = 1\n")
    with pytest.raises(FlowUnreadable) as caught:
        find_flow(target, REGISTRY, tmp_path)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_nobody_registered_names_those_that_are(tmp_path: Path) -> None:
    write(tmp_path / "greeting11.py", FLOW.format(name="t11"))
    import_modules(["greeting11"], tmp_path)
    with pytest.raises(FlowNotFound, match=r"'t12'.*t11.*module:flow"):
        find_flow("t12", REGISTRY, tmp_path)

"""Names of flows and tools: looked up, never taken twice."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sequential import Registry, Sequential, Steps, flow, tool
from sequential.errors import NameTaken

MODULE = """
from sequential import Registry, flow, tool

registry = REGISTRY

@tool("api", "user", registry=registry)
def user(): return {answer}

@flow(registry=registry)
def chatty():
    return (yield user())
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("reloaded_flows", None)


def test_names_default_to_the_qualified_name() -> None:
    registry = Registry()

    @tool("api", registry=registry)
    def fetch() -> None: ...

    @flow(registry=registry)
    def chatty() -> Steps[None]:
        yield

    inside = "test_names_default_to_the_qualified_name.<locals>"
    assert list(registry.flows) == [f"{inside}.chatty"]
    assert registry.tool_names() == [f"api.{inside}.fetch"]


def test_two_flows_under_one_name_are_refused_and_both_are_named() -> None:
    registry = Registry()

    @flow(registry=registry, name="same")
    def first() -> Steps[None]:
        yield

    with pytest.raises(NameTaken) as caught:

        @flow(registry=registry, name="same")
        async def second() -> None: ...

    error = caught.value
    assert (error.kind, error.name) == ("flow", "same")
    assert "first" in error.first
    assert "second" in error.second
    assert "test_registry.py" in str(error)
    assert registry.flows["same"] is first


def test_two_tools_under_one_name_are_refused_but_categories_are_apart() -> None:
    registry = Registry()

    @tool("api", "same", registry=registry)
    def first() -> None: ...

    @tool("web", "same", registry=registry)
    def other() -> None: ...

    with pytest.raises(NameTaken, match=r"tool name 'api.same' is taken"):

        @tool("api", "same", registry=registry)
        def second() -> None: ...

    assert registry.tool_names() == ["api.same", "web.same"]


def test_a_flow_and_a_tool_may_share_a_name() -> None:
    registry = Registry()

    @tool("api", "same", registry=registry)
    def first() -> None: ...

    @flow(registry=registry, name="api.same")
    def second() -> Steps[None]:
        yield

    assert registry.tools
    assert registry.flows


def logged(function: Callable[[], int]) -> Callable[[], int]:
    @functools.wraps(function)
    def inner() -> int:
        return function()

    return inner


def test_two_functions_behind_one_decorator_are_two() -> None:
    def charge() -> int:
        return 1

    def refund() -> int:
        return 2

    refund.__qualname__ = charge.__qualname__
    registry = Registry()
    tool("shop", "charge", registry=registry)(logged(charge))
    with pytest.raises(NameTaken):
        tool("shop", "charge", registry=registry)(logged(refund))


def test_a_reload_of_the_same_function_replaces_it(folder: Path) -> None:
    source = folder / "reloaded_flows.py"
    head = "from tests.core.test_registry import RELOADED as REGISTRY\n"
    source.write_text(head + MODULE.format(answer=1))
    module: Any = importlib.import_module("reloaded_flows")
    app = Sequential("memory:", registry=RELOADED, plugins=[])
    assert app.run("chatty") == 1
    source.write_text(head + MODULE.format(answer=22222))
    importlib.invalidate_caches()
    importlib.reload(module)
    assert app.run("chatty") == 22222


RELOADED = Registry()


@pytest.mark.parametrize("category", ["", "a b", "a.b", "é", "a/b", "x" * 65, "a\n", "$a"])
def test_a_category_that_cannot_be_one_is_refused(category: str) -> None:
    with pytest.raises(ValueError, match="cannot be a tool's category"):
        tool(category, registry=Registry())


def test_a_flow_must_yield_or_await() -> None:
    def plain() -> int:
        return 1

    async def streaming() -> Any:
        yield 1

    for function in (plain, streaming):
        with pytest.raises(TypeError, match="a flow yields or awaits"):
            flow(registry=Registry())(function)  # type: ignore[arg-type]


def test_a_flow_may_be_decorated_without_arguments() -> None:
    registry = Registry()

    @flow(registry=registry, version="7")
    def seventh() -> Steps[None]:
        yield

    assert seventh.version == "7"
    assert repr(seventh).startswith("<flow ")


def test_a_registered_name_is_never_imported_from_a_record() -> None:
    app = Sequential("memory:", registry=Registry(), plugins=[])
    with pytest.raises(Exception, match=r"no flow named 'os.system' is registered"):
        app.start("os.system")
    assert "antigravity" not in sys.modules


def cell(number: int, answer: int) -> str:
    """Return the source of a notebook's cell, compiled under a file name of its own."""
    return f"""
@flow(registry=registry)
async def of_a_cell() -> int:
    return {answer} + 0 * {number}
"""


def test_a_cell_of_a_notebook_that_is_run_again_replaces_its_flow() -> None:
    registry = Registry()
    names: dict[str, Any] = {"__name__": "__main__", "flow": flow, "registry": registry}
    for number, answer in ((1, 1), (2, 2)):
        exec(compile(cell(number, answer), f"<cell {number}>", "exec"), names)
    assert Sequential("memory:", registry=registry, plugins=[]).run("of_a_cell") == 2


def test_two_functions_of_one_file_and_name_are_refused() -> None:
    registry = Registry()
    names: dict[str, Any] = {"__name__": "__main__", "flow": flow, "registry": registry}
    with pytest.raises(NameTaken, match="of_a_cell"):
        exec(compile(cell(1, 1) + cell(2, 2), "<one file>", "exec"), names)

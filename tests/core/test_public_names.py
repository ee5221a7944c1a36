"""What `import sequential` offers: sorted, complete, documented, and cheap to import."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest

import sequential
import sequential.errors
import sequential.hookspecs
import sequential.testing


@pytest.mark.parametrize(
    "module", [sequential, sequential.hookspecs, sequential.testing], ids=lambda m: m.__name__
)
def test_the_public_names_are_sorted_and_exist(module: object) -> None:
    names = list(module.__all__)  # type: ignore[attr-defined]
    assert names == sorted(names)
    assert len(names) == len(set(names))
    assert all(hasattr(module, name) for name in names)


def test_there_are_few_public_names() -> None:
    assert len(sequential.__all__) <= 40


def test_nothing_else_is_public() -> None:
    found = {
        name
        for name, value in vars(sequential).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    }
    assert found <= set(sequential.__all__)


@pytest.mark.parametrize("name", sequential.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    value = getattr(sequential, name)
    if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
        assert (value.__doc__ or "").strip().endswith((".", "```", ")")) or value.__doc__


@pytest.mark.parametrize(
    "kind",
    [value for name in sequential.__all__ if inspect.isclass(value := getattr(sequential, name))],
    ids=lambda kind: kind.__name__,
)
def test_every_public_method_is_documented(kind: type) -> None:
    bare = [
        name
        for name, value in vars(kind).items()
        if not name.startswith("_") and callable(value) and not inspect.getdoc(value)
    ]
    assert bare == []


def test_every_error_is_documented_and_is_one_of_ours() -> None:
    errors = [value for value in vars(sequential.errors).values() if inspect.isclass(value)]
    ours = [each for each in errors if each.__module__ == "sequential.errors"]
    assert all(each.__doc__ for each in ours)
    outside = {
        each.__name__ for each in ours if not issubclass(each, sequential.errors.SequentialError)
    }
    assert outside == {"RunCancelled", "BranchCancelled"}
    assert not issubclass(sequential.RunCancelled, Exception)


def test_every_hook_is_documented() -> None:
    hooks = [
        value
        for name, value in vars(sequential.hookspecs).items()
        if name.startswith("sequential_")
    ]
    assert len(hooks) >= 7
    assert all(hook.__doc__ for hook in hooks)


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, sequential; "
        "heavy = {'opentelemetry', 'click', 'rich', 'sqlite3', 'pydantic', 'msgspec', 'asyncio', "
        "'sequential._values_elsewhere'}; "
        "print(*sorted(heavy & set(sys.modules)))"
    )
    # Not measured: coverage imports what it needs itself.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(  # noqa: PLW1510
        [sys.executable, "-c", code], capture_output=True, text=True, env=env
    )
    assert done.stderr == ""
    assert done.stdout.strip() == ""

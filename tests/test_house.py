"""The architecture as tests, read from syntax trees.

Import directions are import-linter's: its list stands in pyproject.toml. Here is the rest.
"""

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "core/src/sequential"
MEMBERS = sorted(
    path
    for pattern in ("core", "plugins/*", "dashboard")
    for path in ROOT.glob(f"{pattern}/pyproject.toml")
)
MODULES = sorted(path for member in MEMBERS for path in member.parent.glob("src/**/*.py"))
CORE_MODULES = [path for path in MODULES if path.is_relative_to(CORE)]

LINES_OF_A_MODULE = 400
LINES_OF_A_FUNCTION = 60
NAMES_THAT_SAY_NOTHING = {
    "base",
    "common",
    "handler",
    "handlers",
    "helper",
    "helpers",
    "manager",
    "managers",
    "util",
    "utils",
}
PURE = (
    "_attempts",
    "_cancelling",
    "_holding",
    "_invoke",
    "_player",
    "_protocol",
    "_replay",
    "_replies",
    "_requests",
    "_runner",
    "_side_by_side",
    "_steps",
)
# What a pure module is handed instead: instants, random numbers, stored records.
IMPURE = {
    "asyncio",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "sqlite3",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
}
CLOCK_READINGS = {"now", "today", "utcnow"}
# Formats whose reading can run code.
UNSAFE = {"cloudpickle", "dill", "jsonpickle", "marshal", "pickle", "shelve", "yaml"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def settings(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def imports(path: Path) -> Iterator[tuple[ast.stmt, str]]:
    """Yield each absolute import of *path*, anywhere in it, and the top-level name it asks for."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node, node.module.split(".")[0]


def whole_imports(path: Path) -> Iterator[tuple[ast.stmt, str]]:
    """Yield each absolute import of *path*, anywhere in it, and the whole name it asks for."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def is_private(name: str) -> bool:
    """Tell whether *name* is one of ours that begins with an underscore, anywhere below the top."""
    return re.fullmatch(r"sequential(\.\w+)*\._.*", name) is not None


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of *function* without its docstring: explaining more is no fault."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        text = function.body[0]
        lines -= (text.end_lineno or text.lineno) - text.lineno + 1
    return lines


def test_there_is_a_house() -> None:
    assert ROOT / "core/pyproject.toml" in MEMBERS
    missing = [name for name in ("__init__", "errors", *PURE) if CORE / f"{name}.py" not in MODULES]
    assert not missing


def test_every_core_module_has_its_place_in_the_stack() -> None:
    contracts = settings(ROOT / "pyproject.toml")["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "stack")
    listed = {name.strip(" ()") for layer in layers for name in layer.split("|")}
    present = {path.relative_to(CORE).parts[0].removesuffix(".py") for path in CORE_MODULES}
    assert present - {"__init__"} <= listed


def test_no_module_has_a_name_that_says_nothing() -> None:
    parts = {part for path in MODULES for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not {part for part in parts if part.strip("_") in NAMES_THAT_SAY_NOTHING}


def test_every_module_says_what_it_owns() -> None:
    assert not [str(path) for path in MODULES if not ast.get_docstring(tree(path))]


def test_a_module_can_be_read_in_one_sitting() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not {
        str(path.relative_to(ROOT)): lines
        for path, lines in lengths.items()
        # The one tree of errors is read from its drawing, not from top to bottom.
        if lines > LINES_OF_A_MODULE and path != CORE / "errors.py"
    }


def test_a_function_fits_on_a_page() -> None:
    assert not {
        f"{place(path, function)} {function.name}": code_lines(function)
        for path in MODULES
        for function in functions(path)
        if code_lines(function) > LINES_OF_A_FUNCTION
    }


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_imports_nothing_that_acts(name: str) -> None:
    path = CORE / f"{name}.py"
    assert not [place(path, node) for node, module in imports(path) if module in IMPURE]


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_reads_no_clock(name: str) -> None:
    path = CORE / f"{name}.py"
    calls = [node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    assert not [
        place(path, call)
        for call in calls
        if isinstance(call, ast.Attribute)
        and call.attr in CLOCK_READINGS
        and ast.unparse(call.value).split(".")[-1] in {"datetime", "date"}
    ]


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path not in CORE_MODULES], ids=lambda path: path.stem
)
def test_a_plugin_uses_what_is_public(path: Path) -> None:
    """What a plugin of ours needs, others need too."""
    assert not [place(path, node) for node, name in whole_imports(path) if is_private(name)]


def test_a_private_module_of_the_core_is_known_when_it_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "plugin.py"
    path.write_text(
        "import sequential._app\nfrom sequential._app import x\nfrom sequential import _app\n"
        "from sequential.testing._stage import y\nfrom sequential import flow\nfrom . import _own\n"
    )
    assert [is_private(name) for _, name in whole_imports(path)] == [True] * 4 + [False]


def test_nothing_stored_can_run_code_when_it_is_read() -> None:
    assert not [
        f"{place(path, node)} {module}"
        for path in MODULES
        for node, module in imports(path)
        if module in UNSAFE
    ]


def test_no_import_is_made_for_types_only() -> None:
    """A cycle that only the type checker sees is still a cycle."""
    assert not [
        place(path, node)
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]


def test_inside_the_core_nobody_imports_the_public_face() -> None:
    """`from sequential import x` inside the package would be a cycle through `__init__`."""
    assert not [
        place(path, node)
        for path in CORE_MODULES
        for node, module in imports(path)
        if module == "sequential"
    ]


def test_the_public_names_are_sorted_and_are_all_there_is() -> None:
    sequential = importlib.import_module("sequential")
    public = {
        name
        for name, value in vars(sequential).items()
        # A submodule appears here as soon as anybody imports it; it is public if it is listed.
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    listed = list(sequential.__all__)
    assert listed == sorted(set(listed))
    assert [name for name in listed if not hasattr(sequential, name)] == []
    assert public <= set(listed)


def test_all_members_have_one_version() -> None:
    assert len({settings(path)["project"]["version"] for path in MEMBERS}) == 1


def test_every_member_is_typed_and_carries_its_metadata() -> None:
    for path in MEMBERS:
        project = settings(path)["project"]
        assert "Typing :: Typed" in project["classifiers"], path
        assert project["license"] == "Apache-2.0", path
        assert list(path.parent.glob("src/*/py.typed")), path
        for dependency in project["dependencies"]:
            assert {">=", "<"} <= set(re.findall(r"[<>=]+", dependency)), f"{path}: {dependency}"


def drawn_parents(drawing: str) -> dict[str, str | None]:
    """Read a tree drawn with box characters: each name and the name it hangs from.

    A line of the tree is a name, alone or followed by a gap and a remark. Prose has no such lines.
    """
    parents: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in drawing.splitlines():
        if found := re.match(r"[│ ├└─]*([A-Z]\w*)(?:$|  )", line):
            name, column = found[1], found.start(1)
            above = [(at, ancestor) for at, ancestor in above if at < column]
            parents[name] = above[-1][1] if above else None
            above.append((column, name))
    return parents


def test_the_tree_in_the_docstring_of_errors_is_the_tree_of_classes() -> None:
    module = tree(CORE / "errors.py")
    classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
    bases = {name: [ast.unparse(base) for base in node.bases] for name, node in classes.items()}
    # The first base that is an error of ours; a second one may be, say, TimeoutError.
    parents = {
        name: next((base for base in above if base in classes), None)
        for name, above in bases.items()
        if not name.startswith("_")
    }
    assert drawn_parents(ast.get_docstring(module) or "") == parents


def test_a_drawn_tree_is_read_as_it_is_drawn() -> None:
    drawing = "Words.\n\nTop\n├── Group    about it\n│   └── Leaf   value\n└── Last\n\nTop is last."
    expected = {"Top": None, "Group": "Top", "Leaf": "Group", "Last": "Top"}
    assert drawn_parents(drawing) == expected

"""Plugins are found by entry points, and a broken one is a line in a list, not a failure."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sequential import Registry, Sequential
from sequential._clock import SYSTEM_CLOCK
from sequential._plugins import Plugins
from sequential.errors import PluginBroken, SchemeUnknown

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make a distribution with one module and entry points, as installing it would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def made(name: str, code: str, *entries: str, version: str = "1.2") -> None:
        module = f"fake_{tmp_path.name.replace('-', '_')}_{name}"
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = entries or (f"{name} = {module}",)
        text = "\n".join(line.replace("MODULE", module) for line in lines)
        (info / "entry_points.txt").write_text(f"[sequential]\n{text}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return made


STORAGE = """
from sequential import hookimpl

def open_toy(url, clock):
    {opens}

@hookimpl
def sequential_storages():
    return {{"toy": open_toy}}
"""


def found(plugins: Plugins) -> dict[str, str | None]:
    return {info.name: info.error for info in plugins.found}


def test_an_installed_plugin_is_found(install: Install) -> None:
    install("toy", STORAGE.format(opens="return (url, clock)"))
    plugins = Plugins()
    (info,) = [each for each in plugins.found if each.name == "toy"]
    assert (info.distribution, info.version, info.error) == ("toy", "1.2", None)
    assert info.hooks == ("sequential_storages",)
    opened: object = plugins.open_storage("toy://here", SYSTEM_CLOCK)
    assert opened == ("toy://here", SYSTEM_CLOCK)


def test_what_is_installed_is_looked_through_once_until_pip_changes_it(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    look = importlib.metadata.entry_points

    def looks(*, group: str) -> importlib.metadata.EntryPoints:
        looked.append(group)
        return look(group=group)

    monkeypatch.setattr(importlib.metadata, "entry_points", looks)
    install("one", "")
    first = found(Plugins())  # compiles its module, which changes the place once more
    looked.clear()
    assert found(Plugins()) == found(Plugins()) == first
    assert looked == ["sequential"]
    install("two", "")
    assert "two" in found(Plugins())
    assert looked == ["sequential"] * 2


BROKEN = {
    "that cannot be imported": ("import nowhere_at_all", (), "ModuleNotFoundError"),
    "that raises": ("raise RuntimeError('no license')", (), "RuntimeError: no license"),
    "that is no Python": ("def", (), "SyntaxError"),
    "whose object is missing": ("", ("bad = MODULE:missing",), "AttributeError"),
    "with a hook of other parameters": (
        "from sequential import hookimpl\n@hookimpl\ndef sequential_observe(happening): ...",
        (),
        "happening",
    ),
}


@pytest.mark.parametrize(("code", "entries", "says"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_one_line_and_the_others_work(
    code: str, entries: tuple[str, ...], says: str, install: Install
) -> None:
    install("bad", code, *entries)
    install("good", STORAGE.format(opens="return 'opened'"))
    plugins = Plugins()
    errors = found(plugins)
    assert errors["good"] is None
    assert says in str(errors["bad"])
    opened: object = plugins.open_storage("toy:", SYSTEM_CLOCK)
    assert opened == "opened"


def test_nothing_of_a_broken_plugin_is_called(install: Install) -> None:
    install(
        "half",
        "from sequential import hookimpl\n"
        "@hookimpl\ndef sequential_call_tool(call): raise AssertionError('called')\n"
        "@hookimpl\ndef sequential_observe(happening): ...",
    )
    plugins = Plugins()
    assert "happening" in str(found(plugins)["half"])
    assert plugins.manager.hook.sequential_call_tool.get_hookimpls() == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://db/x", "pip install sequential-postgres"),
        ("s3://bucket", "pip install sequential-s3"),
        ("redis://x", "known: memory, projection, sqlite"),
        ("flows.db", "write the storage as a URL"),
    ],
)
def test_an_unknown_storage_names_what_to_do(url: str, says: str) -> None:
    with pytest.raises(SchemeUnknown, match=says):
        Plugins(_builtin(), only=[]).open_storage(url, SYSTEM_CLOCK)


def test_an_unknown_transport_names_what_to_install() -> None:
    with pytest.raises(SchemeUnknown, match=r"no transport opens sqs://.*sequential-sqs"):
        Plugins(_builtin(), only=[]).open_transport("sqs://queue", SYSTEM_CLOCK)


def _builtin() -> list[object]:
    from sequential import _builtin

    return [_builtin]


def test_a_scheme_of_a_broken_plugin_says_why_it_is_broken(install: Install) -> None:
    install("pigeon", "import loft_of_another_planet")
    with pytest.raises(SchemeUnknown, match=r"installed but broken.*loft_of_another_planet"):
        Plugins().open_transport("pigeon://loft", SYSTEM_CLOCK)


def test_a_missing_driver_is_named(install: Install) -> None:
    install("toy", STORAGE.format(opens="import driver_of_another_planet"))
    with pytest.raises(PluginBroken, match=r"driver_of_another_planet.*install what it needs"):
        Plugins().open_storage("toy:", SYSTEM_CLOCK)


def test_plugins_that_are_not_named_are_not_used(install: Install) -> None:
    install("one", STORAGE.format(opens="return 1"))
    install("two", "raise SystemError('imported')")
    assert found(Plugins(only=["one"])) == {"one": None}
    assert found(Plugins(only=[])) == {}
    with (
        Sequential("memory:", plugins=["one"], registry=Registry()) as app,
        pytest.raises(SchemeUnknown),
    ):
        Sequential("toy:", plugins=[], registry=Registry())
    assert found(app.plugins) == {"one": None}


def test_a_plugin_object_is_asked_beside_installed_ones(install: Install) -> None:
    install("toy", STORAGE.format(opens="return 'installed'"))

    class Given:
        from sequential.hookspecs import hookimpl

        @hookimpl
        def sequential_storages(self) -> dict[str, Callable[..., object]]:
            return {"given": lambda url, _: url}

    plugins = Plugins([Given()])
    opened: list[object] = [plugins.open_storage(f"{x}:", SYSTEM_CLOCK) for x in ("given", "toy")]
    assert opened == ["given:", "installed"]


def test_an_entry_point_may_name_an_object(install: Install) -> None:
    code = (
        "from sequential import hookimpl\n"
        "class Plugin:\n"
        "    @hookimpl\n"
        "    def sequential_register(self, registry): registry.flows['seen'] = None\n"
        "plugin = Plugin()\n"
    )
    install("thing", code, "thing = MODULE:plugin")
    registry = Registry()
    Plugins().register(registry)
    assert "seen" in registry.flows


def test_a_hook_that_does_not_exist_is_a_broken_plugin(install: Install) -> None:
    install(
        "typo", "from sequential import hookimpl\n@hookimpl\ndef sequential_storage(): return {}"
    )
    assert "sequential_storage" in str(found(Plugins())["typo"])

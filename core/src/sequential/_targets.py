"""From what a person names to a flow: ``module:flow``, ``path/file.py:flow``, a registered name.

Imports the modules that the user or the configuration names, and says in one sentence why one
cannot be read. Never given anything that was stored.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ._flow import Flow
from ._registry import Registry
from .errors import FlowNotFound, FlowUnreadable


def find_flow(target: str, registry: Registry, directory: Path) -> Flow[..., Any]:
    """Return the flow that *target* names: a registered name first, then module or file.

    Args:
        target: ``name``, ``package.module:flow`` or ``path/file.py:flow``.
        registry: Where names are looked up.
        directory: What relative paths start from, and where modules are looked for first.

    Raises:
        FlowNotFound: It is a name that is not registered.
        FlowUnreadable: The module or file cannot be imported, or has no such flow.
    """
    known = registry.flows.get(target)
    if known is not None:
        return known
    place, name = _split(target)
    if place is None:
        raise FlowNotFound(target, registry.flows)
    module = load_module(place, directory)
    if not name:
        raise FlowUnreadable(target, f"add the name of the flow: {place}:{_first(module)}")
    return _flow_in(module, target, name)


def import_modules(places: Iterable[str], directory: Path | None = None) -> None:
    """Import each of *places*, a module or a file, so that its flows and tools are registered.

    Args:
        places: ``package.module`` or ``path/file.py``, with or without ``:flow``.
        directory: As for `find_flow`; by default the current directory.

    Raises:
        FlowUnreadable: One cannot be imported.
    """
    for target in places:
        place, _ = _split(target)
        load_module(place or target, directory or Path.cwd())


def load_module(place: str, directory: Path) -> ModuleType:
    """Import *place*, ``package.module`` or ``path/file.py``, and return it.

    Raises:
        FlowUnreadable: It cannot be imported; the reason is the exception's.
    """
    if _is_file(place):
        return _load_file(place, directory / place)
    if not all(part.isidentifier() for part in place.split(".")):
        raise FlowUnreadable(place, "it is neither a module's name nor the path of a .py file")
    _put_first(directory)
    with _explained(place):
        return importlib.import_module(place)


def _load_file(place: str, path: Path) -> ModuleType:
    try:
        there = path.is_file()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise FlowUnreadable(place, str(error)[:200]) from error
    if not there:
        raise FlowUnreadable(place, f"there is no file {path}")
    path = path.resolve()
    name = _module_name(path)
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded
    # As `python file.py` does, so that the file can import its neighbours.
    _put_first(path.parent)
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _explained(place):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _module_name(path: Path) -> str:
    """Return the file's own name if no other module has it, so that neighbours can import it."""
    name = path.stem
    other = sys.modules.get(name)
    free = other is None and name not in sys.builtin_module_names
    if free or getattr(other, "__file__", None) == str(path):
        return name
    return f"{name}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"


@contextmanager
def _explained(place: str) -> Iterator[None]:
    """Turn whatever an import raises into one sentence."""
    try:
        yield
    except SyntaxError as error:
        reason = f"{error.filename}:{error.lineno} is not Python: {error.msg}"
        raise FlowUnreadable(place, reason) from error
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            reason = f"there is no module {error.name!r}; is it installed, or below this directory?"
            raise FlowUnreadable(place, reason) from error
        raise FlowUnreadable(place, f"it imports {error.name!r}, which is missing") from error
    except (Exception, SystemExit) as error:
        reason = f"importing it raised {type(error).__name__}: {error}"
        raise FlowUnreadable(place, reason) from error


def _flow_in(module: ModuleType, target: str, name: str) -> Flow[..., Any]:
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            have = ", ".join(_flows(module)) or "none"
            raise FlowUnreadable(target, f"it has no {name!r}; its flows are: {have}")
        found = getattr(found, part)
    if not isinstance(found, Flow):
        reason = f"{name!r} is {type(found).__name__}, not a flow; decorate the function with @flow"
        raise FlowUnreadable(target, reason)
    return found


def _flows(module: ModuleType) -> list[str]:
    return sorted(name for name, value in vars(module).items() if isinstance(value, Flow))


def _first(module: ModuleType) -> str:
    return next(iter(_flows(module)), "flow")


def _split(target: str) -> tuple[str | None, str]:
    """Return module or file, and flow; None and nothing for what can only be a name."""
    place, colon, name = target.rpartition(":")
    if not colon or name.endswith(".py") or "/" in name or "\\" in name:
        return (target, "") if _is_file(target) else (None, "")
    return place, name


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place or "\\" in place


def _put_first(directory: Path) -> None:
    text = str(directory.resolve())
    if text not in sys.path:
        sys.path.insert(0, text)

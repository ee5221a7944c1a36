"""A mutant: the core with a few lines of its source replaced while they are loaded.

Nothing on disk is touched: an import hook gives one interpreter the wrong variant. What kills a
mutant is a name here; how it is tried stands in `trial`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

SIMULATOR = "simulator"
"""The killer of mutants that a seeded schedule finds; every other killer is a test's node id."""


class Patch(NamedTuple):
    """One replacement: *old* stands exactly once in *module*, named below ``sequential.``."""

    module: str
    old: str
    new: str

    @property
    def name(self) -> str:
        """The full name of the module."""
        return f"sequential.{self.module}"


class Mutant(NamedTuple):
    """One wrong variant of the protocol.

    Attributes:
        name: What is wrong, as a sentence.
        patches: Most have one; more where one guard alone is masked by another.
        killer: `SIMULATOR`, or the node id of the test that is meant to catch it.
    """

    name: str
    patches: tuple[Patch, ...]
    killer: str


class NotApplicable(Exception):
    """The core has changed under a mutant."""

    def __init__(self, patch: Patch, found: int) -> None:
        super().__init__(
            f"{patch.old!r} occurs {found} times in {patch.name}, not once; "
            "write the mutant anew for the code as it is"
        )


def mutant(name: str, module: str, old: str, new: str, killer: str) -> Mutant:
    """Return a mutant of one patch."""
    return Mutant(name, (Patch(module, old, new),), killer)


def source_of(module: str) -> Path:
    """Return the file of the module ``sequential.<module>``, without importing anything."""
    package = find_spec("sequential")
    assert package is not None
    assert package.submodule_search_locations is not None
    folder = Path(package.submodule_search_locations[0])
    path = folder.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def mutated(source: str, patches: Sequence[Patch]) -> str:
    """Return *source* with all of *patches* applied.

    Raises:
        NotApplicable: What one of them replaces does not stand there exactly once.
    """
    for patch in patches:
        found = source.count(patch.old)
        if found != 1:
            raise NotApplicable(patch, found)
        source = source.replace(patch.old, patch.new)
    return source


class _Loader(SourceFileLoader):
    """Loads a module wrong; compiled files on disk are neither read nor written."""

    def __init__(self, name: str, path: str, patches: Sequence[Patch]) -> None:
        super().__init__(name, path)
        self._patches = patches

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = mutated(Path(path).read_text(encoding="utf-8"), self._patches)
        return compile(source, path, "exec", dont_inherit=True)


class Hook:
    """A finder before all others that knows the modules of one mutant."""

    def __init__(self, patches: Sequence[Patch]) -> None:
        self._patches = patches

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module that is to be loaded wrong, else None."""
        own = [patch for patch in self._patches if patch.name == name]
        if not own:
            return None
        spec = PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(name, spec.origin, own)
        return spec


def install(patches: Sequence[Patch]) -> None:
    """Load the core with *patches* from now on.

    Raises:
        RuntimeError: Some of it was loaded before.
    """
    loaded = [patch.name for patch in patches if patch.name in sys.modules]
    if loaded:
        msg = f"{', '.join(loaded)} was imported before the mutant; use a fresh interpreter"
        raise RuntimeError(msg)
    sys.meta_path.insert(0, Hook(patches))

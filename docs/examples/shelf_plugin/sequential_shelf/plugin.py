"""The hooks: what this package brings, by name. What it needs is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from sequential import Registry, hookimpl
from sequential.hookspecs import StorageFactory
from sequential.storage import Clock, Storage


def open_shelf(url: str, clock: Clock) -> Storage:
    from .storage import ShelfStorage, folder_in

    return ShelfStorage(folder_in(url), clock)


@hookimpl
def sequential_storages() -> Mapping[str, StorageFactory]:
    return {"shelf": open_shelf}


@hookimpl
def sequential_register(registry: Registry) -> None:
    from . import tools

    for each in (tools.read, tools.write, tools.add_line):
        registry.add_tool(each)

"""Thousands of items, ten at a time; what fails is told, and does not stop the others."""

from __future__ import annotations

from dataclasses import dataclass

from sequential import RetryPolicy, flow, map_tool, tool


@dataclass
class Done:
    sizes: int
    failed: dict[str, str]


@tool("pictures", "list")
def pictures(album: str) -> list[str]:
    raise NotImplementedError("a request to the store")


@tool("pictures", "shrink", retry=RetryPolicy(max_attempts=2))
def shrink(name: str) -> int:
    raise NotImplementedError("a request to the store, some work, another request")


@flow
async def shrink_all(album: str) -> Done:
    names = await pictures(album)
    sizes = await map_tool(shrink, names, max_concurrency=10, errors="collect")
    failed = {
        name: str(size)
        for name, size in zip(names, sizes, strict=True)
        if isinstance(size, Exception)
    }
    return Done(sum(size for size in sizes if isinstance(size, int)), failed)

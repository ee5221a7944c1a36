"""Tools for text files: `read`, `write` and `add_line`, all safe to repeat.

They stay inside one folder, ``SHELF_FILES`` of the environment, else the current one: paths come
from the inputs of runs.
"""

from __future__ import annotations

import os
from pathlib import Path

from sequential import Rejected, ToolContext, tool

from .folder import locked, write_whole


@tool("files", "read")
def read(path: str) -> str:
    """Return the text of the file."""
    return _inside(path).read_text("utf-8")


@tool("files", "write")
def write(path: str, text: str) -> int:
    """Make *text* the whole of the file; return its length. Twice is as good as once."""
    place = _inside(path)
    with locked(_root() / ".files.lock"):
        write_whole(place, text.encode())
    return len(text)


@tool("files", "add_line")
def add_line(context: ToolContext, path: str, line: str) -> int:
    """Add *line*, behind the key of this call; return its number.

    The key is the same when the call is repeated after a crash, and the line is there once.
    """
    if "\n" in line:
        raise Rejected("a line cannot have a line break in it", retryable=False)
    place, key = _inside(path), context.idempotency_key
    with locked(_root() / ".files.lock"):
        text = place.read_text("utf-8") if place.exists() else ""
        lines = text.split("\n")[:-1]
        for number, there in enumerate(lines, 1):
            if there.startswith(f"{key} "):
                return number
        write_whole(place, f"{text}{key} {line}\n".encode())
        return len(lines) + 1


def _root() -> Path:
    return Path(os.environ.get("SHELF_FILES", ".")).resolve()


def _inside(path: str) -> Path:
    place = (_root() / path).resolve()
    if not place.is_relative_to(_root()) or place == _root():
        # Certainly nothing was done, and another attempt would fare no better.
        raise Rejected(f"{path!r} is not in {_root()}; name a file in it", retryable=False)
    return place

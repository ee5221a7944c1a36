"""The lists of protocol.md 13.5, read from ``data/*.json``.

An entry is a name, a value and why it is there. Values that JSON cannot hold, or that would be
megabytes of it, are described: ``base64``, ``repeat`` (a text and how often), ``keys`` (an object
of that many), ``wrap`` (a text repeated between two others).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

DATA = Path(__file__).parent / "data"


class Entry(NamedTuple):
    """One line of a list; *more* is what it says beside name, value and why."""

    name: str
    value: Any
    why: str
    more: dict[str, Any]


def entries(file: str) -> list[Entry]:
    """Return the list in ``data/<file>.json``."""
    rows = json.loads((DATA / f"{file}.json").read_text(encoding="utf-8"))
    return [Entry(row["name"], _value(row), row["why"], row) for row in rows]


def cases(file: str) -> Any:
    """Return the list as parameters of a test, each under its name."""
    return [pytest.param(entry, id=f"{entry.name[:50]!a}") for entry in entries(file)]


def _value(row: dict[str, Any]) -> Any:
    if "base64" in row:
        return base64.b64decode(row["base64"])
    if "repeat" in row:
        text, times = row["repeat"]
        return text * times
    if "keys" in row:
        return json.dumps({str(number): number for number in range(row["keys"])})
    if "wrap" in row:
        before, text, times, after = row["wrap"]
        return before + text * times + after
    return row.get("value")


def clear(error: Exception, longest: int = 1000) -> None:
    """Insist that *error* is a sentence of ours: not empty, not endless, no codec's own words."""
    assert 0 < len(str(error)) < longest
    assert not isinstance(error, UnicodeError)


def as_bytes(value: str | bytes) -> bytes:
    """Return *value* as it travels; a text that is no Unicode as the surrogates' own bytes."""
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")


def stored(value: Any) -> Any:
    """Return what a column is set to: *value*, bytes, or a payload after a header."""
    if not isinstance(value, dict):
        return value
    if "header" in value:
        header = json.dumps(value["header"]).encode()
        return b"\x01" + header + b"\n" + base64.b64decode(value["data"])
    return base64.b64decode(value["bytes"])

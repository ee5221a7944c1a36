"""How any text of Python becomes one that Postgres takes: its only taboo is NUL.

A NUL is written as SUB and ``0``, a SUB as twice itself, so that no two texts become one, and all
others are stored as they are and can be read in any client. Knows no table.
"""

from __future__ import annotations

import re

_TABOO = re.compile("[\0\x1a]")
_WRITTEN = re.compile("\x1a(.)", re.DOTALL)
_TO = {"\0": "\x1a0", "\x1a": "\x1a\x1a"}


def to_column(text: str) -> str:
    """Return *text* as it is stored."""
    if "\0" in text or "\x1a" in text:
        return _TABOO.sub(lambda found: _TO[found[0]], text)
    return text


def from_column(text: str) -> str:
    """Return the text that `to_column` made *text* of."""
    if "\x1a" in text:
        return _WRITTEN.sub(lambda found: "\0" if found[1] == "0" else found[1], text)
    return text


def to_row(values: tuple[object, ...]) -> tuple[object, ...]:
    """Return *values* with every text among them as it is stored."""
    return tuple([to_column(value) if isinstance(value, str) else value for value in values])


def from_row(values: tuple[object, ...]) -> tuple[object, ...]:
    """Return *values* with every text among them as it was before it was stored."""
    return tuple([from_column(value) if isinstance(value, str) else value for value in values])

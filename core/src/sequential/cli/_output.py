"""Printing: colours and tables on a terminal, aligned text elsewhere, JSON when asked for.

Results go to stdout, everything else to stderr. Whatever comes from a run is data: its control
characters are shown as escapes, and no markup in it is read.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from .._config import shown_text

STYLES = {
    "completed": "green",
    "running": "cyan",
    "waiting": "blue",
    "due": "cyan",
    "stalled": "yellow",
    "blocked": "yellow",
    "failed": "red",
    "quarantined": "red",
    "cancelled": "magenta",
    "purged": "dim",
    "error": "red",
    "timeout": "yellow",
}
"""How words are coloured on a terminal."""

LONGEST = 1_400
"""Characters of an error's line; it may quote a value of any length."""

# Controls, and the marks that turn the direction of text.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def shown(text: str) -> str:
    """Return *text* for a terminal: control characters become escapes."""
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(error: object) -> str:
    """Return the message of *error* in one line, without secrets of URLs, cut where it is long."""
    # Cut first as well: looking for URLs in a megabyte of text would take minutes. A secret that
    # this cuts in two stands far behind what is printed.
    text = shown(shown_text(" ".join(str(error).split())[: 2 * LONGEST]))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


class Output:
    """Where a command prints; *json* says that stdout is for a program."""

    def __init__(self, as_json: bool) -> None:
        self.json = as_json
        self.terminal = not as_json and sys.stdout.isatty()

    def document(self, value: object) -> None:
        """Print *value*, plain data, as one line of JSON."""
        text = json.dumps(value, ensure_ascii=_is_narrow(), separators=(",", ":"), default=str)
        click.echo(text)

    def text(self, line: str) -> None:
        """Print *line*."""
        if self.terminal:
            from rich.text import Text

            self._console().print(Text(shown(line)), soft_wrap=True)
        else:
            click.echo(shown(line))

    def block(self, text: str) -> None:
        """Print *text* of several lines, such as a diff."""
        for line in text.splitlines():
            self.text(line)

    def note(self, line: str) -> None:
        """Say *line* on stderr, unless a program reads."""
        if not self.json:
            click.echo(shown(shown_text(line)), err=True)

    def fields(self, pairs: Mapping[str, str]) -> None:
        """Print names and values, aligned; empty values are left out."""
        rows = [(name, value) for name, value in pairs.items() if value]
        self._rows([], rows, head_style="bold")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print *rows* under *columns*."""
        self._rows(columns, rows)

    def _rows(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], head_style: str = ""
    ) -> None:
        clean = [[shown(cell) for cell in row] for row in rows]
        if self.terminal:
            self._rich_table(columns, clean, head_style)
            return
        for line in aligned([list(columns), *clean] if columns else clean):
            click.echo(line)

    def _rich_table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], head_style: str
    ) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=bool(columns), padding=(0, 2, 0, 0))
        width = len(columns) or (len(rows[0]) if rows else 0)
        for number in range(width):
            name = columns[number] if columns else ""
            last = number == width - 1
            table.add_column(name, no_wrap=not last, overflow="ellipsis" if columns else "fold")
        for row in rows:
            first = Text(row[0], style=head_style)
            rest = (Text(cell, style=STYLES.get(cell.split(" ")[0], "")) for cell in row[1:])
            table.add_row(first, *rest)
        self._console().print(table)

    def _console(self) -> Any:
        from rich.console import Console

        return Console(highlight=False)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return *rows* as lines with their columns under each other."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _is_narrow() -> bool:
    """Tell whether stdout cannot hold every character; JSON then says them as escapes."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return encoding.lower().replace("-", "") not in {"utf8", "utf16", "utf32"}

"""The effects log: what tools really did, in a file that no kill can take back.

One line per event, appended by a single write, so that lines of many processes never mix and a
line that was written stays, whatever becomes of its process. Knows nothing of flows.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Line(NamedTuple):
    """One event.

    Attributes:
        kind: ``start``, ``effect`` or ``fail`` of an execution; ``lost`` of an invocation.
        pid: The process that wrote it.
        token: Made up by the execution, and its result; ``-`` where there is none.
        run_id: The run; the fields below are those of the tool's context.
    """

    kind: str
    pid: int
    token: str
    run_id: str
    generation: int = 0
    position: str = "-"
    tool: str = "-"
    attempt: int = 0
    epoch: int = 0
    fence: int = 0
    key: str = "-"


def parse(text: str) -> Line:
    """Read one line back."""
    kind, pid, token, run_id, generation, position, tool, attempt, epoch, fence, key = text.split()
    return Line(
        kind, int(pid), token, run_id, int(generation), position, tool,
        int(attempt), int(epoch), int(fence), key,
    )  # fmt: skip


class Effects:
    """The log at *path*, for writing. Carried across a fork it goes on appending."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)

    def write(self, line: Line) -> None:
        """Append *line* in one write."""
        os.write(self._file, (" ".join(map(str, line)) + "\n").encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class Tail:
    """Reads the log at *path* as it grows."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_RDONLY, 0o600)
        self._rest = b""

    def new(self) -> list[Line]:
        """Return the lines that were completed since the last call."""
        data = self._rest
        while part := os.read(self._file, 1 << 20):
            data += part
        *whole, self._rest = data.split(b"\n")
        return [parse(each.decode()) for each in whole]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read(path: Path) -> list[Line]:
    """Return all lines of the log at *path*."""
    return [parse(each) for each in path.read_text(encoding="utf-8").splitlines()]

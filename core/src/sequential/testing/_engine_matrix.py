"""The failpoint matrix of the core: which rows there are, crossed with whoever acts next.

The rows stand in the modules named after their subject. Rows that belong to one kind of storage or
transport (F05, F11, F27, F29, F43, F45 to F47) are not asked of every storage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ._engine_row import Row
from ._engine_rows_begin import BEGIN
from ._engine_rows_branches import BRANCHES
from ._engine_rows_cancel import CANCELS
from ._engine_rows_children import CHILDREN
from ._engine_rows_replay import REPLAY
from ._engine_rows_steps import STEPS
from ._engine_rows_tending import TENDING
from ._engine_rows_trouble import TROUBLE
from ._engine_rows_zombies import ZOMBIES
from ._engine_scene import ACTORS, Actor

ROWS: Sequence[Row] = sorted(
    (*BEGIN, *BRANCHES, *CANCELS, *CHILDREN, *REPLAY, *STEPS, *TENDING, *TROUBLE, *ZOMBIES),
    key=lambda row: row.name,
)

NAMES = (
    *[f"F{number:02}" for number in (*range(1, 5), *range(6, 11), *range(12, 27))],
    *["F28", *[f"F{number}" for number in range(30, 43)], "F44", "F48", "F49"],
)
"""The failpoints that every storage must bear."""


class Cell(NamedTuple):
    """One row with one next actor."""

    row: Row
    actor: Actor

    @property
    def key(self) -> str:
        """Such as ``F23-sweeper``."""
        return f"{self.row.key}-{self.actor}"


def cells(rows: Sequence[Row] = ROWS) -> list[Cell]:
    """Return every cell of *rows* that makes sense."""
    return [Cell(row, actor) for row in rows for actor in ACTORS if actor not in row.not_for]


def uncovered(rows: Sequence[Row] = ROWS) -> list[str]:
    """Return what of the matrix no cell of *rows* covers: ``F23-sweeper`` and the like."""
    covered = {(cell.row.name, cell.actor) for cell in cells(rows)}
    return [f"{name}-{actor}" for name in NAMES for actor in ACTORS if (name, actor) not in covered]


def report(rows: Sequence[Row] = ROWS) -> str:
    """Say which cells there are, a line per row, and why others make no sense."""
    lines = [f"{len(cells(rows))} cells of {len(NAMES)} failpoints"]
    for row in rows:
        actors = ", ".join(actor for actor in ACTORS if actor not in row.not_for)
        lines.append(f"{row.key}: {row.happens}; {row.holds} [{actors}]")
        lines += [f"  not {actor}: {why}" for actor, why in row.not_for.items()]
    return "\n".join(lines)

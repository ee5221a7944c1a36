"""The application as somebody has it who tells runs things, and carries none of them on."""

from __future__ import annotations

from sequential._model import Run
from sequential._outside import Outside
from sequential._requests import Engine
from sequential._storage import Storage
from sequential._tending import Tended


class Desk(Tended):
    """What `Sequential` checks before it tells a run anything, over a storage that is watched.

    The resume message that follows is left to the traffic.
    """

    def __init__(self, engine: Engine, storage: Storage, outside: Outside) -> None:
        self.engine = engine
        self.storage = storage
        self._outside = outside

    def _send(self, run: Run) -> None:
        """Send nothing."""

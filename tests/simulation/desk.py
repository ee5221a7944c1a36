"""The application as somebody has it who tells runs things, and their way to the storage."""

from __future__ import annotations

from collections.abc import Callable

from sequential._model import Run
from sequential._outside import Outside
from sequential._requests import Engine
from sequential._storage import Loaded, Storage
from sequential._tending import Tended
from tests.simulation.fleet import Channel


class Window(Channel):
    """The way of people to the storage.

    Attributes:
        meanwhile: Lets others go on between what they read and what they write.
    """

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        """Load, and then let others go on."""
        found = super().load(run_id, after)
        self.meanwhile()
        return found


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

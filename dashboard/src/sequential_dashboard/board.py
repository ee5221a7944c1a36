"""What a server holds for all who look: its settings, a reader, an actor. Nothing of a viewer.

No answer of the storage is kept here or in any cache that sessions share: each page asks anew,
with the rights of who is asking.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from sequential import Sequential
from sequential.audit import Audit
from sequential.spans import SpanStore
from sequential.storage import Clock

from .actions import Actor
from .reading import Reader
from .settings import Settings

TRIES = 10
"""Wrong tokens in `TRIES_WITHIN` seconds, after which none is looked at until they are over."""

TRIES_WITHIN = 60.0


class Board:
    """One server's parts.

    Args:
        settings: What it was started with.
        looking: An application on a `ReadOnlyStorage`.
        acting: An application that can write; None to only read.
        spans: What is known of runs beyond their records; None for nothing.
    """

    def __init__(
        self,
        settings: Settings,
        looking: Sequential,
        acting: Sequential | None = None,
        spans: SpanStore | None = None,
    ) -> None:
        self.settings = settings
        self.reader = Reader(looking, spans)
        self.audit = Audit(settings.audit)
        self.clock: Clock = looking.clock
        self.actor = Actor(acting, self.audit, self.clock)
        self.tries = Tries(self.clock.monotonic)


class Tries:
    """Counts wrong tokens, of everybody together."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._wrong: list[float] = []

    def allowed(self) -> bool:
        """Tell whether another token may be looked at."""
        with self._lock:
            now = self._monotonic()
            self._wrong = [each for each in self._wrong if now - each < TRIES_WITHIN]
            return len(self._wrong) < TRIES

    def wrong(self) -> None:
        """Count a wrong one."""
        with self._lock:
            self._wrong.append(self._monotonic())


_boards: list[Board] = []


def hold(board: Board | None) -> None:
    """Make *board* the one that pages use; None for none."""
    _boards[:] = [] if board is None else [board]


def current() -> Board:
    """Return the board of this process.

    Raises:
        RuntimeError: The server was not started by ``sequential dashboard``.
    """
    if not _boards:
        raise RuntimeError("no dashboard is open in this process; start `sequential dashboard`")
    return _boards[-1]

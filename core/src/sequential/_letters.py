"""What several threads of one process have to tell to the same run: one of them tells it all.

Each would read that run's record and write it anew, and mostly find that another was faster. Knows
neither storages nor what is said.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ._model import Run


@dataclass(slots=True, eq=False)
class Letter:
    """One message on its way.

    Attributes:
        name: Its name.
        data: Its encoded value.
        sent_id: Gives the id under which it is accepted once, from the record of who gets it; None
            to tell it nothing.
        done: Whether that was done, by whatever thread.
    """

    name: str
    data: bytes
    sent_id: Callable[[Run], str | None]
    done: bool = False


@dataclass(slots=True)
class _Box:
    turn: threading.Lock = field(default_factory=threading.Lock)
    letters: list[Letter] = field(default_factory=list)
    users: int = 0


class Letters:
    """The letters of one process that nobody has taken yet, by who gets them."""

    def __init__(self) -> None:
        self._boxes: dict[str, _Box] = {}
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, run_id: str, letter: Letter) -> Iterator[Sequence[Letter]]:
        """Wait until nobody else here tells run *run_id* anything; give what it is to be told.

        Nothing is to be told if another thread took *letter* along.
        """
        with self._lock:
            box = self._boxes.setdefault(run_id, _Box())
            box.letters.append(letter)
            box.users += 1
        try:
            with box.turn:
                with self._lock:
                    taken, box.letters = box.letters, []
                yield taken
        finally:
            with self._lock:
                box.users -= 1
                if not box.users:
                    del self._boxes[run_id]


__all__ = ["Letter", "Letters"]

"""Processes whose threads read their first record, or their first signal, at one moment.

Run as a module it forks them, one after another, and prints how many did not live.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from sequential import wait_for_signal
from sequential._model import Payload, Run
from sequential._records import pack_run, unpack_run
from sequential._typed import shape_of

THREADS = 4


@dataclass
class Note:
    """A part of what a signal may carry."""

    text: str | None = None
    places: dict[str, list[int]] = field(default_factory=dict)
    numbers: list[int | None] = field(default_factory=list)


@dataclass
class Decision:
    """What a signal may carry: much to look into, so that others can come between."""

    approved: bool
    note: Note | None = None
    notes: list[Note] = field(default_factory=list)
    by_name: dict[str, Note | None] = field(default_factory=dict)
    tags: dict[str, list[int]] = field(default_factory=dict)
    pairs: tuple[tuple[str, int], ...] = ()


def read_record() -> None:
    """Read a run as a storage does."""
    assert unpack_run(ROW).run_id == "r"


def read_signal() -> None:
    """Read a signal as a flow that waits for it does."""
    step = wait_for_signal("decision", Decision)
    step.asked = True
    assert shape_of(step.annotation, where="signal").read({"approved": True}).approved


ROW = pack_run(Run("r", "f", Payload(b"null"), version=1))
FIRST = {"record": read_record, "signal": read_signal}


def die_or_live(read: Callable[[], None]) -> None:
    """Let all threads make their first *read* at once; never return."""
    sys.setswitchinterval(1e-6)
    together, failures = threading.Barrier(THREADS), []

    def go() -> None:
        together.wait()
        try:
            read()
        except BaseException as error:  # noqa: BLE001  (told by the exit code)
            failures.append(error)

    threads = [threading.Thread(target=go) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os._exit(len(failures))


def count_dead(read: Callable[[], None], processes: int) -> int:
    """Fork *processes*, one after another; return how many ended otherwise than well."""
    dead = 0
    for _ in range(processes):
        pid = os.fork()
        if pid == 0:
            die_or_live(read)
        dead += os.waitpid(pid, 0)[1] != 0
    return dead


if __name__ == "__main__":
    print(count_dead(FIRST[sys.argv[1]], int(sys.argv[2])))  # noqa: T201

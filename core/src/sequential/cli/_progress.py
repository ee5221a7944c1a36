"""What a run that is carried on here is doing, shown while it goes on.

Looks at the record from a thread of its own, a few times a second; the run does not know.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .._app import Sequential
from .._model import StepKind
from .._progress import Progress
from .._storage import Loaded
from ..errors import StorageError, ValuesError
from ._output import Output, shown
from ._views import moment, what_of

_EVERY = 0.2  # seconds between two looks
_BAR = 20  # characters


@contextmanager
def watched(output: Output, app: Sequential, run_id: str) -> Iterator[None]:
    """Show the progress of *run_id* on a terminal; say what it waits for anywhere."""
    if output.json:
        yield
        return
    with _spinner(output) as say:
        stop = threading.Event()
        watcher = threading.Thread(target=_watch, args=(output, app, run_id, say, stop))
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()


Say = Callable[[str], None]


@contextmanager
def _spinner(output: Output) -> Iterator[Say]:
    if not output.terminal:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status("starting") as status:
        yield lambda line: status.update(Text(shown(line)))


def _watch(output: Output, app: Sequential, run_id: str, say: Say, stop: threading.Event) -> None:
    told: set[str] = set()
    seen = 0
    while not stop.wait(_EVERY):
        try:
            loaded = app.storage.load(run_id, seen)
        except StorageError:
            # The run itself meets the same trouble, and says so.
            continue
        if loaded is None:
            continue
        seen = max(0, loaded.run.cursor - 1)
        say(_standing(app, loaded))
        for text in waits(loaded):
            if text not in told:
                told.add(text)
                output.note(text)


def _standing(app: Sequential, loaded: Loaded) -> str:
    try:
        found = app.progress(loaded.run)
    except ValuesError:
        found = None
    said = "" if found is None else f"{bar(found)}  "
    last = f", last {what_of(loaded.steps[-1])}" if loaded.steps else ""
    return f"{said}{loaded.run.cursor} steps{last}"


def bar(progress: Progress) -> str:
    """Return *progress* in a line: its words, after a bar where it has a share."""
    if progress.fraction is None:
        return progress.text
    full = int(progress.fraction * _BAR)
    return f"[{'#' * full}{'.' * (_BAR - full)}] {progress.text}"


def waits(loaded: Loaded) -> Iterator[str]:
    """Say what the run waits for, and how to answer it."""
    run = loaded.run
    for found in run.open.values():
        item: Any = found
        if item.kind is StepKind.SIGNAL:
            answer = f"sequential signal {run.run_id} {item.name} JSON"
            yield f"waits for signal {item.name!r}; answer it with: {answer}"
        elif item.kind is StepKind.CHILD:
            yield f"waits for a child run of {item.tool}"
        elif item.due is not None and item.due > loaded.now + 1:
            yield f"waits until {moment(item.due)}"

"""Holds a flow against its own history: one played here, step by step, or one that was exported.

How a flow is played stands in `_play`, the form of the files in `_history`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from .. import _codec
from .._app import Sequential
from .._flow import Flow
from .._model import Run, StepRecord
from .._registry import REGISTRY, Registry
from .._replay import name_of
from ..errors import RunBlocked, RunCancelled, RunFailed
from ._fakes import Fakes
from ._play import EACH_STEP, RUN_ID, KeptMemory, Played, PlayedStep, Script, Stage

R = TypeVar("R")


def verify_replay(  # noqa: PLR0913  (what is played, each with a default)
    flow: Flow[..., R],
    input: object = None,
    *,
    tools: Fakes | None = None,
    signals: Mapping[str, object] | None = None,
    start: datetime | None = None,
    cancel_after: int | None = None,
    registry: Registry = REGISTRY,
) -> Played[R]:
    """Play *flow* from its beginning after every step, as if each had a process of its own.

    Afterwards the whole is replayed once more, and must come to the same end.

    Where *input* is a `pathlib.Path`, the flow is held against the history that ``sequential
    export`` wrote there instead: no fake is called, and what is returned is what was recorded. A
    run that had not ended has neither ``returned`` nor ``error``.

    Args:
        flow: As for `play`, like all others.
        input: As for `play`, or the path of an exported history.
        tools: As for `play`. No fake is called more often than in a play.
        signals: As for `play`.
        start: As for `play`.
        cancel_after: As for `play`.
        registry: As for `play`. With a history, the tools whose options and types count.

    Raises:
        AssertionError: The flow asked for something else than before, or came to another end; the
            message shows recorded against asked.
        HistoryUnreadable: The file holds no history, or not a whole one.
        SequentialError: As for `play`.
    """
    if isinstance(input, Path):
        return _verify_history(flow, input, registry)
    script = Script(flow, input, tools or {}, signals or {}, start, registry, cancel_after)
    clock = script.clock()
    stage = Stage(script, script.cast(), KeptMemory(clock), clock, EACH_STEP)
    try:
        played = stage.play()
        again = stage.app.replay(RUN_ID)
    except RunBlocked as blocked:
        if not blocked.diff:
            raise
        raise AssertionError(_differs(flow, blocked.diff)) from None
    finally:
        stage.app.close()
    if not again.agrees:
        raise AssertionError(_differs(flow, again.diff or again.message))
    return played


def _differs(flow: Flow[..., Any], diff: str) -> str:
    return (
        f"flow {flow.name} does not do the same when it is replayed; take times and random values"
        f" from det, and everything else from tools\n{diff}"
    )


# -- exported histories


def histories(folder: Path | str, flow: Flow[..., Any] | None = None) -> Sequence[Path]:
    """Return the exported histories in *folder*, by name: what to parametrize a test by.

    Args:
        folder: Where ``sequential export`` wrote them.
        flow: Only histories of this flow; None for all.

    Raises:
        HistoryUnreadable: A file holds no history.
        ValueError: There are none, so that a test would check nothing.
    """
    from .._history import files_in, read

    found = list(files_in([Path(folder)]))
    if flow is not None:
        found = [path for path in found if read(path).run.flow == flow.name]
    if not found:
        name = "" if flow is None else f" of flow {flow.name!r}"
        msg = f"{folder} has no histories{name}; write some with `sequential export`"
        raise ValueError(msg)
    return found


def _verify_history(flow: Flow[..., R], path: Path, registry: Registry) -> Played[R]:
    from .._history import read

    own = Registry()
    own.flows, own.tools = {flow.name: flow}, registry.tools
    with Sequential("memory:", plugins=[], registry=own) as app:
        found = app.replay_history(path)
    if not found.agrees:
        msg = f"flow {flow.name} does not fit the history in {path}\n{found.diff or found.message}"
        raise AssertionError(msg)
    _, run, steps = read(path)
    recorded = tuple(_step(step) for step in steps)
    returned = None if run.result is None else _codec.decode(run.result.data)
    return Played(returned, _error(run), recorded, (), 0.0)


def _error(run: Run) -> RunFailed | RunCancelled | None:
    if run.error is not None:
        data = None if run.error.data is None else _codec.decode(run.error.data.data)
        return RunFailed(run.run_id, run.error.type, run.error.message, data)
    return RunCancelled(run.run_id) if run.status == "cancelled" else None


def _step(record: StepRecord) -> PlayedStep:
    given = None if record.input is None else _codec.decode(record.input.data)
    value = _codec.decode(record.value.data)
    return PlayedStep(
        record.position, name_of(record), given, record.outcome, value, record.attempts
    )

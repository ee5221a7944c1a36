"""What a step's record gives to the flow: a value, read as its annotation says, or an error.

Pure; the data are at hand, wherever they were kept. Which record is whose stands in `_player`.
"""

from __future__ import annotations

from typing import Any

from . import _codec, _typed
from ._failure import child_error, tool_error
from ._model import Run, StepOutcome, StepRecord
from ._referring import shape_of
from ._registry import Registry
from ._run_id import child_run_id
from ._steps import NO_DEFAULT, ChildStep, SignalStep, Step, ToolStep
from ._strands import Ended
from .errors import RunCancelled, SignalTimedOut, ValuesError


def reply(
    registry: Registry, run: Run, step: Step[Any] | None, record: StepRecord, data: bytes
) -> Ended:
    """Return what *step* of *run* came to by its *record*, whose value is *data*.

    Raises:
        ValuesError: It cannot be read as the step says.
    """
    if record.outcome is StepOutcome.CANCELLED:
        return Ended(error=RunCancelled(run.run_id, _reason(data)))
    if isinstance(step, ToolStep):
        return _answered(registry, step, record, data)
    if isinstance(step, SignalStep):
        return _signalled(step, record.outcome, data)
    if isinstance(step, ChildStep):
        return _child_ended(registry, run, step, record, data)
    return Ended()


def refusal(step: SignalStep[Any], data: bytes) -> ValuesError | None:
    """Return why *data* cannot be read as the signal of *step*; None if it can.

    What a client sent in another form is dropped: it must not block the run for ever.
    """
    try:
        _signalled(step, StepOutcome.VALUE, data)
    except ValuesError as error:
        return error
    return None


def _answered(registry: Registry, step: ToolStep[Any], record: StepRecord, data: bytes) -> Ended:
    if record.outcome is StepOutcome.ERROR:
        failed = tool_error(record.tool, data, record.attempts)
        if step.errors == "return":
            return Ended({"__error": failed.message or failed.type})
        return Ended(error=failed)
    tool = registry.tools.get((step.category, step.name))
    shape = shape_of(step) if tool is None else tool.result
    value = _codec.decode(data)
    return Ended(value if shape is None else shape.read(value))


def _child_ended(
    registry: Registry, run: Run, step: ChildStep[Any], record: StepRecord, data: bytes
) -> Ended:
    if record.outcome is StepOutcome.ERROR:
        run_id = child_run_id(run, record.position, step.run_id)
        error = child_error(step.flow, run_id, data)
        returns = step.errors == "return"
        return Ended({"__error": str(error)}) if returns else Ended(error=error)
    value = _codec.decode(data)
    flow = registry.flows.get(step.flow)
    shape = None if flow is None or not step.waits else flow.result
    return Ended(value if shape is None else shape.read(value))


def _signalled(step: SignalStep[Any], outcome: StepOutcome, data: bytes) -> Ended:
    if outcome is StepOutcome.TIMEOUT:
        late = step.default is NO_DEFAULT
        return Ended(error=SignalTimedOut(step.name)) if late else Ended(step.default)
    shape = _typed.shape_of(step.annotation, where=f"signal {step.name!r}")
    return Ended(shape.read(_codec.decode(data)))


def _reason(data: bytes) -> str:
    """Return why the run was cancelled, as far as the record of it says."""
    value = _codec.decode(data)
    return str(value.get("reason", "")) if isinstance(value, dict) else ""

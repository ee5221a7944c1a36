"""Child runs: what a flow yields to have another flow carried out as a run of its own.

Making such a step runs nothing. How a child is begun and waited for stands in `_child_runs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, overload

from ._flow import Flow
from ._run_id import check_run_id
from ._steps import ChildStep, Errors, OnCancel
from ._tags import checked_tags

R = TypeVar("R")


@overload
def run_child(
    flow: Flow[..., R], input: object = None, *, run_id: str | None = None,
    tags: Mapping[str, str] | None = None, on_cancel: OnCancel = "cancel",
    errors: Literal["raise"] = "raise",
) -> ChildStep[R]: ...  # fmt: skip
@overload
def run_child(
    flow: Flow[..., R], input: object = None, *, run_id: str | None = None,
    tags: Mapping[str, str] | None = None, on_cancel: OnCancel = "cancel",
    errors: Literal["return"],
) -> ChildStep[R | dict[str, Any]]: ...  # fmt: skip
@overload
def run_child(
    flow: str, input: object = None, *, run_id: str | None = None,
    tags: Mapping[str, str] | None = None, on_cancel: OnCancel = "cancel", errors: Errors = "raise",
) -> ChildStep[Any]: ...  # fmt: skip
def run_child(
    flow: str | Flow[..., Any],
    input: object = None,
    *,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    on_cancel: OnCancel = "cancel",
    errors: Errors = "raise",
) -> ChildStep[Any]:
    """Make a step that begins a run of *flow* and waits for its end; it gives the run's result.

    The child is a run of its own, carried on wherever there is a worker for it; nothing of this
    run is under way meanwhile. For a flow with parameters ``flow.run_child(user_id=1)`` says the
    same, and type checkers look at the arguments.

    Args:
        flow: The flow, or its registered name.
        input: An object of the flow's parameters by name, or its raw input.
        run_id: By default one that follows from this run's id and the step's position. An id that
            another run has is a `ChildFailed` of type ``RunTaken`` at this step.
        tags: To find the child by.
        on_cancel: When this run is cancelled, or another branch wins: ``"cancel"`` the child too,
            or ``"leave"`` it to its own end. This run waits for it in neither case.
        errors: ``"raise"`` `ChildFailed` or `ChildCancelled` when it did not complete, or
            ``"return"`` ``{"__error": message}``.

    Raises:
        RunIdInvalid: The id has a character that is not allowed.
        ConfigError: *tags* are not text to text.
        ValueError: *on_cancel* or *errors* is another word.
    """
    if on_cancel not in get_args(OnCancel):
        msg = f'run_child: on_cancel = {on_cancel!r:.80} cannot be used; use "cancel" or "leave"'
        raise ValueError(msg)
    if errors not in get_args(Errors):
        msg = f'run_child: errors = {errors!r:.80} cannot be used; use "raise" or "return"'
        raise ValueError(msg)
    step = _child("run_child", flow, input, run_id, tags, waits=True)
    step.on_cancel, step.errors = on_cancel, errors
    return step


def start_child(
    flow: str | Flow[..., Any],
    input: object = None,
    *,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> ChildStep[str]:
    """Make a step that begins a run of *flow* and does not wait for it; it gives the run's id.

    What becomes of the child is not told to this run, and a cancel is not passed on to it.

    Args:
        flow: The flow, or its registered name.
        input: An object of the flow's parameters by name, or its raw input.
        run_id: As for `run_child`; but a run of the same flow with the same input, whoever began
            it, is taken as begun.
        tags: To find the child by.

    Raises:
        RunIdInvalid: The id has a character that is not allowed.
        ConfigError: *tags* are not text to text.
    """
    return _child("start_child", flow, input, run_id, tags, waits=False)


def _child(
    what: str,
    flow: object,
    given: object,
    run_id: str | None,
    tags: Mapping[str, str] | None,
    *,
    waits: bool,
) -> ChildStep[Any]:
    if not isinstance(flow, str | Flow):
        msg = f"{what}: {flow!r:.80} is no flow; put @flow on it, or give the name of a flow"
        raise TypeError(msg)
    return ChildStep(
        flow if isinstance(flow, str) else flow.name,
        {} if given is None else given,
        waits=waits,
        known=None if isinstance(flow, str) else flow,
        run_id=None if run_id is None else check_run_id(run_id),
        tags=checked_tags(tags or {}),
    )


__all__ = ["run_child", "start_child"]

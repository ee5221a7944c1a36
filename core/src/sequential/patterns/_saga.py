"""Steps that are undone, the last first, when a later one fails."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, ParamSpec, TypeVar

from .._flow import SubFlow
from .._parallel import Branch
from .._scope import logger
from ..errors import CompensationFailed, RunCancelled
from ._shield import unheard
from ._style import both_styles, refuse_uncallable, steps_of

P = ParamSpec("P")
R = TypeVar("R")

_log = logger("sequential.patterns")


class Saga:
    """What undoes the steps that were taken so far: `saga` makes one for each time it runs."""

    def __init__(self) -> None:
        self._compensations: list[Callable[[], Branch[object]]] = []

    def undo_with(
        self, make: Callable[P, Branch[object]], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Let ``make(*args, **kwargs)`` be carried out if what comes after this fails.

        Call it after the step that it undoes; before it, where a step that failed may have acted
        all the same.

        Args:
            make: A tool, or any function that makes a branch; called when it is needed.
            args: For *make*.
            kwargs: For *make*.

        Raises:
            TypeError: *make* cannot be called; it was probably called already.
        """
        remedy = "give it the tool and its arguments: undo_with(release, reservation)"
        refuse_uncallable("undo_with", make, remedy)
        self._compensations.append(partial(make, *args, **kwargs))

    @both_styles
    def _undo(self, cause: BaseException) -> Generator[Any, Any, list[RunCancelled]]:
        """Carry out all compensations, the last first; return the cancels that came meanwhile."""
        told: list[RunCancelled] = []
        failed: list[Exception] = []
        while self._compensations:
            make = self._compensations.pop()
            try:
                yield from unheard(steps_of("undo_with", 0, make()), told)
            except Exception as error:  # noqa: BLE001  (the other compensations are needed all the same)
                # Where a lost race ends the saga, nobody else gets to see it.
                _log.warning("a compensation failed: %s", error)
                failed.append(error)
        if failed:
            raise CompensationFailed(cause, failed) from cause
        return told


def saga(body: Callable[[Saga], Branch[R]]) -> SubFlow[R]:
    """Carry out what *body* makes; undo what it did, the last first, if it fails or is cancelled.

    Compensations are steps like others: recorded, retried by the policy of their tool, carried on
    after a crash. A cancel does not interrupt them. When they are over, the error that made them
    necessary is raised, or the cancel.

    Args:
        body: Gets a `Saga` to tell compensations to; returns a generator or coroutine.

    Raises:
        CompensationFailed: In the flow: compensations failed; the others were carried out.
        TypeError: *body* is not a function of one parameter that makes a branch.
    """
    refuse_uncallable("saga", body, "it is called by saga itself, with a Saga")
    undo = Saga()
    return _saga(steps_of("saga", 0, body(undo)), undo)


@both_styles
def _saga(branch: SubFlow[R], undo: Saga) -> Generator[Any, Any, R]:
    try:
        return (yield from branch)
    except (Exception, RunCancelled) as error:
        told = yield from undo._undo(error)  # noqa: SLF001  (the saga's own half)
        if told and not isinstance(error, RunCancelled):
            raise told[0] from error
        raise

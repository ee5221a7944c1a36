"""One started flow: advanced by values and exceptions, discarded when the run pauses.

Generators and coroutines are driven by the same ``send``; there is no event loop. A frame runs in
a context of its own, so that context variables of one run never meet another's. What is asked for
is only looked at here to say where a flow went wrong.
"""

from __future__ import annotations

import logging
from contextvars import Context, copy_context
from types import CoroutineType, GeneratorType, TracebackType
from typing import Any, cast

from ._flow import Body, Flow
from ._parallel import close_all
from ._scope import CURRENT, Scope
from ._steps import Step, as_step
from .errors import NotAStep, RunCancelled

_log = logging.getLogger("sequential")

_MAX_CLEANUP_STEPS = 100
"""How often a frame that asks for steps while it is discarded is told again to stop."""

_LOOPS = ("asyncio", "anyio", "trio", "sniffio", "curio")


class Frame:
    """A generator or coroutine under way."""

    __slots__ = ("body", "context", "scope")

    def __init__(self, flow: Flow[..., Any], given: object, scope: Scope) -> None:
        self.scope = scope
        self.context: Context = copy_context()
        self.context.run(CURRENT.set, scope)
        self.body: Body = self.context.run(flow.body, given)

    def branch(self, body: object) -> Frame:
        """Return a frame for *body*, a branch that this one asked for, in a copy of its context."""
        frame: Frame = object.__new__(Frame)
        frame.scope = self.scope
        frame.context = self.context.copy()
        frame.body = cast("Body", body)
        return frame

    def send(self, value: object) -> Step[Any]:
        """Give *value* to the flow and return the step that it asks for next.

        Raises:
            StopIteration: The flow returned; the exception carries its result.
            NotAStep: It yielded something else.
            BaseException: The flow's own.
        """
        try:
            return self._checked(self.context.run(self.body.send, value))
        except RuntimeError as error:
            self._refuse_loop(error)
            raise

    def throw(self, error: BaseException) -> Step[Any]:
        """Raise *error* in the flow, at the step it waits for; otherwise like `send`."""
        try:
            return self._checked(self.context.run(self.body.throw, error))
        except RuntimeError as raised:
            self._refuse_loop(raised)
            raise

    def discard(self) -> None:
        """Unwind the flow: its ``finally`` blocks run, steps that they ask for do not."""
        if self._over():
            return
        self.scope.pausing = True
        asked = 0
        while asked < _MAX_CLEANUP_STEPS:
            inner = _innermost_open(self.body)
            try:
                step = as_step(self.context.run(inner.throw, GeneratorExit()))
            except (StopIteration, GeneratorExit):
                pass
            except (Exception, RunCancelled):  # noqa: BLE001  (cleanup code of a flow may raise anything)
                _log.warning("cleanup code of a flow raised while the run paused", exc_info=True)
            else:
                asked += 1
                close_all([step])
                continue
            if inner is self.body:
                return
        _log.warning("flow still asks for steps while it is discarded; left as it is")

    def _over(self) -> bool:
        body = self.body
        frame = (
            body.gi_frame if isinstance(body, GeneratorType) else getattr(body, "cr_frame", body)
        )
        return frame is None

    def _checked(self, yielded: object) -> Step[Any]:
        step = as_step(yielded)
        if step is None:
            what = "None" if yielded is None else f"{type(yielded).__name__} {yielded!r}"[:200]
            raise NotAStep(what, *_innermost(self.body))
        step.asked = True
        return step

    def _refuse_loop(self, error: RuntimeError) -> None:
        # A library that wants an event loop fails before it yields anything that could be seen.
        where = error.__traceback__
        last: TracebackType | None = None
        own: TracebackType | None = None
        while where is not None:
            module = where.tb_frame.f_globals.get("__name__", "")
            if not _is_foreign(module):
                own = where
            last, where = where, where.tb_next
        module = last.tb_frame.f_globals.get("__name__", "") if last is not None else ""
        missing = "no running event loop" in str(error)
        if own is not None and (missing or module.split(".")[0] in _LOOPS):
            file, line = own.tb_frame.f_code.co_filename, own.tb_lineno
            raise NotAStep("something that needs an event loop", file, line) from error


def _is_foreign(module: str) -> bool:
    return module.partition(".")[0] in (*_LOOPS, "sequential")


def _innermost_open(body: Body) -> Body:
    """Return what *body* at last delegates to and is not over; *body* itself if nothing else.

    Thrown into the outer one, GeneratorExit closes the inner ones, and closing one whose cleanup
    asks for a step is a RuntimeError in the flow.
    """
    below = (
        body.gi_yieldfrom if isinstance(body, GeneratorType) else getattr(body, "cr_await", None)
    )
    if isinstance(below, GeneratorType):
        return body if below.gi_frame is None else _innermost_open(below)
    if isinstance(below, CoroutineType):
        return body if below.cr_frame is None else _innermost_open(below)
    return body


def _innermost(body: Any) -> tuple[str, int]:
    """Return file and line where *body*, or what it delegates to, stands, libraries left out."""
    inner = own = body
    while True:
        if isinstance(inner, CoroutineType):
            below: Any = inner.cr_await
        elif isinstance(inner, GeneratorType):
            below = inner.gi_yieldfrom
        else:
            below = None
        if not isinstance(below, CoroutineType | GeneratorType):
            break
        inner = below
        frame = inner.cr_frame if isinstance(inner, CoroutineType) else inner.gi_frame
        if frame is not None and not _is_foreign(frame.f_globals.get("__name__", "")):
            own = inner
    # An awaitable written in C or as a class has no frame; the last frame of ours awaits it.
    frame = own.cr_frame if isinstance(own, CoroutineType) else own.gi_frame
    return (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("?", 0)

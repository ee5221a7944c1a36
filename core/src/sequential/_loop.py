"""Async tools, on one event loop per process, on a daemon thread that the first of them starts.

Kept apart because importing asyncio takes longer than importing the rest of the core.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from ._calls import ToolCall
from .errors import StepTimedOut


def run_on_loop(function: Callable[..., Any], arguments: dict[str, Any], call: ToolCall) -> object:
    """Run the async *function* on the loop and return its result.

    It is cancelled when its time is up, or when nobody wants its result any more.

    Raises:
        StepTimedOut: It took longer than the call's timeout.
        Exception: Whatever the function raises.
    """
    context = contextvars.copy_context()
    coroutine = context.run(function, **arguments)
    done = asyncio.run_coroutine_threadsafe(_within(coroutine, context), _LOOP.get())
    hold = call.context.hold
    hold.on_abandon = done.cancel
    if hold.lost:
        done.cancel()
    try:
        return done.result(call.timeout)
    except concurrent.futures.TimeoutError as error:
        if done.done():
            return done.result()  # its own TimeoutError, or an answer at the very last moment
        assert call.timeout is not None
        raise StepTimedOut(f"{call.category}.{call.name}", call.timeout) from error
    finally:
        done.cancel()


async def _within(coroutine: Coroutine[Any, Any, object], context: contextvars.Context) -> object:
    return await asyncio.get_running_loop().create_task(coroutine, context=context)


class _LoopThread:
    """The loop, started when it is first asked for, once per process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def get(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            # A forked child has the object and not the thread.
            if self._loop is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._loop.run_forever, daemon=True, name="sequential-loop"
                ).start()
            return self._loop


_LOOP = _LoopThread()

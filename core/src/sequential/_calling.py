"""How the function of a registered tool is run: inline, on a thread of its own, or on the loop.

Sync tools without a timeout run on the invocation's own thread; with one, on a daemon thread, which
is left behind when the time is up: a pool's threads would keep the process alive. Async tools run
in `_loop`. What an answer means is not known here.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

from ._calls import Pending, ToolCall, ToolResult
from ._registry import Registry
from .errors import StepTimedOut
from .hookspecs import hookimpl


class RegisteredTools:
    """The plugin that answers for the tools of a registry. Asked after all others."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @hookimpl(trylast=True)
    def sequential_call_tool(self, call: ToolCall) -> ToolResult | Pending | None:
        """Run the registered function; None when there is none of that name."""
        tool = self._registry.tools.get((call.category, call.name))
        if tool is None:
            return None
        arguments = tool.binding.arguments_of(call.input)
        if tool.binding.context is not None:
            arguments[tool.binding.context] = call.context
        if tool.is_async:
            value = self._on_loop(tool.function, arguments, call)
        elif call.timeout is None:
            value = tool.function(**arguments)
        else:
            value = _on_thread(lambda: tool.function(**arguments), call, call.timeout)
        return value if isinstance(value, ToolResult | Pending) else ToolResult(value)

    def _on_loop(self, *what: Any) -> object:
        # asyncio takes longer to import than the whole core: only async tools pay for it.
        from ._loop import run_on_loop

        return run_on_loop(*what)


def _on_thread(function: Callable[[], object], call: ToolCall, timeout: float) -> object:
    answers: list[object] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            answers.append(function())
        except BaseException as error:  # noqa: BLE001  (handed to the waiting thread as it is)
            errors.append(error)
        done.set()

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), daemon=True, name="sequential-tool").start()
    if not done.wait(timeout):
        raise StepTimedOut(f"{call.category}.{call.name}", timeout)
    if errors:
        raise errors[0]
    return answers[0]

"""`create_flow_executor`: flows over a store of your own, or a full storage, one step a call.

Chooses who carries a run on, finds flows by name, and resumes what has paused. How a run is
carried on stands in `_five_methods`, and for a full storage in `_full_storage`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeVar, cast, get_args

from ._calling import RegisteredTools
from ._calls import ToolCall, ToolResult
from ._clock import SYSTEM_CLOCK, Clock
from ._drive import refuse_loop
from ._five_methods import FiveMethods, Paused, Turned
from ._flow import Flow
from ._full_storage import FullStorage
from ._own_store import Store, on_loop_of_caller, settle
from ._plugins import Plugins
from ._registry import REGISTRY, Registry
from ._run_id import check_run_id, new_run_id
from ._storage import Storage
from .errors import (
    ConfigError,
    FlowNotFound,
    RunMissing,
)
from .hookspecs import hookimpl

_log = logging.getLogger("sequential")

T = TypeVar("T")

OnComplete = Literal["delete", "keep"]

Call = Callable[[str, str, Any], object]
"""Makes a tool call: category, name, input. Returns the result, or an awaitable of it."""

Resume = Callable[[str], object]
"""Asks for the next invocation of a run; may return an awaitable."""


_FULL = ("create", "load", "commit", "due", "purge")
"""Methods by which a full storage is told from a store of five."""


class _Runs(Protocol):
    """Carries runs on: over five methods, or over a full storage."""

    def flow_of(self, run_id: str) -> str | None: ...

    def carry(self, flow: Flow[..., Any], run_id: str, given: object) -> Turned: ...


class FlowExecutor:
    """Carries flows on, one step an invocation. Made by `create_flow_executor`.

    Each method has an awaitable twin, its name with an ``a`` in front: sync parts run in a thread
    meanwhile, async parts on the loop of whoever awaits. Cancelling it does not stop the step.
    """

    def __init__(
        self, runs: _Runs, registry: Registry, known: Registry, resume: Resume | None
    ) -> None:
        self._runs = runs
        self._registry = registry
        self._known = known
        self._passed: dict[str, Flow[..., Any]] = {}
        self._resume = resume

    def execute(
        self,
        flow: str | Flow[..., Any] | Callable[..., Any],
        run_id: str | None = None,
        input: object = None,
    ) -> Any:
        """Make one invocation of the run, and start it if it is new.

        Args:
            flow: A flow, its registered name, or a plain generator or coroutine function.
            run_id: 1 to 128 of ``A-Za-z0-9_~.-``, such as the id of the request that it answers; by
                default a new UUID.
            input: An object of the flow's parameters by name, or its raw input; None for the
                input that is stored with the run, or for none.

        Returns:
            `Paused` after a step was saved, else the flow's result.

        Raises:
            FlowNotFound: No flow of that name is registered here.
            RunTaken: The id belongs to a run of another flow, or with another input.
            RecordCorrupt: The store lost something; the message names the run and the step.
            Exception: What the flow raised, or the store. With a full storage a flow that raised
                is `RunFailed`.
        """
        refuse_loop()
        return self._told(self._turn(flow, run_id, input))

    async def aexecute(
        self,
        flow: str | Flow[..., Any] | Callable[..., Any],
        run_id: str | None = None,
        input: object = None,
    ) -> Any:
        """Await `execute`."""
        return await self._atold(lambda: self._turn(flow, run_id, input))

    def resume(self, run_id: str) -> Any:
        """Make one invocation of a run that was started before; otherwise like `execute`.

        Raises:
            RunMissing: There is no such run (any more): a late message starts nothing.
            ConfigError: The store does not hand back the flow's name and the input.
        """
        refuse_loop()
        return self._told(self._again(run_id))

    async def aresume(self, run_id: str) -> Any:
        """Await `resume`."""
        return await self._atold(lambda: self._again(run_id))

    # -- one invocation ----------------------------------------------------------------------

    def _turn(
        self, flow: str | Flow[..., Any] | Callable[..., Any], run_id: str | None, given: object
    ) -> Turned:
        chosen = new_run_id() if run_id is None else check_run_id(run_id)
        return self._runs.carry(self._flow(flow), chosen, given)

    def _again(self, run_id: str) -> Turned:
        name = self._runs.flow_of(check_run_id(run_id))
        if name is None:
            raise RunMissing(run_id)
        return self._runs.carry(self._flow(name), run_id, None)

    def _flow(self, flow: str | Flow[..., Any] | Callable[..., Any]) -> Flow[..., Any]:
        # What was registered since the last call; what was passed here counts more.
        self._known.flows.update({**self._registry.flows, **self._passed})
        if isinstance(flow, str):
            if flow not in self._known.flows:
                raise FlowNotFound(flow, self._known.flows)
            return self._known.flows[flow]
        if not isinstance(flow, Flow):
            found = self._passed.get(getattr(flow, "__qualname__", ""))
            known = found is not None and found.function is flow
            flow = found if found is not None and known else _made(flow)
        self._passed[flow.name] = self._known.flows[flow.name] = flow
        return flow

    # -- resuming: after the invocation, so that no thread waits for those that follow ---------

    def _told(self, turned: Turned) -> Any:
        if turned.resume and self._resume is not None:
            assert isinstance(turned.answer, Paused)
            try:
                settle(self._resume(turned.answer.run_id))
            except Exception:  # noqa: BLE001  (a resume may fail in any way)
                self._say_failed(turned.answer)
        return turned.answer

    async def _atold(self, turn: Callable[[], Turned]) -> Any:
        # Whoever awaits has asyncio already.
        import asyncio
        import inspect

        loop = asyncio.get_running_loop()
        turned = await asyncio.to_thread(on_loop_of_caller, loop, turn)
        resume = self._resume
        if turned.resume and resume is not None:
            assert isinstance(turned.answer, Paused)
            run_id = turned.answer.run_id
            try:
                if inspect.iscoroutinefunction(resume):
                    await resume(run_id)
                else:
                    sent = await asyncio.to_thread(resume, run_id)
                    if inspect.isawaitable(sent):
                        await sent
            except Exception:  # noqa: BLE001  (a resume may fail in any way)
                self._say_failed(turned.answer)
        return turned.answer

    def _say_failed(self, paused: Paused) -> None:
        # The step is saved: a lost message is no error of the flow, and another one will do.
        _log.exception("run %s: resume failed after step %d", paused.run_id, paused.step)


def _made(function: Callable[..., Any]) -> Flow[..., Any]:
    name = getattr(function, "__qualname__", None)
    if name is None:
        msg = f"{function!r} is no flow; give a flow, its name, or a generator or async function"
        raise TypeError(msg)
    return Flow(name, "1", function)


def create_flow_executor(
    storage: object,
    call: Call | None = None,
    resume: Resume | None = None,
    on_complete: OnComplete = "delete",
    *,
    registry: Registry = REGISTRY,
    clock: Clock = SYSTEM_CLOCK,
) -> FlowExecutor:
    """Make an executor of flows over *storage*.

    Args:
        storage: An object with the methods ``get``, ``set``, ``delete``, ``get_result`` and
            ``set_result`` (camelCase works too), sync or async; or a full storage. Five methods
            give no claims and no fences: one invocation of a run at a time is the caller's care.
        call: Makes tool calls, as ``call(category, name, input)``, sync or async; by default
            plugins and registered tools are asked.
        resume: Called as ``resume(run_id)``, sync or async, after each saved step, to ask for the
            next invocation. If it fails, that is logged; the step is saved all the same.
        on_complete: ``delete`` a completed run, or ``keep`` its outcome, so that a late call gets
            the result again.
        registry: Where flows and tools are looked up.
        clock: For tests.

    Raises:
        ConfigError: The storage lacks a method, or *on_complete* is neither.
    """
    if on_complete not in get_args(OnComplete):
        raise ConfigError("on_complete", on_complete, "use 'delete' or 'keep'")
    known = Registry()
    known.tools = registry.tools
    called: list[object] = [] if call is None else [_Called(call)]
    keep = on_complete == "keep"
    runs: _Runs
    if all(callable(getattr(storage, name, None)) for name in _FULL):
        runs = FullStorage(cast("Storage", storage), called, known, clock, keep=keep)
    else:
        store = Store(storage)
        plugins = Plugins([RegisteredTools(known), *called])
        plugins.register(known)
        runs = FiveMethods(store, plugins, known, clock, keep=keep)
    return FlowExecutor(runs, registry, known, resume)


class _Called:
    """The plugin that makes every tool call through a function of the user's."""

    def __init__(self, call: Call) -> None:
        self._call = call

    @hookimpl
    def sequential_call_tool(self, call: ToolCall) -> ToolResult:
        return ToolResult(settle(self._call(call.category, call.name, call.input)))


__all__ = ["FlowExecutor", "Paused", "create_flow_executor"]

"""The hooks, each a typed signature and a page of documentation.

A plugin is a module, or an object, with functions of these names marked by ``hookimpl``; it is
found through the entry-point group ``sequential``. A hook hands over; a typed `Protocol` is the
contract. Each example below is a whole plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pluggy

from ._calls import Pending, ToolCall, ToolResult
from ._clock import Clock
from ._events import Event
from ._payload import PayloadCodec
from ._registry import Registry
from ._span_store import SpanStore
from ._storage import Storage
from ._transport import ResumeMessage, ResumeTransport

PROJECT = "sequential"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

StorageFactory = Callable[[str, Clock], Storage]
TransportFactory = Callable[[str, Clock], ResumeTransport]
SpanStoreFactory = Callable[[str, Clock], SpanStore]


@hookspec
def sequential_storages() -> Mapping[str, StorageFactory]:  # type: ignore[empty-body]
    """Name the storages that this plugin opens, by URL scheme.

    Asked once per application. A factory is called with the whole URL and a clock, and makes an
    object that keeps the `Storage` contract; it imports its driver only then, so that a plugin
    which is installed and not used costs nothing.

    Example:
        @hookimpl
        def sequential_storages():
            return {"redis": open_redis}
    """


@hookspec
def sequential_span_stores() -> Mapping[str, SpanStoreFactory]:  # type: ignore[empty-body]
    """Name the span stores that this plugin opens, by URL scheme.

    Like `sequential_storages`, for objects that keep the `SpanStore` contract: where attempts,
    waits, invocations and the spans of tools are kept for the dashboard. A storage's plugin that
    brings one under the same scheme lets it be opened by the storage's own URL.
    """


@hookspec
def sequential_transports() -> Mapping[str, TransportFactory]:  # type: ignore[empty-body]
    """Name the resume transports that this plugin opens, by URL scheme.

    Like `sequential_storages`, for objects that keep the `ResumeTransport` contract.
    """


@hookspec(firstresult=True)
def sequential_call_tool(call: ToolCall) -> ToolResult | Pending | None:
    """Make one attempt of a tool call, or return None: "not mine".

    Called in the thread of the invocation, at least once per attempt; stops at the first answer
    that is not None. `Pending` says that the answer comes later, as a signal. None from all is
    `ToolNotFound`, and blocks the run until the tool is there. An exception is a failed attempt;
    raise `Rejected` when the other side certainly did nothing. A wrapper sees every attempt, and
    is the place for audit, caching, rate limits and redaction.

    Example:
        @hookimpl(wrapper=True)
        def sequential_call_tool(call):
            started = time.monotonic()
            try:
                return (yield)
            finally:
                audit(call.category, call.name, time.monotonic() - started)
    """


@hookspec
def sequential_register(registry: Registry) -> None:
    """Add flows and tools that this package brings.

    Called once per application, before anything runs.

    Example:
        @hookimpl
        def sequential_register(registry):
            registry.add_tool(send_mail)
    """


@hookspec
def sequential_commands(cli: Any) -> None:
    """Add commands to ``sequential``; *cli* is its `click.Group`.

    Called when the command line starts; import what the command needs inside the command.
    """


@hookspec
def sequential_payload_codecs() -> Sequence[PayloadCodec]:  # type: ignore[empty-body]
    """Bring payload codecs: compression, sealing, offload.

    The configured list ``payload = ["zstd", "seal"]`` says which are applied, and in what order;
    values that went through others can be read as long as the codec is installed.
    """


@hookspec(firstresult=True)
def sequential_trace() -> Mapping[str, str] | None:
    """Return what a run should remember of the trace that its caller is in, or None.

    Called when a run is started; a mapping of W3C names (``traceparent``, ``tracestate``) is stored
    with the run and handed to observers with it.
    """


@hookspec
def sequential_observe(event: Event) -> None:
    """Be told what happened.

    Called in the thread of the invocation, one implementation at a time, after the commit that
    the event tells of. What it raises is logged and never breaks a run. Be quick: the run waits.
    """


__all__ = [
    "PROJECT",
    "ResumeMessage",
    "ResumeTransport",
    "SpanStoreFactory",
    "StorageFactory",
    "TransportFactory",
    "hookimpl",
    "hookspec",
    "sequential_call_tool",
    "sequential_commands",
    "sequential_observe",
    "sequential_payload_codecs",
    "sequential_register",
    "sequential_span_stores",
    "sequential_storages",
    "sequential_trace",
    "sequential_transports",
]

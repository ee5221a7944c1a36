"""What made this process look at a run: a request, a message, a schedule. Said by transports.

A context variable, so that whoever tells of the invocation finds it; the engine does not know it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple


class Woken(NamedTuple):
    """What an invocation answers.

    Attributes:
        kind: ``server`` for a request, ``consumer`` for a message, else ``internal``.
        attributes: Of the invocation's span, by the names of OpenTelemetry's conventions.
        trace: W3C context of whoever sent it: ``traceparent``, ``tracestate``.
    """

    kind: str = "internal"
    attributes: Mapping[str, str | int | float | bool] = {}
    trace: Mapping[str, str] = {}


NOTHING = Woken()

W3C = ("traceparent", "tracestate")
"""Names of what a context travels under."""

_WOKEN: ContextVar[Woken] = ContextVar("sequential_woken")


def woken() -> Woken:
    """Return what the current code answers."""
    return _WOKEN.get(NOTHING)


@contextmanager
def woken_by(what: Woken) -> Iterator[None]:
    """Let invocations of the block be told with *what*, and with the attributes around it."""
    around = woken()
    attributes = {**around.attributes, **what.attributes}
    token = _WOKEN.set(what._replace(attributes=attributes, trace=what.trace or around.trace))
    try:
        yield
    finally:
        _WOKEN.reset(token)


def on_lambda(context: object, trigger: str, *, cold: bool) -> Woken:
    """Return what an invocation of a function on AWS Lambda answers.

    Args:
        context: The context that Lambda hands over.
        trigger: ``http``, ``pubsub`` or ``timer``.
        cold: Whether it is the first one of its process.
    """
    attributes: dict[str, str | int | float | bool] = {
        "faas.trigger": trigger,
        "faas.coldstart": cold,
    }
    for name, known in (
        ("faas.invocation_id", "aws_request_id"),
        ("cloud.resource_id", "invoked_function_arn"),
    ):
        if isinstance(found := getattr(context, known, None), str):
            attributes[name] = found
    return Woken("internal" if trigger == "timer" else "server", attributes)

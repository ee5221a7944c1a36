"""The handler for AWS Lambda: the server behind a function URL or an API Gateway, and its sweep.

Works within the request, as long as Lambda gives: a process that has answered may be frozen. What
Amazon's HTTP events look like is Mangum's to know.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Protocol

from mangum import Mangum

from sequential import Sequential
from sequential.errors import ConfigError
from sequential.spans import on_lambda, woken_by

from .server import Options, asgi

MARGIN = 5.0
"""Seconds before the deadline at which a run must have been let go."""

_FLUSH, _ANSWER = 2.0, 0.2
"""Seconds that telemetry may take at most, and that must be left after it."""

_SCHEDULES = ("aws.events", "aws.scheduler")
_SWEPT_AT_ONCE = 100

_deadline: ContextVar[float] = ContextVar("deadline")


class LambdaContext(Protocol):
    """What is asked of the context that Lambda hands over."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until this invocation is killed."""


Handler = Callable[[Any, LambdaContext], dict[str, Any]]


def lambda_handler(app: Sequential, options: Options, margin: float = MARGIN) -> Handler:
    """Return a handler for requests to *app*, and for the schedule that lets it sweep.

    Args:
        app: The application. Its transport is this function's own URL: ``https://…``.
        options: As for `server.asgi`; *mode* and *budget* are Lambda's to say.
        margin: Seconds before the deadline at which runs are paused, above 0: long enough for one
            commit and one message.

    Raises:
        ConfigError: An option, or *margin*, has a value that cannot be used.

    Example:
        >>> handler = lambda_handler(app, Options(Keys.from_environment(os.environ)))
    """
    if not margin > 0:
        raise ConfigError("margin", margin, "give seconds above 0")
    served = asgi(app, replace(options, mode="request", budget=_left))
    with warnings.catch_warnings():
        # On 3.12 and 3.13 Python complains of how Mangum asks for a loop, and makes one.
        warnings.simplefilter("ignore", DeprecationWarning)
        # No lifespan: there is no worker to start, and no end that Lambda would announce.
        answer: Handler = Mangum(served, lifespan="off")  # type: ignore[assignment]

    cold = [True]

    def handle(event: Any, context: LambdaContext) -> dict[str, Any]:
        left = context.get_remaining_time_in_millis() / 1000 - margin
        token = _deadline.set(time.monotonic() + left)
        try:
            if _is_schedule(event):
                return {"sent": _sweep(app)}
            with woken_by(on_lambda(context, "http", cold=cold.pop() if cold else False)):
                return answer(event, context)
        finally:
            # Once the handler has returned, the process may be frozen; an answer must get out too.
            app.flush(
                max(0.0, min(_FLUSH, context.get_remaining_time_in_millis() / 1000 - _ANSWER))
            )
            _deadline.reset(token)

    return handle


def _left() -> float:
    return _deadline.get() - time.monotonic()


def _is_schedule(event: object) -> bool:
    return (
        isinstance(event, Mapping)
        and event.get("source") in _SCHEDULES
        and event.get("detail-type") == "Scheduled Event"
    )


def _sweep(app: Sequential) -> int:
    sent = 0
    while _left() > 0:
        found = app.sweep(_SWEPT_AT_ONCE)
        sent += found
        if found < _SWEPT_AT_ONCE:
            app.roll_up()
            break
    return sent

"""Between the framework and plain data: requests within their limits, answers with their headers.

The one place beside `server` that knows Starlette. What is answered is not known here.
"""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from .exchange import Answer, Call, Refusal

PATIENCE = 10.0
"""Seconds in which a body must have arrived."""

_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def call_of(request: Request, body: bytes = b"") -> Call:
    """Return the request as data, with the body that was read."""
    return Call(
        request.scope["headers"], request.path_params, request.query_params.multi_items(), body
    )


async def whole(request: Request, limit: int) -> Call:
    """Return the request with its body.

    Raises:
        Refusal: 413 as soon as it is known, 408 for who sends it drop by drop.
    """
    refuse_length(request, limit)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise Refusal(413, "too_large")
                parts.append(chunk)
    except TimeoutError:
        raise Refusal(408, "too_slow") from None
    return call_of(request, b"".join(parts))


def refuse_length(request: Request, limit: int) -> None:
    """Refuse a body that says itself that it is too long.

    Raises:
        Refusal: 413.
    """
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared[:20]) > limit:
        raise Refusal(413, "too_large")


def response(answer: Answer) -> Response:
    """Return *answer* as the framework sends it."""
    headers = {**_HEADERS, **answer.headers}
    if answer.text is not None:
        return HTMLResponse(answer.text, answer.status, headers)
    return JSONResponse(answer.data, answer.status, headers)


async def unrouted(_: Request, error: Exception) -> Response:
    """Answer for a path or a method that there is not."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(getattr(error, "headers", None) or {})
    words = {404: "not_found", 405: "method_not_allowed"}
    return response(Answer(status, {"error": words.get(status, "refused")}, headers))

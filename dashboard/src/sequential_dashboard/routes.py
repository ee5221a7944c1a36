"""``/metrics`` and ``/healthz`` beside the pages, for programs: by the rules that let people look.

On this machine where nobody logs in; elsewhere with a token, as ``Authorization: Bearer``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from .access import by_place, by_token
from .board import Board
from .gauges import TYPE, Watched
from .settings import is_loopback


def routes(board: Board) -> Sequence[BaseRoute]:
    """Return the routes of *board*."""
    watched = Watched(board.reader, board.clock.monotonic)

    def metrics(request: Request) -> Response:
        return _answer(board, request, lambda: _or_gone(watched.text(), TYPE))

    def health(request: Request) -> Response:
        return _answer(board, request, lambda: _or_gone(watched.text() and "ok\n", "text/plain"))

    return [Route("/metrics", metrics, methods=["GET"]), Route("/healthz", health, methods=["GET"])]


def _answer(board: Board, request: Request, answer: Callable[[], Response]) -> Response:
    if not may_look(board, request.url.hostname or "", request.headers.get("authorization", "")):
        return PlainTextResponse(
            "say who you are: Authorization: Bearer, with the dashboard's token\n",
            401, {"WWW-Authenticate": "Bearer"},
        )  # fmt: skip
    return answer()


def _or_gone(text: str | None, kind: str) -> Response:
    if text is None:
        return PlainTextResponse("the storage does not answer\n", 503)
    return Response(text, headers={"Content-Type": kind, "Cache-Control": "no-store"})


def may_look(board: Board, host: str, authorization: str) -> bool:
    """Tell whether who asked for *host*, with this header, may look."""
    if board.settings.is_open:
        # By its name: a page elsewhere may have made its own name point at this machine.
        return by_place(board.settings) is not None and is_loopback(host)
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not board.tries.allowed():
        return False
    given = hashlib.sha256(token.strip().encode("utf-8", "replace")).hexdigest()
    known = by_token(board.settings, given) is not None
    if not known:
        board.tries.wrong()
    return known

"""The ASGI application: routes of the table, limits, faults, and the worker beside it.

Mount it in FastAPI, Starlette or any ASGI server. What is answered stands in `api`, `resume` and
`links`; here is how a request reaches them: its size, its thread, and what becomes of an exception.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from sequential import Sequential
from sequential.errors import StorageError
from sequential.spans import W3C, Woken, woken_by
from sequential.worker import Worker

from .access import anybody, nobody
from .api import Api, seconds_to_wait
from .exchange import Answer, Call, Refusal, unavailable
from .links import Links
from .openapi import document
from .options import Options, audience_of, check
from .resume import Behind, Doorkeeper, Within
from .routes import OPERATIONS, Operation
from .target import is_loopback
from .transport import HttpTransport
from .wire import call_of, refuse_length, response, unrouted, whole

_log = logging.getLogger("sequential")

LONGEST_WAIT = 60.0
_FIRST_LOOK, _LAST_LOOK = 0.05, 1.0  # seconds between two looks at a run that is waited for
_MOST_WAITERS = 500
_HEAD_ONLY = 1 << 30

Endpoint = Callable[[Request], Awaitable[Response]]


def asgi(app: Sequential, options: Options) -> Starlette:
    """Return the ASGI application that serves *app*.

    Where it is mounted, hand its lifespan on, or the worker does not start:
    ``FastAPI(lifespan=served.router.lifespan_context)``.

    Raises:
        ConfigError: There are no keys, or an option has a value that cannot be used.
    """
    return Server(app, options).asgi()


class Server:
    """One application served over HTTP.

    Attributes:
        draining: Set it, by `drain`, to take nothing new and let runs pause at their next step.
    """

    def __init__(self, app: Sequential, options: Options) -> None:
        check(options)
        self.draining = threading.Event()
        self._app = app
        self._options = options
        self._worker: Worker | None = None
        self._thread: threading.Thread | None = None
        self._waiters = 0
        # Some more than may work at a time: those are who is told so.
        self._threads = CapacityLimiter(options.concurrency + 8)
        self._healthy = (0.0, False)
        authorise = options.authorise or (anybody if options.insecure_dev else nobody)
        self._api = Api(app, tuple(options.flows), authorise)
        self._links = Links(app, options.keys)
        self._door = Doorkeeper(options.keys, audience_of(app, options), app.clock.now)
        budget = options.budget if callable(options.budget) else partial(float, options.budget)
        within = Within(app, budget, options.concurrency)
        behind = Behind(app, self._is_working)
        self._resume = within if options.mode == "request" else behind
        # An inbox takes it at once; any other transport that carries may ask a server.
        carries = app.transport.carries and not isinstance(app.transport, HttpTransport)
        self._takes_long = options.mode == "request" or carries

    def asgi(self) -> Starlette:
        """Return the ASGI application."""
        routes = [
            Route(operation.path, self._endpoint(operation), methods=[operation.method])
            for operation in OPERATIONS
        ]
        handlers = {HTTPException: unrouted}
        made = Starlette(routes=routes, lifespan=self._lifespan, exception_handlers=handlers)
        # A path with a slash at its end is another path, and nothing here answers by a redirect.
        made.router.redirect_slashes = False
        return made

    def drain(self) -> None:
        """Take nothing new and let runs pause at their next step. Returns at once."""
        self.draining.set()
        if self._worker is not None:
            self._worker.stop()

    # -- the worker beside the server --------------------------------------------------------

    @asynccontextmanager
    async def _lifespan(self, _: object) -> AsyncIterator[None]:
        before = self._app.driver.stopping
        self.draining.clear()
        if self._options.mode == "request":
            self._app.driver.stopping = self.draining.is_set
        elif self._options.worker:
            options = self._options
            self._worker = Worker(self._app, options.concurrency, sweep_every=options.sweep_every)
            self._thread = threading.Thread(
                target=self._worker.run, daemon=True, name="sequential-http-worker"
            )
            self._thread.start()
        try:
            yield
        finally:
            self.drain()
            if self._thread is not None:
                await run_in_threadpool(self._thread.join)
            if self._options.mode == "request":
                self._app.driver.stopping = before

    def _is_working(self) -> bool:
        if not self._options.worker:
            return True
        alive = self._thread is not None and self._thread.is_alive()
        return alive and not self.draining.is_set()

    # -- from a request to an answer ---------------------------------------------------------

    def _endpoint(self, operation: Operation) -> Endpoint:
        answer = self._answering(operation)

        async def endpoint(request: Request) -> Response:
            try:
                self._refuse_strangers(request)
                return response(await answer(request))
            except Refusal as refusal:
                return response(refusal.answer())
            except ClientDisconnect:
                return Response(status_code=400)
            except StorageError as error:
                _log.warning("a request was not answered: %s", error)
                return response(unavailable().answer())
            except Exception as error:  # noqa: BLE001  (whatever it is, no stranger is told)
                data = {"error": "internal", "id": _logged(error)}
                return response(Answer(500, data))

        return endpoint

    def _answering(self, operation: Operation) -> Callable[[Request], Awaitable[Answer]]:
        special = {
            "resume": self._take,
            "wait": self._wait,
            "health": self._health,
            "openapi": self._openapi,
        }
        if operation.name in special:
            return special[operation.name]
        owner: object = self._links if operation.security == "link" else self._api
        act: Callable[[Call], Answer] = getattr(owner, operation.name)

        async def answer(request: Request) -> Answer:
            if operation.action is not None:
                refuse_length(request, operation.limit)
                bare = call_of(request)
                await run_in_threadpool(self._api.admit, operation.action, bare)
            return await run_in_threadpool(act, await whole(request, operation.limit))

        return answer

    async def _take(self, request: Request) -> Answer:
        call = await whole(request, _LIMITS["resume"])
        run_id = self._door.admitted(call)
        if self.draining.is_set():
            raise unavailable()
        with woken_by(_woken(call)):
            if self._takes_long:
                # Threads of their own: long invocations must not keep clients from looking.
                return await to_thread.run_sync(self._resume, run_id, limiter=self._threads)
            return self._resume(run_id)

    async def _wait(self, request: Request) -> Answer:
        call = call_of(request)
        await run_in_threadpool(self._api.admit, "read", call)
        until = asyncio.get_running_loop().time() + seconds_to_wait(call, LONGEST_WAIT)
        if self._waiters >= _MOST_WAITERS:
            raise unavailable()
        self._waiters += 1
        pause = _FIRST_LOOK
        try:
            while True:
                answer = await run_in_threadpool(self._api.wait, call)
                left = until - asyncio.get_running_loop().time()
                over = left <= 0 or self.draining.is_set() or await request.is_disconnected()
                if answer.status == 200 or over:
                    return answer
                await asyncio.sleep(min(pause, left))
                pause = min(pause * 1.5, _LAST_LOOK)
        finally:
            self._waiters -= 1

    async def _health(self, _: Request) -> Answer:
        now = asyncio.get_running_loop().time()
        at, healthy = self._healthy
        if not healthy or now - at >= 1:
            # Not more than once a second: strangers may ask.
            await run_in_threadpool(self._app.storage.load, "health", _HEAD_ONLY)
            self._healthy = (now, True)
        if self._options.mode == "background" and not self._is_working():
            raise unavailable()
        return Answer(200, {"status": "ok"})

    async def _openapi(self, _: Request) -> Answer:
        return Answer(200, _document())

    def _refuse_strangers(self, request: Request) -> None:
        """Where it may go without keys, hear this machine alone, under its own names.

        Raises:
            Refusal: 401.
        """
        if not self._options.insecure_dev:
            return
        server, client = request.scope.get("server"), request.scope.get("client")
        host = (request.url.hostname or "").strip("[]")
        places = [place[0] if place else "" for place in (server, client)]
        if not all(is_loopback(each) for each in (*places, host)):
            raise Refusal(401, "unauthorised")


def _woken(call: Call) -> Woken:
    attributes = {"http.request.method": "POST", "http.route": "/resume/{run_id}"}
    trace = {name: text[:512] for name in W3C if (text := call.header(name))}
    return Woken("server", attributes, trace)


_LIMITS = {operation.name: operation.limit for operation in OPERATIONS}


@cache
def _document() -> dict[str, Any]:
    try:
        return document(version("sequential-http"))
    except PackageNotFoundError:  # a source tree that is not installed
        return document("0")


def _logged(error: Exception) -> str:
    error_id = secrets.token_hex(8)
    _log.error("error %s while a request was answered", error_id, exc_info=error)
    return error_id


__all__ = ["Options", "Server", "asgi"]

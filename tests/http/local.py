"""A client of an ASGI application in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any, Self

import httpx
from anyio.from_thread import start_blocking_portal


class Local:
    """A client of an ASGI application in this process, on an event loop of its own.

    Its lifespan is entered with the block, unless *lifespan* says otherwise.
    """

    def __init__(
        self,
        application: Any,
        *,
        base_url: str = "http://127.0.0.1",
        client: tuple[str, int] = ("127.0.0.1", 1),
        lifespan: bool = True,
    ) -> None:
        self.application = application
        self._transport = httpx.ASGITransport(application, client=client)
        self._base_url = base_url
        self._lifespan = lifespan
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._portal = self._stack.enter_context(start_blocking_portal())
        if self._lifespan:
            context = self.application.router.lifespan_context(self.application)
            self._stack.enter_context(self._portal.wrap_async_context_manager(context))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def request(self, method: str, url: str, **given: Any) -> httpx.Response:
        """Send a request, and return the answer whole."""
        answer: httpx.Response = self._portal.call(self._request, method, url, given)
        return answer

    def get(self, url: str, **given: Any) -> httpx.Response:
        """Send a GET."""
        return self.request("GET", url, **given)

    def post(self, url: str, **given: Any) -> httpx.Response:
        """Send a POST."""
        return self.request("POST", url, **given)

    async def _request(self, method: str, url: str, given: dict[str, Any]) -> httpx.Response:
        if isinstance(given.get("content"), Iterator):
            given["content"] = _later(given["content"])
        async with httpx.AsyncClient(transport=self._transport, base_url=self._base_url) as client:
            return await client.request(method, url, **given)


async def _later(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk

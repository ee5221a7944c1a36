"""Real HTTP servers on free ports of the loopback, each on a thread of its own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 20.0

KEY = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
OTHER_KEY = "whsec_YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI="
TOKEN = "a-token-of-the-tests"


def free_socket() -> socket.socket:
    """Return a listening socket on a free port of the loopback."""
    # Named, since asyncio switches delays off only where it reads TCP.
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", 0))
    made.listen(128)
    return made


def url_of(listening: socket.socket) -> str:
    """Return the address of a listening socket."""
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def serving(application: Any, listening: socket.socket) -> Iterator[str]:
    """Serve an ASGI application on a socket; give its address."""
    import uvicorn

    config = uvicorn.Config(application, log_level="error", timeout_graceful_shutdown=5, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        assert server.started, "the server did not start"
        yield url_of(listening)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
    assert not thread.is_alive(), "the server did not end"


def until(happened: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until *happened*, by the wall."""
    end = time.monotonic() + patience
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Scripted:
    """A server that answers what it was told, one answer after the other, and keeps the requests.

    Attributes:
        answers: Status and headers of each answer; the last one stays.
        body: Of every answer.
        seen: Path, headers and body of each request.
    """

    def __init__(self, *answers: tuple[int, dict[str, str]]) -> None:
        self.answers = list(answers)
        self.body = b"{}"
        self.seen: list[tuple[str, dict[str, str], bytes]] = []

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.seen.append((scope["path"], headers, body))
        status, extra = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        sent = [(name.encode(), value.encode()) for name, value in extra.items()]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": self.body})

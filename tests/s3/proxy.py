"""A proxy in front of an S3 server, as small as one can be; it fails and refuses on demand.

Speaks as much of HTTP/1.1 as boto3 does.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from io import BufferedReader
from typing import NamedTuple
from urllib.parse import urlsplit

from sequential._clock import SystemClock
from tests.proxy import Decide, Proxy

_OF_THE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}


class Request(NamedTuple):
    """What a client asks."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


class Hasty(SystemClock):
    """Does not wait long between two tries."""

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        return super().wait(seconds / 20, event)


Refuse = Callable[[Request], tuple[int, str] | None]


class Cutter(Proxy):
    """Passes requests on to the server at *endpoint*.

    Attributes:
        refuse: Says with which status and code a request is refused instead; None for none.
    """

    def __init__(self, endpoint: str, decide: Decide | None = None) -> None:
        self._server = urlsplit(endpoint).netloc
        self.refuse: Refuse = lambda _: None
        super().__init__(decide)
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def serve(self, client: socket.socket) -> None:
        with client.makefile("rb") as stream:
            request = _read(client, stream)
            while self.pass_on(client, partial(self._answer, request)):
                request = _read(client, stream)

    def _answer(self, request: Request) -> bytes:
        refused = self.refuse(request)
        if refused is None:
            return _ask(self._server, request)
        status, code = refused
        body = f"<Error><Code>{code}</Code><Message>as asked for</Message></Error>".encode()
        head = f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body


def _read(client: socket.socket, stream: BufferedReader) -> Request:
    first = stream.readline().decode("latin-1").split()
    if len(first) != 3:
        raise EOFError
    parsed = http.client.parse_headers(stream)
    if parsed.get("Expect"):
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = int(parsed.get("Content-Length", 0))
    body = stream.read(length)
    if len(body) < length:
        raise EOFError
    return Request(first[0], first[1], parsed.items(), body)


def _ask(server: str, request: Request) -> bytes:
    """Return the reply to *request*, as bytes."""
    with closing(http.client.HTTPConnection(server, timeout=30)) as connection:
        connection.putrequest(
            request.method, request.target, skip_host=True, skip_accept_encoding=True
        )
        for name, value in _kept(request.headers):
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders(request.body)
        reply = connection.getresponse()
        body = reply.read()
    lines = [f"HTTP/1.1 {reply.status} {reply.reason}"]
    lines += [f"{name}: {value}" for name, value in _kept(reply.getheaders())]
    if reply.status != 204:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _kept(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [each for each in headers if each[0].lower() not in _OF_THE_CONNECTION]

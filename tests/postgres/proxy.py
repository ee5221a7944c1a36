"""A pooler in front of a server, as small as one can be: every transaction gets another backend.

It can also fail on demand. `Cutter` is the same without pooling. Both speak the protocol's framing,
and read no statement.
"""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.proxy import Decide, Proxy

Ask = Callable[[bytes], bytes]

_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102


class Pooler(Proxy):
    """Listens on loopback.

    Args:
        target: Socket of the server.
        backends: How many connections are shared by all clients.
        decide: What becomes of each request that carries something out. One that only prepares a
            statement is passed on, and not counted.

    Attributes:
        options: The settings that clients asked for when they connected.
    """

    def __init__(self, target: Path, backends: int = 3, decide: Decide | None = None) -> None:
        self.options: list[str] = []
        self._target = target
        self._count = backends
        self._backends: list[_Backend] = []
        self._next = itertools.count()
        self._lock = threading.Lock()
        super().__init__(decide)

    def close(self) -> None:
        super().close()
        for backend in self._backends:
            backend.socket.close()

    def serve(self, client: socket.socket) -> None:
        with self._session(self._startup(client)) as (greeting, ask):
            client.sendall(greeting)
            while self._serve_one(client, ask):
                pass

    def _serve_one(self, client: socket.socket, ask: Ask) -> bool:
        """Pass one request on; tell whether the client is still connected."""
        messages = _request(client)
        request, kinds = b"".join(messages), {message[:1] for message in messages}
        if b"X" in kinds:
            return False
        if kinds & {b"E", b"Q"}:
            return self.pass_on(client, lambda: ask(request))
        client.sendall(ask(request))
        return True

    @contextmanager
    def _session(self, startup: bytes) -> Iterator[tuple[bytes, Ask]]:
        yield self._open(startup), self._ask

    def _startup(self, client: socket.socket) -> bytes:
        while True:
            head = _exactly(client, 8)
            length, code = struct.unpack("!ii", head)
            rest = _exactly(client, length - 8)
            if code in {_SSL, _GSS}:
                client.sendall(b"N")
                continue
            if code == _CANCEL:
                raise EOFError
            words = rest.rstrip(b"\0").split(b"\0")
            pairs = dict(zip(words[::2], words[1::2], strict=False))
            if b"options" in pairs:
                self.options.append(pairs[b"options"].decode())
            return head + rest

    def _open(self, startup: bytes) -> bytes:
        with self._lock:
            while len(self._backends) < self._count:
                self._backends.append(_Backend(self._target, startup))
            return self._backends[0].greeting

    def _ask(self, request: bytes) -> bytes:
        """Let a backend answer; in a transaction, go on asking the same one is not supported."""
        reply, status = self._backends[next(self._next) % self._count].ask(request)
        assert status == b"I", "a transaction was left open"
        return reply

    def ask_all(self, statement: str) -> list[bytes]:
        """Run *statement* on every backend; return the raw replies."""
        body = statement.encode() + b"\0"
        request = b"Q" + struct.pack("!i", len(body) + 4) + body
        return [self._ask(request) for _ in range(self._count)]


class _Backend:
    def __init__(self, target: Path, startup: bytes) -> None:
        self.lock = threading.Lock()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(target))
        self.socket.sendall(startup)
        self.greeting, _ = _reply(self.socket)

    def ask(self, request: bytes) -> tuple[bytes, bytes]:
        with self.lock:
            self.socket.sendall(request)
            return _reply(self.socket)


class Cutter(Pooler):
    """Gives every client a connection of its own, which dies with it."""

    @contextmanager
    def _session(self, startup: bytes) -> Iterator[tuple[bytes, Ask]]:
        backend = _Backend(self._target, startup)
        with backend.socket:
            yield backend.greeting, lambda request: backend.ask(request)[0]


@contextmanager
def pooler(target: Path, backends: int = 3, decide: Decide | None = None) -> Iterator[Pooler]:
    """Give a pooler in front of *target*."""
    made = Pooler(target, backends, decide)
    try:
        yield made
    finally:
        made.close()


def _request(client: socket.socket) -> list[bytes]:
    """Read messages up to the one that ends a request."""
    parts: list[bytes] = []
    while True:
        message = _message(client)
        parts.append(message)
        if message[:1] in b"SQX":
            return parts


def _reply(backend: socket.socket) -> tuple[bytes, bytes]:
    """Read messages up to the one that says that the server is ready."""
    parts: list[bytes] = []
    while True:
        message = _message(backend)
        parts.append(message)
        if message[:1] == b"Z":
            return b"".join(parts), message[-1:]


def _message(peer: socket.socket) -> bytes:
    head = _exactly(peer, 5)
    (length,) = struct.unpack("!i", head[1:])
    return head + _exactly(peer, length - 4)


def _exactly(peer: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = peer.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)

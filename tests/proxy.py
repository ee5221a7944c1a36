"""Proxies in front of servers, which fail on demand; what they speak is their subclasses'.

A connection is cut before a request is passed on, after the server has carried it out and before
the reply or in the middle of it, or before the server begins, which it then does with nobody there
to hear. Or nothing comes back for as long as the client waits.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

Fate = Literal["pass", "before", "after", "half", "late", "hang"]
Decide = Callable[[int], Fate]

_LATE = 0.01  # seconds that a request is still on its way


class Proxy:
    """Listens on loopback.

    Args:
        decide: Told the number of each request that counts, from 1, says what becomes of it.

    Attributes:
        requests: How many of these there were.
    """

    def __init__(self, decide: Decide | None = None) -> None:
        self.requests = 0
        self.decide: Decide = decide or (lambda _: "pass")
        self._clients: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Listen no longer, and cut all connections."""
        self._listener.close()
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def serve(self, client: socket.socket) -> None:
        """Pass on what *client* asks, until it has gone or was cut off."""
        raise NotImplementedError

    def pass_on(self, client: socket.socket, ask: Callable[[], bytes]) -> bool:
        """Let the server answer a request, or not; tell whether the client is still connected."""
        self.requests += 1
        fate = self.decide(self.requests)
        if fate == "before":
            return False
        if fate == "hang":
            client.recv(1)
            return False
        if fate == "late":
            client.shutdown(socket.SHUT_RDWR)
            time.sleep(_LATE)
        reply = ask()
        if fate == "pass":
            client.sendall(reply)
        elif fate == "half":
            client.sendall(reply[: len(reply) // 2])
        return fate == "pass"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError, EOFError):
            self.serve(client)

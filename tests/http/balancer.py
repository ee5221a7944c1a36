"""A load balancer: connections go in turn to whichever of several servers takes them."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from tests.fix_http import free_socket, url_of


class Balancer:
    """Listens on a free port of the loopback; *ports* may change while it runs."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self._listening = free_socket()
        self.url = url_of(self._listening)
        self._turn = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._turn += 1
        ports = list(self.ports)
        for number in range(len(ports)):
            port = ports[(self._turn + number) % len(ports)]
            with suppress(OSError):
                server = socket.create_connection(("127.0.0.1", port), 5)
                break
        else:
            client.close()
            return
        for one in (client, server):
            one.settimeout(None)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_copy, args=(client, server), daemon=True).start()
        _copy(server, client)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()

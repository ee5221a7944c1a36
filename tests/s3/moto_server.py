"""moto as a server process: ``python moto_server.py PORT locked|plain``.

moto checks a condition and writes in two steps. ``locked`` makes them one; ``plain`` leaves the gap
and switches threads so often that writers fall into it.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    create_backend_app,
)
from werkzeug.serving import WSGIRequestHandler, make_server

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def locked(inner: App) -> App:
    lock = threading.Lock()

    def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in {"PUT", "POST", "DELETE"}:
            return inner(environ, start)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        # Read outside the lock: a slow client must not hold up all others.
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
        with lock:
            return list(inner(environ, start))

    return app


def main(port: int, kind: str) -> None:
    app: App = DomainDispatcherApplication(create_backend_app)
    if kind == "plain":
        sys.setswitchinterval(1e-6)
    else:
        app = locked(app)
    make_server("127.0.0.1", port, app, threaded=True, request_handler=Quiet).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

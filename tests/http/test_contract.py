"""The contract of transports, over a real server on the loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sequential import Registry, Sequential
from sequential.hookspecs import ResumeTransport
from sequential.storage import Clock
from sequential.testing import TransportContract
from sequential_http.server import Options, asgi
from sequential_http.signing import Keys
from sequential_http.target import read_target
from sequential_http.transport import HttpTransport
from tests.fix_http import KEY, free_socket, serving, url_of


class TestOverHttp(TransportContract):
    @pytest.fixture
    def transport(self, clock: Clock) -> Iterator[ResumeTransport]:
        listening = free_socket()
        keys = Keys.parse(KEY)
        transport = HttpTransport(read_target(f"{url_of(listening)}/flows"), keys, clock)
        app = Sequential("memory:", transport, plugins=[], registry=Registry(), clock=clock)
        # The test itself listens, as a worker elsewhere in the process would.
        from starlette.applications import Starlette
        from starlette.routing import Mount

        served = asgi(app, Options(keys, worker=False))
        with serving(Starlette(routes=[Mount("/flows", served)]), listening):
            yield transport
        app.close()

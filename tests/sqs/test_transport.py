"""The transport contract on two servers, with queues that keep an order and that do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from sequential._clock import SYSTEM_CLOCK
from sequential.storage import Clock
from sequential.testing import TransportContract
from sequential_sqs.transport import SqsTransport
from sequential_sqs.url import read_sqs_url
from tests.fix_sqs import new_url


class OnServer(TransportContract):
    delay = 2.0  # a server has no other clock than the machine's
    fifo = False

    @pytest.fixture
    def clock(self) -> Clock:
        return SYSTEM_CLOCK

    @pytest.fixture
    def endpoint(self, ministack: str) -> str:
        return ministack

    @pytest.fixture
    def transport(self, endpoint: str, clock: Clock) -> Iterator[SqsTransport]:
        settings = read_sqs_url(new_url(endpoint, fifo=self.fifo))
        # Where long polls were tried already, none keeps the end of a test waiting.
        transport = SqsTransport(replace(settings, wait=0) if self.fifo else settings, clock)
        yield transport
        transport.close()


class TestMinistack(OnServer):
    pass


class TestMinistackInOrder(OnServer):
    fifo = True


class TestMoto(OnServer):
    @pytest.fixture
    def endpoint(self, moto_sqs: str) -> str:
        return moto_sqs


class TestMotoInOrder(TestMoto):
    fifo = True

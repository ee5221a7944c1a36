"""The contract of transports, over that of the core."""

from __future__ import annotations

import pytest

from sequential._polling import PollingTransport
from sequential._transport import ResumeTransport
from sequential.testing import TransportContract


class TestPolling(TransportContract):
    redelivers = False  # the record is due: this process's own poll finds it

    @pytest.fixture
    def transport(self) -> ResumeTransport:
        return PollingTransport(every=0.01)

"""The driver sends what is due, however well it knows the time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from sequential import Registry, Sequential, Steps, flow, save
from sequential._polling import PollingTransport
from sequential.testing import FakeClock


@pytest.fixture
def app() -> Iterator[Sequential]:
    registry = Registry()

    @flow(name="two", registry=registry)
    def two() -> Steps[int]:
        yield save()
        return 2

    transport = PollingTransport()
    with Sequential(
        "memory:", transport, plugins=[], registry=registry, clock=FakeClock(), pause="when-waiting"
    ) as opened:
        yield opened


def sent(app: Sequential) -> str | None:
    assert isinstance(app.transport, PollingTransport)
    return app.transport.take(0.0)


@pytest.mark.parametrize("behind", [1e-7, 1e-3, 0.04])
def test_a_run_that_is_due_is_sent_though_the_time_is_known_a_little_late(
    app: Sequential, behind: float
) -> None:
    """A thread may be paused between the storage's answer and reading its own clock."""
    app.driver.time.is_now(app.driver.time.now() - behind)
    run_id = app.start("two")
    assert sent(app) == run_id


def test_a_run_that_is_due_later_is_not_sent_by_a_transport_without_delays(app: Sequential) -> None:
    app.start("two", wake=timedelta(seconds=1))
    assert sent(app) is None


def test_a_pause_that_goes_on_at_once_is_sent(app: Sequential) -> None:
    run_id = app.start("two")
    assert sent(app) == run_id
    app.execute(run_id)
    assert sent(app) == run_id

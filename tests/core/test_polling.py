"""The transport that needs no broker."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from sequential import Steps, flow, save, sleep
from sequential._outcomes import Missing
from sequential._polling import PollingTransport, open_polling
from sequential.errors import ConfigError
from sequential.hookspecs import ResumeMessage
from sequential.testing import FakeClock
from tests.fix_stage import Stage


def test_what_was_sent_is_taken_in_order() -> None:
    transport = PollingTransport()
    for run_id in ("a", "b", "a"):
        transport.send([ResumeMessage(run_id)])
    assert [transport.take(0) for _ in range(4)] == ["a", "b", "a", None]


def test_delayed_messages_are_left_to_the_poll() -> None:
    transport = PollingTransport()
    transport.send([ResumeMessage("a", 5.0)])
    assert transport.take(0) is None
    assert transport.longest_delay == 0
    assert transport.carries is False


def test_it_hands_over_what_it_hears_until_it_is_told_to_stop() -> None:
    transport, stop, heard = PollingTransport(every=0.001), threading.Event(), []

    def handle(run_id: str) -> Missing:
        heard.append(run_id)
        if run_id == "last":
            stop.set()
        return Missing(run_id)

    for run_id in ("first", "last"):
        transport.send([ResumeMessage(run_id)])
    transport.listen(handle, stop)
    assert heard == ["first", "last"]


@pytest.mark.parametrize(
    ("url", "every"), [("poll:", 0.5), ("poll:?every=2s", 2.0), ("poll:?every=0.25", 0.25)]
)
def test_its_url_says_how_often(url: str, every: float) -> None:
    assert open_polling(url, FakeClock()).every == every


@pytest.mark.parametrize(
    "url",
    ["poll:?every=", "poll:?every=x", "poll:?every=0", "poll:?every=-1s", "poll:?often=1",
     "poll:?every=nan", "poll:?every=inf", "poll:?every=1e9"],
)  # fmt: skip
def test_a_url_that_says_something_else_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="transport"):
        open_polling(url, FakeClock())


def test_a_run_is_announced_when_it_starts_pauses_and_is_told_something(stage: Stage) -> None:
    @flow(registry=stage.registry)
    def pausing() -> Steps[None]:
        yield save()
        yield sleep(60)

    app: Any = stage.app()
    run_id = app.start(pausing)
    assert app.transport.take(0) == run_id
    app.execute(run_id)
    assert app.transport.take(0) == run_id
    app.execute(run_id)
    assert app.transport.take(0) is None  # it sleeps: the poll will find it
    app.signal(run_id, "go")
    assert app.transport.take(0) == run_id
    app.cancel(run_id)
    assert app.transport.take(0) == run_id
    app.execute(run_id)
    assert app.transport.take(0) is None
    app.retry(run_id)
    assert app.transport.take(0) == run_id

"""NOTIFY as a resume transport: its contract, what it does when the server goes, and a worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

import sequential_postgres.plugin
from sequential import Registry, Sequential, Steps, flow, tool
from sequential.errors import ConfigError, TransportError
from sequential.hookspecs import ResumeMessage
from sequential.outcomes import Completed
from sequential.storage import Clock, Status
from sequential.testing import FakeClock, TransportContract
from sequential.testing._transport_contract import Listener
from sequential.worker import Worker
from sequential_postgres.notify import NotifyTransport
from sequential_postgres.plugin import open_notify, open_postgres
from tests.fix_postgres import OwnServer, Server

PATIENCE = 20.0


def opened(url: str) -> NotifyTransport:
    transport = open_notify(url, FakeClock())
    assert isinstance(transport, NotifyTransport)
    return transport


def until(enough: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not enough():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look ten times as often whether to stop: many tests end by that."""
    monkeypatch.setattr("sequential_postgres.notify._LOOK", 0.05)


@pytest.fixture
def url(postgres18: Server) -> str:
    return postgres18.url(postgres18.emptied())


class TestNotify(TransportContract):
    @pytest.fixture
    def transport(self, url: str, clock: Clock) -> Iterator[NotifyTransport]:
        transport = opened(url)
        yield transport
        transport.close()


def test_every_listener_hears_every_message(url: str) -> None:
    sender, one, other = opened(url), opened(url), opened(url)
    listeners = [Listener(transport, {}) for transport in (one, other)]
    until(lambda: one._listening and other._listening)
    sender.send([ResumeMessage("r1")])
    for listener in listeners:
        assert listener.answers({"r1"}, PATIENCE)
        assert listener.end(PATIENCE)
    for transport in (sender, one, other):
        transport.close()


def test_two_schemas_do_not_hear_each_other(url: str) -> None:
    here, there = opened(url), opened(f"{url}&schema=acme")
    listener = Listener(here, {})
    until(lambda: here._listening)
    there.send([ResumeMessage("r1")])
    here.send([ResumeMessage("r2")])
    assert listener.answers({"r2"}, PATIENCE)
    assert listener.end(PATIENCE)
    assert listener.heard == ["r2"]
    here.close()
    there.close()


def test_what_is_no_run_id_is_not_handed_over(postgres18: Server, url: str) -> None:
    transport = opened(url)
    listener = Listener(transport, {})
    until(lambda: transport._listening)
    for text in ("", "../etc", "a b", "x" * 129, "; DROP"):
        postgres18.execute(
            f"SELECT pg_notify('sequential_sequential', '{text}')", postgres18.emptied()
        )
    transport.send([ResumeMessage("r1")])
    assert listener.answers({"r1"}, PATIENCE)
    assert listener.end(PATIENCE)
    assert listener.heard == ["r1"]
    transport.close()


def test_a_server_that_says_nothing_is_asked_whether_it_is_there(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sequential_postgres.notify._QUIET", 1)
    transport = opened(url)
    listener = Listener(transport, {})
    until(lambda: transport._listening)
    time.sleep(0.2)
    transport.send([ResumeMessage("r1")])
    assert listener.answers({"r1"}, PATIENCE)
    assert listener.end(PATIENCE)
    transport.close()


def test_a_handler_that_always_fails_is_given_up(url: str) -> None:
    transport = opened(url)
    listener = Listener(transport, {"bad": 1000})
    until(lambda: transport._listening)
    transport.send([ResumeMessage("bad")])
    listener.wait(lambda: len(listener.heard) >= 5, PATIENCE)
    transport.send([ResumeMessage("good")])
    assert listener.answers({"good"}, PATIENCE)
    assert listener.end(PATIENCE)
    assert listener.heard.count("bad") == 5
    transport.close()


def test_it_listens_again_after_a_crash_of_the_server(own_postgres: OwnServer) -> None:
    transport = opened(own_postgres.url(statement_timeout="3"))
    listener = Listener(transport, {})
    until(lambda: transport._listening)
    own_postgres.kill()
    until(lambda: not transport._listening)
    with pytest.raises(TransportError, match="r1"):
        transport.send([ResumeMessage("r1")])
    own_postgres.start()
    until(lambda: transport._listening)
    transport.send([ResumeMessage("r2")])
    assert listener.answers({"r2"}, PATIENCE)
    assert listener.end(PATIENCE)
    assert "r1" not in listener.heard
    transport.close()


def test_behind_a_pooler_nobody_can_listen() -> None:
    with pytest.raises(ConfigError, match="name the server itself"):
        opened("postgresql://h/d?prepare=off")


# -- with a worker

registry = Registry()


@tool("numbers", "triple", registry=registry)
def triple(number: int) -> int:
    return 3 * number


@flow(registry=registry)
def tripled(number: int) -> Steps[int]:
    for _ in range(3):
        number = yield from triple(number)
    return number


def is_completed(app: Sequential, run_id: str) -> bool:
    return app.get(run_id).status is Status.COMPLETED


def test_a_worker_carries_on_what_it_hears_and_what_was_lost(url: str) -> None:
    quiet = open_postgres(url, FakeClock())
    # Started where nobody sends: only a sweep finds it.
    with Sequential(quiet, plugins=[], registry=registry) as other:
        other.start(tripled, {"number": 1}, run_id="lost")
    brought = [sequential_postgres.plugin]
    with Sequential(url, url, "every-step", plugins=brought, registry=registry) as app:
        worker = Worker(app, 2, sweep_every=0.2)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            app.start(tripled, {"number": 2}, run_id="heard")
            for run_id in ("lost", "heard"):
                until(partial(is_completed, app, run_id))
        finally:
            worker.stop()
            thread.join(PATIENCE)
        assert not thread.is_alive()
        outcome = app.execute("heard")
        assert isinstance(outcome, Completed)
        assert outcome.result == 54

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Iterator

import pytest

from sequential import Sequential
from sequential.errors import ConfigError, TransportError
from sequential.hookspecs import ResumeMessage
from sequential.testing import FakeClock
from sequential_http import plugin
from sequential_http.inbox import Inbox
from sequential_http.signing import Keys, verify
from sequential_http.target import read_target
from sequential_http.transport import HttpTransport
from tests.fix_http import KEY, Scripted, free_socket, serving, until

KEYS = Keys.parse(KEY)


class Waits(FakeClock):
    """A clock that notes how long was waited."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        self.waited.append(seconds)
        return super().wait(seconds, event)


@pytest.fixture
def clock() -> Waits:
    return Waits()


def opened(url: str, clock: FakeClock) -> HttpTransport:
    return HttpTransport(read_target(url), KEYS, clock)


@pytest.fixture
def told() -> Scripted:
    return Scripted((202, {}))


@pytest.fixture
def transport(told: Scripted, clock: Waits) -> Iterator[HttpTransport]:
    with serving(told, free_socket()) as address:
        made = opened(f"{address}/flows/", clock)
        yield made
        made.close()


def test_a_message_says_which_run_and_for_whom_and_nothing_else(
    transport: HttpTransport, told: Scripted, clock: Waits
) -> None:
    trace = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "baggage": "secret=1"}
    transport.send([ResumeMessage("order-1", key="op", trace=trace)])
    [(path, headers, body)] = told.seen
    assert path == "/flows/resume/order-1"
    base = transport.target.base
    assert json.loads(body) == {"v": 1, "aud": base, "op": "resume", "run": "order-1"}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert verify(KEYS, pairs, body, clock.now()).startswith("msg_")
    assert headers["traceparent"] == trace["traceparent"]
    assert "baggage" not in headers
    assert "secret" not in str(headers)


@pytest.mark.parametrize(
    "trace", [{"traceparent": "a\r\nx-h: 1"}, {"tracestate": "a" * 10_000}, {"traceparent": "é"}]
)
def test_a_trace_that_can_be_no_header_is_left_out(
    transport: HttpTransport, told: Scripted, trace: dict[str, str]
) -> None:
    transport.send([ResumeMessage("r1", trace=trace)])
    assert not {"traceparent", "tracestate", "x-h"} & told.seen[0][1].keys()


def test_each_message_has_an_id_of_its_own_and_keeps_it_when_it_is_sent_again(
    transport: HttpTransport, told: Scripted
) -> None:
    told.answers = [(503, {}), (202, {})]
    transport.send([ResumeMessage("r1"), ResumeMessage("r1")])
    ids = [headers["webhook-id"] for _, headers, _ in told.seen]
    assert len(ids) == 3
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(
    transport: HttpTransport, told: Scripted, clock: Waits, status: int
) -> None:
    told.answers = [(status, {}), (status, {}), (200, {})]
    transport.send([ResumeMessage("r1")])
    assert len(told.seen) == 3
    assert len(clock.waited) == 2
    assert sum(clock.waited) < 5


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [("1", 1.0, 1.0), ("3600", 2.0, 2.0), ("-1", 0.0, 0.4), ("soon", 0.0, 0.4),
     ("Wed, 21 Oct 1970 07:28:00 GMT", 0.0, 0.4), ("Wed, 21 Oct 2999 07:28:00 GMT", 2.0, 2.0),
     ("9" * 400, 0.0, 0.4)],
)  # fmt: skip
def test_a_server_may_say_when_to_come_back_up_to_two_seconds(
    transport: HttpTransport, told: Scripted, clock: Waits, said: str, least: float, most: float
) -> None:
    told.answers = [(503, {"retry-after": said}), (200, {})]
    transport.send([ResumeMessage("r1")])
    assert least <= clock.waited[0] <= most


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 410, 413, 500])
def test_an_answer_that_is_no_acknowledgement_is_an_error_at_once(
    transport: HttpTransport, told: Scripted, status: int
) -> None:
    # Also a redirect: nobody is followed to another place.
    told.answers = [(status, {"location": "/elsewhere"}), (202, {})]
    with pytest.raises(TransportError, match=str(status)) as raised:
        transport.send([ResumeMessage("r1"), ResumeMessage("r2")])
    assert raised.value.unsent == ("r1",)
    assert [path for path, _, _ in told.seen] == ["/flows/resume/r1", "/flows/resume/r2"]


def test_a_server_that_is_not_there_is_tried_three_times_and_no_run_after_it(
    clock: Waits,
) -> None:
    listening = free_socket()
    port = listening.getsockname()[1]
    listening.close()
    transport = opened(f"http://127.0.0.1:{port}", clock)
    with pytest.raises(TransportError, match="r1, r2") as raised:
        transport.send([ResumeMessage("r1"), ResumeMessage("r2")])
    assert raised.value.unsent == ("r1", "r2")
    assert len(clock.waited) == 2
    transport.close()


def test_a_server_that_does_not_answer_costs_seconds_and_no_more(clock: Waits) -> None:
    listening = free_socket()  # connections are taken, and nobody reads them
    transport = opened(f"http://127.0.0.1:{listening.getsockname()[1]}?timeout=0.05s", clock)
    with pytest.raises(TransportError, match="Timeout"):
        transport.send([ResumeMessage("r1")])
    transport.close()
    listening.close()


def test_proxies_of_the_environment_are_not_asked(
    told: Scripted, clock: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with serving(told, free_socket()) as address:
        transport = opened(address, clock)
        transport.send([ResumeMessage("r1")])
        transport.close()
    assert len(told.seen) == 1


def test_no_more_of_an_answer_is_read_than_an_acknowledgement_needs(
    transport: HttpTransport, told: Scripted
) -> None:
    told.body = b"x" * 5_000_000
    transport.send([ResumeMessage("r1"), ResumeMessage("r2")])
    assert len(told.seen) == 2


def test_delayed_messages_are_left_to_the_sweeper(transport: HttpTransport, told: Scripted) -> None:
    transport.send([ResumeMessage("late", 5.0)])
    assert told.seen == []


# -- addresses


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://Flows.Example/", "https://flows.example"),
        ("https://flows.example:443/a/b/", "https://flows.example/a/b"),
        ("https://flows.example:8443", "https://flows.example:8443"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://127.0.0.1:80/x", "http://127.0.0.1/x"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://flows.internal?insecure=on", "http://flows.internal"),
    ],
)
def test_an_address_has_one_spelling_and_is_the_audience(url: str, base: str) -> None:
    target = read_target(url)
    assert (target.base, target.audience) == (base, base)


def test_an_address_has_options() -> None:
    target = read_target("https://h/b?audience=us&timeout=2.5s&threads=3")
    assert (target.audience, target.timeout, target.threads) == ("us", 2.5, 3)


@pytest.mark.parametrize(
    "url",
    [
        "http://flows.example", "http://10.0.0.1/", "http://localhost.example", "ftp://h", "https://",
        "https:///x", "https://user:password@h/", "https://user@h", "https://h/#f", "https://h/../x",
        "https://h/a//b", "https://h/%2e%2e", "https://h:99999", "https://h:x", "https://[::1",
        "https://h_/é", "https://h\n", "https://exa mple", "https://h?audience=a&audience=b",
        "https://h?unknown=1", "https://h?timeout=0", "https://h?timeout=nan", "https://h?timeout=x",
        "https://h?threads=0", "http://h?insecure=yes", "https://-h", "https://h.", "https://.h",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_target(url)
    assert "password" not in str(raised.value).replace("a password or", "")


def test_a_file_of_certificates_that_is_none_is_refused(clock: Waits) -> None:
    with pytest.raises(ConfigError, match="certificates"):
        opened(f"https://h?ca={os.devnull}", clock)


def test_the_server_must_have_a_certificate_that_we_trust(clock: Waits, told: Scripted) -> None:
    import trustme
    import uvicorn

    authority = trustme.CA()
    listening = free_socket()
    port = listening.getsockname()[1]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    config = uvicorn.Config(told, log_level="critical", ws="none")
    config.load()
    config.ssl = context
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    until(lambda: server.started)
    with authority.cert_pem.tempfile() as path:
        trusting = opened(f"https://localhost:{port}?ca={path}", clock)
    trusting.send([ResumeMessage("r1")])
    stranger = opened(f"https://localhost:{port}", clock)
    with pytest.raises(TransportError, match=r"(?i)certificate"):
        stranger.send([ResumeMessage("r2")])
    trusting.close()
    stranger.close()
    server.should_exit = True
    thread.join(10)
    assert [path for path, _, _ in told.seen] == ["/resume/r1"]


# -- the plugin


def test_it_is_opened_by_its_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQUENTIAL_HTTP_KEYS", KEY)
    with Sequential("memory:", "https://flows.example", plugins=[plugin]) as app:
        assert isinstance(app.transport, HttpTransport)


def test_without_keys_it_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEQUENTIAL_HTTP_KEYS", raising=False)
    monkeypatch.delenv("SEQUENTIAL_HTTP_KEYS_FILE", raising=False)
    with pytest.raises(ConfigError, match="http-key"):
        Sequential("memory:", "https://flows.example", plugins=[plugin])


# -- the inbox


def test_a_run_waits_once_however_often_it_is_asked_for() -> None:
    inbox = Inbox()
    assert all(inbox.put("r1") for _ in range(10_000))
    assert len(inbox) == 1
    assert inbox.take(0) == ("r1", 0)
    assert inbox.take(0) is None


def test_a_full_inbox_refuses_others_and_takes_those_who_wait_already() -> None:
    inbox = Inbox(2)
    assert [inbox.put(run_id) for run_id in ("r1", "r2", "r3", "r1")] == [True, True, False, True]


def test_a_handler_that_always_fails_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sequential_http.inbox._LOOK", 0.001)
    inbox, tried = Inbox(), list[str]()

    def handle(run_id: str) -> None:
        tried.append(run_id)
        raise LookupError(run_id)

    inbox.put("bad")
    inbox.work(handle, lambda: len(tried) >= 5 and len(inbox) == 0)
    assert tried == ["bad"] * 5

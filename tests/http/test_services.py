"""Calls to services and the tools ``http.get`` …, against servers on the loopback."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from sequential import (
    Registry,
    Rejected,
    RetryPolicy,
    RunBlocked,
    Sequential,
    Steps,
    ToolError,
    flow,
    tool_call,
)
from sequential_http import plugin
from sequential_http.guard import UrlRefused
from sequential_http.services import Request, Service, ServiceFailed, ServiceRefused, Services
from sequential_http.tools import HttpTools
from tests.fix_http import PATIENCE, Scripted, free_socket, serving, until, url_of


class Answering(Scripted):
    """A server that answers with a body, too."""

    def __init__(self, body: bytes = b"{}", status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        super().__init__((status, {"content-type": "application/json", **named}))
        self.body = body


class Context:
    idempotency_key = "sq1_key"


CONTEXT: Any = Context()


@contextmanager
def service(application: Scripted) -> Iterator[tuple[str, Services]]:
    """Serve; give the address, and services that allow it."""
    with serving(application, free_socket()) as address:
        yield address, Services([address], timeout=5.0, limit=10_000)


def test_a_call_says_who_it_is_and_returns_what_was_said() -> None:
    there = Answering(b'{"price": 3}', etag="v1", set_cookie="secret=1")
    with service(there) as (address, services):
        request = Request(f"{address}/price?a=1", "post", {"item": "pe ar"}, json={"n": 1})
        found = services.call(CONTEXT, request)
    assert found["status"] == 200
    assert found["body"] == {"price": 3}
    assert found["headers"]["etag"] == "v1"
    assert "set-cookie" not in found["headers"]
    [(path, headers, body)] = there.seen
    assert path == "/price"
    assert headers["host"] == address.removeprefix("http://")
    assert headers["idempotency-key"] == "sq1_key"
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {"n": 1}


def test_reading_sends_no_idempotency_key() -> None:
    there = Answering()
    with service(there) as (address, services):
        services.call(CONTEXT, Request(address))
    assert "idempotency-key" not in there.seen[0][1]


@pytest.mark.parametrize(
    ("body", "kind", "value"),
    [
        (b'{"a": [1]}', "application/problem+json", {"a": [1]}),
        (b"plain", "text/plain", "plain"),
        (b"\xff\xfe", "text/plain", "\ufffd\ufffd"),
        (b"<script>", "text/html", "<script>"),
        (b"", "application/json", ""),
    ],
)
def test_a_body_is_json_or_text(body: bytes, kind: str, value: object) -> None:
    there = Answering(body)
    there.answers = [(200, {"content-type": kind})]
    with service(there) as (address, services):
        assert services.call(CONTEXT, Request(address))["body"] == value


HOSTILE = [b"{", b"[" * 100_000, b"1" * 5000, b"NaN", b'{"a":1,"a":2}', b"\xff", b'"\\ud800"']


@pytest.mark.parametrize("body", [each[:9000] for each in HOSTILE], ids=range(len(HOSTILE)))
def test_what_only_says_that_it_is_json_is_an_error(body: bytes) -> None:
    with (
        service(Answering(body)) as (address, services),
        pytest.raises(ServiceFailed, match="JSON"),
    ):
        services.call(CONTEXT, Request(address))


# -- errors that policies can tell apart


@pytest.mark.parametrize(
    ("status", "later"),
    [(400, False), (401, False), (404, False), (422, False), (409, True), (429, True)],
)
def test_a_refusal_says_that_nothing_was_done(status: int, later: bool) -> None:
    there = Answering(b'{"why": "no"}', status)
    with service(there) as (address, services), pytest.raises(ServiceRefused) as raised:
        services.call(CONTEXT, Request(address, "post", json=1))
    assert raised.value.data == {"status": status, "body": {"why": "no"}}
    assert raised.value.retryable == later


def test_a_refusal_in_broken_json_is_shown_as_text() -> None:
    with service(Answering(b"{no", 400)) as (address, services):  # noqa: SIM117
        with pytest.raises(ServiceRefused) as raised:
            services.call(CONTEXT, Request(address))
    assert raised.value.data == {"status": 400, "body": "{no"}


def test_a_long_refusal_is_cut() -> None:
    with service(Answering(b'"' + b"x" * 5000 + b'"', 422)) as (address, services):  # noqa: SIM117
        with pytest.raises(ServiceRefused) as raised:
            services.call(CONTEXT, Request(address))
    data: Any = raised.value.data
    assert len(data["body"]) == 2000


@pytest.mark.parametrize("status", [300, 301, 302, 307, 408, 500, 502, 503, 504])
def test_a_failure_leaves_open_whether_anything_was_done(status: int) -> None:
    there = Answering(b"{}", status, location="http://169.254.169.254/latest/")
    with service(there) as (address, services), pytest.raises(ServiceFailed) as raised:
        services.call(CONTEXT, Request(address))
    assert raised.value.status == status
    # Nobody follows a redirect.
    assert len(there.seen) == 1


def test_a_server_that_is_not_there_did_nothing() -> None:
    listening = free_socket()
    address = url_of(listening)
    listening.close()
    with pytest.raises(Rejected, match="no connection") as raised:
        Services([address]).call(CONTEXT, Request(address))
    assert raised.value.retryable


def test_a_long_answer_is_cut_off() -> None:
    with service(Answering(b"x" * 10_001)) as (address, services):  # noqa: SIM117
        with pytest.raises(ServiceFailed, match="10,000 bytes"):
            services.call(CONTEXT, Request(address))


def test_a_compressed_answer_is_not_inflated() -> None:
    there = Answering(b"\x1f\x8b" + b"\0" * 100, content_encoding="gzip")
    with service(there) as (address, services), pytest.raises(ServiceFailed, match="compressed"):
        services.call(CONTEXT, Request(address))
    assert there.seen[0][1]["accept-encoding"] == "identity"


def trickling(listening: socket.socket, stop: threading.Event) -> None:
    """Send a byte of a body now and then, so that no single read takes long."""
    connection, _ = listening.accept()
    with connection:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while not stop.wait(0.05):
            try:
                connection.sendall(b"x")
            except OSError:
                return


def test_an_answer_that_trickles_is_cut_off() -> None:
    listening, stop = free_socket(), threading.Event()
    thread = threading.Thread(target=trickling, args=(listening, stop), daemon=True)
    thread.start()
    address = url_of(listening)
    with pytest.raises(ServiceFailed, match="too long"):
        Services([address]).call(CONTEXT, Request(address, timeout=0.3))
    stop.set()
    thread.join(PATIENCE)
    listening.close()


def test_a_server_that_says_nothing_is_given_up() -> None:
    listening = free_socket()
    address = url_of(listening)
    with pytest.raises(ServiceFailed, match="no answer"):
        Services([address]).call(CONTEXT, Request(address, timeout=0.1))
    listening.close()


# -- what may be sent, and where


@pytest.mark.parametrize(
    "headers",
    [{"authorization": "x"}, {"Cookie": "x"}, {"Host": "evil.test"}, {"X-Forwarded-For": "x"},
     {"transfer-encoding": "chunked"}, {"content-length": "1"}, {"accept": "a\r\nx: y"},
     {"accept": "é"}, {"": "x"}, {"a b": "x"}, {"idempotency-key": "mine"}],
)  # fmt: skip
def test_a_flow_sends_harmless_headers_only(headers: dict[str, str]) -> None:
    there = Answering()
    with service(there) as (address, services), pytest.raises(UrlRefused, match="header"):
        services.call(CONTEXT, Request(address, headers=headers))
    assert there.seen == []


def test_secrets_of_a_service_are_added_and_never_shown() -> None:
    there = Answering()
    with serving(there, free_socket()) as address:
        own = Service({"authorization": "Bearer secret"})
        services = Services([address], {address: own})
        services.call(CONTEXT, Request(address, headers={"Accept": "text/plain"}))
    assert there.seen[0][1]["authorization"] == "Bearer secret"
    assert there.seen[0][1]["accept"] == "text/plain"
    assert "secret" not in repr(own)


def test_what_is_not_allowed_is_not_called() -> None:
    there = Answering()
    with serving(there, free_socket()) as address, pytest.raises(UrlRefused):
        Services(["example.com"]).call(CONTEXT, Request(address))
    assert there.seen == []


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with service(Answering()) as (address, services):
        assert services.call(CONTEXT, Request(address))["status"] == 200


@contextmanager
def over_tls(application: Any, name: str) -> Iterator[tuple[int, str]]:
    """Serve *application* as *name* on the loopback; give the port and the file to trust."""
    import trustme
    import uvicorn

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    listening = free_socket()
    port: int = listening.getsockname()[1]
    config = uvicorn.Config(application, log_level="critical", ws="none")
    config.load()
    config.ssl = context
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        until(lambda: server.started)
        with authority.cert_pem.tempfile() as path:
            yield port, path
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


def locally(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def test_the_checked_address_is_called_and_its_certificate_must_be_the_hosts() -> None:
    there = Answering()
    with over_tls(there, "pay.internal") as (port, path):

        def named(host: str) -> Any:
            address = f"https://{host}:{port}"
            services = Services([address], ca=path, resolve=locally)
            return services.call(CONTEXT, Request(f"{address}/x"))

        assert named("pay.internal")["status"] == 200
        with pytest.raises(Rejected, match=r"(?i)certificate"):
            named("other.internal")
    assert [headers["host"] for _, headers, _ in there.seen] == [f"pay.internal:{port}"]


def test_the_next_address_is_tried_where_the_first_takes_no_connection() -> None:
    there = Answering()
    with serving(there, free_socket()) as address:
        port = address.rpartition(":")[2]
        own = f"http://pay.internal:{port}"
        services = Services([own], resolve=lambda host, port: ["127.0.0.2", "127.0.0.1"])
        assert services.call(CONTEXT, Request(own))["status"] == 200


# -- the tools


def run_tool(name: str, given: object, *plugins: object, **options: Any) -> Any:
    """Run a flow that makes one call, and return its result."""
    registry = Registry()

    @flow(registry=registry)
    def calls() -> Steps[Any]:
        return (yield tool_call("http", name, given, **options))

    with Sequential("memory:", plugins=list(plugins), registry=registry) as app:
        return app.run(calls, run_id="r1")


def test_a_flow_calls_a_service_without_code_of_its_own() -> None:
    there = Answering(b'{"price": 3}')
    with service(there) as (address, services):
        found = run_tool("get", {"url": address, "params": {"a": "b"}}, HttpTools(services))
        assert found["body"] == {"price": 3}
        run_tool("put", {"url": address, "text": "hello"}, HttpTools(services))
    assert there.seen[1][2] == b"hello"
    assert there.seen[1][1]["idempotency-key"].startswith("sq1_")


def test_hosts_are_allowed_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Answering(), free_socket()) as address:
        monkeypatch.setenv("SEQUENTIAL_HTTP_ALLOW", f"api.example.com, {address}")
        assert run_tool("get", {"url": address}, plugin)["status"] == 200


def test_without_anything_allowed_there_is_no_such_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEQUENTIAL_HTTP_ALLOW", raising=False)
    with pytest.raises(RunBlocked, match=r"no tool answers to http\.get"):
        run_tool("get", {"url": "https://example.com/"}, plugin)


@pytest.mark.parametrize(
    "given",
    [None, "https://example.com/", {}, {"url": 1}, {"url": "https://x/", "code": "1"},
     {"url": "https://x/", "params": {"a": 1}}, {"url": "https://x/", "headers": []},
     {"url": "https://x/", "json": 1}, {"url": "https://x/", "timeout": "soon"}],
)  # fmt: skip
def test_an_input_that_does_not_fit_is_refused(given: object) -> None:
    found = run_tool("get", given, HttpTools(Services(["x"])), errors="return")
    assert "__error" in found


def test_json_and_text_are_not_sent_at_once() -> None:
    given = {"url": "https://x/", "json": 1, "text": "1"}
    found = run_tool("post", given, HttpTools(Services(["x"])), errors="return")
    assert "both json and text" in found["__error"]


def test_a_policy_tries_again_what_failed_and_not_what_was_refused() -> None:
    policy = RetryPolicy(max_attempts=3, first=0.001, retry_on=(ServiceFailed,))
    failing = Answering()
    failing.answers = [(503, {}), (500, {}), (200, {})]
    with service(failing) as (address, services):
        assert run_tool("post", {"url": address}, HttpTools(services, policy))["status"] == 200
    keys = {headers["idempotency-key"] for _, headers, _ in failing.seen}
    # It is not known whether the failed ones acted: the key says that they are one request.
    assert (len(failing.seen), len(keys)) == (3, 1)
    refusing = Answering(b"{}", 404)
    with service(refusing) as (address, services):
        found = run_tool("post", {"url": address}, HttpTools(services, policy), errors="return")
    assert len(refusing.seen) == 1
    assert "404" in found["__error"]


def test_a_flow_can_read_the_answer_of_a_refusal() -> None:
    registry = Registry()

    @flow(registry=registry)
    def calls(url: str) -> Steps[Any]:
        try:
            yield tool_call("http", "get", {"url": url})
        except ToolError as error:
            return error.type, error.data
        return None

    with (
        service(Answering(b'{"why": "gone"}', 404)) as (address, services),
        Sequential("memory:", plugins=[HttpTools(services)], registry=registry) as app,
    ):
        found = app.run(calls, {"url": address})
    assert tuple(found) == ("ServiceRefused", {"status": 404, "body": {"why": "gone"}})

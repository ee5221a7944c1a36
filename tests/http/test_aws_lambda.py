"""Behind a function URL: events as Lambda sends them, answered within its time."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from sequential import Registry, Sequential, Steps, flow, tool
from sequential.errors import ConfigError
from sequential.storage import Status
from sequential.telemetry import Telemetry
from sequential.testing import FakeClock
from sequential_http.access import Tokens
from sequential_http.aws_lambda import lambda_handler
from sequential_http.messages import resume_body
from sequential_http.server import Options
from sequential_http.signing import Keys, signed_headers
from tests.fix_http import KEY, TOKEN

KEYS = Keys.parse(KEY)
AUDIENCE = "https://flows.lambda-url.eu-central-1.on.aws"
SCHEDULE = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}


class Remaining:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


class Wire:
    """A transport that carries: what was sent stays in a list."""

    carries = True
    longest_delay = 0.0

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, messages: Any) -> None:
        self.sent += [message.run_id for message in messages]

    def listen(self, handle: Any, stop: Any) -> None: ...

    def close(self) -> None: ...


def event(method: str, path: str, body: bytes, **headers: str) -> dict[str, Any]:
    """Return a request as a function URL hands it over, payload format 2.0."""
    asked = {"method": method, "path": path, "sourceIp": "192.0.2.1", "protocol": "HTTP/1.1"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "flows.lambda-url.eu-central-1.on.aws", **headers},
        "requestContext": {
            "http": asked,
            "domainName": "flows.lambda-url.eu-central-1.on.aws",
            "stage": "$default",
        },
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def resume(app: Sequential, run_id: str) -> dict[str, Any]:
    body = resume_body(run_id, AUDIENCE)
    headers = signed_headers(KEYS, "msg_1", app.clock.now(), body)
    return event("POST", f"/resume/{run_id}", body, **headers)


@pytest.fixture(autouse=True)
def own_loop() -> Iterator[None]:
    """Have a loop that is closed in the end: the one that Mangum finds, or makes, never is."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def app(wire: Wire) -> Sequential:
    return shop(wire)


def shop(wire: Wire, *plugins: object) -> Sequential:
    registry = Registry()

    @tool("shop", "pack", registry=registry)
    def pack(item: str) -> str:
        return f"{item}, packed"

    @flow(name="order", registry=registry)
    def order(item: str) -> Steps[str]:
        first = yield from pack(item)
        return (yield from pack(first))

    return Sequential("memory:", wire, registry=registry, clock=FakeClock(), plugins=plugins)


@pytest.fixture
def handle(app: Sequential) -> Any:
    options = Options(KEYS, AUDIENCE, flows=["order"], authorise=Tokens(TOKEN))
    return lambda_handler(app, options)


def test_a_client_starts_a_run_and_a_message_carries_it_on(
    app: Sequential, handle: Any, wire: Wire
) -> None:
    body = json.dumps({"flow": "order", "input": {"item": "pear"}, "run_id": "r1"}).encode()
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    answer = handle(event("POST", "/runs", body, **headers), Remaining(30))
    assert (answer["statusCode"], json.loads(answer["body"])) == (201, {"run_id": "r1"})
    assert wire.sent == ["r1"]
    answer = handle(resume(app, "r1"), Remaining(30))
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"status": "completed"})
    answer = handle(event("GET", "/runs/r1", b"", **headers), Remaining(30))
    assert json.loads(answer["body"])["result"] == "pear, packed, packed"


def test_a_message_that_is_not_ours_is_refused(app: Sequential, handle: Any) -> None:
    app.start("order", {"item": "pear"}, run_id="r1")
    forged = resume(app, "r1")
    forged["headers"]["webhook-signature"] = "v1," + "A" * 43 + "="
    assert handle(forged, Remaining(30))["statusCode"] == 401
    assert app.get("r1").fence == 0


def test_with_no_time_left_nothing_is_begun(app: Sequential, handle: Any) -> None:
    app.start("order", {"item": "pear"}, run_id="r1")
    answer = handle(resume(app, "r1"), Remaining(4))
    assert answer["statusCode"] == 503
    assert int(answer["headers"]["retry-after"]) > 0
    assert app.get("r1").fence == 0


def test_a_schedule_sweeps(app: Sequential, handle: Any, wire: Wire) -> None:
    for number in range(3):
        app.start("order", {"item": "pear"}, run_id=f"r{number}")
    wire.sent.clear()
    assert handle(SCHEDULE, Remaining(30)) == {"sent": 3}
    assert sorted(wire.sent) == ["r0", "r1", "r2"]
    assert {app.get(run_id).status for run_id in wire.sent} == {Status.PAUSED}


def test_a_margin_that_is_none_is_refused(app: Sequential) -> None:
    with pytest.raises(ConfigError, match="margin"):
        lambda_handler(app, Options(KEYS, AUDIENCE), margin=0)


def test_telemetry_is_out_when_the_handler_returns(
    app: Sequential, handle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    monkeypatch.setattr(app, "flush", asked.append)
    app.start("order", {"item": "pear"}, run_id="r1")
    handle(resume(app, "r1"), Remaining(30))
    handle(SCHEDULE, Remaining(30))
    assert len(asked) == 2
    assert all(0 < seconds <= 2 for seconds in asked)
    # What is left is for the answer, however little it is.
    handle(resume(app, "r1"), Remaining(0.9))
    handle(resume(app, "r1"), Remaining(0.1))
    assert asked[2:] == [pytest.approx(0.7), 0.0]


def test_an_invocation_says_who_asked_for_it(wire: Wire) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = Telemetry(provider)
    app = shop(wire, telemetry)
    handle: Any = lambda_handler(app, Options(KEYS, AUDIENCE))
    app.start("order", {"item": "pear"}, run_id="r1")
    asked = resume(app, "r1")
    asked["headers"]["traceparent"] = f"00-{'1' * 32}-{'2' * 16}-01"
    handle(asked, Remaining(30))
    assert telemetry.flush(10.0)
    (told,) = [each for each in exporter.get_finished_spans() if each.name == "invocation"]
    assert told.kind is SpanKind.SERVER
    assert told.attributes is not None
    assert told.attributes["faas.trigger"] == "http"
    assert told.attributes["faas.coldstart"] is True
    assert told.attributes["http.route"] == "/resume/{run_id}"
    assert [each.context.span_id for each in told.links] == [int("2" * 16, 16)]
    provider.shutdown()

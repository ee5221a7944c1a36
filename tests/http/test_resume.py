"""``POST /resume/{run_id}``: who is heard, and what is answered."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from sequential import Registry, Sequential, Steps, Terms, flow, sleep, tool, wait_for_signal
from sequential.errors import (
    ConfigError,
    OutcomeUnknown,
    StorageRefused,
    StorageUnavailable,
    TransportError,
)
from sequential.hookspecs import ResumeMessage
from sequential.outcomes import Busy, Completed, Lost, Missing, NotMine, Quarantined
from sequential.storage import Run, Status
from sequential.testing import FakeClock
from sequential_http.messages import resume_body
from sequential_http.server import Options, asgi
from sequential_http.signing import Keys, signed_headers
from sequential_http.target import read_target
from sequential_http.transport import HttpTransport
from tests.fix_http import KEY, OTHER_KEY, until
from tests.http.local import Local
from tests.http.test_messages import MALFORMED

US = "https://flows.example"
KEYS = Keys.parse(KEY)
JSON = {"content-type": "application/json"}

registry = Registry()
ran: list[str] = []


@tool("numbers", "double", registry=registry)
def double(number: int) -> int:
    ran.append("double")
    return 2 * number


@flow(registry=registry)
def doubled(number: int) -> Steps[int]:
    return (yield from double(number))


@flow(registry=registry)
def asked() -> Steps[object]:
    return (yield wait_for_signal("answer"))


@flow(registry=registry)
def rested() -> Steps[str]:
    yield sleep(3600)
    return "rested"


@flow(registry=registry)
def leaving() -> Steps[None]:
    yield from double(1)
    sys.exit(3)


class Site:
    """A server in this process, and a client that signs for it."""

    def __init__(self, app: Sequential, client: Local) -> None:
        self.app = app
        self.client = client

    def resume(
        self,
        run_id: str,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        keys: Keys = KEYS,
        at: float = 0.0,
    ) -> httpx.Response:
        """Send a resume message as the transport does; *at* moves its timestamp."""
        sent = resume_body(run_id, US) if body is None else body
        signed = signed_headers(keys, "msg_1", self.app.clock.now() + at, sent)
        given = {**JSON, **signed, **(headers or {})}
        return self.client.post(f"/resume/{run_id}", content=sent, headers=given)


Open = Callable[..., Site]


@pytest.fixture
def site() -> Iterator[Open]:
    """Give what opens a server on memory, with a clock that stands still."""
    with ExitStack() as stack:

        def opened(transport: Any = "poll:", registry: Registry = registry, **options: Any) -> Site:
            clock = FakeClock()
            app = stack.enter_context(
                Sequential("memory:", transport, plugins=[], registry=registry, clock=clock)
            )
            options = {"keys": KEYS, "audience": US, "mode": "request", **options}
            client = stack.enter_context(Local(asgi(app, Options(**options))))
            return Site(app, client)

        yield opened


def test_a_resume_message_carries_the_run_on(site: Open) -> None:
    there = site()
    run_id = there.app.start(doubled, {"number": 21})
    answer = there.resume(run_id)
    assert (answer.status_code, answer.json()) == (200, {"status": "completed"})
    assert there.app.outcome(there.app.get(run_id)) == Completed(run_id, 42)
    # Late and duplicate ones change nothing.
    assert there.resume(run_id).json() == {"status": "completed"}


def test_what_is_not_due_is_left_alone(site: Open) -> None:
    there = site()
    run_id = there.app.start(rested)
    assert there.resume(run_id).json() == {"status": "paused (sleep)"}
    before = there.app.get(run_id)
    answer = there.resume(run_id)
    assert (answer.status_code, answer.json()) == (200, {"status": "paused (not due)"})
    assert there.app.get(run_id) == before


def test_an_unknown_run_is_only_told_to_who_may_ask(site: Open) -> None:
    there = site()
    known = there.resume("nobody")
    assert (known.status_code, known.json()) == (404, {"error": "not_found"})
    stranger = there.resume("nobody", keys=Keys.parse(OTHER_KEY))
    assert (stranger.status_code, stranger.json()) == (401, {"error": "unauthorised"})


OUTCOMES = [
    (Completed("r1", 1), 200, "completed"),
    (Busy("r1", None), 202, "busy"),
    (NotMine("r1", "other"), 200, "notmine"),
    (Quarantined("r1"), 200, "quarantined"),
    (Lost("r1", "taken over"), 200, "lost"),
]


@pytest.mark.parametrize(("outcome", "status", "word"), OUTCOMES)
def test_every_outcome_has_its_answer(
    site: Open, monkeypatch: pytest.MonkeyPatch, outcome: Any, status: int, word: str
) -> None:
    there = site()
    there.app.start(asked, run_id="r1")
    monkeypatch.setattr(there.app, "resume", lambda run_id, seconds: outcome)
    answer = there.resume("r1")
    assert (answer.status_code, answer.json()) == (status, {"status": word})


def test_purged_cancelled_and_failed_runs_are_acknowledged(site: Open) -> None:
    there = site()
    there.app.start(asked, run_id="r1")
    there.app.terminate("r1")
    assert there.resume("r1").json() == {"status": "cancelled"}
    assert there.app.purge("r1")
    answer = there.resume("r1")
    assert (answer.status_code, answer.json()) == (200, {"status": "purged"})


def test_a_run_of_a_flow_that_is_not_here_is_acknowledged(site: Open) -> None:
    there = site()
    there.app.start(asked, run_id="r1")
    there.app.registry.flows = {}
    there.app.registry.flows = {k: v for k, v in registry.flows.items() if k != "asked"}
    try:
        answer = there.resume("r1")
        assert (answer.status_code, answer.json()) == (200, {"status": "notmine"})
    finally:
        registry.add_flow(asked)


@pytest.mark.parametrize(
    "error",
    [
        StorageUnavailable("postgresql://host", "secret detail"),
        OutcomeUnknown("postgresql://host", "secret detail"),
        StorageRefused("postgresql://host", "secret detail"),
    ],
)
def test_a_storage_that_is_down_is_503_and_says_nothing_of_it(
    site: Open, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    there = site()

    def execute(run_id: str, seconds: float) -> None:
        raise error

    monkeypatch.setattr(there.app, "resume", execute)
    answer = there.resume("r1")
    assert (answer.status_code, answer.json()) == (503, {"error": "unavailable"})
    assert answer.headers["retry-after"] == "1"
    assert "secret" not in answer.text


def test_a_fault_of_ours_shows_an_id_and_no_more(
    site: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    there = site()

    def execute(run_id: str, seconds: float) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr(there.app, "resume", execute)
    answer = there.resume("r1")
    assert answer.status_code == 500
    assert answer.json().keys() == {"error", "id"}
    assert "canary" not in answer.text
    assert answer.json()["id"] in caplog.text


def test_a_flow_that_wants_to_end_the_process_ends_its_invocation_alone(site: Open) -> None:
    there = site()
    there.app.start(leaving, run_id="r1")
    assert there.resume("r1").status_code == 500
    there.app.start(doubled, {"number": 1}, run_id="r2")
    assert there.resume("r2").json() == {"status": "completed"}


def test_more_at_a_time_than_there_is_room_for_come_back(site: Open) -> None:
    there = site(concurrency=1)
    entered, leave = threading.Event(), threading.Event()

    def execute(run_id: str, seconds: float) -> Completed:
        entered.set()
        leave.wait(20)
        return Completed(run_id, None)

    there.app.resume = execute  # type: ignore[method-assign,assignment]
    first: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: first.append(there.resume("r1")))
    thread.start()
    assert entered.wait(20)
    second = there.resume("r2")
    leave.set()
    thread.join()
    assert (second.status_code, second.json()) == (429, {"error": "busy"})
    assert second.headers["retry-after"] == "1"
    assert first[0].status_code == 200


def test_the_budget_of_a_request_is_the_invocations(
    site: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, given = site(budget=7.5), list[float]()

    def execute(run_id: str, seconds: float) -> Missing:
        given.append(seconds)
        return Missing(run_id)

    monkeypatch.setattr(there.app, "resume", execute)
    there.resume("r1")
    assert given == [7.5]


# -- S01 to S06: who is heard


BAD: dict[str, dict[str, Any]] = {
    "another key": {"keys": Keys.parse(OTHER_KEY)},
    "301 seconds old": {"at": -301.0},
    "301 seconds ahead": {"at": 301.0},
    "another audience": {"body": resume_body("r1", "https://staging.example")},
    "another run in the body": {"body": resume_body("r2", US)},
    "another purpose": {"body": resume_body("r1", US).replace(b'"resume"', b'"signal"')},
    "no signature": {"headers": {"webhook-signature": ""}},
    "another version": {"headers": {"webhook-signature": "v2,AAAA"}},
    "ten thousand signatures": {"headers": {"webhook-signature": "v1,AAAA " * 10_000}},
}


@pytest.mark.parametrize("mode", ["background", "request"])
@pytest.mark.parametrize("case", BAD)
def test_who_is_not_of_this_deployment_is_not_heard(site: Open, case: str, mode: str) -> None:
    there = site(mode=mode, worker=False)
    there.app.start(doubled, {"number": 1}, run_id="r1")
    before = there.app.get("r1")
    answer = there.resume("r1", **BAD[case])
    assert (answer.status_code, answer.json()) == (401, {"error": "unauthorised"})
    assert there.app.get("r1") == before


@pytest.mark.parametrize("at", [0.0, -299.0, 299.0])
def test_a_captured_message_sent_again_in_time_is_one_look(site: Open, at: float) -> None:
    there = site()
    ran.clear()
    there.app.start(doubled, {"number": 1}, run_id="r1")
    for _ in range(50):
        assert there.resume("r1", at=at).status_code == 200
    assert ran == ["double"]
    assert there.app.get("r1").fence == 1


def test_a_signature_over_the_same_json_in_other_bytes_is_none(site: Open) -> None:
    there = site()
    there.app.start(doubled, {"number": 1}, run_id="r1")
    body = resume_body("r1", US)
    signed = signed_headers(KEYS, "msg_1", there.app.clock.now(), body)
    spaced = json.dumps(json.loads(body)).encode()
    answer = there.client.post("/resume/r1", content=spaced, headers={**JSON, **signed})
    assert answer.status_code == 401


@pytest.mark.parametrize("case", MALFORMED)
def test_a_signed_message_that_cannot_be_read_is_refused(site: Open, case: str) -> None:
    there = site()
    there.app.start(doubled, {"number": 1}, run_id="order-1")
    before = there.app.get("order-1")
    answer = there.resume("order-1", body=MALFORMED[case])
    too_long = len(MALFORMED[case]) > 1024
    assert answer.status_code == (413 if too_long else 400)
    assert answer.json() == {"error": "too_large" if too_long else "malformed"}
    assert there.app.get("order-1") == before


def test_a_gzipped_message_is_not_inflated(site: Open) -> None:
    import gzip

    there = site()
    body = gzip.compress(resume_body("r1", US))
    answer = there.resume("r1", body=body, headers={"content-encoding": "gzip"})
    assert answer.status_code == 400


def test_a_header_that_stands_there_twice_is_refused(site: Open) -> None:
    there = site()
    body = resume_body("r1", US)
    signed = signed_headers(KEYS, "msg_1", there.app.clock.now(), body)
    for name, value in signed.items():
        twice = httpx.Headers([*JSON.items(), *signed.items(), (name.upper(), value)])
        assert there.client.post("/resume/r1", content=body, headers=twice).status_code == 401


@pytest.mark.parametrize("declared", ["1025", "1000000000", "-1", "0x10", "1e3", "9" * 5000])
def test_a_declared_length_over_the_limit_is_refused_before_anything_is_read(
    site: Open, declared: str
) -> None:
    there = site()
    answer = there.client.post("/resume/r1", headers={"content-length": declared}, content=b"")
    assert (answer.status_code, answer.json()) == (413, {"error": "too_large"})


def test_a_body_without_a_length_is_cut_off_at_the_limit(site: Open) -> None:
    there, read = site(), list[int]()

    def chunks() -> Iterator[bytes]:
        for number in range(1000):
            read.append(number)
            yield b"x" * 512

    assert there.client.post("/resume/r1", content=chunks()).status_code == 413


def test_a_body_that_comes_drop_by_drop_is_not_waited_for(
    site: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sequential_http.wire.PATIENCE", 0.05)

    async def drops() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    answer = site().client.post("/resume/r1", content=drops())
    assert (answer.status_code, answer.json()) == (408, {"error": "too_slow"})


def test_a_server_may_be_started_again(site: Open) -> None:
    there = site()
    with Local(there.client.application), Local(there.client.application):
        pass
    with Local(there.client.application) as client:
        assert Site(there.app, client).resume("r1").status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_only_post_resumes(site: Open, method: str) -> None:
    answer = site().client.request(method, "/resume/r1")
    assert answer.status_code == 405


@pytest.mark.parametrize("path", ["/resume", "/resume/", "/resume/r1/", "/resume/a/b", "/", "//x"])
def test_other_paths_are_not_found_and_never_redirected(site: Open, path: str) -> None:
    answer = site().client.post(path)
    assert (answer.status_code, answer.json()) == (404, {"error": "not_found"})


# -- S01: no keys


def test_a_server_without_keys_does_not_start(site: Open) -> None:
    with pytest.raises(ConfigError, match="SEQUENTIAL_HTTP_KEYS"):
        site(keys=None)


@pytest.mark.parametrize(
    ("base", "client", "status"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1", 200),
        ("http://localhost:8000", "127.0.0.1", 200),
        ("http://[::1]:8000", "::1", 200),
        ("http://127.0.0.1:8000", "10.0.0.7", 401),
        ("http://0.0.0.0:8000", "127.0.0.1", 401),
        ("http://10.0.0.7:8000", "127.0.0.1", 401),
        # A page elsewhere whose name was bound to this machine.
        ("http://evil.example:8000", "127.0.0.1", 401),
    ],
)
def test_without_keys_only_this_machine_is_heard(
    site: Open, base: str, client: str, status: int
) -> None:
    there = site(keys=None, insecure_dev=True)
    there.app.start(asked, run_id="r1")
    app = there.client.application
    with Local(app, base_url=base, client=(client, 1), lifespan=False) as local:
        assert local.post("/resume/r1", headers=JSON).status_code == status
        assert local.get("/runs/r1").status_code == status


def test_without_keys_a_form_of_a_web_page_is_not_heard(site: Open) -> None:
    there = site(keys=None, insecure_dev=True)
    there.app.start(asked, run_id="r1")
    body = b'{"flow": "asked"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        headers = {"content-type": kind}
        assert there.client.post("/resume/r1", headers=headers).status_code == 400
        assert there.client.post("/runs", headers=headers, content=body).status_code == 415


def test_messages_to_a_server_that_has_no_name_are_for_nobody(site: Open) -> None:
    there = site(audience="")
    assert there.resume("r1").status_code == 401
    named = HttpTransport(read_target(US), KEYS, FakeClock())
    assert site(named, audience="").resume("r1").status_code == 404


# -- S21: nothing that a caller names is called


def test_no_address_of_a_request_is_ever_called(
    site: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = site()
    run_id = there.app.start(doubled, {"number": 1}, tags={"callback": "http://10.0.0.1/"})
    called: list[object] = []
    monkeypatch.setattr("socket.create_connection", lambda *a, **k: called.append(a))
    monkeypatch.setattr("socket.getaddrinfo", lambda *a, **k: called.append(a))
    hostile = {
        "host": "evil.example",
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "http",
        "forwarded": "host=evil.example",
        "x-original-url": "http://evil.example/",
        "referer": "http://evil.example/",
    }
    assert there.resume(run_id, headers=hostile).status_code == 200
    assert called == []


# -- mode background


def test_in_the_background_a_message_is_acknowledged_and_worked_on(site: Open) -> None:
    transport = HttpTransport(read_target(US), KEYS, FakeClock())
    there = site(transport, mode="background")
    transport.send = lambda messages: None  # type: ignore[method-assign]
    run_id = there.app.start(doubled, {"number": 4})
    answer = there.resume(run_id)
    assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})
    until(lambda: there.app.get(run_id).status is Status.COMPLETED)


def test_a_message_wakes_a_worker_that_polls(site: Open) -> None:
    there = site("poll:?every=3600", mode="background")
    until(lambda: there.client.get("/health").status_code == 200)
    other = Sequential(there.app.storage, plugins=[], registry=registry, clock=there.app.clock)
    run_id = other.start(doubled, {"number": 4})
    assert there.resume(run_id).status_code == 202
    until(lambda: other.get(run_id).status is Status.COMPLETED)
    other.driver.close()


def test_a_full_room_says_when_to_come_back(site: Open) -> None:
    transport = HttpTransport(read_target(US), KEYS, FakeClock())
    transport.inbox._room = 1
    there = site(transport, mode="background", worker=False)
    assert [there.resume(run_id).status_code for run_id in ("r1", "r1", "r2")] == [202, 202, 503]
    assert there.resume("r2").headers["retry-after"] == "2"


def test_a_message_that_cannot_be_passed_on_is_not_acknowledged(site: Open) -> None:
    class Broken:
        carries = True
        longest_delay = 0.0

        def send(self, messages: list[ResumeMessage]) -> None:
            raise TransportError("no broker", [message.run_id for message in messages])

        def close(self) -> None:
            pass

    there = site(Broken(), mode="background", worker=False)
    answer = there.resume("r1")
    assert (answer.status_code, answer.json()) == (503, {"error": "unavailable"})


def test_where_no_worker_was_started_nothing_is_acknowledged() -> None:
    # Mounted without its lifespan: nobody would look at the run.
    with (
        Sequential("memory:", plugins=[], registry=registry, clock=FakeClock()) as app,
        Local(asgi(app, Options(KEYS, US)), lifespan=False) as client,
    ):
        assert Site(app, client).resume("r1").status_code == 503
        assert client.get("/health").status_code == 503


def test_a_server_that_drains_takes_nothing_and_lets_runs_pause(site: Open) -> None:
    from sequential_http.server import Server

    with Sequential("memory:", plugins=[], registry=registry, clock=FakeClock()) as app:
        server = Server(app, Options(KEYS, US, mode="request"))
        with Local(server.asgi()) as client:
            assert not app.driver.stopping()
            server.drain()
            assert app.driver.stopping()
            assert Site(app, client).resume("r1").status_code == 503
        assert not app.driver.stopping()


def test_a_lease_that_another_holds_is_answered_as_busy(site: Open) -> None:
    from sequential.storage import In, evolve

    there = site()
    there.app.start(doubled, {"number": 1}, run_id="r1")
    found = there.app.get("r1")
    taken = evolve(found, status=Status.RUNNING, fence=1, owner="other", wake=In(60), op_id="x")
    assert isinstance(there.app.storage.commit(taken, found), Run)
    answer = there.resume("r1")
    assert (answer.status_code, answer.json()) == (202, {"status": "busy"})
    assert Terms().lease == 60

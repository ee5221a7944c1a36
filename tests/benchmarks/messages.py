"""One step by message: `every-step` over HTTP and over SQS, and how fast resumes are acknowledged.

The servers are threads and emulators on the loopback: their times tell what we add to a request.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec

import httpx

from sequential import Sequential
from sequential.worker import Worker
from tests.fix_http import KEY, free_socket, serving, url_of

from .floors import ClaimFloor, InsertFloor
from .grounds import Ground
from .measure import WARM_UP, Between, Ready, Row, Size, median, subject, timed

_PATIENCE = 600.0


def measure(ground: Ground, size: Size) -> Iterator[Row]:
    """Measure the round trips, and acknowledgements where the database plays no part."""
    if find_spec("sequential_http") is None or find_spec("sequential_sqs") is None:
        print("sequential-http or sequential-sqs is not installed: messages are left out")
        return
    with _bare_endpoint() as bare, free_socket() as listening:
        os.environ["SEQUENTIAL_HTTP_KEYS"] = KEY
        url = url_of(listening)
        with httpx.Client(trust_env=False) as client:
            floor = _with_commits(ground, lambda: client.post(bare, content=_BODY))
            step = _round_trips(ground, f"{url}?threads=1", size.operations // 4, floor, listening)
        yield _row("HTTP", ground, floor, step)
    with _queue() as url:
        floor = _with_commits(ground, _bare_cycle(url))
        step = _round_trips(ground, f"{url}&threads=1", size.operations // 10, floor)
        yield _row("SQS", ground, floor, step)
    if ground.name == "SQLite":
        yield _acknowledged(ground, size.operations)


_BODY = b'{"v":1,"aud":"http://127.0.0.1:8000","op":"resume","run":"01890a5d"}'


class _Floor:
    """A bare request and two commits, timed where the tool runs: connections are its thread's."""

    def __init__(self, ground: Ground, request: Callable[[], object]) -> None:
        self._ground = ground
        self._request = request
        self._commits: list[Ready] = []

    def ready(self) -> Callable[[], object]:
        if not self._commits:
            bare = self._ground.bare()
            self._commits = [ClaimFloor(bare).ready, InsertFloor(bare).ready]
        first, second = [each() for each in self._commits]

        def cycle() -> None:
            self._request()
            first()
            second()

        return cycle


def _with_commits(ground: Ground, request: Callable[[], object]) -> Between:
    return Between(_Floor(ground, request).ready)


def _round_trips(
    ground: Ground, transport: str, steps: int, between: Between, listening: object = None
) -> float:
    """Carry one run of *steps* by its own messages; return the median of a step."""
    made = subject(between)
    with ExitStack() as stack:
        app = stack.enter_context(
            Sequential(ground.url(), transport, "every-step", registry=made.registry)
        )
        if listening is None:
            worker = Worker(app, concurrency=1)
            thread = threading.Thread(target=worker.run, daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(worker.stop)
        else:
            stack.enter_context(_served(app, listening))
        run_id = app.start(made.flow, {"count": steps + WARM_UP})
        app.wait(run_id, _PATIENCE)
    return between.step()


@contextmanager
def _served(app: Sequential, listening: object) -> Iterator[None]:
    from sequential_http.server import Options, asgi
    from sequential_http.signing import Keys

    with serving(asgi(app, Options(Keys.parse(KEY), concurrency=1)), listening):  # type: ignore[arg-type]
        yield


def _row(name: str, ground: Ground, between: Between, step: float) -> Row:
    floor = between.floor()
    what = f"a step by {name}, {ground.name} / request + two commits"
    return Row(what, floor, step, step / floor, 1.5)


@contextmanager
def _bare_endpoint() -> Iterator[str]:
    """Serve an endpoint that reads a body and acknowledges it."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def taken(request: Request) -> JSONResponse:
        await request.body()
        return JSONResponse({"status": "accepted"}, 202)

    served = Starlette(routes=[Route("/resume/{run_id}", taken, methods=["POST"])])
    with free_socket() as listening, serving(served, listening) as url:
        yield f"{url}/resume/01890a5d"


def _acknowledged(ground: Ground, operations: int) -> Row:
    """Measure how long an acknowledgement takes; the message is verified and kept, nobody works."""
    from sequential_http.messages import resume_body
    from sequential_http.server import Options, asgi
    from sequential_http.signing import Keys, signed_headers

    keys = Keys.parse(KEY)
    floors: list[float] = []
    taken: list[float] = []
    with ExitStack() as stack:
        bare = stack.enter_context(_bare_endpoint())
        listening = stack.enter_context(free_socket())
        url = url_of(listening)
        app = stack.enter_context(Sequential(ground.url(), url))
        options = Options(keys, worker=False)
        stack.enter_context(serving(asgi(app, options), listening))
        client = stack.enter_context(httpx.Client(trust_env=False))
        body = resume_body("01890a5d", url)
        for number in range(operations + WARM_UP):
            headers = signed_headers(keys, f"msg_{number}", app.clock.now(), body)
            headers |= {"content-type": "application/json"}

            def ours(headers: dict[str, str] = headers) -> None:
                answer = client.post(f"{url}/resume/01890a5d", content=body, headers=headers)
                assert answer.status_code == 202, answer.text

            def bares(headers: dict[str, str] = headers) -> None:
                client.post(bare, content=body, headers=headers)

            floors.append(timed(bares))
            taken.append(timed(ours))
    floor, subject_ = median(floors[WARM_UP:]), median(taken[WARM_UP:])
    what = "resumes acknowledged / bare Starlette endpoint"
    return Row(what, floor, subject_, floor / subject_, 0.5, least=True)


@contextmanager
def _queue() -> Iterator[str]:
    """Give the URL of a queue on an emulator."""
    from tests.fix_sqs import new_url

    from .s3 import emulator

    with emulator() as endpoint:
        yield new_url(endpoint)


def _bare_cycle(url: str) -> Callable[[], object]:
    """Return one send, receive and delete by boto3, on a queue of its own."""
    import boto3  # type: ignore[import-untyped]

    from sequential_sqs.url import read_sqs_url
    from tests.fix_sqs import make_queue

    endpoint = read_sqs_url(url).endpoint
    client = boto3.client("sqs", endpoint_url=endpoint, region_name="us-east-1")
    where = make_queue(endpoint, "bare")

    def cycle() -> None:
        client.send_message(QueueUrl=where, MessageBody='{"v":1,"f":"01890a5d"}')
        found = client.receive_message(QueueUrl=where, MaxNumberOfMessages=1, WaitTimeSeconds=1)
        receipt = found["Messages"][0]["ReceiptHandle"]
        client.delete_message(QueueUrl=where, ReceiptHandle=receipt)

    return cycle

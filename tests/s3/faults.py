"""What goes wrong between a storage and its server: in this process, by boto3's own event hooks.

A fault is planned for one request, counted from the moment that it is planned. The request is
answered by us, or sent and its reply lost, or the process is lost before or after it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

from botocore.awsrequest import AWSResponse  # type: ignore[import-untyped]
from botocore.exceptions import (  # type: ignore[import-untyped]
    ConnectTimeoutError,
    ReadTimeoutError,
)

from sequential_s3.storage import S3Storage

Answer = Callable[["Faults", Any], Any]


class Died(BaseException):
    """The process is gone."""


class _Raw(io.BytesIO):
    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()


class Faults:
    """Counts the requests of *storage*, and lets those fail that are planned to."""

    def __init__(self, storage: S3Storage) -> None:
        self.client = storage.bucket.client
        self.sent: list[str] = []
        self._plan: list[tuple[Callable[[str, Any], bool], Answer]] = []
        self._busy = False
        self.client.meta.events.register("before-send.s3", self._before)

    def _before(self, request: Any, event_name: str, **_: object) -> Any:
        if self._busy:
            return None
        self.sent.append(event_name.rpartition(".")[2])
        for each in self._plan:
            wanted, answer = each
            if wanted(self.sent[-1], request):
                self._plan.remove(each)
                self._busy = True
                try:
                    return answer(self, request)
                finally:
                    self._busy = False
        return None

    def at(self, number: int, answer: Answer) -> None:
        """Answer the request with that number from now, from 0, by *answer*."""
        there = len(self.sent) + number + 1
        self._plan.append((lambda *_: len(self.sent) == there, answer))

    def head(self, answer: Answer, times: int = 1) -> None:
        """Answer the next conditional writes of a head by *answer*."""

        def wanted(operation: str, request: Any) -> bool:
            return operation == "PutObject" and request.url.split("?")[0].endswith("/head")

        self._plan += [(wanted, answer)] * times

    def all(self, answer: Answer) -> None:
        """Answer everything from now on by *answer*."""
        self._plan += [(lambda *_: True, answer)] * 1000

    def heal(self) -> None:
        """Plan nothing any more."""
        self._plan.clear()

    def send(self, request: Any) -> Any:
        """Send *request* as it is, and return the reply."""
        return self.client._endpoint.http_session.send(request)


def reply(status: int, code: str = "", message: str = "made up") -> Answer:
    """Answer with that status; nothing is sent."""
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>" if code else ""
    done = {"date": "Mon, 23 Nov 2026 00:00:00 GMT", "content-length": "0", "etag": '"1"'}
    headers = done if status < 300 else {}
    return lambda _, request: AWSResponse(request.url, status, headers, _Raw(text.encode()))


def lose_reply(faults: Faults, request: Any) -> Any:
    """Send, and time out."""
    faults.send(request)
    raise ReadTimeoutError(endpoint_url=request.url)


def time_out(faults: Faults, request: Any) -> Any:
    """Time out; nothing is sent."""
    raise ReadTimeoutError(endpoint_url=request.url)


def refuse_connection(faults: Faults, request: Any) -> Any:
    """Do not even connect."""
    raise ConnectTimeoutError(endpoint_url=request.url)


def die_before(faults: Faults, request: Any) -> Any:
    raise Died


def die_after(faults: Faults, request: Any) -> Any:
    faults.send(request)
    raise Died


def meanwhile(act: Callable[[], object]) -> Answer:
    """Let somebody else *act* first."""

    def answer(faults: Faults, request: Any) -> Any:
        act()

    return answer


def half(faults: Faults, request: Any) -> Any:
    """Send, and lose the reply from the middle of its headers on: it is without a body."""
    whole = faults.send(request)
    headers = {"date": whole.headers.get("date", "")[:20], "x-amz-request-id": "1"}
    return AWSResponse(request.url, whole.status_code, headers, _Raw(b""))


def damage(faults: Faults, request: Any) -> Any:
    """Let the body arrive as other bytes."""
    request.body = b"\0" * int(request.headers["Content-Length"])


def sent_then(status: int, code: str) -> Answer:
    """Do what is asked, and answer as if not."""

    def answer(faults: Faults, request: Any) -> Any:
        faults.send(request)
        return reply(status, code)(faults, request)

    return answer

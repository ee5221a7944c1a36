"""Calls to services: one guarded request with limits, and errors that policies can tell apart.

Used by the tools ``http.get`` … of `tools`, and by tools of one's own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from sequential import Rejected, ToolContext
from sequential.errors import NotDecodable
from sequential.storage import decode_plain

from .guard import Guard, Place, Resolve, UrlRefused

METHODS = ("get", "head", "post", "put", "patch", "delete")

IDEMPOTENCY = "idempotency-key"

_SHOWN = 2000  # characters of an answer that an error shows
_SENT = frozenset({
    "accept", "accept-language", "content-type", "if-match", "if-modified-since", "if-none-match",
    "if-unmodified-since", "prefer", "range",
})  # fmt: skip
_KEPT = frozenset({
    "content-type", "etag", "last-modified", "link", "location", "retry-after", "x-request-id",
})  # fmt: skip
# The other side said that it did nothing; these may be otherwise a moment later.
_LATER = frozenset({409, 423, 425, 429})


class ServiceFailed(Exception):
    """A service failed, or its answer was lost: whether it acted is not known.

    A retry keeps the idempotency key. *data* has the status, where there is one.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        self.data = None if status is None else {"status": status}
        super().__init__(message)


class ServiceRefused(Rejected):
    """A service said no (4xx), so that nothing was done; *data* has the status and the body."""


@dataclass(frozen=True, slots=True)
class Service:
    """How a service is called.

    Attributes:
        headers: Added to each request to it: where secrets belong, since what a flow passes is
            stored.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as a flow asks for it.

    Attributes:
        url: Of a service that is allowed.
        method: One of `METHODS`.
        params: Added to the query.
        headers: Those that may be sent; others are refused.
        json: Sent as JSON, unless it is None.
        text: Sent as text.
        timeout: Seconds for the whole call.
    """

    url: str
    method: str = "get"
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    text: str | None = None
    timeout: float | None = None


class Services:
    """The services that may be called.

    Args:
        allow: As for `Guard`; without an entry nothing may be called.
        services: By origin (``https://api.example.com``): what is added to requests to it.
        timeout: Seconds that a call may take in all.
        limit: Bytes of an answer, at most.
        ca: File of certificates to trust; by default those of the system.
        resolve: As for `Guard`.
    """

    def __init__(
        self,
        allow: Iterable[str],
        services: Mapping[str, Service] | None = None,
        *,
        timeout: float = 30.0,
        limit: int = 1024 * 1024,
        ca: str = "",
        resolve: Resolve | None = None,
    ) -> None:
        self._guard = Guard(allow, resolve)
        self._services = dict(services or {})
        self._timeout = timeout
        self._limit = limit
        self._ca = ca

    def call(self, context: ToolContext, request: Request) -> dict[str, Any]:
        """Make one request, with the call's idempotency key; return status, headers and body.

        Raises:
            UrlRefused: It may not be called; nothing was sent.
            ServiceRefused: The service answered 4xx; nothing was done.
            ServiceFailed: It answered 5xx or a redirect, or did not answer in time and size.
            Rejected: No connection could be made; nothing was sent.
        """
        place = self._guard.check(request.url)
        seconds = min(request.timeout or self._timeout, self._timeout)
        requests = self._requests(context, request, _parsed(request, place), place, seconds)
        until = time.monotonic() + seconds
        # A client for each call: a connection is never used for another host of its address.
        with httpx.Client(
            verify=self._trusted(), trust_env=False, follow_redirects=False
        ) as client:
            try:
                answer = _sent(client, requests)
                body = self._body(answer, until)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                raise Rejected(f"no connection to {place.host}: {_named(error)}") from error
            except httpx.HTTPError as error:
                raise ServiceFailed(f"{place.host} gave no answer: {_named(error)}") from error
        return _result(answer, body, place)

    def _trusted(self) -> Any:
        if not self._ca:
            return True
        import ssl

        return ssl.create_default_context(cafile=self._ca)

    def _requests(
        self, context: ToolContext, request: Request, url: httpx.URL, place: Place, seconds: float
    ) -> list[httpx.Request]:
        """Return the request, to each address."""
        extensions = {
            "timeout": httpx.Timeout(seconds, connect=min(seconds, 10.0)).as_dict(),
            # Its certificate must still be the host's.
            "sni_hostname": place.host,
        }
        headers, content = self._written(context, request, place)
        return [
            httpx.Request(
                request.method.upper(),
                url.copy_with(host=address),
                headers=headers,
                content=content,
                extensions=extensions,
            )
            for address in place.addresses
        ]

    def _written(
        self, context: ToolContext, request: Request, place: Place
    ) -> tuple[dict[str, str], bytes | None]:
        """Return headers and body as they are sent."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        if unknown := sorted(headers.keys() - _SENT):
            raise UrlRefused(f"a flow may not send the header {unknown[0][:60]!r}")
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            raise UrlRefused("a header has characters that can stand in none")
        content = None
        if request.json is not None:
            content = json.dumps(request.json, ensure_ascii=False).encode()
            headers.setdefault("content-type", "application/json")
        elif request.text is not None:
            content = request.text.encode()
            headers.setdefault("content-type", "text/plain; charset=utf-8")
        if request.method not in ("get", "head"):
            headers[IDEMPOTENCY] = context.idempotency_key
        own = self._services.get(place.origin, Service()).headers
        host = place.origin.partition("://")[2]
        fixed = {"host": host, "accept-encoding": "identity", "user-agent": "sequential-http"}
        return {**fixed, **headers, **own}, content

    def _body(self, answer: httpx.Response, until: float) -> bytes:
        parts: list[bytes] = []
        size = 0
        for chunk in answer.iter_raw():
            size += len(chunk)
            parts.append(chunk)
            if size > self._limit:
                raise ServiceFailed(f"the answer has more than {self._limit:,} bytes")
            if time.monotonic() > until:
                raise ServiceFailed("the answer took too long")
        return b"".join(parts)


def _result(answer: httpx.Response, body: bytes, place: Place) -> dict[str, Any]:
    status = answer.status_code
    found = _decoded(answer, body)
    if 200 <= status < 300 or status == 304:
        kept = {name: value for name, value in answer.headers.items() if name in _KEPT}
        return {"status": status, "headers": kept, "body": found}
    said = f"{place.host} answered {status}"
    if not 400 <= status < 500 or status == 408:
        raise ServiceFailed(said, status)
    shown = found if len(body) <= _SHOWN else body[:_SHOWN].decode(errors="replace")
    data = {"status": status, "body": shown}
    raise ServiceRefused(said, data, retryable=status in _LATER)


def _decoded(answer: httpx.Response, body: bytes) -> Any:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise ServiceFailed("the answer is compressed, which was not asked for")
    if body and (kind == "application/json" or kind.endswith("+json")):
        try:
            return decode_plain(body)
        except NotDecodable:
            if answer.is_success:
                raise ServiceFailed("the answer says that it is JSON, and cannot be read") from None
    # Text, whatever it says it is: a value of a flow is no place for anything else.
    return body.decode("utf-8", "replace").encode("utf-8", "replace").decode()


def _parsed(request: Request, place: Place) -> httpx.URL:
    """Return the URL as the client reads it, which must be as the guard did."""
    try:
        url = httpx.URL(request.url)
        if request.params:
            url = url.copy_merge_params(dict(request.params))
    except (httpx.InvalidURL, ValueError):
        raise UrlRefused("it cannot be read") from None
    port = url.port or (443 if url.scheme == "https" else 80)
    if (url.scheme, url.host, port) != (place.scheme, place.host, place.port):
        raise UrlRefused("it can be read in two ways")
    return url


def _sent(client: httpx.Client, requests: Sequence[httpx.Request]) -> httpx.Response:
    """Send to the first address that takes a connection; return the answer before its body."""
    for request in requests[:-1]:
        try:
            return client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            continue
    return client.send(requests[-1], stream=True)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]

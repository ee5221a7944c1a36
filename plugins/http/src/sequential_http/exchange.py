"""One request and one answer as plain data, and the ways to refuse; no framework, no runs.

So that what is answered can be tried without a server, and stays the same behind any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sequential.errors import NotDecodable
from sequential.storage import decode_plain

BODY_LIMIT = 64 * 1024
"""Bytes of a client's body, at most."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request.

    Attributes:
        headers: Names in lower case and values, as they came.
        path: What stands in the path, by the name of its place.
        query: Names and values, decoded.
        body: The bytes as they were received.
    """

    headers: Sequence[tuple[bytes, bytes]]
    path: Mapping[str, str] = field(default_factory=dict)
    query: Sequence[tuple[str, str]] = ()
    body: bytes = b""

    def header(self, name: str) -> str:
        """Return the value of the header *name*; nothing if it is not there exactly once."""
        wanted = name.encode("ascii")
        found = [value for each, value in self.headers if each == wanted]
        return found[0].decode("latin-1") if len(found) == 1 else ""

    def one(self, name: str, default: str = "") -> str:
        """Return the value of the query's *name*.

        Raises:
            Refusal: It stands there more than once.
        """
        found = [value for each, value in self.query if each == name]
        if len(found) > 1:
            raise bad_request(f"{name} stands in the query more than once")
        return found[0] if found else default

    def document(self, fields: frozenset[str], required: frozenset[str]) -> dict[str, Any]:
        """Return the JSON object of the body; an empty body is an empty one.

        Raises:
            Refusal: It is none, or has other fields.
        """
        if self.body and not is_json(self.header("content-type")):
            raise Refusal(415, "unsupported_media_type")
        found = read_json(self.body or b"{}")
        if not isinstance(found, dict) or not required <= found.keys() <= fields:
            some = ", ".join(sorted(fields))
            raise bad_request(f"the body must be a JSON object with fields of: {some}")
        return found


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: *data* as JSON, or *text* as a page."""

    status: int
    data: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None


class Refusal(Exception):
    """Ends a call: *error* is a constant word for programs.

    Attributes:
        status: Of the answer.
        error: The word.
        message: Of what the caller sent and can mend; empty where saying it would tell a stranger
            anything.
        retry_after: Seconds after which to come back.
    """

    def __init__(
        self, status: int, error: str, message: str = "", retry_after: int | None = None
    ) -> None:
        self.status = status
        self.error = error
        self.message = message
        self.retry_after = retry_after
        super().__init__(f"{status} {error}")

    def answer(self) -> Answer:
        """Return the answer that says it."""
        data = {"error": self.error, **({"message": self.message} if self.message else {})}
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return Answer(self.status, data, headers)


def bad_request(message: str) -> Refusal:
    """Return the refusal of what the caller can mend."""
    return Refusal(400, "bad_request", message)


def read_json(body: bytes) -> Any:
    """Return the value of a client's JSON.

    Raises:
        Refusal: It is none, and why, without a word of it.
    """
    try:
        return decode_plain(body)
    except NotDecodable:
        raise bad_request(
            "the body is not the JSON that we read: UTF-8 without a byte order mark, no key twice,"
            " no NaN or Infinity, no half of a surrogate pair, at most 64 levels deep"
        ) from None


def not_found() -> Refusal:
    """Return the one answer for what is not there and for what is not the caller's."""
    return Refusal(404, "not_found")


def unavailable(seconds: int = 1) -> Refusal:
    """Return the refusal that says: nothing was done, come back."""
    return Refusal(503, "unavailable", retry_after=seconds)


def is_json(content_type: str) -> bool:
    """Tell whether a body of this type may be read as JSON; browsers send it only when allowed."""
    return content_type.partition(";")[0].strip().lower() == "application/json"

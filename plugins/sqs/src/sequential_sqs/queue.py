"""Requests to one queue, with boto3: send, receive, delete, put off, set aside.

Owns the client and its settings. Knows texts, receipts and seconds, and no run: what a message
means is `messages`', and what becomes of it `answers`'. All of it may be repeated without harm.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sequential.spans import W3C

from .url import SqsSettings

_log = logging.getLogger("sequential")

AT_ONCE = 10
"""Messages in one request, at most."""

_TRIES = 3


class QueueFailed(Exception):
    """A request was not done, or nobody knows; its text is a sentence. Never leaves the package."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent.

    Attributes:
        body: Its text.
        delay: Whole seconds until it can be received.
        group: What is delivered in order, in a queue that drops duplicates; else empty.
        dedup: What makes it a duplicate there.
        attributes: Texts that travel beside the body.
    """

    body: str
    delay: int = 0
    group: str = ""
    dedup: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Received:
    """A message that arrived.

    Attributes:
        message_id: What SQS calls it.
        receipt: What this delivery of it is called.
        body: Its text, which anybody may have written.
        receives: How often it was delivered, this time included.
        trace: W3C context of the sender, if it came along.
    """

    message_id: str
    receipt: str
    body: str
    receives: int
    trace: Mapping[str, str] = field(default_factory=dict)


class Queue(Protocol):
    """What is asked of a queue. Each method raises `QueueFailed` if it was not done."""

    def send(self, batch: Sequence[Outgoing]) -> Mapping[int, str]:
        """Send up to ten; return why some were refused, by their place in *batch*."""

    def receive(self, limit: int) -> Sequence[Received]:
        """Wait for messages, and return up to *limit* of them."""

    def delete(self, receipt: str) -> None:
        """Remove the message."""

    def put_off(self, receipts: Sequence[str], seconds: int) -> None:
        """Keep the messages from everybody for *seconds* from now."""

    def set_aside(self, received: Received, reason: str) -> bool:
        """Put a copy where people look; return False if there is no such place."""


class SqsQueue:
    """One queue of SQS. Safe for several threads, and after a fork."""

    def __init__(self, settings: SqsSettings) -> None:
        self._settings = settings
        self._lock = threading.RLock()
        # Two: a request that waits for messages needs more patience than the others.
        self._clients: dict[float, Any] = {}
        self._urls: dict[str, str] = {}
        self._made_by = 0
        self._closed = False

    # -- the contract ------------------------------------------------------------------------

    def send(self, batch: Sequence[Outgoing]) -> Mapping[int, str]:
        """Send up to ten; return why some were refused, by their place in *batch*."""
        entries = [_entry(str(place), message) for place, message in enumerate(batch)]
        answer = self._ask("send_message_batch", Entries=entries)
        from .driver_errors import sentence

        return {
            int(failed["Id"]): sentence(failed.get("Code", ""), failed.get("Message", ""))
            for failed in answer.get("Failed", ())
        }

    def receive(self, limit: int) -> Sequence[Received]:
        """Wait for messages, and return up to *limit* of them."""
        settings = self._settings
        answer = self._ask(
            "receive_message",
            patience=settings.wait + settings.timeout,
            MaxNumberOfMessages=min(limit, AT_ONCE),
            WaitTimeSeconds=settings.wait,
            VisibilityTimeout=settings.visibility,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
            MessageAttributeNames=list(W3C),
        )
        return [
            Received(
                found["MessageId"],
                found["ReceiptHandle"],
                found["Body"],
                int(found.get("Attributes", {}).get("ApproximateReceiveCount", 1)),
                trace_in(found.get("MessageAttributes"), "StringValue"),
            )
            for found in answer.get("Messages", ())
        ]

    def delete(self, receipt: str) -> None:
        """Remove the message."""
        self._ask("delete_message", ReceiptHandle=receipt)

    def put_off(self, receipts: Sequence[str], seconds: int) -> None:
        """Keep the messages from everybody for *seconds* from now."""
        for start in range(0, len(receipts), AT_ONCE):
            entries = [
                {"Id": str(place), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
                for place, receipt in enumerate(receipts[start : start + AT_ONCE])
            ]
            answer = self._ask("change_message_visibility_batch", Entries=entries)
            for failed in answer.get("Failed", ()):
                # Deleted meanwhile, or received anew: nothing is lost by it.
                _log.debug("%s: a message was not put off: %s", self._settings.name, failed)

    def set_aside(self, received: Received, reason: str) -> bool:
        """Put a copy into the dead-letter queue; return False if none is configured."""
        settings = self._settings
        if not settings.dead:
            return False
        request: dict[str, Any] = {
            "MessageBody": received.body,
            "MessageAttributes": _attributes({"reason": reason, "queue": settings.queue}),
        }
        if settings.fifo:
            request |= {
                "MessageGroupId": "malformed",
                "MessageDeduplicationId": received.message_id,
            }
        self._ask("send_message", queue=settings.dead, **request)
        return True

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            self._closed = True
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()

    # -- requests ----------------------------------------------------------------------------

    def _ask(
        self, operation: str, *, queue: str = "", patience: float = 0.0, **request: Any
    ) -> Mapping[str, Any]:
        queue = queue or self._settings.queue
        client = self._client(patience or self._settings.timeout)
        url = self._url(client, queue)
        answer: Mapping[str, Any] = self._told(
            lambda: getattr(client, operation)(QueueUrl=url, **request)
        )
        return answer

    def _url(self, client: Any, queue: str) -> str:
        with self._lock:
            if queue not in self._urls:
                owner = self._settings.account
                whose = {"QueueOwnerAWSAccountId": owner} if owner else {}
                found = self._told(lambda: client.get_queue_url(QueueName=queue, **whose))
                self._urls[queue] = found["QueueUrl"]
            return self._urls[queue]

    def _told(self, ask: Callable[[], Any]) -> Any:
        """Ask; an error of the driver never leaves this module."""
        from .driver_errors import DRIVER_ERRORS, explain

        try:
            return ask()
        except DRIVER_ERRORS as error:
            raise QueueFailed(explain(error)) from error

    def _client(self, patience: float) -> Any:
        """Return a client that waits *patience* seconds for an answer; after a fork a new one."""
        with self._lock:
            if self._closed:
                raise QueueFailed("it was closed; open it again")
            if self._made_by != os.getpid():
                self._clients, self._made_by = {}, os.getpid()
            if patience not in self._clients:
                self._clients[patience] = self._told(lambda: self._make(patience))
            return self._clients[patience]

    def _make(self, patience: float) -> Any:
        import boto3  # type: ignore[import-untyped]
        from botocore.config import Config  # type: ignore[import-untyped]

        settings = self._settings
        config = Config(
            # A message that was sent twice does no harm.
            retries={"mode": "standard", "total_max_attempts": _TRIES},
            connect_timeout=settings.timeout,
            read_timeout=patience,
            max_pool_connections=settings.threads + AT_ONCE,
            tcp_keepalive=True,
        )
        session = boto3.session.Session(profile_name=settings.profile or None)
        return session.client(
            "sqs",
            region_name=settings.region or None,
            endpoint_url=settings.endpoint or None,
            config=config,
        )


def trace_in(attributes: object, key: str) -> dict[str, str]:
    """Return the W3C context among the attributes of a message, whose texts stand under *key*."""
    found: dict[str, str] = {}
    given: Mapping[str, object] = attributes if isinstance(attributes, Mapping) else {}
    for name in W3C:
        attribute = given.get(name)
        text = attribute.get(key) if isinstance(attribute, Mapping) else None
        if isinstance(text, str) and len(text) <= 512:
            found[name] = text
    return found


def _entry(name: str, message: Outgoing) -> dict[str, Any]:
    entry: dict[str, Any] = {"Id": name, "MessageBody": message.body}
    if message.group:
        entry |= {"MessageGroupId": message.group, "MessageDeduplicationId": message.dedup}
    elif message.delay:
        entry["DelaySeconds"] = message.delay
    if message.attributes:
        entry["MessageAttributes"] = _attributes(message.attributes)
    return entry


def _attributes(texts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {name: {"DataType": "String", "StringValue": text} for name, text in texts.items()}

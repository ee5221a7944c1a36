"""HttpTransport: resume messages as signed requests, and an inbox for those that arrive.

Sends and waits for the acknowledgement, never for the work. Who answers is `server`, which puts
what it verified into the inbox; nothing here listens on a port.
"""

from __future__ import annotations

import secrets
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime

import httpx

from sequential import Outcome
from sequential.errors import ConfigError, TransportError
from sequential.hookspecs import ResumeMessage
from sequential.storage import Clock

from .inbox import Inbox
from .messages import resume_body
from .signing import Keys, signed_headers
from .target import Target

_TRIES = 3
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 2.0
_AGAIN = frozenset({429, 502, 503, 504})
_ANSWER = 4096  # bytes of an answer that are read; a longer one costs its connection
_TRACE = ("traceparent", "tracestate")


class HttpTransport:
    """Sends resume messages to *target*, signed with the first of *keys*.

    Attributes:
        inbox: What arrived here; `listen` empties it.
        target: Where messages go.
        keys: What signs them.
    """

    carries = True
    longest_delay = 0.0

    def __init__(self, target: Target, keys: Keys, clock: Clock) -> None:
        self.target = target
        self.keys = keys
        self.inbox = Inbox()
        self._clock = clock
        self._client = httpx.Client(
            verify=_trusted(target),
            timeout=httpx.Timeout(target.timeout, connect=min(target.timeout, 3.0)),
            # A proxy or a .netrc of the environment is nobody's decision here.
            trust_env=False,
            follow_redirects=False,
            # Below the five seconds after which servers close what is idle, often just then.
            limits=httpx.Limits(
                max_connections=100, max_keepalive_connections=20, keepalive_expiry=4.0
            ),
        )

    def send(self, messages: Sequence[ResumeMessage]) -> None:
        """Post each message; return when all are acknowledged. Delayed ones are the sweeper's.

        A server that cannot be reached is asked three times within some seconds, and then no
        further messages are tried. That one is refused keeps none of the others back.

        Raises:
            TransportError: Some may not have arrived.
        """
        wanted = [message for message in messages if message.delay <= 0]
        unsent: list[str] = []
        reason = ""
        for number, message in enumerate(wanted):
            try:
                status = self._tried(message)
            except (httpx.HTTPError, RuntimeError) as error:  # the latter from a closed client
                unsent += [each.run_id for each in wanted[number:]]
                raise TransportError(f"{self.target.base}: {_named(error)}", unsent) from error
            if not 200 <= status < 300:
                unsent.append(message.run_id)
                reason = f"{self.target.base} answered {status}"
        if unsent:
            raise TransportError(reason, unsent)

    def listen(self, handle: Callable[[str], Outcome], stop: threading.Event) -> None:
        """Hand over what arrives, on several threads, until *stop* is set."""
        if stop.is_set():
            return
        for number in range(self.target.threads):
            # Daemons: a tool that does not end must not keep the process alive.
            threading.Thread(
                target=self.inbox.work,
                args=(handle, stop.is_set),
                daemon=True,
                name=f"sequential-http-{number}",
            ).start()
        stop.wait()

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _tried(self, message: ResumeMessage) -> int:
        message_id, status = f"msg_{secrets.token_hex(16)}", 0
        for tries in range(_TRIES):
            last = tries == _TRIES - 1
            try:
                status, pause = self._post(message, message_id)
                if status not in _AGAIN or last:
                    break
            except httpx.TransportError:
                # Also when the answer was lost: to look at a run twice changes nothing.
                if last:
                    raise
                pause = 0.0
            grown = _FIRST_PAUSE * 2.0**tries * (0.5 + secrets.randbelow(1000) / 1000)
            self._clock.wait(min(max(pause, grown), _LONGEST_PAUSE))
        return status

    def _post(self, message: ResumeMessage, message_id: str) -> tuple[int, float]:
        """Post once; return the status, and the seconds after which to come back."""
        body = resume_body(message.run_id, self.target.audience)
        headers = signed_headers(self.keys, message_id, self._clock.now(), body)
        headers |= {"content-type": "application/json", **_traced(message.trace)}
        url = f"{self.target.base}/resume/{message.run_id}"
        with self._client.stream("POST", url, content=body, headers=headers) as answer:
            read = 0
            for chunk in answer.iter_raw():
                read += len(chunk)
                if read > _ANSWER:
                    break
            return answer.status_code, self._retry_after(answer.headers.get("retry-after", ""))

    def _retry_after(self, text: str) -> float:
        if text.isascii() and text.isdigit() and len(text) < 10:
            return float(text)
        try:
            return parsedate_to_datetime(text).timestamp() - self._clock.now()
        except (ValueError, TypeError, IndexError, OverflowError):
            return 0.0


def _traced(trace: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of *trace*, as far as they can be headers."""
    return {
        name: value
        for name in _TRACE
        if (value := trace.get(name, "")) and len(value) <= 512 and _is_printable(value)
    }


def _is_printable(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _trusted(target: Target) -> ssl.SSLContext | bool:
    if not target.ca:
        return True
    try:
        return ssl.create_default_context(cafile=target.ca)
    except (OSError, ssl.SSLError) as error:
        reason = "it is no readable file of certificates"
        raise ConfigError("transport option ca", target.ca, reason) from error

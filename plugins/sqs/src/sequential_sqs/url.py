"""What ``sqs://queue-name?region=…`` says. Reads the text and asks no server.

No secret may stand in it: a URL ends up in logs, in the list of processes and in configuration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from sequential.errors import ConfigError

_PREFIX = "sqs://"
_SECRET = re.compile(r"key|secret|token|password|access|credential", re.IGNORECASE)
_QUEUE = re.compile(r"(?=.{1,80}\Z)[A-Za-z0-9_-]+(\.fifo)?", re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_SECONDS = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)s?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SqsSettings:
    """Which queue, and how it is listened to. Durations are seconds.

    Attributes:
        queue: Its name; one that ends in ``.fifo`` is a queue that drops duplicates.
        account: Of its owner, 12 digits; empty for the account of the credentials.
        region: Empty for what boto3 finds.
        endpoint: URL of another server than Amazon's; empty for Amazon's.
        profile: Of boto3's configuration; empty for what boto3 finds.
        dead: Name of the queue that messages of a wrong shape are moved to; empty for none.
        wait: How long one request listens to an empty queue, 1 to 20. `listen` returns at most that
            much after it was told to stop.
        visibility: How long a message is kept from others without a sign of life, 2 to 43,200.
        threads: Messages handled at a time.
        timeout: How long to wait for an answer.
    """

    queue: str
    account: str = ""
    region: str = ""
    endpoint: str = ""
    profile: str = ""
    dead: str = ""
    wait: int = 5
    visibility: int = 60
    threads: int = 4
    timeout: float = 10.0

    @property
    def name(self) -> str:
        """The address for people."""
        return f"{_PREFIX}{self.queue}"

    @property
    def fifo(self) -> bool:
        """Whether the queue drops duplicates, and delays no message."""
        return self.queue.endswith(".fifo")


def read_sqs_url(url: str) -> SqsSettings:
    """Return what *url* says.

    Raises:
        ConfigError: It names no queue, or an option that there is not.
    """
    rest, _, query = url.removeprefix(_PREFIX).partition("?")
    queue = rest.removesuffix("/")
    if not url.startswith(_PREFIX) or not _QUEUE.fullmatch(queue):
        raise ConfigError(
            "transport",
            _PREFIX + rest.rpartition("@")[2],
            "write sqs://queue-name?region=…, without credentials: boto3 finds them in the"
            " environment",
        )
    options: dict[str, str] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        _refuse(name, name in options)
        options[name] = text
    read: dict[str, Any] = {name: _READ[name](name, text) for name, text in options.items()}
    settings = SqsSettings(queue, **read)
    if settings.dead and settings.dead.endswith(".fifo") != settings.fifo:
        remedy = "a queue and its dead-letter queue end both in .fifo, or neither"
        raise ConfigError("transport option dead", settings.dead, remedy)
    return settings


def _refuse(name: str, repeated: bool) -> None:
    """Refuse an option that there is not, or that was given before."""
    if name in _READ and not repeated:
        return
    if name in _READ:
        remedy = "it stands there twice; leave one"
    elif _SECRET.search(name):
        remedy = "keep credentials in the environment, a profile or a role"
    else:
        remedy = f"known are {', '.join(_READ)}"
    raise ConfigError(f"transport option {name}", "…", remedy)


def _text(_: str, text: str) -> str:
    return text


def _account(name: str, text: str) -> str:
    if not _ACCOUNT.fullmatch(text):
        raise ConfigError(f"transport option {name}", text, "an account is 12 digits")
    return text


def _queue(name: str, text: str) -> str:
    if not _QUEUE.fullmatch(text):
        remedy = "give the name of a queue, not its URL or ARN"
        raise ConfigError(f"transport option {name}", text.rpartition("@")[2], remedy)
    return text


def _endpoint(name: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  (looked at for its error)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        shown = text.rpartition("@")[2]
        remedy = "write https://host:port, without credentials"
        raise ConfigError(f"transport option {name}", shown, remedy)
    return text


def _wait(name: str, text: str) -> int:
    return _whole_seconds(name, text, 1, 20)


def _visibility(name: str, text: str) -> int:
    return _whole_seconds(name, text, 2, 43_200)


def _whole_seconds(name: str, text: str, least: int, most: int) -> int:
    seconds = _seconds(text)
    if not least <= seconds <= most or seconds != int(seconds):
        remedy = f"use whole seconds from {least} to {most}, such as {name}={most}s"
        raise ConfigError(f"transport option {name}", text, remedy)
    return int(seconds)


def _threads(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text, re.ASCII) or not 1 <= int(text) <= 1000:
        raise ConfigError(f"transport option {name}", text, "use a number from 1 to 1000")
    return int(text)


def _timeout(name: str, text: str) -> float:
    seconds = _seconds(text)
    if not 0 < seconds <= 600:
        raise ConfigError(f"transport option {name}", text, "use seconds above 0, up to 600")
    return seconds


def _seconds(text: str) -> float:
    found = _SECONDS.fullmatch(text)
    return float(found[1]) if found else -1.0


_READ = {
    "account": _account,
    "region": _text,
    "endpoint": _endpoint,
    "profile": _text,
    "dead": _queue,
    "wait": _wait,
    "visibility": _visibility,
    "threads": _threads,
    "timeout": _timeout,
}

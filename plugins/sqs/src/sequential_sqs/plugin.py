"""The hooks: what this package brings, by name. boto3 is imported with the first request."""

from __future__ import annotations

from collections.abc import Mapping

from sequential import hookimpl
from sequential.hookspecs import ResumeTransport, TransportFactory
from sequential.storage import Clock


def open_sqs(url: str, clock: Clock) -> ResumeTransport:
    """Return the transport over the queue that *url* names; nothing is asked of the server yet.

    Raises:
        ConfigError: The URL names no queue, or an option that there is not.
    """
    from .transport import SqsTransport
    from .url import read_sqs_url

    return SqsTransport(read_sqs_url(url), clock)


@hookimpl
def sequential_transports() -> Mapping[str, TransportFactory]:
    """Open ``sqs:``."""
    return {"sqs": open_sqs}
